"""Writing files so that a reader, or a power cut, never meets half of one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole: written aside, flushed to disk, then renamed over it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "policy.toml"
        >>> write_atomically(target, b"threshold = 10")
        >>> target.read_bytes()
        b'threshold = 10'
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def private_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter, and those above it that are not there, alike.

    Example:
        >>> import tempfile
        >>> inner = Path(tempfile.mkdtemp()) / "reports" / "v0001"
        >>> private_folder(inner)
        >>> [oct(place.stat().st_mode & 0o777) for place in (inner, inner.parent)]
        ['0o700', '0o700']
    """
    if not folder.exists():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file that somebody else wrote to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes and threads; it ends with the holder, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
