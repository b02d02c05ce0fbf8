"""Searching the catalogue: what is looked for, and one page of what was found."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import AccessMode, DatasetRecord
from unica_sdk.schemas.contract import Contract, Name, sorted_unique

SearchFacet = Literal[
    "modality",
    "body_part",
    "condition",
    "sex",
    "manufacturer",
    "country",
    "site",
    "tier",
    "synthetic",
    "access",
]
SEARCH_FACETS: tuple[SearchFacet, ...] = get_args(SearchFacet)
"""What datasets can be narrowed down by, in the order it is shown."""

VOCABULARY_OF: dict[SearchFacet, vocabulary.Field] = {
    "modality": "modality",
    "body_part": "body_part",
    "condition": "diagnosis",
    "sex": "sex",
}
"""The facets whose values are words of the vocabulary, with the field they are words of."""

MAX_CHOSEN = 64
"""The most values of one facet that can be chosen at once."""

_Word = Annotated[str, StringConstraints(max_length=64)]
_Words = Annotated[tuple[_Word, ...], Field(max_length=MAX_CHOSEN), AfterValidator(sorted_unique)]
_Maker = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=64)]
_Country = Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z]{2}$")]


class DatasetSearch(Contract):
    """What is looked for: every word of `text`, AND between facets, OR inside one.

    A word of the text finds the words that begin with it, whatever their case and accents, in title,
    keywords, description, site, and the labels of the vocabulary's terms. `cursor` is a page's `next`.

    Example:
        >>> DatasetSearch(text="mammo", modality=("MG",), country=("gr",)).country
        ('GR',)
    """

    text: str = Field(default="", max_length=200)
    modality: _Words = ()
    body_part: _Words = ()
    condition: _Words = ()
    sex: _Words = ()
    manufacturer: Annotated[tuple[_Maker, ...], Field(max_length=MAX_CHOSEN)] = ()
    country: Annotated[tuple[_Country, ...], Field(max_length=MAX_CHOSEN)] = ()
    site: Annotated[tuple[Name, ...], Field(max_length=256), AfterValidator(sorted_unique)] = ()
    tier: Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], Field(max_length=3)] = ()
    synthetic: bool | None = None
    access: Annotated[tuple[AccessMode, ...], Field(max_length=MAX_CHOSEN)] = ()
    id: str | None = Field(default=None, max_length=130)
    cursor: str | None = Field(default=None, max_length=400)
    limit: int = Field(default=50, ge=1, le=200)

    def chosen(self) -> dict[SearchFacet, tuple[str, ...]]:
        """Return the facets that restrict, with the chosen values as facets write them.

        Example:
            >>> DatasetSearch(tier=(3,), synthetic=False).chosen()
            {'tier': ('3',), 'synthetic': ('no',)}
        """
        found = {facet: _as_words(getattr(self, facet)) for facet in SEARCH_FACETS}
        return {facet: values for facet, values in found.items() if values}

    def require_known(self) -> None:
        """Return if every chosen term is in the vocabulary.

        Raises:
            UnknownTerm: one is not; the hint lists those that are.
        """
        for facet, field in VOCABULARY_OF.items():
            for word in getattr(self, facet):
                vocabulary.concept(field, word)


def _as_words(value: tuple[str | int, ...] | bool | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, bool):
        return (YES if value else NO,)
    return tuple(str(one) for one in value)


YES, NO = "yes", "no"
"""How the facet `synthetic` writes its two values."""


class FacetValue(Contract):
    """One value of a facet, and how many datasets have it among those that all other filters leave."""

    value: str
    datasets: int


class SearchPage(Contract):
    """One page of what was found, best first.

    `facets` holds only values that some dataset has or that were chosen, the most frequent first; it is empty
    on every page but the first. `next` is the cursor of the page after this one, None at the end.
    """

    total: int
    items: tuple[DatasetRecord, ...]
    facets: dict[SearchFacet, tuple[FacetValue, ...]] = Field(default_factory=dict)
    next: str | None = None
