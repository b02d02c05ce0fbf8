"""From a DICOM header's words to the shared vocabulary's: what is in no table is listed, never guessed."""

from __future__ import annotations

from typing import Final

from unica_sdk.schemas import vocabulary

OTHER: Final = "OT"
"""The modality of images whose own is outside the vocabulary: they are counted, never dropped."""

BODY_PARTS: Final = {"BREAST": "breast", "CHEST": "lung", "LUNG": "lung", "PROSTATE": "prostate"}
"""Body Part Examined (DICOM PS3.16 annex L) to the vocabulary."""

SEXES: Final = {"F": "female", "M": "male", "O": "unknown"}
"""Patient's Sex (DICOM PS3.3 C.7.1.1) to the vocabulary."""

LATERALITIES: Final = frozenset({"R", "L", "U", "B"})
"""Image Laterality: right, left, unpaired, both (PS3.3 C.7.6.16.2.1.6, C.8.11.7)."""

MAMMOGRAPHIC_VIEWS: Final = frozenset(
    [
        "AT",
        "AXILLA",
        "CC",
        "CCID",
        "CV",
        "EXAGG",
        "FB",
        "ISO",
        "LM",
        "LMO",
        "MAG",
        "ML",
        "MLO",
        "RL",
        "RM",
        "SIO",
        "SPECIMEN",
        "XCC",
        "XCCL",
        "XCCM",
    ]
)
"""View Position of mammograms, as the abbreviations of PS3.16 CID 4014 and 4015."""


def word(text: str) -> str:
    """Return a header's word as the tables have it."""
    return text.upper().strip()


def modality(text: str) -> str:
    """Return a modality of the vocabulary; `OTHER` where it is none.

    Example:
        >>> modality("MG"), modality("RTDOSE")
        ('MG', 'OT')
    """
    return word(text) if word(text) in vocabulary.terms("modality") else OTHER


def unmapped(*, modality_text: str, body_part: str, sex: str) -> list[tuple[str, str]]:
    """Return the words that the vocabulary does not have, each with its field.

    Example:
        >>> unmapped(modality_text="MG", body_part="HEAD", sex="")
        [('body_part', 'HEAD')]
    """
    found = []
    if modality(modality_text) != word(modality_text):
        found.append(("modality", word(modality_text) or "(none)"))
    for field, text, table in (("body_part", body_part, BODY_PARTS), ("sex", sex, SEXES)):
        if word(text) and word(text) not in table:
            found.append((field, word(text)))
    return found
