"""The shared vocabulary: every concept that a query, a table or a record may name.

Codes: EUCAIM hyper-ontology, SNOMED CT (DICOM PS3.16 CID 6000 for breast density, HL7's value sets for the
BI-RADS categories), RadLex, ICD-O-3 for topography, DICOM (PS3.3 C.7.3.1.1.1 for modalities). A concept
without a public code is local to UNICA and says so.
"""

from __future__ import annotations

from typing import Literal, get_args

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas.contract import Contract

Field = Literal[
    "sex",
    "diagnosis",
    "outcome",
    "modality",
    "body_part",
    "population",
    "topography",
    "birads",
    "density",
    "lung_rads",
    "pirads",
    "gleason",
    "isup",
    "ct",
    "cn",
    "cm",
]
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
    icdo3: str | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The public codes, each as `system|code` with the short name of its system.

        Example:
            >>> concept("diagnosis", "lung_cancer").codes
            ('sct|363358000',)
        """
        known = {"eucaim": self.eucaim, "sct": self.snomed, "radlex": self.radlex, "icdo3": self.icdo3}
        return tuple(f"{system}|{code}" for system, code in known.items() if code)

    @property
    def local(self) -> bool:
        """Whether no public vocabulary is known to have this concept."""
        return not self.codes


VERSION = "2026.12"

FIELD_CODES: dict[Field, str] = {
    "sex": "sct|263495000",
    "diagnosis": "sct|439401001",
    "modality": "radlex|RID10311",
    "body_part": "sct|123037004",
    "density": "eucaim|CLIN1052158",
    "birads": "eucaim|IMG1005459",
    "pirads": "eucaim|IMG1005457",
    "gleason": "eucaim|CLIN1037294",
    "isup": "eucaim|CLIN1037300",
    "ct": "eucaim|CLIN1033379",
    "cn": "eucaim|CLIN1033358",
    "cm": "eucaim|CLIN1033341",
}
"""What a public vocabulary calls the field itself: EUCAIM's search keys. A field not here is local."""


def _local(field: Field, terms: str, label: str) -> tuple[Concept, ...]:
    return tuple(Concept(field=field, term=term, label=f"{label} {term}") for term in terms.split())


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
    Concept(field="population", term="screening", label="Invited to screening", eucaim="COM1002624"),
    Concept(field="population", term="high_risk", label="Under surveillance for a raised risk"),
    Concept(field="population", term="diagnostic", label="Referred with symptoms or findings"),
    *(
        Concept(field="topography", term=code, label=label, icdo3=code)
        for code, label in (
            ("C34.0", "Main bronchus"),
            ("C34.1", "Upper lobe, lung"),
            ("C34.2", "Middle lobe, lung"),
            ("C34.3", "Lower lobe, lung"),
            ("C34.8", "Overlapping lesion of lung"),
            ("C34.9", "Lung, NOS"),
            ("C50.0", "Nipple"),
            ("C50.1", "Central portion of breast"),
            ("C50.2", "Upper-inner quadrant of breast"),
            ("C50.3", "Lower-inner quadrant of breast"),
            ("C50.4", "Upper-outer quadrant of breast"),
            ("C50.5", "Lower-outer quadrant of breast"),
            ("C50.6", "Axillary tail of breast"),
            ("C50.8", "Overlapping lesion of breast"),
            ("C50.9", "Breast, NOS"),
            ("C61.9", "Prostate gland"),
        )
    ),
    *(
        Concept(field="birads", term=term, label=f"BI-RADS {term}", eucaim=eucaim, snomed=snomed)
        for term, eucaim, snomed in (
            ("0", "IMG1005470", "397138000"),
            ("1", "IMG1005469", "397140005"),
            ("2", "IMG1005468", "397141009"),
            ("3", "IMG1005466", "397143007"),
            ("4", "IMG1005465", "397144001"),
            ("5", "IMG1005464", "397145000"),
            ("6", "IMG1005463", "6111000179101"),
        )
    ),
    Concept(field="density", term="a", label="Almost entirely fat", snomed="129716005"),
    Concept(field="density", term="b", label="Scattered fibroglandular densities", snomed="129717001"),
    Concept(field="density", term="c", label="Heterogeneously dense", snomed="129718006"),
    Concept(field="density", term="d", label="Extremely dense", snomed="129719003"),
    *_local("lung_rads", "0 1 2 3 4A 4B 4X", "Lung-RADS"),
    *(
        Concept(field="pirads", term=str(n), label=f"PI-RADS {n}, of the study", eucaim=f"IMG{1005480 - n}")
        for n in range(1, 6)
    ),
    *_local("gleason", "3+3 3+4 4+3 3+5 4+4 5+3 4+5 5+4 5+5", "Gleason"),
    *_local("isup", "1 2 3 4 5", "ISUP grade group"),
    *_local("ct", "TX T0 Tis T1 T1mi T1a T1b T1c T2 T2a T2b T2c T3 T3a T3b T4 T4a T4b T4c T4d", "Clinical"),
    *_local("cn", "NX N0 N1 N1mi N2 N2a N2b N3 N3a N3b N3c", "Clinical"),
    *_local("cm", "M0 M1 M1a M1b M1c", "Clinical"),
)

_TERMS: dict[str, dict[str, Concept]] = {
    field: {c.term: c for c in CONCEPTS if c.field == field} for field in FIELDS
}

_WORDS: dict[str, dict[str, Concept]] = {
    field: {word.casefold(): c for c in known.values() for word in (c.term, *c.codes)}
    for field, known in _TERMS.items()
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


def recognised(field: Field, word: str) -> Concept:
    """Return the concept that a table or record names, by its word in any case or by a public code.

    A code is written `system|code`, the system being one of sct, eucaim, radlex and icdo3.

    Raises:
        UnknownTerm: it is neither; nothing is guessed.

    Example:
        >>> recognised("diagnosis", "sct|254837009").term
        'breast_cancer'
        >>> recognised("topography", "c50.4").label
        'Upper-outer quadrant of breast'
    """
    found = _WORDS[field].get(word.strip().casefold())
    return found if found is not None else concept(field, word)
