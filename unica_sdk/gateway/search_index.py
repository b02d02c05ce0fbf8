"""An index of the catalogue in memory: words by prefix, facets by value, both as arrays of places.

Pure: documents in, places out. A dataset's place is its rank by id, so places in order are ids in order.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.search import NO, SEARCH_FACETS, VOCABULARY_OF, YES, SearchFacet

Mask = NDArray[np.bool_]

WEIGHTS = {"title": 8, "keywords": 6, "terms": 4, "site": 4, "description": 1}
"""What a word counts for where it stands; twice that where it is the whole word."""

_WORD = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"})
"""Letters that Unicode does not take apart into a plain one and a mark."""

_PAST = "\U0010ffff"

_FIELD_OF: dict[SearchFacet, str] = {
    "modality": "modalities",
    "body_part": "body_parts",
    "condition": "conditions",
    "sex": "sexes",
    "manufacturer": "manufacturers",
}


def words(text: str) -> list[str]:
    """Return the words of a text without case and accents.

    Example:
        >>> words("Mammographie – Łódź, ΜΑΣΤΟΣ")
        ['mammographie', 'lodz', 'μαστοσ']
    """
    folded = text.casefold()
    if not folded.isascii():
        apart = unicodedata.normalize("NFKD", folded.translate(_LETTERS))
        folded = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return _WORD.findall(folded)


class SearchIndex:
    """What can be found among these documents (records as their JSON has them), by place.

    `countries` says where a site is whose record does not.

    Example:
        >>> index = SearchIndex([{"id": "gr/mg", "site": "gr", "title": "Mammograms", "modalities": ["MG"]}])
        >>> scores = index.scores("mammo")
        >>> index.places(scores, index.filtered({"modality": ("MG",)}))[0].tolist()
        [0]
    """

    def __init__(
        self, documents: Iterable[Mapping[str, Any]], *, countries: Mapping[str, str] | None = None
    ) -> None:
        ordered = sorted(documents, key=lambda document: str(document["id"]))
        self.ids = [str(document["id"]) for document in ordered]
        facets = {facet: _FacetBuilder() for facet in SEARCH_FACETS}
        texts = []
        for place, document in enumerate(ordered):
            country = document.get("country") or (countries or {}).get(document["site"], "")
            texts.append(_texts(document, country))
            for facet, values in _values(document, country).items():
                facets[facet].add(place, values)
        self._words = _Postings(texts)
        self._facets = {facet: builder.built() for facet, builder in facets.items()}

    def scores(self, text: str) -> NDArray[np.int32]:
        """Return how well each dataset fits a text: 0 where a word is missing, 1 for all of an empty text."""
        sought = dict.fromkeys(words(text))
        if not sought:
            # Signs alone are no words, so nothing has them.
            return np.full(len(self.ids), 0 if text.strip() else 1, dtype=np.int32)
        scores = np.zeros(len(self.ids), dtype=np.int32)
        everywhere = np.ones(len(self.ids), dtype=np.bool_)
        for word in sought:
            found = self._words.scores(word)
            everywhere &= found > 0
            scores += found
        scores[~everywhere] = 0
        return scores

    def filtered(
        self, chosen: Mapping[SearchFacet, Sequence[str]], *, but: SearchFacet | None = None
    ) -> Mask:
        """Return which datasets have one of the chosen values of each facet, leaving out the facet `but`."""
        mask = np.ones(len(self.ids), dtype=np.bool_)
        for facet, values in chosen.items():
            if facet != but:
                mask &= self._facets[facet].having(values, len(self.ids))
        return mask

    def named(self, identity: str) -> Mask:
        """Return where the dataset of this id is, at most one place."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        place = bisect_left(self.ids, identity)
        mask[place : place + 1] = self.ids[place : place + 1] == [identity]
        return mask

    def facet(
        self, facet: SearchFacet, mask: Mask, *, chosen: Sequence[str], most: int
    ) -> list[tuple[str, int]]:
        """Return the values of a facet with their number of datasets in a mask, the most frequent first.

        Values that no dataset of the mask has are left out unless they were chosen; of the others, `most`.
        """
        counted = self._facets[facet].counts(mask)
        ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        kept = {value: number for value, number in ordered[:most] if number}
        return [*kept.items(), *((value, counted.get(value, 0)) for value in chosen if value not in kept)]

    def places(
        self, scores: NDArray[np.int32], mask: Mask, *, after: tuple[int, str] | None = None
    ) -> tuple[NDArray[np.intp], int]:
        """Return the places found, best first and then by id, and how many there are in all.

        `after` is the score and id of the last one seen: the places are those behind it, whatever came or
        went meanwhile.
        """
        found = (scores > 0) & mask
        total = int(np.count_nonzero(found))
        places = np.flatnonzero(found)
        if after is not None:
            score, identity = after
            reached = bisect_right(self.ids, identity)
            behind = scores[places]
            places = places[(behind < score) | ((behind == score) & (places >= reached))]
        return places[np.argsort(-scores[places], kind="stable")], total


class _Postings:
    """Which words stand where: for each field, the places of each word, words in order."""

    def __init__(self, texts: Sequence[Mapping[str, str]]) -> None:
        self._documents = len(texts)
        # A word that is new gets the next number: a million words pass here without a line of Python each.
        numbers: dict[str, int] = defaultdict(count().__next__)
        said = {field: _numbered((text[field] for text in texts), numbers) for field in WEIGHTS}
        self._sorted = sorted(numbers)
        rank = np.empty(len(numbers), dtype=np.intp)
        rank[[numbers[word] for word in self._sorted]] = np.arange(len(numbers))
        self._places: dict[str, tuple[NDArray[np.intp], NDArray[np.int32]]] = {}
        for field, (words_said, places) in said.items():
            ranks = rank[words_said]
            order = np.argsort(ranks, kind="stable")
            starts = np.searchsorted(ranks[order], np.arange(len(numbers) + 1))
            self._places[field] = (starts, places[order])

    def scores(self, word: str) -> NDArray[np.int32]:
        first = bisect_left(self._sorted, word)
        last = bisect_left(self._sorted, word + _PAST)
        whole = first < last and self._sorted[first] == word
        found = np.zeros(self._documents, dtype=np.int32)
        for field, weight in WEIGHTS.items():
            starts, places = self._places[field]
            begun = np.zeros(self._documents, dtype=np.bool_)
            begun[places[starts[first] : starts[last]]] = True
            found += weight * begun
            if whole:
                # A word stands once for each place, so no place is added to twice.
                found[places[starts[first] : starts[first + 1]]] += weight
        return found


def _numbered(
    texts: Iterable[str], numbers: Mapping[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the number of each word of each text, once a text, and beside it the text's place."""
    said, lengths = array("i"), array("i")
    for text in texts:
        found = set(words(text))
        said.extend(map(numbers.__getitem__, found))
        lengths.append(len(found))
    places = np.repeat(np.arange(len(lengths), dtype=np.int32), np.frombuffer(lengths, dtype=np.intc))
    return np.frombuffer(said, dtype=np.intc), places


class _FacetBuilder:
    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._said = array("i"), array("i")

    def add(self, place: int, values: Iterable[str]) -> None:
        codes, places = self._said
        for value in dict.fromkeys(values):
            codes.append(self._codes.setdefault(value, len(self._codes)))
            places.append(place)

    def built(self) -> _Facet:
        codes, places = (np.frombuffer(part, dtype=np.intc) for part in self._said)
        return _Facet(codes=self._codes, said=codes, places=places)


class _Facet:
    """The values of one facet: who has which."""

    def __init__(self, *, codes: dict[str, int], said: NDArray[np.int32], places: NDArray[np.int32]) -> None:
        self._codes = codes
        self._said = said
        self._places = places

    def having(self, values: Sequence[str], documents: int) -> Mask:
        wanted = [self._codes[value] for value in values if value in self._codes]
        mask = np.zeros(documents, dtype=np.bool_)
        mask[self._places[np.isin(self._said, wanted)]] = True
        return mask

    def counts(self, mask: Mask) -> dict[str, int]:
        numbers = np.bincount(self._said[mask[self._places]], minlength=len(self._codes))
        return dict(zip(self._codes, numbers.tolist(), strict=True))


def _texts(document: Mapping[str, Any], country: str) -> dict[str, str]:
    """Return what is searched, by field."""
    terms = [
        text
        for facet, field in VOCABULARY_OF.items()
        for term in document.get(_FIELD_OF[facet], ())
        for text in (term, _LABELS[field].get(term, ""))
    ]
    return {
        "title": document["title"],
        "keywords": " ".join(document.get("keywords", ())),
        "terms": " ".join((*terms, *document.get("manufacturers", ()))),
        "site": " ".join((document["id"], document.get("publisher", ""), country)),
        "description": document.get("description", ""),
    }


def _values(document: Mapping[str, Any], country: str) -> dict[SearchFacet, Sequence[str]]:
    values: dict[SearchFacet, Sequence[str]] = {
        facet: document.get(field, ()) for facet, field in _FIELD_OF.items()
    }
    return values | {
        "manufacturer": [str(maker).casefold() for maker in values["manufacturer"]],
        "country": [country] if country else [],
        "site": [document["site"]],
        "tier": [str(document.get("tier", 1))],
        "synthetic": [YES if document.get("synthetic") else NO],
        "access": [document["access"]] if "access" in document else [],
    }


_LABELS: dict[vocabulary.Field, dict[str, str]] = {
    field: {term: vocabulary.concept(field, term).label for term in vocabulary.terms(field)}
    for field in VOCABULARY_OF.values()
}
