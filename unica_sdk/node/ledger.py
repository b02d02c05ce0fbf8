"""What became of each file when it was last ingested: why a second ingest reads only what changed.

One SQLite file in the node's home. It has the hospital's paths and, of a header, what the index has and
tokens under the site key; no identifier, no name, no date of birth. An ingest writes it a few hundred files
at a time, after their copies are on the disk: killed at any moment, the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

from unica_sdk.errors import DataError
from unica_sdk.node.index_tables import InstanceRow
from unica_sdk.node.scan import Listed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    dataset TEXT, folder TEXT, path TEXT, size INTEGER, modified INTEGER, basis TEXT, sha256 TEXT,
    reason TEXT, detail TEXT, findings TEXT, copy TEXT, copy_size INTEGER, patient TEXT, study TEXT,
    series TEXT, instance TEXT, modality TEXT, sex TEXT, birth TEXT, day TEXT, pixels TEXT, image TEXT,
    words TEXT, PRIMARY KEY (dataset, folder, path)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_copy ON file (copy);
CREATE TABLE IF NOT EXISTS orphan (copy TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (dataset TEXT, folder TEXT);
"""

_SCOPE = """
PRAGMA temp_store = MEMORY;
CREATE TEMP TABLE scope (dataset TEXT, folder TEXT);
CREATE TEMP TABLE listing (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER) WITHOUT ROWID;
CREATE TEMP VIEW here AS SELECT file.* FROM main.file JOIN scope USING (dataset, folder);
CREATE TEMP VIEW kept AS SELECT * FROM here WHERE reason = '';
"""

_ACQUIRED = InstanceRow._fields.index("acquired")


@dataclass(frozen=True, kw_only=True)
class Image:
    """What is remembered of a file that has a copy; its row's path is that of the copy."""

    copy: str
    copy_size: int
    birth: str
    pixels: str
    row: InstanceRow
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What became of one file; with a reason it has no image, without one it has."""

    path: str
    size: int
    modified: int
    sha256: str = ""
    reason: str = ""
    detail: str = ""
    findings: tuple[tuple[str, str], ...] = ()
    image: Image | None = None


class Ledger:
    """The ledger of one node, seen from one dataset and folder; use it in a `with` statement."""

    def __init__(self, connection: sqlite3.Connection, *, dataset: str, folder: str) -> None:
        self._connection = connection
        self._scope = (dataset, folder)

    @classmethod
    def open(cls, path: Path, *, dataset: str, folder: str) -> Ledger:
        """Open a node's ledger, or begin one.

        Raises:
            DataError: it cannot be read or written.
        """
        with _guarded(path):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.executescript(_SCHEMA + _SCOPE)
            connection.execute("INSERT INTO scope VALUES (?, ?)", (dataset, folder))
        return cls(connection, dataset=dataset, folder=folder)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def begin(self) -> bool:
        """Note that an ingest is at work; return whether one before it never ended."""
        with self._transaction():
            ((cut_short,),) = self.query("SELECT count(*) > 0 FROM run")
            self._connection.execute("INSERT INTO run SELECT * FROM scope")
        return bool(cut_short)

    def end(self) -> None:
        """Note that no ingest is at work any more."""
        with self._transaction():
            self._connection.execute("DELETE FROM run")

    def knows_files(self) -> bool:
        """Whether an ingest of this folder has found a file before."""
        ((known,),) = self.query("SELECT EXISTS (SELECT 1 FROM here)")
        return bool(known)

    def compare(self, files: Iterable[Listed], *, basis: str) -> list[Listed]:
        """Take what is in the folder now, forget what is not, and return what has to be read.

        Args:
            files: everything in the folder.
            basis: what verdicts hang on besides the file, such as the edition of the rules.
        """
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO listing VALUES (?, ?, ?)", ((f.path, f.size, f.modified) for f in files)
            )
            gone = "path NOT IN (SELECT path FROM listing)"
            self._connection.execute(
                f"INSERT OR IGNORE INTO orphan SELECT copy FROM here WHERE copy <> '' AND {gone}"  # noqa: S608
            )
            self._connection.execute(
                f"DELETE FROM file WHERE dataset = ? AND folder = ? AND {gone}",  # noqa: S608 - our own text
                self._scope,
            )
        found = self.query(
            "SELECT listing.* FROM listing LEFT JOIN here USING (path) WHERE here.path IS NULL"
            " OR here.size <> listing.size OR here.modified <> listing.modified OR here.basis <> ?",
            (basis,),
        )
        return [Listed(*one) for one in found]

    def copies(self) -> Iterator[tuple[Listed, str, int]]:
        """Yield each file that has a copy, the copy's name and its size."""
        for path, size, modified, copy, copy_size in self.query(
            "SELECT path, size, modified, copy, copy_size FROM kept"
        ):
            yield Listed(path, size, modified), copy, copy_size

    def record(self, entries: Sequence[Entry], *, basis: str) -> None:
        """Remember what became of some files, all of them or none."""
        values = [(*self._scope, *_values(entry, basis)) for entry in entries]
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO orphan"
                " SELECT copy FROM here WHERE path = ? AND copy <> '' AND copy <> ?",
                [(entry.path, entry.image.copy if entry.image else "") for entry in entries],
            )
            self._connection.executemany(
                f"INSERT OR REPLACE INTO file VALUES ({', '.join('?' * 23)})",  # noqa: S608
                values,
            )

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query; `here` are this folder's files, `kept` those that have a copy.

        Raises:
            DataError: the ledger cannot be read.
        """
        with _guarded():
            yield from self._connection.execute(sql, parameters)

    def images(self, *, store: Path, without: Iterable[str] = ()) -> Iterator[InstanceRow]:
        """Yield the rows of the files that have a copy, in the order of their paths, but for some files'."""
        left_out = frozenset(without)
        for path, copy, image in self.query("SELECT path, copy, image FROM kept ORDER BY path"):
            if path not in left_out:
                yield row_from(image, path=f"{store}/{copy}")

    def unreferenced(self, names: Iterable[str]) -> list[str]:
        """Return those copies that no file of any dataset has."""
        with self._transaction():
            self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS asked (copy TEXT PRIMARY KEY)")
            self._connection.execute("DELETE FROM asked")
            self._connection.executemany("INSERT OR IGNORE INTO asked VALUES (?)", ((n,) for n in names))
        found = self.query("SELECT copy FROM asked WHERE copy NOT IN (SELECT copy FROM file) ORDER BY copy")
        return [copy for (copy,) in found]

    def orphans(self) -> list[str]:
        """Return the copies that an entry once had."""
        return [copy for (copy,) in self.query("SELECT copy FROM orphan")]

    def adopt(self, orphans: Iterable[str]) -> None:
        """Forget copies that were removed, or that an entry has again."""
        with self._transaction():
            self._connection.executemany("DELETE FROM orphan WHERE copy = ?", ((o,) for o in orphans))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # After a full disk SQLite has rolled back itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _guarded(path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as err:
        raise DataError(
            "The node's ledger cannot be read or written; the version before stays.",
            where=str(path or ""),
            hint=str(err)[:200],
        ) from err


def _values(entry: Entry, basis: str) -> tuple[Any, ...]:
    findings = json.dumps(entry.findings)
    fixed = (
        entry.path, entry.size, entry.modified, basis, entry.sha256, entry.reason, entry.detail, findings
    )  # fmt: skip
    image = entry.image
    if image is None:
        return (*fixed, "", 0, *([None] * 9), None, "[]")
    row = image.row
    day = row.acquired.isoformat() if row.acquired else None
    return (
        *fixed,
        image.copy,
        image.copy_size,
        row.patient,
        row.study,
        row.series,
        row.instance,
        row.modality,
        row.sex,
        image.birth,
        day,
        image.pixels,
        json.dumps(["", *row[1:_ACQUIRED], day, *row[_ACQUIRED + 1 :]]),
        json.dumps(image.words),
    )


def row_from(image: str, *, path: str) -> InstanceRow:
    """Return the row that the ledger has as text, with the path its copy has now."""
    values = json.loads(image)
    if values[_ACQUIRED]:
        values[_ACQUIRED] = date.fromisoformat(values[_ACQUIRED])
    return InstanceRow(path, *values[1:])
