"""Clinical data of one source, patient by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from unica_sdk.node.clinical.fhir import rows_of_fhir
from unica_sdk.node.clinical.mapping import DEFAULT, TableMapping, read_mapping, template_mapping
from unica_sdk.node.clinical.tables import Row, rows_of_csv, rows_of_parquet
from unica_sdk.node.clinical.values import Cell, Converter, Unmapped, Words, converters
from unica_sdk.schemas.clinical import ClinicalRecord

_FIRST = frozenset({"outcome", "diagnosis", "sex"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ClinicalRow:
    """What a source says of one patient: the hospital's identifier, which stays here, and the record."""

    patient: str
    record: ClinicalRecord

    @property
    def outcome(self) -> str | None:
        """The outcome of screening."""
        return self.record.outcome

    @property
    def diagnosis(self) -> str | None:
        """The diagnosis."""
        return self.record.diagnosis

    @property
    def sex(self) -> str | None:
        """The sex."""
        return self.record.sex

    @property
    def age(self) -> int | None:
        """The completed years; `record.age` has the tenths."""
        return None if self.record.age is None else int(self.record.age)

    @property
    def extra(self) -> dict[str, str | float | bool]:
        """What is known beyond outcome, diagnosis and sex, the age to one decimal among it."""
        known: dict[str, Any] = self.record.model_dump(exclude_none=True)
        return {name: value for name, value in known.items() if name not in _FIRST}


class ClinicalTable(NamedTuple):
    """The patients of one source in the order of their identifiers, and what nobody understood."""

    rows: list[ClinicalRow]
    unmapped: list[Unmapped]


def read_clinical(path: Path, *, mapping: Path | TableMapping | None = None) -> ClinicalTable:
    """Read clinical data: CSV, Parquet (.parquet), FHIR R4 bundles (.json, or a folder of them).

    Without a mapping, the columns of a table are named like the record's fields (patient_id, outcome and
    diagnosis must be there), and a bundle is read by the template `fhir`.

    Several rows of one patient are put together: the age is that of the first examination; any other field
    in which they contradict each other is left empty and listed, unless the mapping says which one counts.

    Raises:
        ConfigurationError: the mapping cannot be read.
        DataError: the source cannot be read, a mapped column is missing, or a row has no patient.
    """
    table = _mapping_for(path, mapping)
    readers = converters(table)
    words: Words = Counter()
    constants = {n: r.field.constant for n, r in readers.items() if r.field.constant is not None}
    held: dict[str, dict[str, tuple[Cell, ...]]] = {}
    shared: dict[Cell, tuple[Cell, ...]] = {}
    for patient, row in _rows(path, table, words):
        of_patient = held.setdefault(patient, {name: ((text,),) for name, text in constants.items()})
        for name, reader in readers.items():
            for cell in _cells(reader, row):
                there = of_patient.get(name)
                if there is None:
                    of_patient[name] = shared.setdefault(cell, (cell,))
                elif cell not in there:
                    of_patient[name] = (*there, cell)
    rows = [
        ClinicalRow(patient=patient, record=_record(readers, held[patient], words))
        for patient in sorted(held)
    ]
    return ClinicalTable(
        rows, sorted(Unmapped(field, value, count) for (field, value), count in words.items())
    )


def _record(
    readers: dict[str, Converter], cells: dict[str, tuple[Cell, ...]], words: Words
) -> ClinicalRecord:
    found = {name: reader.value(cells[name], words) for name, reader in readers.items() if name in cells}
    return ClinicalRecord.model_validate(found)


def _cells(reader: Converter, row: Row) -> Iterator[Cell]:
    field = reader.field
    if field.since and field.until:
        if field.since in row and field.until in row:
            yield row[field.since][0], row[field.until][0]
        return
    for column in field.column:
        if column in row:
            yield row[column]


def _mapping_for(path: Path, mapping: Path | TableMapping | None) -> TableMapping:
    found = read_mapping(mapping) if isinstance(mapping, Path) else mapping
    if found is None:
        return template_mapping("fhir") if _format(path, None) == "fhir" else DEFAULT
    return found


def _format(path: Path, mapping: TableMapping | None) -> str:
    if mapping is not None and mapping.format is not None:
        return mapping.format
    if path.is_dir() or path.suffix.lower() == ".json":
        return "fhir"
    return "parquet" if path.suffix.lower() in (".parquet", ".pq") else "csv"


def _rows(path: Path, mapping: TableMapping, words: Words) -> Iterator[tuple[str, Row]]:
    match _format(path, mapping):
        case "fhir":
            return rows_of_fhir(path, mapping, words)
        case "parquet":
            return rows_of_parquet(path, mapping)
        case _:
            return rows_of_csv(path, mapping)
