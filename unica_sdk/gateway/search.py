"""Searching the catalogue at the hub: an index in memory, made anew where the store's records changed."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import InvalidRequest
from unica_sdk.gateway.cohorts import check_sites_known
from unica_sdk.gateway.search_index import Mask, SearchIndex, every
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.search import DatasetSearch, FacetValue, SearchFacet, SearchPage

MOST_VALUES = 100
"""The most values of a facet that a page shows, besides those that were chosen."""

_DOCUMENT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_CURSOR: TypeAdapter[tuple[int, str]] = TypeAdapter(tuple[int, str])


class CatalogueSearch:
    """Finds datasets among the current records; safe in threads.

    Several gateways may share a store: each looks at one word in it before it answers, which changes with the
    records, and makes its index anew only then. 10,000 records take well under a second.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def find(self, search: DatasetSearch) -> SearchPage:
        """Return one page of what was found, the first with its facets.

        Raises:
            UnknownTerm: a word outside the vocabulary.
            InvalidRequest: a site that is not enrolled, or a cursor that no page gave.
        """
        search.require_known()
        after = _read_cursor(search.cursor)
        index = self._current()
        check_sites_known(search.site, index.sites, where="site")
        chosen = search.chosen()
        scores = index.search.scores(search.text)
        having = index.search.having(chosen)
        mask = every(scores > 0, having.values())
        if search.id is not None:
            mask &= index.search.named(search.id)
        places, total = index.search.places(scores, mask, after=after)
        shown = places[: search.limit].tolist()
        more = len(places) > len(shown)
        return SearchPage(
            total=total,
            items=tuple(index.record(place) for place in shown),
            facets={} if after else _facets(index.search, scores > 0, having, chosen),
            next=_cursor(int(scores[shown[-1]]), index.search.ids[shown[-1]]) if more else None,
        )

    def all(self, search: DatasetSearch) -> tuple[DatasetRecord, ...]:
        """Return everything that was found, by id.

        Raises:
            UnknownTerm: a word outside the vocabulary.
            InvalidRequest: a site that is not enrolled.
        """
        search.require_known()
        index = self._current()
        check_sites_known(search.site, index.sites, where="site")
        having = index.search.having(search.chosen())
        found = every(index.search.scores(search.text) > 0, having.values())
        return tuple(index.record(place) for place in np.flatnonzero(found).tolist())

    def refresh(self) -> None:
        """Make the index anew where the records changed, before anybody has to wait for it."""
        self._current()

    def _current(self) -> _Index:
        with self._lock:
            revision = self._store.records_revision()
            if self._index is None or self._index.revision != revision:
                self._index = _made(self._store, revision)
            return self._index


@dataclass(frozen=True, kw_only=True)
class _Index:
    """One state of the records. A record is checked against its contract when it is first shown."""

    revision: str
    sites: tuple[str, ...]
    search: SearchIndex
    documents: tuple[str, ...]
    records: dict[int, DatasetRecord] = field(default_factory=dict)

    def record(self, place: int) -> DatasetRecord:
        known = self.records.get(place)
        if known is None:
            known = DatasetRecord.model_validate_json(self.documents[place])
            self.records[place] = known
        return known


def _made(store: Store, revision: str) -> _Index:
    countries = {site: row.enrolment.country for site, row in store.sites().items()}
    # By Python's order of words, which is the index's; a database may have another.
    documents = dict(sorted(store.record_documents()))
    return _Index(
        revision=revision,
        sites=tuple(countries),
        search=SearchIndex(map(_DOCUMENT.validate_json, documents.values()), countries=countries),
        documents=tuple(documents.values()),
    )


def _facets(
    index: SearchIndex,
    found: Mask,
    having: dict[SearchFacet, Mask],
    chosen: dict[SearchFacet, tuple[str, ...]],
) -> dict[SearchFacet, tuple[FacetValue, ...]]:
    counted = index.facets(found, having, chosen, most=MOST_VALUES)
    return {
        facet: tuple(FacetValue(value=value, datasets=number) for value, number in values)
        for facet, values in counted.items()
    }


def _cursor(score: int, identity: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([score, identity]).encode()).decode()


def _read_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    try:
        return _CURSOR.validate_json(base64.urlsafe_b64decode(cursor.encode()))
    except (ValidationError, binascii.Error, ValueError) as err:
        raise InvalidRequest(
            "The cursor is not one that a page gave.", where="cursor", hint="Begin again without one."
        ) from err
