"""FHIR R4 bundles as rows: Patient, Condition, Observation, ImagingStudy, Procedure and DiagnosticReport.

The subset is what the European health-record exchange format needs for imaging reports and manifests. Each
resource becomes one row with its patient's own columns beside its own:

    Patient.gender  Patient.birthDate
    Condition.code  Condition.bodySite  Condition.onset  Condition.recorded
    Observation.<system|code>           the value of an observation, or of its component, with that code
    Observation.date
    ImagingStudy.started  ImagingStudy.modality
    Procedure.code  Procedure.performed
    DiagnosticReport.code  DiagnosticReport.conclusion  DiagnosticReport.date

A coded value is written `system|code`, with short names for the systems in `SYSTEMS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unica_sdk.errors import DataError
from unica_sdk.node.clinical.mapping import TableMapping
from unica_sdk.node.clinical.tables import Row
from unica_sdk.node.clinical.values import Cell, Words

SYSTEMS = {
    "http://snomed.info/sct": "sct",
    "http://loinc.org": "loinc",
    "http://radlex.org": "radlex",
    "http://www.radlex.org": "radlex",
    "http://hl7.org/fhir/sid/icd-10": "icd10",
    "http://terminology.hl7.org/CodeSystem/icd-o-3": "icdo3",
    "urn:oid:2.16.840.1.113883.6.43.1": "icdo3",
    "http://dicom.nema.org/resources/ontology/DCM": "dcm",
    "http://unitsofmeasure.org": "ucum",
    "https://cancerimage.eu/ontology/EUCAIM": "eucaim",
    "https://cancerimage.eu/ontology/EUCAIM#": "eucaim",
}
"""The code systems that a mapping may name in short; any other is named by its whole address."""

MAX_BYTES = 1 << 28
"""A bundle is read as a whole; a larger one is to be split."""

UNSAID = frozenset({"entered-in-error", "cancelled", "not-done", "refuted"})
"""A resource in one of these states says that something is not so."""


class _Part(BaseModel):
    """A part of a resource, of which we read what is named here and leave the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


class Coding(_Part):
    """One code of a code system."""

    system: str = ""
    code: str = ""

    def text(self) -> str:
        """Return it as `system|code`."""
        return f"{SYSTEMS.get(self.system, self.system)}|{self.code}"


class Concept(_Part):
    """One thing in one or several codings."""

    coding: tuple[Coding, ...] = ()
    text: str = ""

    def cell(self) -> Cell:
        """Return every coding; the plain text only where there is none."""
        return tuple(c.text() for c in self.coding if c.code) or ((self.text,) if self.text else ())


class Quantity(_Part):
    """A number with its unit."""

    value: str = ""
    system: str = ""
    code: str = ""


class Identifier(_Part):
    """A name that somebody gave to a patient."""

    system: str = ""
    value: str = ""


class Reference(_Part):
    """What points at a patient."""

    reference: str = ""
    identifier: Identifier | None = None


class Measured(_Part):
    """What an observation or one of its components found."""

    code: Concept = Concept()
    concept: Concept | None = Field(default=None, alias="valueCodeableConcept")
    quantity: Quantity | None = Field(default=None, alias="valueQuantity")
    string: str | None = Field(default=None, alias="valueString")
    integer: str | None = Field(default=None, alias="valueInteger")
    boolean: bool | None = Field(default=None, alias="valueBoolean")

    def cell(self) -> Cell:
        """Return the value, of whichever kind it is."""
        if self.concept is not None:
            return self.concept.cell()
        if self.boolean is not None:
            return ("true" if self.boolean else "false",)
        if self.quantity is not None and self.quantity.value:
            return (f"{self.quantity.value} {self.quantity.code}".strip(),)
        return tuple(text for text in (self.string, self.integer) if text)

    def columns(self) -> dict[str, Cell]:
        """Return the value under every code that says what it is."""
        return {f"Observation.{name}": self.cell() for name in self.code.cell()}


class Resource(_Part):
    """What every resource about a patient has."""

    kind: ClassVar[str] = ""
    id: str = ""
    status: str = ""
    subject: Reference = Reference()

    def columns(self) -> dict[str, Cell]:
        """Return what the resource says."""
        return {}

    def unsaid(self) -> str:
        """Return the state because of which it says nothing, or an empty text."""
        return self.status if self.status in UNSAID else ""


class Patient(Resource):
    """Who it is about."""

    kind: ClassVar[str] = "Patient"
    identifier: tuple[Identifier, ...] = ()
    gender: str = ""
    birthDate: str = ""  # noqa: N815 - FHIR's own name

    def columns(self) -> dict[str, Cell]:
        """Return sex and date of birth."""
        return {"Patient.gender": _texts(self.gender), "Patient.birthDate": _texts(self.birthDate)}


class Condition(Resource):
    """A diagnosis."""

    kind: ClassVar[str] = "Condition"
    code: Concept = Concept()
    bodySite: tuple[Concept, ...] = ()  # noqa: N815
    onsetDateTime: str = ""  # noqa: N815
    recordedDate: str = ""  # noqa: N815
    verificationStatus: Concept = Concept()  # noqa: N815

    def columns(self) -> dict[str, Cell]:
        """Return the diagnosis, its place and its dates."""
        return {
            "Condition.code": self.code.cell(),
            "Condition.bodySite": tuple(text for site in self.bodySite for text in site.cell()),
            "Condition.onset": _texts(self.onsetDateTime),
            "Condition.recorded": _texts(self.recordedDate),
        }

    def unsaid(self) -> str:
        """Return the verification status unless the diagnosis is confirmed, or nothing is said of that."""
        states = {coding.code for coding in self.verificationStatus.coding}
        return "" if not states or "confirmed" in states else "not confirmed: " + ", ".join(sorted(states))


class Observation(Measured, Resource):
    """A finding or a score."""

    kind: ClassVar[str] = "Observation"
    effectiveDateTime: str = ""  # noqa: N815
    component: tuple[Measured, ...] = ()

    def columns(self) -> dict[str, Cell]:
        """Return the value and those of the components, each under its code."""
        found = Measured.columns(self)
        for part in self.component:
            found |= part.columns()
        return found | {"Observation.date": _texts(self.effectiveDateTime)}


class ImagingStudy(Resource):
    """An examination."""

    kind: ClassVar[str] = "ImagingStudy"
    started: str = ""
    modality: tuple[Coding, ...] = ()

    def columns(self) -> dict[str, Cell]:
        """Return when it was and with what."""
        return {
            "ImagingStudy.started": _texts(self.started),
            "ImagingStudy.modality": tuple(coding.text() for coding in self.modality),
        }


class Procedure(Resource):
    """Something that was done."""

    kind: ClassVar[str] = "Procedure"
    code: Concept = Concept()
    performedDateTime: str = ""  # noqa: N815

    def columns(self) -> dict[str, Cell]:
        """Return what was done and when."""
        return {"Procedure.code": self.code.cell(), "Procedure.performed": _texts(self.performedDateTime)}


class DiagnosticReport(Resource):
    """What the radiologist concluded."""

    kind: ClassVar[str] = "DiagnosticReport"
    code: Concept = Concept()
    conclusionCode: tuple[Concept, ...] = ()  # noqa: N815
    effectiveDateTime: str = ""  # noqa: N815

    def columns(self) -> dict[str, Cell]:
        """Return the report's kind, its coded conclusions and its date."""
        return {
            "DiagnosticReport.code": self.code.cell(),
            "DiagnosticReport.conclusion": tuple(
                t for concept in self.conclusionCode for t in concept.cell()
            ),
            "DiagnosticReport.date": _texts(self.effectiveDateTime),
        }


_Known: TypeAlias = tuple[str, dict[str, Cell]]
"""A patient's identifier, and the columns that every row of the patient has."""

READERS: dict[str, type[Resource]] = {
    reader.kind: reader
    for reader in (Patient, Condition, Observation, ImagingStudy, Procedure, DiagnosticReport)
}


class Entry(_Part):
    """One entry of a bundle."""

    fullUrl: str = ""  # noqa: N815
    resource: dict[str, Any] = Field(default_factory=dict)


class Bundle(_Part):
    """What is exchanged: resources of one patient or of many."""

    resourceType: Literal["Bundle"]  # noqa: N815
    entry: tuple[Entry, ...] = ()


def rows_of_fhir(path: Path, mapping: TableMapping, words: Words) -> Iterator[tuple[str, Row]]:
    """Yield a row per resource; what cannot be used is counted in `words` under the resource's kind.

    `mapping.patient` is the system of the hospital's identifier; the template's empty one takes a patient's
    only identifier.

    Raises:
        DataError: not a bundle, no bundle in the folder, or a patient without the identifier.
    """
    paths = sorted(p for p in path.iterdir() if p.suffix.lower() == ".json") if path.is_dir() else [path]
    if not paths:
        raise DataError("The folder has no FHIR bundle (*.json).", where=str(path))
    for file in paths:
        yield from _rows_of_bundle(file, mapping, words)


def _rows_of_bundle(path: Path, mapping: TableMapping, words: Words) -> Iterator[tuple[str, Row]]:
    patients: dict[str, _Known | None] = {}
    others: list[Resource] = []
    for entry in _bundle(path).entry:
        resource = _resource(entry, words)
        if isinstance(resource, Patient):
            known = (_identifier(resource, mapping.patient, path), resource.columns())
            for name in _names(entry, resource):
                there = patients.get(name, known)
                # What two people are called names neither.
                patients[name] = known if there is not None and there[0] == known[0] else None
            yield known[0], _said(known[1], mapping)
        elif resource is not None:
            others.append(resource)
    for resource in others:
        subject = _subject(resource.subject, patients, mapping.patient)
        if subject is None:
            words[resource.kind, "(of a patient who is not in the bundle)"] += 1
        elif unsaid := resource.unsaid():
            words[resource.kind, f"({unsaid})"] += 1
        else:
            yield subject[0], _said(subject[1] | resource.columns(), mapping)


def _bundle(path: Path) -> Bundle:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("The FHIR bundle is too large to be read as a whole; split it.", where=str(path))
        # Numbers stay as they were written: 7.0 is not 7 until a field says so.
        content = json.loads(path.read_bytes(), parse_float=str)
        return Bundle.model_validate(content)
    except (OSError, ValueError, RecursionError) as err:
        said = str(err).splitlines()[0][:200]
        raise DataError("This is not a FHIR R4 bundle in JSON.", where=str(path), hint=said) from err


def _resource(entry: Entry, words: Words) -> Resource | None:
    """Return the resource if it is of a kind that is read; another kind says nothing about the record."""
    kind = entry.resource.get("resourceType")
    reader = READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return None
    try:
        return reader.model_validate(entry.resource)
    except ValidationError:
        words[reader.kind, "(not as FHIR R4 has it)"] += 1
        return None


def _identifier(patient: Patient, system: str, path: Path) -> str:
    values = {i.value.strip() for i in patient.identifier if i.value.strip() and system in ("", i.system)}
    if len(values) != 1:
        raise DataError(
            f"A patient has {len(values)} identifiers{f' of {system}' if system else ''}.",
            where=str(path),
            hint="In the mapping, `patient` is the system of the identifier that the images have.",
        )
    return values.pop()


def _names(entry: Entry, patient: Patient) -> Iterator[str]:
    """Yield what a reference may call a patient: the address, type and id, and these at any address."""
    if entry.fullUrl:
        yield entry.fullUrl
    if patient.id:
        yield f"Patient/{patient.id}"
        if not entry.fullUrl.startswith(("http://", "https://")):  # then the id is of that server's
            yield f"*/Patient/{patient.id}"


def _subject(subject: Reference, patients: dict[str, _Known | None], system: str) -> _Known | None:
    pointed = subject.reference.removeprefix("./")
    anywhere = "/".join(["*", *pointed.split("/")[-2:]]) if "://" in pointed else pointed
    for name in (pointed, anywhere):
        if known := patients.get(name):
            return known
    named = subject.identifier
    if named is not None and named.value.strip() and (named.system == system or not system):
        return named.value.strip(), {}
    return None


def _said(columns: dict[str, Cell], mapping: TableMapping) -> Row:
    kept = {name: tuple(t.strip() for t in cell if t.strip()) for name, cell in columns.items()}
    return {name: cell for name, cell in kept.items() if cell and cell[0] not in mapping.missing}


def _texts(text: str) -> Cell:
    return (text,) if text else ()
