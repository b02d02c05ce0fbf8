"""The shared vocabulary: every concept that a query, a table or a record may name.

Codes: EUCAIM hyper-ontology, SNOMED CT, RadLex, DICOM (PS3.3 C.7.3.1.1.1 for modalities). A concept without
an EUCAIM code is local to UNICA and says so.
"""

from __future__ import annotations

from typing import Literal, get_args

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas.contract import Contract

Field = Literal["sex", "diagnosis", "outcome", "modality", "body_part"]
FIELDS: tuple[Field, ...] = get_args(Field)
"""The fields whose values are concepts of this table."""


class Concept(Contract):
    """One concept: the word people type, its label, and its codes where they are known."""

    field: Field
    term: str
    label: str
    eucaim: str | None = None
    snomed: str | None = None
    radlex: str | None = None

    @property
    def local(self) -> bool:
        """Whether no public vocabulary is known to have this concept."""
        return self.eucaim is None and self.snomed is None and self.radlex is None


VERSION = "2026.11"

CONCEPTS: tuple[Concept, ...] = (
    Concept(field="sex", term="female", label="Female", eucaim="COM1001370", snomed="248152002"),
    Concept(field="sex", term="male", label="Male", eucaim="COM1001366", snomed="248153007"),
    Concept(field="sex", term="unknown", label="Unknown", snomed="261665006"),
    Concept(field="diagnosis", term="breast_cancer", label="Breast cancer", snomed="254837009"),
    Concept(field="diagnosis", term="lung_cancer", label="Lung cancer", snomed="363358000"),
    Concept(field="diagnosis", term="prostate_cancer", label="Prostate cancer", snomed="399068003"),
    Concept(field="diagnosis", term="none", label="No cancer diagnosed"),
    Concept(field="outcome", term="negative", label="Negative screening", eucaim="COM1002626"),
    Concept(field="outcome", term="screen_detected", label="Screen-detected cancer"),
    Concept(field="outcome", term="interval_cancer", label="Interval cancer"),
    Concept(field="modality", term="MG", label="Mammography", eucaim="IMG1000030"),
    Concept(field="modality", term="DX", label="Digital radiography", eucaim="IMG1000028"),
    Concept(field="modality", term="CR", label="Computed radiography", eucaim="IMG1000024"),
    Concept(field="modality", term="CT", label="Computed tomography", radlex="RID10321"),
    Concept(field="modality", term="MR", label="Magnetic resonance", eucaim="IMG1000022", radlex="RID10312"),
    Concept(field="modality", term="PT", label="Positron emission tomography", radlex="RID10337"),
    Concept(field="modality", term="US", label="Ultrasound"),
    Concept(field="modality", term="NM", label="Nuclear medicine"),
    Concept(field="modality", term="XA", label="X-ray angiography"),
    Concept(field="modality", term="OT", label="Other"),
    Concept(field="body_part", term="breast", label="Breast", snomed="76752008"),
    Concept(field="body_part", term="lung", label="Lung", snomed="39607008"),
    Concept(field="body_part", term="prostate", label="Prostate", snomed="41216001"),
)

_TERMS: dict[str, dict[str, Concept]] = {
    field: {c.term: c for c in CONCEPTS if c.field == field} for field in FIELDS
}


def terms(field: Field) -> tuple[str, ...]:
    """Return the words of one field, in the table's order.

    Example:
        >>> terms("sex")
        ('female', 'male', 'unknown')
    """
    return tuple(_TERMS[field])


def concept(field: Field, term: str) -> Concept:
    """Return one concept.

    Raises:
        UnknownTerm: the word is not in the table; the hint lists those that are.

    Example:
        >>> concept("modality", "MG").label
        'Mammography'
    """
    found = _TERMS[field].get(term)
    if found is None:
        raise UnknownTerm(
            f"{term!r} is not a {field} in the vocabulary {VERSION}.",
            where=field,
            hint="Use one of: " + ", ".join(_TERMS[field]) + ".",
        )
    return found
