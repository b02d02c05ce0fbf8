"""The append-only, hash-chained audit that hub and nodes write.

Runs at the hub and at a node. May see what it is told to record. Must never be skipped: where an entry
cannot be written, `append` raises and the action must not happen.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from unica_sdk.errors import AuditBroken
from unica_sdk.schemas.audit import GENESIS, AuditEntry


class AuditLog:
    """A file of JSON lines, each naming the digest of the line before.

    Several processes may append to one file; an exclusive lock orders them. Each entry is on disk (fsync)
    before `append` returns.

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
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                last = _last_entry(file)
                entry = AuditEntry(
                    sequence=last.sequence + 1 if last else 1,
                    at=datetime.now(UTC),
                    actor=actor,
                    action=action,
                    subject=subject,
                    detail=detail,
                    previous=last.digest() if last else GENESIS,
                )
                file.seek(0, os.SEEK_END)
                file.write(entry.canonical() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                return entry
        except (OSError, ValueError) as err:
            raise AuditBroken(
                "The audit could not be written, so nothing was done.",
                where=str(self.path),
                hint="Check that the disk has room and the folder belongs to the service user.",
            ) from err

    def head(self) -> tuple[str, int]:
        """Return the digest of the last entry and the number of entries."""
        if not self.path.exists():
            return GENESIS, 0
        with self.path.open("rb") as file:
            last = _last_entry(file)
        return (last.digest(), last.sequence) if last else (GENESIS, 0)

    def entries(self) -> Iterator[AuditEntry]:
        """Yield the entries in order, checking the chain on the way.

        Raises:
            AuditBroken: an entry was changed, removed or put in; the message names the line.
        """
        if not self.path.exists():
            return
        previous, sequence = GENESIS, 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                entry = _parse(line, number, self.path)
                sequence += 1
                if (
                    entry.previous != previous
                    or entry.sequence != sequence
                    or entry.canonical() + b"\n" != line
                ):
                    raise AuditBroken(
                        f"Entry {number} does not follow from the one before it.", where=str(self.path)
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
        raise AuditBroken(f"Entry {number} is not an audit entry.", where=str(path)) from err


def _last_entry(file: BinaryIO) -> AuditEntry | None:
    """Return the last entry without reading the whole file."""
    size = file.seek(0, os.SEEK_END)
    step, tail = 4096, b""
    position = size
    while position > 0 and tail.count(b"\n", 0, -1) == 0:
        position = max(0, position - step)
        file.seek(position)
        tail = file.read(size - position)
    if not tail:
        return None
    return _parse(tail.rstrip(b"\n").rsplit(b"\n", 1)[-1], "last", Path(str(file.name)))
