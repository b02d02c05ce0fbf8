"""An index of the catalogue in memory: words by prefix, facets by value, both as arrays of places.

Pure: documents in, places out. A dataset's place is its rank by id, so places in order are ids in order.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.search import NO, SEARCH_FACETS, VOCABULARY_OF, YES, SearchFacet

Mask = NDArray[np.bool_]

WEIGHTS = {"title": 8, "keywords": 6, "about": 4, "description": 1}
"""What a word counts for where it stands; twice that where it is the whole word.

`about` is where a dataset is and what it holds: its site, country and publisher, its makers, and the terms of
the vocabulary with their labels.
"""

_WORD = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"})
"""Letters that Unicode does not take apart into a plain one and a mark."""

MOST_KEPT = 256
"""The most words whose places are kept ready, of those that were looked for."""

_PAST = "\U0010ffff"

_FIELD_OF: dict[SearchFacet, str] = {
    "modality": "modalities",
    "body_part": "body_parts",
    "condition": "conditions",
    "sex": "sexes",
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
    """What can be found among these documents (records as their JSON has them, in the order of their ids).

    `countries` says where a site is whose record does not.

    Example:
        >>> index = SearchIndex([{"id": "gr/mg", "site": "gr", "title": "Mammograms", "modalities": ["MG"]}])
        >>> scores = index.scores("mammo")
        >>> index.places(scores, index.having({"modality": ("MG",)})["modality"])[0].tolist()
        [0]
    """

    def __init__(
        self, documents: Iterable[Mapping[str, Any]], *, countries: Mapping[str, str] | None = None
    ) -> None:
        self.ids: list[str] = []
        numbers = _numbers()
        texts = {field: _Column(numbers) for field in WEIGHTS}
        values = {facet: _Column(_numbers()) for facet in SEARCH_FACETS}
        # Each document is taken apart and let go: a million words at once are work for the collector alone.
        for document in documents:
            self.ids.append(document["id"])
            country = document.get("country") or (countries or {}).get(document["site"], "")
            _take_texts(document, country, texts)
            _take_values(document, country, values)
        self._words = _Postings(numbers, texts, len(self.ids))
        self._facets = {facet: _Facet(column, len(self.ids)) for facet, column in values.items()}

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

    def having(self, chosen: Mapping[SearchFacet, Sequence[str]]) -> dict[SearchFacet, Mask]:
        """Return which datasets have one of the chosen values, facet by facet."""
        return {facet: self._facets[facet].having(values) for facet, values in chosen.items()}

    def facets(
        self,
        found: Mask,
        having: Mapping[SearchFacet, Mask],
        chosen: Mapping[SearchFacet, Sequence[str]],
        *,
        most: int,
    ) -> dict[SearchFacet, list[tuple[str, int]]]:
        """Return each facet's values with their number of datasets, the most frequent first.

        A facet is counted over what the others leave of `found`, so that a second value of it can be chosen.
        Values that no dataset has are left out unless they were chosen; of the others, `most`.
        """
        left = _bits(every(found, having.values()))
        counted = {}
        for facet in SEARCH_FACETS:
            without = left
            if facet in having:
                without = _bits(every(found, (mask for other, mask in having.items() if other != facet)))
            counted[facet] = self._facets[facet].counts(without, chosen.get(facet, ()), most=most)
        return counted

    def named(self, identity: str) -> Mask:
        """Return where the dataset of this id is, at most one place."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        place = bisect_left(self.ids, identity)
        mask[place : place + 1] = self.ids[place : place + 1] == [identity]
        return mask

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

    def __init__(self, numbers: Mapping[str, int], texts: Mapping[str, _Column], documents: int) -> None:
        self._documents = documents
        self._kept: dict[str, NDArray[np.int32]] = {}
        self._sorted = sorted(numbers)
        rank = np.empty(len(numbers), dtype=np.intp)
        rank[[numbers[word] for word in self._sorted]] = np.arange(len(numbers))
        self._places: dict[str, tuple[NDArray[np.intp], NDArray[np.int32]]] = {}
        for field, column in texts.items():
            said, places = column.arrays()
            ranks = rank[said]
            order = np.argsort(ranks, kind="stable")
            starts = np.searchsorted(ranks[order], np.arange(len(numbers) + 1))
            self._places[field] = (starts, places[order])

    def scores(self, word: str) -> NDArray[np.int32]:
        """Return what a word counts for in each document. Kept: people type the same beginnings."""
        known = self._kept.get(word)
        if known is None:
            known = self._scored(word)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[word] = known
        return known

    def _scored(self, word: str) -> NDArray[np.int32]:
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
                # Adding at places, numpy adds once to each, however often it is named.
                found[places[starts[first] : starts[first + 1]]] += weight
        return found


class _Facet:
    """The values of one facet: for each the documents that have it, a bit each in one large number."""

    def __init__(self, column: _Column, documents: int) -> None:
        self._documents = documents
        said, places = column.arrays()
        order = np.argsort(said, kind="stable")
        starts = np.searchsorted(said[order], np.arange(len(column.numbers) + 1))
        self._having = {}
        for value, number in column.numbers.items():
            mask = np.zeros(documents, dtype=np.bool_)
            mask[places[order[starts[number] : starts[number + 1]]]] = True
            self._having[value] = _bits(mask)

    def having(self, values: Sequence[str]) -> Mask:
        bits = 0
        for value in values:
            bits |= self._having.get(value, 0)
        packed = np.frombuffer(bits.to_bytes((self._documents + 7) // 8, "big"), dtype=np.uint8)
        return np.unpackbits(packed, count=self._documents).view(np.bool_)

    def counts(self, mask: int, chosen: Sequence[str], *, most: int) -> list[tuple[str, int]]:
        counted = {value: (bits & mask).bit_count() for value, bits in self._having.items()}
        ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        kept = {value: number for value, number in ordered[:most] if number}
        return [*kept.items(), *((value, counted.get(value, 0)) for value in chosen if value not in kept)]


def every(mask: Mask, others: Iterable[Mask]) -> Mask:
    """Return what is in all masks, as a new one."""
    left = mask.copy()
    for other in others:
        left &= other
    return left


def _bits(mask: Mask) -> int:
    return int.from_bytes(np.packbits(mask).tobytes(), "big")


def _numbers() -> defaultdict[str, int]:
    """Return a table in which a word that is new gets the next number."""
    return defaultdict(count().__next__)


class _Column:
    """The numbers of the words of each document, one document after the other."""

    def __init__(self, numbers: defaultdict[str, int]) -> None:
        self.numbers = numbers
        self._number = numbers.__getitem__
        self._said = array("i")
        self._lengths = array("i")

    def add(self, found: Collection[str]) -> None:
        """Add the words of the next document. A million pass here, without a line of Python for each."""
        self._said.extend(map(self._number, found))
        self._lengths.append(len(found))

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the words' numbers, and beside each the place of its document."""
        lengths = np.frombuffer(self._lengths, dtype=np.intc)
        places = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        return np.frombuffer(self._said, dtype=np.intc), places


def _take_texts(document: Mapping[str, Any], country: str, texts: Mapping[str, _Column]) -> None:
    """Add the words that are searched; one that stands twice in a field counts once all the same."""
    terms = " ".join(
        text
        for facet, field in VOCABULARY_OF.items()
        for term in document.get(_FIELD_OF[facet], ())
        for text in (term, _LABELS[field].get(term, ""))
    )
    site = f"{document['id']} {document.get('publisher', '')} {country}"
    makers = " ".join(document.get("manufacturers", ()))
    texts["title"].add(words(document["title"]))
    texts["keywords"].add(words(" ".join(document.get("keywords", ()))))
    texts["description"].add(words(document.get("description", "")))
    texts["about"].add((*words(site), *_words_again(terms), *_words_again(makers)))


@lru_cache(maxsize=4096)
def _words_again(text: str) -> tuple[str, ...]:
    """Return the words of a text that many documents have."""
    return tuple(words(text))


def _take_values(document: Mapping[str, Any], country: str, values: Mapping[SearchFacet, _Column]) -> None:
    for facet, field in _FIELD_OF.items():
        values[facet].add(document.get(field, ()))
    values["manufacturer"].add({maker.casefold() for maker in document.get("manufacturers", ())})
    values["country"].add((country,) if country else ())
    values["site"].add((document["site"],))
    values["tier"].add((str(document.get("tier", 1)),))
    values["synthetic"].add((YES if document.get("synthetic") else NO,))
    values["access"].add((document["access"],) if "access" in document else ())


_LABELS: dict[vocabulary.Field, dict[str, str]] = {
    field: {term: vocabulary.concept(field, term).label for term in vocabulary.terms(field)}
    for field in VOCABULARY_OF.values()
}
