"""The index: one DuckDB file per published version, swapped in as a whole.

    index/v0007.duckdb     a version: never changed after it was published
    index/CURRENT          the name of the version that is read

An ingest copies the current version aside, changes the copy, flushes it and renames CURRENT over the old one:
a reader has the old version or the new one, and a process that is killed at any moment leaves the old one.
Tables: `instance` (one row per image), `clinical`, `dataset`, `patient` (one row per person), `profile` (how
many people are alike in all that a query can ask, which is what counts run on), `meta`. Identifiers in all of
them are the site's pseudonyms.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
from numpy.typing import NDArray

from unica_sdk.errors import DataError, NotFound
from unica_sdk.files import locked, sync, write_private
from unica_sdk.node.index_tables import SCHEMA, TABLES, ClinicalFact, DatasetInfo, InstanceRow
from unica_sdk.schemas import vocabulary

__all__ = [
    "ClinicalFact",
    "DatasetInfo",
    "Index",
    "InstanceRow",
    "Publication",
    "current_version",
    "kept_paths",
    "publish",
    "start_anew",
]

KEPT_VERSIONS = 3
"""Older files are removed: a reader that holds one open still finishes with it."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What came of publishing: the current version, and the images that another folder gave already."""

    version: int
    changed: bool
    duplicates: tuple[str, ...]
    """Their identifiers (`InstanceRow.instance`)."""


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
"""One row per person, from the rows of some datasets alone.

The clinical table comes before the images. Within either, values that contradict each other give NULL (sex:
`unknown`, or what the other source says), except for the age: that is the lowest, because people are imaged
more than once.
"""


PROFILES = "SELECT * EXCLUDE (patient), count(*) AS people FROM {people} GROUP BY ALL"
"""One row for each combination of values that people have, and how many have it.

There are some ten thousand, whether of a hundred thousand people or of millions, and a count is a sum over
them: it takes as long for one person as for all.
"""


class Index:
    """A published version, open for reading; use it in a `with` statement."""

    _base = "main"
    """Where the published tables are, whatever else goes by their names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        row = connection.execute("SELECT version, content, created FROM meta").fetchone()
        if row is None:
            raise DataError("The index has no version.", hint="Run `unica node ingest` again.")
        self.version: int = row[0]
        self.content: str = row[1]
        self.created = datetime.fromisoformat(row[2])

    @classmethod
    def open(cls, folder: Path) -> Self:
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
            return cls(_connect(folder / name))
        except duckdb.Error as err:
            raise DataError("The index cannot be read.", where=str(folder / name)) from err

    @classmethod
    def kept(cls, folder: Path) -> Iterator[Self]:
        """Yield each version that is kept, open until the next one is asked for.

        Raises:
            DataError: a version cannot be read.
        """
        for file in sorted(folder.glob("v*.duckdb"), key=_number_of):
            try:
                index = cls(_connect(file))
            except duckdb.Error as err:
                raise DataError("A version of the index cannot be read.", where=str(file)) from err
            with index:
                yield index

    def __enter__(self) -> Self:
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

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, NDArray[Any]]:
        """Return a query's result column by column: fifty thousand rows in milliseconds.

        Raises:
            DataError: the index cannot be read.
        """
        try:
            return self._connection.execute(sql, dict(parameters or {})).fetchnumpy()
        except duckdb.Error as err:
            raise DataError("The index cannot be read.") from err

    def everyone(self, datasets: Iterable[str]) -> list[str]:
        """Return the pseudonyms of everybody whom some datasets have, whatever they allow."""
        found = self.rows(
            f"SELECT patient FROM {self._base}.patient"  # noqa: S608 - our own text
            " WHERE list_has_any(datasets, $datasets::VARCHAR[]) ORDER BY patient",
            {"datasets": list(datasets)},
        )
        return [patient for (patient,) in found]

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


def _connect(version: Path) -> duckdb.DuckDBPyConnection:
    # Alike wherever one is opened: DuckDB refuses a file that this process has open with other settings.
    return duckdb.connect(version, read_only=True, config={**_SETTINGS, "enable_external_access": False})


def kept_paths(index_folder: Path, among: Iterable[str]) -> set[str]:
    """Return which of these copies a version that is still kept refers to.

    Raises:
        DataError: a version cannot be read.
    """
    wanted = list(among)
    found: set[str] = set()
    for index in Index.kept(index_folder):
        rows = index.rows(
            "SELECT DISTINCT path FROM instance WHERE path IN (SELECT unnest($wanted::VARCHAR[]))",
            {"wanted": wanted},
        )
        found.update(path for (path,) in rows)
    return found


def publish(
    index_folder: Path,
    *,
    info: DatasetInfo,
    source: str,
    instances: Iterable[InstanceRow],
    clinical: Iterable[ClinicalFact],
    before_swap: Callable[[Publication], None] | None = None,
) -> Publication:
    """Put the images of one source folder into a dataset and publish the version that results.

    What this source gave to this dataset before is replaced; everything else stays. Nothing is published
    where nothing changed: a version is a promise that answers may differ.

    Args:
        index_folder: where the versions are.
        info: the dataset.
        source: the folder that the images come from.
        instances: its images; of those with the same identifier the first is taken.
        clinical: what its clinical table says.
        before_swap: called with what is about to become current; if it raises, nothing is published.

    Raises:
        DataError: the version cannot be written; the one before stays current.
    """
    try:
        index_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(index_folder / ".lock"):
            return _publish(index_folder, info, source, instances, clinical, before_swap)
    except (duckdb.Error, OSError) as err:
        raise DataError(
            "The index cannot be written; the version before stays.",
            where=str(index_folder),
            hint=str(err)[:200],
        ) from err


def start_anew(index_folder: Path) -> None:
    """Publish a version without anybody, in a file of its own, and remove every version before it.

    A copy of a version keeps, in blocks that are free, what was deleted from it; here nothing is copied.

    Raises:
        DataError: the version cannot be written; the one before stays current.
    """
    try:
        with locked(index_folder / ".lock"):
            _sweep(index_folder)
            current = _current_file(index_folder)
            version = _number_of(current) + 1 if current else 1
            aside = index_folder / f"v{version:04d}.duckdb.partial"
            with duckdb.connect(aside, config=_SETTINGS) as connection:
                connection.execute(TABLES)
                _finish(connection, version=version, content=_content(connection))
            _swap_in(index_folder, aside, version)
            for old in index_folder.glob("v*.duckdb"):
                if _number_of(old) != version:
                    old.unlink()
            sync(index_folder)
    except (duckdb.Error, OSError) as err:
        raise DataError("The index cannot be written.", where=str(index_folder), hint=str(err)[:200]) from err


def _publish(
    index_folder: Path,
    info: DatasetInfo,
    source: str,
    instances: Iterable[InstanceRow],
    clinical: Iterable[ClinicalFact],
    before_swap: Callable[[Publication], None] | None,
) -> Publication:
    _sweep(index_folder)
    current = _current_file(index_folder)
    version = _number_of(current) + 1 if current else 1
    aside = index_folder / f"v{version:04d}.duckdb.partial"
    try:
        if current:
            shutil.copyfile(current, aside)
        with duckdb.connect(aside, config=_SETTINGS) as connection:
            before = _prepare(connection, new=current is None)
            duplicates = _replace(connection, info, source, instances, clinical)
            content = _content(connection)
            _finish(connection, version=version, content=content)
        changed = content != before
        published = Publication(
            version=version if changed else version - 1, changed=changed, duplicates=duplicates
        )
        if before_swap is not None:
            before_swap(published)
        if changed:
            _swap_in(index_folder, aside, version)
        return published
    finally:
        _discard(aside)
        _discard(aside.with_name(aside.name + ".wal"))


def _prepare(connection: duckdb.DuckDBPyConnection, *, new: bool) -> str:
    """Return the digest of what the copied version holds; make the tables where there is none."""
    if not new:
        found = {name for (name, *_) in connection.execute("DESCRIBE meta").fetchall()}
        row = connection.execute("SELECT * FROM meta").fetchone()
        if row and "tables" in found and row[3] == SCHEMA:
            return str(row[1])
        for (table,) in connection.execute("SHOW TABLES").fetchall():
            connection.execute(f"DROP TABLE {table}")
    connection.execute(TABLES)
    return ""


def _replace(
    connection: duckdb.DuckDBPyConnection,
    info: DatasetInfo,
    source: str,
    instances: Iterable[InstanceRow],
    clinical: Iterable[ClinicalFact],
) -> tuple[str, ...]:
    scope = {"name": info.name, "source": source}
    connection.execute("DELETE FROM instance WHERE dataset = $name AND folder = $source", scope)
    connection.execute("DELETE FROM clinical WHERE dataset = $name AND folder = $source", scope)
    connection.execute("CREATE TEMP TABLE incoming AS FROM instance LIMIT 0")
    _insert(connection, "incoming", ((info.name, source, *row) for row in instances))
    there = {"name": info.name}
    duplicates = connection.execute(
        "SELECT DISTINCT instance FROM incoming"
        " SEMI JOIN (SELECT instance FROM instance WHERE dataset = $name) AS there USING (instance)",
        there,
    ).fetchall()
    connection.execute(
        "INSERT INTO instance SELECT * FROM incoming"
        " WHERE instance NOT IN (SELECT instance FROM instance WHERE dataset = $name)"
        " QUALIFY row_number() OVER (PARTITION BY instance ORDER BY incoming.rowid) = 1",
        there,
    )
    connection.execute("DROP TABLE incoming")
    _insert(connection, "clinical", ((info.name, source, *row) for row in clinical))
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
    return tuple(sorted(instance for (instance,) in duplicates))


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert column by column: row by row takes DuckDB a hundred times as long."""
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    columns = ", ".join(f"unnest(?::{kind}[])" for _, kind, *_ in described)
    todo = iter(rows)
    while batch := list(islice(todo, _BATCH)):
        values = [list(column) for column in zip(*batch, strict=True)]
        connection.execute(f"INSERT INTO {table} SELECT {columns}", values)


def _content(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a digest of all that answers depend on; the order of rows is none of it."""
    digest = hashlib.sha256(vocabulary.VERSION.encode())
    for table in ("dataset", "instance", "clinical"):
        # Rows differ from each other, so that none can cancel another out.
        found = connection.execute(
            f"SELECT count(*), bit_xor(md5_number(to_json(whole_row)::VARCHAR)) FROM {table} AS whole_row"  # noqa: S608
        ).fetchone()
        digest.update(json.dumps([table, found]).encode())
    return "sha256:" + digest.hexdigest()


def _finish(connection: duckdb.DuckDBPyConnection, *, version: int, content: str) -> None:
    datasets = [name for (name,) in connection.execute("SELECT name FROM dataset").fetchall()]
    connection.execute(
        f"CREATE OR REPLACE TABLE patient AS {PATIENTS} ORDER BY patient", {"datasets": datasets}
    )
    connection.execute("CREATE OR REPLACE TABLE profile AS " + PROFILES.format(people="patient"))
    connection.execute(
        "CREATE OR REPLACE TABLE meta (version INTEGER, content VARCHAR, created VARCHAR, tables INTEGER)"
    )
    created = datetime.now(UTC).isoformat()
    connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?)", [version, content, created, SCHEMA])
    connection.execute("CHECKPOINT")


def _swap_in(index_folder: Path, aside: Path, version: int) -> None:
    published = index_folder / f"v{version:04d}.duckdb"
    sync(aside)
    aside.replace(published)
    sync(index_folder)
    write_private(index_folder / "CURRENT", published.name.encode() + b"\n")
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
    for leftover in [*index_folder.glob("*.partial*"), *index_folder.glob(".*.partial")]:
        _discard(leftover)
    for file in index_folder.glob("v*.duckdb"):
        if current is None or _number_of(file) > _number_of(current):
            file.unlink()


def _discard(leftover: Path) -> None:
    if leftover.is_dir():  # what DuckDB had no memory for
        shutil.rmtree(leftover)
    else:
        leftover.unlink(missing_ok=True)
