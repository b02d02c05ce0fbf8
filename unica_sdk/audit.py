"""The append-only, hash-chained audit that hub and nodes write.

Runs at the hub and at a node. May see what it is told to record. Must never be skipped: where an entry
cannot be written, `append` raises and the action must not happen.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import AuditBroken
from unica_sdk.schemas.audit import GENESIS, AuditEntry

_STEP = 4096
_LINES_OF_TAIL = 3
"""Ends of lines that a tail holds, so that a whole line lies in it even behind a torn one."""


class AuditLog:
    """A file of JSON lines, each naming the digest of the line before.

    Several processes may append to one file; an exclusive lock orders them. Each entry is on disk (fsync)
    before `append` returns. A line that a crash tore in mid-write was never acknowledged: readers pass over
    it, and the next append removes it and says so.

    Example:
        >>> import tempfile
        >>> log = AuditLog(Path(tempfile.mkdtemp()) / "audit.jsonl")
        >>> log.append(actor="alice", action="count", subject="cohort").sequence
        1
        >>> log.verify()
        1
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *, actor: str, action: str, subject: str, **detail: Any) -> AuditEntry:
        """Write one entry and return it.

        Raises:
            AuditBroken: it could not be written; do not do what it would have recorded.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                torn = _cut_torn_line(file)
                if torn:
                    self._write(
                        file, "audit", "audit.torn_line_removed", str(self.path.name), {"bytes": torn}
                    )
                return self._write(file, actor, action, subject, detail)
        except (OSError, ValueError) as err:
            raise AuditBroken(
                "The audit could not be written, so nothing was done.",
                where=str(self.path),
                hint="Check that the disk has room and the folder belongs to the service user.",
            ) from err

    def _write(
        self, file: RawIOBase, actor: str, action: str, subject: str, detail: dict[str, Any]
    ) -> AuditEntry:
        last = _last_entry(file, self.path)
        entry = AuditEntry(
            sequence=last.sequence + 1 if last else 1,
            at=datetime.now(UTC),
            actor=actor,
            action=action,
            subject=subject,
            detail=detail,
            previous=last.digest() if last else GENESIS,
        )
        line = entry.canonical() + b"\n"
        end = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            # What was not acknowledged must not stand in the way of the next entry.
            file.truncate(end)
            raise
        return entry

    def head(self) -> tuple[str, int]:
        """Return the digest of the last entry and the number of entries."""
        if not self.path.exists():
            return GENESIS, 0
        with self.path.open("rb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            last = _last_entry(file, self.path)
        return (last.digest(), last.sequence) if last else (GENESIS, 0)

    def entries(self) -> Iterator[AuditEntry]:
        """Yield the entries in order, checking the chain on the way.

        Raises:
            AuditBroken: an entry was changed, removed or put in; the message names the line.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        previous = GENESIS
        for number, line in enumerate(lines, 1):
            entry = _parse(line, number, self.path)
            if entry.previous != previous or entry.sequence != number or entry.canonical() + b"\n" != line:
                raise AuditBroken(
                    f"Entry {number} does not follow from the one before it.",
                    where=str(self.path),
                    hint="Keep the file as it is and tell the security officer: somebody changed it.",
                )
            previous = entry.digest()
            yield entry

    def verify(self) -> int:
        """Return the number of entries, all chained.

        Raises:
            AuditBroken: the chain does not hold.
        """
        return sum(1 for _ in self.entries())


def _parse(line: bytes, number: int | str, path: Path) -> AuditEntry:
    try:
        return AuditEntry.model_validate(json.loads(line))
    except (ValueError, ValidationError) as err:
        raise AuditBroken(
            f"Entry {number} is not an audit entry.",
            where=str(path),
            hint="Keep the file as it is and tell the security officer: somebody changed it.",
        ) from err


def _tail(file: RawIOBase) -> bytes:
    """Return the end of the file from some line's start on, with at least the last whole line."""
    size = file.seek(0, os.SEEK_END)
    position, tail = size, b""
    while position > 0 and tail.count(b"\n") < _LINES_OF_TAIL:
        position = max(0, position - _STEP)
        file.seek(position)
        tail = file.read(size - position) or b""
    return tail


def _cut_torn_line(file: RawIOBase) -> int:
    """Remove a last line without an end, which a crash in mid-write leaves; return its length.

    Such an entry was never acknowledged, so what it would have recorded did not happen.
    """
    tail = _tail(file)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        file.truncate(file.seek(0, os.SEEK_END) - torn)
    return torn


def _last_entry(file: RawIOBase, path: Path) -> AuditEntry | None:
    """Return the last whole entry without reading the whole file."""
    whole = _tail(file).rpartition(b"\n")[0]
    return _parse(whole.rpartition(b"\n")[2], "last", path) if whole else None
