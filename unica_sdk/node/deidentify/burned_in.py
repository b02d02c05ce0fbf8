"""May an image's pixels hold a name? What the header says decides; what it leaves open goes to quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

PROJECTION: Final = frozenset({"MG", "DX", "CR"})
SLICES: Final = frozenset({"CT", "MR"})

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""The SOP class Secondary Capture Image Storage; its multi-frame siblings are its children."""

Code = Literal["passed", "modality", "secondary_capture", "burned_in", "image_type"]

_TEXTS: Final[dict[Code, str]] = {
    "passed": "Made by a modality that writes nothing into its pixels.",
    "modality": "Images of this modality often hold a name in their pixels.",
    "secondary_capture": "A secondary capture (screen, film or document) may hold a name in its pixels.",
    "burned_in": "The header says that there are annotations in the pixels.",
    "image_type": "The header does not say that these are the pixels the detector gave.",
}


class Header(Protocol):
    """What is asked of a header: values by keyword. A pydicom Dataset is one, and so is a dict."""

    def get(self, key: str, default: Any = None, /) -> Any:
        """Return the value of a keyword, or the default."""


@dataclass(frozen=True)
class Verdict:
    """Whether an image may pass, with a fixed code and text; neither quotes the header."""

    passes: bool
    code: Code
    text: str


def burned_in(header: Header) -> Verdict:
    """Say whether an image can be trusted to hold no burned-in text.

    Passes CT, MR, MG, DX and CR whose Image Type says ORIGINAL and PRIMARY; MG, DX and CR that are DERIVED
    and PRIMARY too (a mammogram for presentation), where the header states Burned In Annotation NO. To
    quarantine go Burned In Annotation YES, secondary captures, US and every other modality. Asks for
    Modality, SOPClassUID, ConversionType, BurnedInAnnotation and ImageType.

    Example:
        >>> burned_in({"Modality": "US"}).code
        'modality'
        >>> burned_in({"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}).passes
        True
    """
    code = _code(header)
    return Verdict(code == "passed", code, _TEXTS[code])


def _code(header: Header) -> Code:
    modality = _word(header, "Modality")
    if modality not in PROJECTION | SLICES:
        return "modality"
    storage = _word(header, "SOPClassUID")
    if (storage + ".").startswith(SECONDARY_CAPTURE + ".") or _word(header, "ConversionType"):
        return "secondary_capture"
    annotations = set(_words(header, "BurnedInAnnotation")) - {""}
    if annotations - {"NO"}:
        return "burned_in"
    origin, kind = (*_words(header, "ImageType"), "", "")[:2]
    derived = origin == "DERIVED" and modality in PROJECTION and annotations == {"NO"}
    if kind != "PRIMARY" or not (origin == "ORIGINAL" or derived):
        return "image_type"
    return "passed"


def _word(header: Header, keyword: str) -> str:
    return (*_words(header, keyword), "")[0]


def _words(header: Header, keyword: str) -> list[str]:
    value = header.get(keyword)
    if value is None:
        return []
    values = value.split("\\") if isinstance(value, str) else value
    try:
        return [str(one).strip(" \0").upper() for one in values]
    except TypeError:
        return [str(values).strip(" \0").upper()]
