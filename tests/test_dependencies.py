"""Each place can be installed alone: what a package imports, the extra for its place asks for."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"unica_sdk", "hub_config", "breast_screen"}
CALLED = {"jwt": "pyjwt"}
"""Packages that are imported by another name than they are installed by."""

PLACES = {
    "unica_sdk/schemas": (),
    # What it draws and tabulates it imports on demand; a plain installation has the rest.
    "unica_sdk/client": ("local", "dashboards"),
    "unica_sdk/gateway": ("hub", "local"),
    "unica_sdk/node": ("node", "local"),
    "unica_sdk/federation/site": ("node", "local"),
    "unica_sdk/federation/hub": ("hub",),
    "unica_sdk/federation": ("hub", "node", "local"),
    "unica_sdk/evaluation": ("hub", "node", "local"),
    "unica_sdk/testing": ("local",),
    "unica_sdk/pilots/breast_screen": ("pilots", "local"),
    "unica_sdk/environment": ("hub+node+pilots",),
    "hub_config": ("hub+dashboards",),
}
"""Folder → the installations that must run it; `+` where it needs several extras together."""

ON_DEMAND = {
    ("unica_sdk/client", "local"): {"matplotlib"},
    ("unica_sdk/client", "dashboards"): {"pandas"},
    # Batches for torch are for whoever trains with it, and then it is there.
    ("unica_sdk/node", "node"): {"torch"},
}
"""What a place imports only when somebody asks for it, by the installation that lacks it."""

BASE_ONLY = """
import sys
class Base:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Base())
from unica_sdk.cli import main
sys.argv = ["unica", *{arguments!r}]
main()
"""


def _asked(extra: str | None) -> set[str]:
    """Return the packages of an extra, with those of the extras it names; the base for None."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found: set[str] = set()
    for line in lines:
        if inside := re.fullmatch(r"unica-sdk\[(.*)\]", line):
            found |= {name for part in inside[1].split(",") for name in _asked(part)}
        else:
            found.add(re.match(r"[\w-]+", line)[0].lower().replace("_", "-"))
    return found


def _imported(folder: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return {
        CALLED.get(name, name).replace("_", "-")
        for name in found
        if name not in OURS and name not in sys.stdlib_module_names
    }


@pytest.mark.parametrize("folder", PLACES)
def test_what_a_place_imports_its_installation_asks_for(folder: str) -> None:
    for installation in PLACES[folder]:
        asked = _asked(None).union(*(_asked(extra) for extra in installation.split("+")))
        on_demand = ON_DEMAND.get((folder, installation), set())
        assert _imported(folder) - asked - on_demand == set(), installation
    if not PLACES[folder]:
        assert _imported(folder) <= _asked(None)


def test_every_package_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    asked = _asked(None).union(*(_asked(extra) for extra in PROJECT["optional-dependencies"]))
    assert asked <= pinned


def _on_the_base(*arguments: str) -> "subprocess.CompletedProcess[str]":
    extras = set().union(*(_asked(extra) for extra in PROJECT["optional-dependencies"])) - _asked(None)
    back = {installed: imported for imported, installed in CALLED.items()}
    missing = {back.get(name, name).replace("-", "_") for name in extras}
    code = BASE_ONLY.format(missing=missing, arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["status"], "psutil", "hub"),
        (["node", "ingest", ".", "--home", "none", "--dataset", "d"], "duckdb", "node"),
    ],
)
def test_a_missing_extra_is_a_sentence_that_names_it(arguments: list[str], package: str, extra: str) -> None:
    done = _on_the_base(*arguments)
    assert done.returncode == 1, done.stdout
    assert "UNICA-100" in done.stderr
    assert f"needs {package}" in done.stderr
    assert f"'.[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_base_runs_the_client_and_shows_help() -> None:
    done = _on_the_base("--help")
    assert done.returncode == 0, done.stderr
