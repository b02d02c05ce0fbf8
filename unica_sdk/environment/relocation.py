"""A copy of the software where the service user can reach it, for a clone in a folder closed to others."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from unica_sdk.environment.layout import SOFTWARE, Layout
from unica_sdk.errors import ConfigurationError

SOURCES = ("unica_sdk", "hub_config", "dashboards", "notebooks", "node_modules")
STAMPS = ("unica-run.stamp", "unica-test.stamp")


def place(layout: Layout) -> Path:
    """Return where the copy is: beside the state folder, and root's, so that the parts cannot change it."""
    return layout.state.with_name(f"{layout.state.name}.software")


def refresh(layout: Layout) -> None:
    """Make the copy, or bring it up to date: the sources always, the packages where they changed.

    Packages are linked, not copied, where both folders are on one file system.

    Raises:
        ConfigurationError: this is the copy, something else stands in its place, or it cannot be written.
    """
    target = place(layout)
    if target == SOFTWARE:
        raise ConfigurationError("The copy of the software cannot be reached either.", where=str(target))
    try:
        target.mkdir(mode=0o755, exist_ok=True)
        if target.is_symlink() or target.stat().st_uid != os.geteuid():
            raise ConfigurationError(
                "Something else stands where the copy of the software goes.",
                where=str(target),
                hint="Move it away.",
            )
        target.chmod(0o755)
        _packages(Path(sys.prefix), target / ".venv")
        for name in SOURCES:
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(SOFTWARE / name, target / name, symlinks=True)
            _open_to_all(target / name)
    except OSError as err:
        raise ConfigurationError(
            f"The software cannot be copied for the service user: {err.strerror}.",
            where=str(target),
            hint="Clone into a folder that every user may enter, such as /opt/unica.",
        ) from err


def become_copy(layout: Layout) -> None:
    """Go on in the copy: replace this process by the same command, run from there."""
    python = place(layout) / ".venv" / "bin" / "python"
    sys.stdout.flush()
    os.execv(python, [str(python), "-P", "-m", "unica_sdk.cli", *sys.argv[1:]])  # noqa: S606


def _packages(venv: Path, copy: Path) -> None:
    stamps = [(venv / name, copy / name) for name in STAMPS]
    if copy.is_dir() and all(_text(here) == _text(there) for here, there in stamps):
        return
    unfinished = copy.with_name(".venv.unfinished")
    for old in (copy, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(venv, unfinished, symlinks=True, copy_function=_link)
    # the editable installation names the clone
    for pointer in unfinished.glob("lib/python*/site-packages/*unica_sdk*.pth"):
        pointer.unlink()
        pointer.write_text(f"{copy.parent}\n")
    unfinished.rename(copy)


def _open_to_all(folder: Path) -> None:
    """Let everybody read a copy, whatever root's umask was when the clone was made."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
