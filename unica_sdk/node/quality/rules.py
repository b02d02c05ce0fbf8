"""Every rule by its identity. A file that breaks a hard rule goes to quarantine; a soft one is reported.

Dimensions: those of EUCAIM's data quality, and `privacy` for what keeps an image from being de-identified.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Dimension = Literal["complete", "unique", "consistent", "accurate", "integrity", "privacy"]
Unit = Literal["files", "images", "studies", "series", "patients"]

EDITION: Final = 2
"""Raised when a rule changes: files are then judged again although they are the same."""


@dataclass(frozen=True)
class Rule:
    """One rule: what it asks for, of what, and whether failing it keeps a file out of the index."""

    id: str
    hard: bool
    unit: Unit
    text: str

    @property
    def dimension(self) -> Dimension:
        """The dimension of quality that the rule belongs to.

        Example:
            >>> RULES["complete.spacing"].dimension
            'complete'
        """
        found: Dimension = self.id.split(".")[0]  # type: ignore[assignment]
        return found


class Finding(NamedTuple):
    """A rule that something broke, and how; `about` is a file's path or a pseudonym."""

    rule: str
    about: str
    detail: str


_ALL: Final = (
    Rule(
        "complete.identifiers", True, "files", "Patient, study and image identifiers, transfer syntax, size."
    ),
    Rule(
        "complete.minimum", False, "images", "EUCAIM's minimum: modality, body part, maker, acquisition date."
    ),
    Rule("complete.spacing", False, "images", "Pixel spacing, in the patient or at the detector."),
    Rule("complete.laterality", False, "images", "A mammogram's laterality and view."),
    Rule("unique.instance", True, "files", "No image is there twice."),
    Rule("unique.pixels", False, "images", "No two images have the same pixels."),
    Rule("consistent.study", True, "studies", "A study belongs to one patient."),
    Rule("consistent.patient", False, "patients", "A patient has one sex and one date of birth."),
    Rule("consistent.dates", False, "studies", "A study has one date."),
    Rule("consistent.series", False, "series", "A series is of one study, one modality and one image size."),
    Rule(
        "consistent.slices", False, "series", "The slices of a volume lie at equal distances, none missing."
    ),
    Rule("consistent.clinical", False, "patients", "Images and clinical table know the same people, alike."),
    Rule("accurate.vocabulary", False, "images", "Modality, body part and sex are words of the vocabulary."),
    Rule(
        "accurate.dates", False, "images", "Dates are dates, in order, not to come, and agree with the age."
    ),
    Rule("accurate.spacing", False, "images", "Spacing and slice thickness are lengths that exist."),
    Rule("accurate.bits", False, "images", "Bits allocated, stored and highest fit each other."),
    Rule("accurate.laterality", False, "images", "Laterality and a mammogram's view are defined terms."),
    Rule("integrity.header", True, "files", "The file is DICOM and its header can be read."),
    Rule("integrity.pixels", True, "files", "All of the pixel data is there."),
    Rule("integrity.decoding", True, "files", "Compressed pixels can be decoded."),
    Rule("integrity.unchanged", True, "files", "The file stayed the same while it was read."),
    Rule("integrity.elements", False, "images", "The elements that we read hold values of their kind."),
    Rule("privacy.burned_in", True, "files", "Nothing suggests that a name is written into the pixels."),
    Rule("privacy.deidentification", True, "files", "The header can be de-identified."),
)

RULES: Final = MappingProxyType({rule.id: rule for rule in _ALL})
"""Every rule by its identity, in the order of a report."""
