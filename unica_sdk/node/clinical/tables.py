"""Rows of a CSV or Parquet file: the columns a mapping names, as text, and nothing else."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb

from unica_sdk.errors import DataError
from unica_sdk.node.clinical.mapping import TableMapping
from unica_sdk.node.clinical.values import Cell

Row = Mapping[str, Cell]
"""What a row's columns say, by the names that the mapping has for them; one that says nothing is absent."""

_GLOB = re.compile(r"([*?\[])")
_BATCH = 10_000


def rows_of_csv(path: Path, mapping: TableMapping) -> Iterator[tuple[str, Row]]:
    """Yield each row's patient and columns.

    Raises:
        DataError: not a CSV file, a column is missing or stands twice, or a row has no patient or more values
            than there are columns.
    """
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    try:
        with path.open(newline="", encoding=encoding) as file:
            lines = csv.reader(file, strict=True, delimiter=mapping.delimiter)
            columns = [name.strip() for name in next(lines, [])]
            places, width = _places(columns, mapping, path), len(columns)
            number = 1
            for line in lines:
                if not line:
                    continue
                number += 1
                if not any(cell.strip() for cell in line):
                    continue  # spreadsheets write empty rows out to where somebody once had a cell
                if any(cell.strip() for cell in line[width:]):
                    # A delimiter in a value without quotes: all values behind it stand in wrong columns.
                    raise DataError(f"Row {number} has more values than there are columns.", where=str(path))
                yield _row(
                    number, {name: line[at] for name, at in places.items() if at < len(line)}, mapping, path
                )
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError("The clinical table cannot be read as CSV.", where=str(path), hint=str(err)) from err


def rows_of_parquet(path: Path, mapping: TableMapping) -> Iterator[tuple[str, Row]]:
    """Yield each row's patient and columns; the file is read by DuckDB with every extension and URL shut off.

    Raises:
        DataError: not a Parquet file, a column is missing, or a row has no patient.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": 1,
    }
    # What looks like a pattern is a file's own name.
    given = {"path": _GLOB.sub(r"[\1]", str(path.resolve()))}
    try:
        if not path.is_file():
            raise DataError("There is no such clinical table.", where=str(path))
        with duckdb.connect(config=settings) as connection:
            cursor = connection.execute("SELECT * FROM read_parquet($path)", given)
            places = _places([str(column[0]) for column in cursor.description or ()], mapping, path)
            number = 0
            while batch := cursor.fetchmany(_BATCH):
                for line in batch:
                    number += 1
                    yield _row(number, {name: _text(line[at]) for name, at in places.items()}, mapping, path)
    except (OSError, duckdb.Error) as err:
        raise DataError(
            "The clinical table cannot be read as Parquet.",
            where=str(path),
            hint=str(err).splitlines()[0][:200],
        ) from err


def _places(columns: list[str], mapping: TableMapping, path: Path) -> dict[str, int]:
    """Return where each column of the mapping stands; case does not matter."""
    there = [column.casefold() for column in columns]
    places: dict[str, int] = {}
    missing: list[str] = []
    required = [mapping.patient]
    required += [c for field in mapping.fields.values() if not field.optional for c in field.columns]
    optional = [c for field in mapping.fields.values() if field.optional for c in field.columns]
    for name in dict.fromkeys([*required, *optional]):
        times = there.count(name.casefold())
        if times > 1:
            raise DataError(f"The clinical table has the column {name} twice.", where=str(path))
        if times:
            places[name] = there.index(name.casefold())
        elif name in required:
            missing.append(name)
    if missing:
        raise DataError(
            f"The clinical table has no column {', '.join(missing)}.",
            where=str(path),
            hint=f"It has {', '.join(columns) or 'no columns'}. A mapping says which column means what: "
            "see `unica node template`.",
        )
    return places


def _row(number: int, texts: Mapping[str, str], mapping: TableMapping, path: Path) -> tuple[str, Row]:
    patient = texts.get(mapping.patient, "").strip()
    if not patient:
        raise DataError(f"Row {number} has no {mapping.patient}.", where=str(path))
    cells = {
        name: (text,) for name, raw in texts.items() if (text := raw.strip()) and text not in mapping.missing
    }
    return patient, cells


def _text(value: object) -> str:
    """Return a typed value as a CSV file would have it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal) and value == int(value):
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
