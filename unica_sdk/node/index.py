"""The index: one DuckDB file per published version, swapped in as a whole.

    index/v0007.duckdb     a version: never changed after it was published
    index/CURRENT          the name of the version that is read

An ingest copies the current version aside, changes the copy, flushes it and renames CURRENT over the old one:
a reader has the old version or the new one, and a process that is killed at any moment leaves the old one.
Tables: `instance` (one row per image), `clinical`, `dataset`, `patient` (one row per person, which is what
counts run on), `meta`. Identifiers in all of them are the site's pseudonyms.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import duckdb

from unica_sdk.errors import DataError, NotFound
from unica_sdk.node.files import locked, sync_file, sync_folder, write_atomically
from unica_sdk.schemas import vocabulary

KEPT_VERSIONS = 3
"""Older files are removed: a reader that holds one open still finishes with it."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_BATCH = 10_000


class InstanceRow(NamedTuple):
    """One image as the index holds it: pseudonyms, words of the vocabulary, and where its file is."""

    path: str
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    body_part: str | None
    manufacturer: str | None
    sex: str | None
    age: int | None
    rows: int
    columns: int
    frames: int
    samples: int
    transfer_syntax: str


class ClinicalFact(NamedTuple):
    """What a clinical table says of one patient."""

    patient: str
    outcome: str | None
    diagnosis: str | None
    sex: str | None
    age: int | None


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """How the site describes a dataset, and whether a clinical table came with it."""

    name: str
    title: str
    description: str
    synthetic: bool
    clinical: bool = False


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What came of publishing: the version that is current now, and the images that were there already."""

    version: int
    changed: bool
    duplicates: tuple[str, ...]


_SCHEMA = """
CREATE TABLE dataset (
    name VARCHAR PRIMARY KEY, title VARCHAR, description VARCHAR, synthetic BOOLEAN, clinical BOOLEAN);
CREATE TABLE instance (
    dataset VARCHAR, folder VARCHAR, path VARCHAR, patient VARCHAR, study VARCHAR, series VARCHAR,
    instance VARCHAR, modality VARCHAR, body_part VARCHAR, manufacturer VARCHAR, sex VARCHAR, age INTEGER,
    rows INTEGER, columns INTEGER, frames INTEGER, samples INTEGER, transfer_syntax VARCHAR);
CREATE TABLE clinical (
    dataset VARCHAR, folder VARCHAR, patient VARCHAR, outcome VARCHAR, diagnosis VARCHAR, sex VARCHAR,
    age INTEGER);
"""

PATIENTS = """
    SELECT patient, coalesce(facts.sex, seen.sex, 'unknown') AS sex, coalesce(facts.age, seen.age) AS age,
           diagnosis, outcome, modalities, body_parts, manufacturers, datasets
    FROM (
        SELECT patient, min(age) AS age,
               CASE WHEN count(DISTINCT sex) = 1 THEN min(sex) END AS sex,
               list_sort(list(DISTINCT modality)) AS modalities,
               coalesce(list_sort(list(DISTINCT body_part) FILTER (body_part IS NOT NULL)), []) AS body_parts,
               coalesce(list_sort(list(DISTINCT manufacturer) FILTER (manufacturer IS NOT NULL)), [])
                   AS manufacturers,
               list_sort(list(DISTINCT dataset)) AS datasets
        FROM instance WHERE dataset IN (SELECT unnest($datasets::VARCHAR[])) GROUP BY patient
    ) AS seen LEFT JOIN (
        SELECT patient, min(age) AS age,
               CASE WHEN count(DISTINCT sex) = 1 THEN min(sex) END AS sex,
               CASE WHEN count(DISTINCT diagnosis) = 1 THEN min(diagnosis) END AS diagnosis,
               CASE WHEN count(DISTINCT outcome) = 1 THEN min(outcome) END AS outcome
        FROM clinical WHERE dataset IN (SELECT unnest($datasets::VARCHAR[])) GROUP BY patient
    ) AS facts USING (patient)
"""
"""One row per person, from the rows of some datasets alone; sources that contradict each other give NULL."""


class Index:
    """A published version, open for reading; use it in a `with` statement."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        row = connection.execute("SELECT version, content, created FROM meta").fetchone()
        if row is None:
            raise DataError("The index has no version.", hint="Run `unica node ingest` again.")
        self.version: int = row[0]
        self.content: str = row[1]
        self.created = datetime.fromisoformat(row[2])

    @classmethod
    def open(cls, folder: Path) -> Index:
        """Open the current version.

        Raises:
            NotFound: nothing has been published yet.
            DataError: the version cannot be read.
        """
        name = current_version(folder)
        if not name:
            raise NotFound(
                "The site has no index yet.", where=str(folder), hint="Run `unica node ingest FOLDER`."
            )
        try:
            connection = duckdb.connect(
                folder / name, read_only=True, config={**_SETTINGS, "enable_external_access": False}
            )
            return cls(connection)
        except duckdb.Error as err:
            raise DataError("The index cannot be read.", where=str(folder / name)) from err

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query; values travel as parameters, never as text.

        Raises:
            DataError: the index cannot be read.
        """
        try:
            return self._connection.execute(sql, dict(parameters or {})).fetchall()
        except duckdb.Error as err:
            raise DataError("The index cannot be read.") from err

    def datasets(self) -> list[DatasetInfo]:
        """Return the datasets that have an image in this version."""
        found = self.rows(
            "SELECT name, title, description, synthetic, clinical FROM dataset"
            " WHERE name IN (SELECT dataset FROM instance) ORDER BY name"
        )
        return [
            DatasetInfo(name=n, title=t, description=d, synthetic=s, clinical=c) for n, t, d, s, c in found
        ]


def current_version(index_folder: Path) -> str:
    """Return the file name of the current version, which no other version ever has; empty before the first.

    Raises:
        DataError: it cannot be read.
    """
    pointer = index_folder / "CURRENT"
    try:
        return pointer.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as err:
        raise DataError("The index cannot be read.", where=str(pointer)) from err


def publish(
    index_folder: Path,
    *,
    info: DatasetInfo,
    source: str,
    instances: Sequence[InstanceRow],
    clinical: Sequence[ClinicalFact],
) -> Publication:
    """Put the images of one source folder into a dataset and publish the version that results.

    What this source gave to this dataset before is replaced; everything else stays. Nothing is published
    where nothing changed: a version is a promise that answers may differ.

    Raises:
        DataError: the version cannot be written.
    """
    index_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(index_folder / ".lock"):
        _sweep(index_folder)
        current = _current_file(index_folder)
        version = _number_of(current) + 1 if current else 1
        aside = index_folder / f"v{version:04d}.duckdb.partial"
        try:
            if current:
                shutil.copyfile(current, aside)
            connection = duckdb.connect(aside, config=_SETTINGS)
            with connection:
                before = _prepare(connection, new=current is None)
                duplicates = _replace(connection, info, source, instances, clinical)
                content = _content(connection)
                _finish(connection, version=version, content=content)
            if content == before:
                return Publication(version=version - 1, changed=False, duplicates=duplicates)
            _swap_in(index_folder, aside, version)
        except (duckdb.Error, OSError) as err:
            raise DataError("The index cannot be written.", where=str(aside), hint=str(err)[:200]) from err
        finally:
            aside.unlink(missing_ok=True)
    return Publication(version=version, changed=True, duplicates=duplicates)


def _prepare(connection: duckdb.DuckDBPyConnection, *, new: bool) -> str:
    """Return the digest of what the copied version holds; make the tables where there is none."""
    if new:
        connection.execute(_SCHEMA)
        return ""
    row = connection.execute("SELECT content FROM meta").fetchone()
    return str(row[0]) if row else ""


def _replace(
    connection: duckdb.DuckDBPyConnection,
    info: DatasetInfo,
    source: str,
    instances: Sequence[InstanceRow],
    clinical: Sequence[ClinicalFact],
) -> tuple[str, ...]:
    scope = {"name": info.name, "source": source}
    connection.execute("DELETE FROM instance WHERE dataset = $name AND folder = $source", scope)
    connection.execute("DELETE FROM clinical WHERE dataset = $name AND folder = $source", scope)
    there = {
        uid
        for (uid,) in connection.execute(
            "SELECT instance FROM instance WHERE dataset = $name", {"name": info.name}
        ).fetchall()
    }
    fresh: list[InstanceRow] = []
    duplicates: list[str] = []
    for row in instances:
        if row.instance in there:
            duplicates.append(row.path)
        else:
            there.add(row.instance)
            fresh.append(row)
    _insert(connection, "instance", [(info.name, source, *row) for row in fresh])
    _insert(connection, "clinical", [(info.name, source, *row) for row in clinical])
    connection.execute(
        "INSERT OR REPLACE INTO dataset SELECT $name, $title, $description, $synthetic,"
        " EXISTS (SELECT 1 FROM clinical WHERE dataset = $name)",
        {
            "name": info.name,
            "title": info.title,
            "description": info.description,
            "synthetic": info.synthetic,
        },
    )
    return tuple(duplicates)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert column by column: row by row takes DuckDB a hundred times as long."""
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    columns = ", ".join(f"unnest(?::{kind}[])" for _, kind, *_ in described)
    for start in range(0, len(rows), _BATCH):
        values = [list(column) for column in zip(*rows[start : start + _BATCH], strict=True)]
        connection.execute(f"INSERT INTO {table} SELECT {columns}", values)


def _content(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a digest of all that answers depend on."""
    digest = hashlib.sha256(vocabulary.VERSION.encode())
    for table in ("dataset", "instance", "clinical"):
        cursor = connection.execute(f"SELECT * FROM {table} ORDER BY ALL")  # noqa: S608 - our own names
        while rows := cursor.fetchmany(_BATCH):
            digest.update(json.dumps([table, rows]).encode())
    return "sha256:" + digest.hexdigest()


def _finish(connection: duckdb.DuckDBPyConnection, *, version: int, content: str) -> None:
    datasets = [name for (name,) in connection.execute("SELECT name FROM dataset").fetchall()]
    connection.execute(
        f"CREATE OR REPLACE TABLE patient AS {PATIENTS} ORDER BY patient", {"datasets": datasets}
    )
    connection.execute("CREATE OR REPLACE TABLE meta (version INTEGER, content VARCHAR, created VARCHAR)")
    connection.execute("INSERT INTO meta VALUES (?, ?, ?)", [version, content, datetime.now(UTC).isoformat()])
    connection.execute("CHECKPOINT")


def _swap_in(index_folder: Path, aside: Path, version: int) -> None:
    published = index_folder / f"v{version:04d}.duckdb"
    sync_file(aside)
    aside.replace(published)
    sync_folder(index_folder)
    write_atomically(index_folder / "CURRENT", published.name.encode() + b"\n")
    for old in sorted(index_folder.glob("v*.duckdb"), key=_number_of)[:-KEPT_VERSIONS]:
        old.unlink()


def _current_file(index_folder: Path) -> Path | None:
    name = current_version(index_folder)
    return index_folder / name if name else None


def _number_of(path: Path) -> int:
    return int(path.name.removeprefix("v").split(".")[0])


def _sweep(index_folder: Path) -> None:
    """Remove what an ingest that was killed left behind; the lock says that none is at work."""
    current = _current_file(index_folder)
    for leftover in index_folder.glob("*.partial*"):
        leftover.unlink()
    for leftover in index_folder.glob(".*.partial"):
        leftover.unlink()
    for file in index_folder.glob("v*.duckdb"):
        if current is None or _number_of(file) > _number_of(current):
            file.unlink()
