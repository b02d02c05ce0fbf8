"""EUCAIM's tier of a dataset, computed, and what the next one asks for besides.

1: a record in the catalogue, one identifier for each patient, nothing twice; what an ingest lets through has
that. 2: in the words of the hyper-ontology, and answering queries, which every node does. 3: the common data
model in full, segmentations as DICOM-SEG, and EUCAIM's own materialiser; a client that only connects outwards
runs here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CLINICAL_MINIMUM: Final = ("sex", "age", "population", "topography")
"""EUCAIM's minimum of clinical data; a screening-negative case has no topography."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the tier of a dataset hangs on.

    Attributes:
        named: The fields of which enough people have a word of the vocabulary.
        outside: Whether enough people have images whose modality or body part the vocabulary does not have.
        variables: The clinical fields that enough people have.
        screening_negative: Whether nobody has a cancer, so that there is no topography.
        segmentations: Whether there are DICOM-SEG objects.
        materialiser: Whether EUCAIM's materialiser runs at the site.
    """

    named: frozenset[str]
    outside: bool = False
    variables: frozenset[str] = frozenset()
    screening_negative: bool = False
    segmentations: bool = False
    materialiser: bool = False


def tier(facts: Facts) -> tuple[int, tuple[str, ...]]:
    """Return a dataset's tier and what the next one asks for; the texts say nothing of any number.

    Example:
        >>> tier(Facts(named=frozenset({"modality"})))[0]
        1
        >>> tier(Facts(named=frozenset({"modality", "body_part", "sex"})))[0]
        2
    """
    second = tuple(_for_second(facts))
    if second:
        return 1, second
    third = tuple(_for_third(facts))
    return (2, third) if third else (3, ())


def _for_second(facts: Facts) -> Iterable[str]:
    absent = [field for field in ("modality", "body_part", "sex") if field not in facts.named]
    if absent:
        yield f"Words of the vocabulary that enough people have: {', '.join(absent)}."
    if facts.outside:
        yield "Modality and body part in words of the vocabulary throughout: `unica vocabulary doctor`."


def _for_third(facts: Facts) -> Iterable[str]:
    wanted = [f for f in CLINICAL_MINIMUM if not (facts.screening_negative and f == "topography")]
    absent = [field for field in wanted if field not in facts.variables]
    if absent:
        yield f"Clinical data of enough people: {', '.join(absent)}."
    if not facts.segmentations:
        yield "Segmentations as DICOM-SEG."
    if not facts.materialiser:
        yield "EUCAIM's common data model in full, by its materialiser."
