"""The clinical table that goes with a folder of images: one CSV file, checked against the vocabulary."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unica_sdk.errors import DataError, UnknownTerm
from unica_sdk.schemas import vocabulary

REQUIRED = ("patient_id", "outcome", "diagnosis")
OPTIONAL = ("sex", "age")
_TERMS: tuple[vocabulary.Field, ...] = ("outcome", "diagnosis", "sex")


@dataclass(frozen=True, kw_only=True)
class ClinicalRow:
    """What the table says of one patient; None where it says nothing that can be used."""

    patient: str
    outcome: str | None
    diagnosis: str | None
    sex: str | None
    age: int | None


@dataclass(frozen=True, order=True)
class Unmapped:
    """A word that is not in the vocabulary, where it stood and how often: listed, never guessed."""

    field: str
    value: str
    count: int


def read_clinical(path: Path) -> tuple[list[ClinicalRow], list[Unmapped]]:
    """Read a table with the columns patient_id, outcome, diagnosis and, optionally, sex and age (years).

    Several rows of one patient are put together; a field in which they contradict each other is left empty.

    Raises:
        DataError: not a CSV file, a column is missing, or a row has no patient.
    """
    seen: dict[str, dict[str, set[str]]] = {}
    for number, row in enumerate(_rows(path), 2):
        patient = (row.get("patient_id") or "").strip()
        if not patient:
            raise DataError(f"Row {number} has no patient_id.", where=str(path))
        fields = seen.setdefault(patient, {name: set() for name in (*REQUIRED[1:], *OPTIONAL)})
        for name, values in fields.items():
            value = (row.get(name) or "").strip()
            if value:
                values.add(value)
    unmapped: Counter[tuple[str, str]] = Counter()
    rows = [_row(patient, fields, unmapped) for patient, fields in sorted(seen.items())]
    return rows, sorted(Unmapped(field, value, count) for (field, value), count in unmapped.items())


def _rows(path: Path) -> list[Mapping[str, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            missing = [name for name in REQUIRED if name not in columns]
            if missing:
                raise DataError(
                    f"The clinical table has no column {', '.join(missing)}.",
                    where=str(path),
                    hint=f"Its first line names the columns: {', '.join(REQUIRED)}; {', '.join(OPTIONAL)}.",
                )
            return [{name: row.get(name) for name in (*REQUIRED, *OPTIONAL)} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError("The clinical table cannot be read as CSV.", where=str(path), hint=str(err)) from err


def _row(patient: str, fields: dict[str, set[str]], unmapped: Counter[tuple[str, str]]) -> ClinicalRow:
    words = {name: _term(name, fields[name], unmapped) for name in _TERMS}
    return ClinicalRow(patient=patient, age=_age(fields["age"], unmapped), **words)


def _term(field: vocabulary.Field, values: set[str], unmapped: Counter[tuple[str, str]]) -> str | None:
    found: set[str] = set()
    for value in values:
        try:
            found.add(vocabulary.concept(field, value.lower()).term)
        except UnknownTerm:
            unmapped[field, value] += 1
    return _only(field, found, unmapped)


def _age(values: set[str], unmapped: Counter[tuple[str, str]]) -> int | None:
    found: set[int] = set()
    for value in values:
        try:
            years = float(value)
        except ValueError:
            unmapped["age", value] += 1
            continue
        if 0 <= years < 121:
            found.add(int(years))
        else:
            unmapped["age", value] += 1
    # The age at the first of several examinations, as for the images.
    return min(found, default=None)


def _only(field: str, found: set[str], unmapped: Counter[tuple[str, str]]) -> str | None:
    if len(found) > 1:
        unmapped[field, "contradictory: " + ", ".join(sorted(found))] += 1
        return None
    return next(iter(found), None)
