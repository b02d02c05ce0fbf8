"""The index as Parquet files, for exchange with the site's own tools.

    patient.parquet     one row for each person, which is what counts run on
    instance.parquet    one row for each image, without where its copy lies
    clinical.parquet    what the clinical tables say; `extra` is JSON in the common data model
    dataset.parquet     what the datasets are

Only what consent admits now is in them. The rows are the site's pseudonyms and exact: they are personal data,
for the site alone, and nothing here sends them anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import duckdb

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.files import private_folder, sync
from unica_sdk.node.admitted import AdmittedIndex, open_admitted
from unica_sdk.node.home import NodeHome

QUERIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "patient": "SELECT * FROM patient ORDER BY patient",
        "instance": "SELECT * EXCLUDE (path, folder) FROM instance ORDER BY dataset, patient, instance",
        "clinical": "SELECT * EXCLUDE (folder) FROM clinical ORDER BY dataset, patient",
        "dataset": "SELECT name, title, description, synthetic, clinical FROM dataset ORDER BY name",
    }
)
"""What is in each file."""

_BATCH: Final = 50_000


def export_parquet(home: NodeHome, folder: Path) -> tuple[Path, ...]:
    """Write the current version's tables as Parquet (Zstandard), replacing those in the folder.

    Raises:
        ConfigurationError: the folder lies within the node's home.
        NotFound: nothing has been published yet.
        DataError: the index cannot be read, or a file not be written.
        AuditBroken: the audit cannot be written; nothing was exported.
    """
    if folder.resolve().is_relative_to(home.folder.resolve()):
        raise ConfigurationError("An export does not belong into the node's own folder.", where=str(folder))
    with open_admitted(home) as index:
        home.audit.append(
            actor="operator", action="export", subject=home.site, folder=str(folder), version=index.version
        )
        try:
            private_folder(folder)
            found = tuple(_write(index, folder, name, sql) for name, sql in QUERIES.items())
            sync(folder)
        except (OSError, duckdb.Error) as err:
            raise DataError("The export cannot be written.", where=str(folder), hint=str(err)[:200]) from err
    return found


def _write(index: AdmittedIndex, folder: Path, name: str, sql: str) -> Path:
    """Carry a table over to a connection of its own: the index's may touch no file."""
    target = folder / f"{name}.parquet"
    aside = folder / f".{name}.parquet.partial"
    described = index.rows(f"DESCRIBE {sql}")
    try:
        with duckdb.connect() as connection:
            columns = ", ".join(f'"{column}" {kind}' for column, kind, *_ in described)
            connection.execute(f"CREATE TABLE carried ({columns})")
            values = ", ".join(f"unnest(?::{kind}[])" for _, kind, *_ in described)
            rows = index.rows(sql)
            for start in range(0, len(rows), _BATCH):
                batch = [list(column) for column in zip(*rows[start : start + _BATCH], strict=True)]
                connection.execute(f"INSERT INTO carried SELECT {values}", batch)
            aside.touch(mode=0o600)
            copy = "COPY carried TO $path (FORMAT parquet, COMPRESSION zstd)"
            connection.execute(copy, {"path": str(aside)})
        aside.chmod(0o600)
        sync(aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target
