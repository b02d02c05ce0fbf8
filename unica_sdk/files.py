"""Writing files so that nobody ever meets half of one, and a lock to change them under.

Every file is drafted beside its place, flushed to disk and only then given its name. A process killed in the
middle leaves the old file, or none, and a draft (`.name.….partial`) that nobody reads.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unica_sdk.errors import ConfigurationError


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole; only its owner may read it, unless `mode` says otherwise.

    Raises:
        OSError: it could not be written; what was there before still is.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "policy.toml"
        >>> write_private(target, b"threshold = 10")
        >>> target.read_bytes(), oct(target.stat().st_mode & 0o777)
        (b'threshold = 10', '0o600')
    """
    with _draft(path, content, mode=mode) as draft:
        draft.replace(path)
    sync(path.parent)


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Write a file unless there is one already, and return whether it was written.

    Of two processes that do this at the same time, one writes and the other's content is dropped.

    Raises:
        OSError: it could not be written; there is still no such file.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "site.key"
        >>> write_new(target, b"first"), write_new(target, b"second"), target.read_bytes()
        (True, False, b'first')
    """
    if path.exists():
        return False
    with _draft(path, content, mode=mode) as draft:
        try:
            # link, unlike rename, fails where somebody was first.
            os.link(draft, path)
        except FileExistsError:
            return False
    sync(path.parent)
    return True


def private_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter, and those above it that are not there, alike.

    Raises:
        OSError: it could not be made.

    Example:
        >>> inner = Path(tempfile.mkdtemp()) / "reports" / "v0001"
        >>> private_folder(inner)
        >>> [oct(place.stat().st_mode & 0o777) for place in (inner, inner.parent)]
        ['0o700', '0o700']
    """
    if not folder.exists():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync(path: Path) -> None:
    """Flush to disk a file that somebody else wrote, or a folder's entries, so that a rename in it lasts."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, taken: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes and threads; it ends with the holder, however that ends.

    Args:
        path: the lock's own file, made where there is none.
        taken: what to say where somebody else holds it; None waits for them.

    Raises:
        ConfigurationError: somebody else holds it and `taken` says so.
    """
    held = False
    while not held:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if taken is None else fcntl.LOCK_NB))
            except BlockingIOError as err:
                raise ConfigurationError(taken or "", where=str(path)) from err
            # Whoever emptied the folder meanwhile took the file away: the next to come locks another one.
            held = _is_at(descriptor, path)
            if held:
                yield
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _draft(path: Path, content: bytes, *, mode: int) -> Iterator[Path]:
    """Give a file beside `path` that holds the content on disk; it is gone when the block ends."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
