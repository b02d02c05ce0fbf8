"""The installation: a clear word under any Python, and nothing half-made taken for whole."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from hub_config.deploy import bootstrap, installation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> installation.Installation:
    """A clone whose installation is complete."""
    for name in installation.INPUTS:
        shutil.copy(ROOT / name, tmp_path / name)
    found = installation.Installation(tmp_path)
    (tmp_path / "node_modules" / "configurable-http-proxy").mkdir(parents=True)
    found.venv.mkdir()
    found.stamp("test").write_text(found.digest("test"))
    return found


def test_the_first_file_is_readable_to_old_pythons() -> None:
    tree = ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 4))
    modern = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match, ast.AsyncFunctionDef)
    assert not any(isinstance(node, modern) for node in ast.walk(tree))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"os", "shutil", "subprocess", "sys"}


@pytest.mark.parametrize("module", [bootstrap, installation])
def test_only_the_standard_library_is_imported(module: ModuleType) -> None:
    assert module.__file__ is not None
    code = f"import runpy; runpy.run_path({module.__file__!r}, run_name='read')"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_the_wrong_python_is_told_apart(tmp_path: Path) -> None:
    old = tmp_path / "python3.11"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert bootstrap.fits(sys.executable)
    assert not bootstrap.fits(str(old))
    assert not bootstrap.fits(str(tmp_path / "nothing"))


def test_without_a_python_the_command_to_get_one_is_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "WANTED", (3, 99))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as stopped:
        bootstrap.main(["run"])
    assert "UNICA-100 UNICA needs Python 3.11" in str(stopped.value)
    assert "sudo apt-get install python3.11 python3.11-venv" in str(stopped.value)


def test_a_complete_installation_serves_run_and_test(clone: installation.Installation) -> None:
    assert clone.complete("test")
    assert clone.complete("run")
    clone.install("run")  # returns at once: nothing could be installed here


@pytest.mark.parametrize("name", installation.INPUTS)
def test_a_changed_input_asks_for_a_new_installation(clone: installation.Installation, name: str) -> None:
    with (clone.root / name).open("a") as file:
        file.write("\n")
    assert not clone.complete("run")


def test_an_interrupted_installation_is_not_taken_for_a_whole_one(clone: installation.Installation) -> None:
    clone.work.mkdir(parents=True)
    clone.mark.touch()
    assert not clone.complete("run")


def test_a_moved_clone_is_installed_anew(clone: installation.Installation, tmp_path: Path) -> None:
    moved = clone.root.rename(tmp_path.with_name("moved"))
    assert not installation.Installation(moved).complete("run")


def test_two_installations_of_one_clone_take_turns(clone: installation.Installation) -> None:
    order: list[str] = []

    def second() -> None:
        with installation.Installation(clone.root).alone():
            order.append("second")

    waiting = threading.Thread(target=second)
    with clone.alone():
        waiting.start()
        waiting.join(0.5)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_what_failed_is_shown_with_the_end_of_its_output(clone: installation.Installation) -> None:
    clone.work.mkdir(parents=True)
    clone.log.write_text("")
    with pytest.raises(installation.Trouble, match=r"(?s)pip failed:.*no room.*install\.log"):
        clone._run([sys.executable, "-c", "import sys; sys.exit('no room')"], "pip")


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(installation.Trouble, match="no target 'walk'"):
        installation.main(["walk"])
