"""The soft rules that one header can break: each a function from a header to what is wrong, or None.

They see the hospital's header and say nothing of it but keywords and the vocabulary's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final

from unica_sdk.node.header_values import Header
from unica_sdk.node.terms import LATERALITIES, MAMMOGRAPHIC_VIEWS, unmapped, word

MINIMUM: Final = ("Modality", "BodyPartExamined", "Manufacturer", "AcquisitionDate")
"""EUCAIM's minimum of imaging data, besides the patient identifier (a hard rule)."""

VOLUMES: Final = frozenset({"CT", "MR", "PT"})
PROJECTIONS: Final = frozenset({"MG", "DX", "CR"})

SPACING_MM: Final = (0.005, 20.0)
"""From an intra-oral detector's pixel to a coarse PET voxel, with room on both sides."""

THICKNESS_MM: Final = (0.01, 100.0)
AGE_SLACK_YEARS: Final = 1.5
_DAY: Final = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_YEARS: Final = re.compile(r"(\d{3})Y")

Check = Callable[[Header, date], str | None]
"""A header and the day of today to what is wrong; None where nothing is."""


def minimum(header: Header, today: date) -> str | None:
    """EUCAIM's minimum is there."""
    absent = [keyword for keyword in MINIMUM if not header.text(keyword)]
    return "no " + ", no ".join(absent) if absent else None


def spacing(header: Header, today: date) -> str | None:
    """A volume has pixel spacing in the patient, a projection at least at its detector."""
    modality = word(header.text("Modality"))
    there = bool(header.text("PixelSpacing"))
    if modality in PROJECTIONS:
        there = there or bool(header.text("ImagerPixelSpacing"))
    return None if there or modality not in VOLUMES | PROJECTIONS else "no pixel spacing"


def laterality_given(header: Header, today: date) -> str | None:
    """A mammogram says which breast from which direction."""
    if word(header.text("Modality")) != "MG":
        return None
    absent = [] if _laterality(header) else ["laterality"]
    absent += [] if header.text("ViewPosition") else ["view"]
    return "no " + ", no ".join(absent) if absent else None


def vocabulary(header: Header, today: date) -> str | None:
    """Modality, body part and sex are in the vocabulary."""
    return ", ".join(field for field, _ in words_outside(header)) or None


def dates(header: Header, today: date) -> str | None:
    """Dates are dates, birth comes first, nothing is to come, and the age is the one that follows."""
    found: dict[str, date] = {}
    for keyword in ("PatientBirthDate", "StudyDate", "AcquisitionDate"):
        text = header.text(keyword)
        day = day_of(text)
        if text and day is None:
            return f"{keyword} is no date"
        if day is not None:
            found[keyword] = day
    if any(day > today for day in found.values()):
        return "a date to come"
    birth, study = found.get("PatientBirthDate"), found.get("StudyDate") or found.get("AcquisitionDate")
    if birth is None or study is None:
        return None
    if study < birth:
        return "examined before birth"
    stated = _YEARS.fullmatch(header.text("PatientAge"))
    if stated and abs(int(stated[1]) + 0.5 - (study - birth).days / 365.25) > AGE_SLACK_YEARS:
        return "age and dates differ"
    return None


def spacing_plausible(header: Header, today: date) -> str | None:
    """Spacing and thickness are lengths that exist."""
    for keyword, (low, high) in (
        ("PixelSpacing", SPACING_MM),
        ("ImagerPixelSpacing", SPACING_MM),
        ("SliceThickness", THICKNESS_MM),
        ("SpacingBetweenSlices", THICKNESS_MM),
    ):
        # Some makers let slices overlap by a negative distance (PS3.3 C.7.6.16 allows it for NM alone).
        if any(not low <= abs(length) <= high for length in header.numbers(keyword)):
            return f"{keyword} is no length that exists"
    return None


def bits(header: Header, today: date) -> str | None:
    """Bits allocated, stored and highest fit each other (PS3.5 section 8.1)."""
    if header.pixels is not None and header.pixels.keyword != "PixelData":
        return None
    allocated, stored, high = (header.whole(k) for k in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated not in (1, 8, 16, 32, 64):
        return "BitsAllocated is none of 1, 8, 16, 32, 64"
    if stored is None or not 1 <= stored <= allocated:
        return "BitsStored does not fit BitsAllocated"
    if high != stored - 1:
        return "HighBit is not BitsStored - 1"
    return None if header.whole("PixelRepresentation") in (0, 1) else "PixelRepresentation is not 0 or 1"


def laterality_term(header: Header, today: date) -> str | None:
    """Laterality is a defined term, the same wherever it stands; so is a mammogram's view."""
    said = {word(header.text(keyword)) for keyword in ("ImageLaterality", "Laterality")} - {""}
    if said - LATERALITIES:
        return "laterality is not one of R, L, U, B"
    if len(said) > 1:
        return "two lateralities"
    view = word(header.text("ViewPosition"))
    if view and word(header.text("Modality")) == "MG" and view not in MAMMOGRAPHIC_VIEWS:
        return "the view is no defined term"
    return None


def elements(header: Header, today: date) -> str | None:
    """What we read holds values of its kind."""
    # A modality LUT is a sequence: that it is there is all that the scanner says of it.
    return ", ".join(name for name in header.malformed if name != "ModalityLUTSequence") or None


CHECKS: Final[dict[str, Check]] = {
    "complete.minimum": minimum,
    "complete.spacing": spacing,
    "complete.laterality": laterality_given,
    "accurate.vocabulary": vocabulary,
    "accurate.dates": dates,
    "accurate.spacing": spacing_plausible,
    "accurate.bits": bits,
    "accurate.laterality": laterality_term,
    "integrity.elements": elements,
}
"""The rules of this module by their identity."""


def judge(header: Header, *, today: date) -> tuple[tuple[str, str], ...]:
    """Return the rules that a header breaks, each with what is wrong.

    Example:
        >>> bare = Header({"Modality": "MG"}, "1.2.840.10008.1.2.1", None, "unica")
        >>> dict(judge(bare, today=date(2026, 1, 1)))["complete.laterality"]
        'no laterality, no view'
    """
    found = ((rule, check(header, today)) for rule, check in CHECKS.items())
    return tuple((rule, detail) for rule, detail in found if detail is not None)


def words_outside(header: Header) -> tuple[tuple[str, str], ...]:
    """Return the words that the vocabulary does not have, each with its field, for a data manager to map."""
    found = unmapped(
        modality_text=header.text("Modality"),
        body_part=header.text("BodyPartExamined"),
        sex=header.text("PatientSex"),
    )
    return tuple(found)


def identifiers(header: Header) -> str | None:
    """Return what is missing of that without which an image cannot be indexed: a hard rule."""
    wanted = {
        "patient identifier": header.text("PatientID").strip(" \0"),
        "study instance UID": header.text("StudyInstanceUID"),
        "SOP instance UID": header.text("SOPInstanceUID"),
        "transfer syntax": header.transfer_syntax,
        "rows": header.whole("Rows"),
        "columns": header.whole("Columns"),
    }
    absent = [name for name, value in wanted.items() if not value]
    return "no " + ", no ".join(absent) if absent else None


def day_of(text: str) -> date | None:
    """Return a DICOM date (VR DA; with the dots of ACR-NEMA too); None where it is none.

    Example:
        >>> day_of("20240229"), day_of("20230229"), day_of("")
        (datetime.date(2024, 2, 29), None, None)
    """
    found = _DAY.fullmatch(text.strip())
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _laterality(header: Header) -> str:
    return header.text("ImageLaterality") or header.text("Laterality")
