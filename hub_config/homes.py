"""Home folders: made when a workspace starts, with the current notebooks in them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

from unica_sdk.errors import ConfigurationError


def prepare(home: Path, *, notebooks: Path, ledger: Path) -> tuple[str, ...]:
    """Make the home (0700) and bring its notebooks up to date; return the names that were written.

    A notebook the person changed is never touched; one they left as it was is replaced by a newer edition;
    one they deleted stays deleted. `ledger` (JSON, outside the home) remembers what was handed out.

    Whoever owns the home may have put a link where a notebook belongs: links are never followed, and a file
    comes into the home by a rename.

    Raises:
        ConfigurationError: the home or the ledger cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handed_out = _read(ledger)
        written = []
        for source in sorted(notebooks.glob("*.ipynb")):
            edition = hashlib.sha256(source.read_bytes()).hexdigest()
            if _wants(home / source.name, edition=edition, before=handed_out.get(source.name)):
                _place(source, home / source.name, draft=ledger.with_suffix(".draft"))
                handed_out[source.name] = edition
                written.append(source.name)
        if written:
            draft = ledger.with_suffix(".new")
            draft.write_text(json.dumps(handed_out, indent=2), encoding="utf-8")
            draft.replace(ledger)
    except OSError as err:
        raise ConfigurationError(
            "A home folder could not be prepared.",
            where=str(home),
            hint="It must belong to the user that the hub runs as, on a disk with room.",
        ) from err
    return tuple(written)


def _wants(target: Path, *, edition: str, before: str | None) -> bool:
    if before == edition:
        return False
    try:
        found = _digest(target)
    except FileNotFoundError:
        return before is None
    return found is not None and found == before


def _digest(path: Path) -> str | None:
    """Return the digest of a plain file; None for a link, a folder or anything else."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(source: Path, target: Path, *, draft: Path) -> None:
    shutil.copyfile(source, draft)
    draft.chmod(0o600)
    draft.replace(target)


def _read(ledger: Path) -> dict[str, str]:
    try:
        found = json.loads(ledger.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as err:
        raise ConfigurationError(
            "The list of handed-out notebooks is damaged.", where=str(ledger), hint="Delete the file."
        ) from err
    return {str(name): str(edition) for name, edition in found.items()}
