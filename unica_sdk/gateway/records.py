"""The catalogue's records at the hub: taken where they are valid, kept by version, served as linked data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain

from unica_sdk.audit import AuditLog
from unica_sdk.errors import InvalidRequest, NotFound
from unica_sdk.gateway.store import Store, substance
from unica_sdk.gateway.switchboard import check_count
from unica_sdk.records import documents
from unica_sdk.records.graph import catalogue_graph, dataset_graph
from unica_sdk.records.validation import problems, required
from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem, RecordVersion


class RecordDesk:
    """Takes sites' records and gives them out.

    A record that is not valid is refused with the property and the fix, and the last good one stays. Only a
    record that says something new is validated: a heartbeat costs a comparison of digests.

    Args:
        store: Where the records are.
        audit: The hub's audit.
        clock: What the time is.
        publisher: Who publishes the catalogue: the hub's operator.
        contact: How to reach the operator: an email address or a web page.
    """

    def __init__(
        self,
        store: Store,
        *,
        audit: AuditLog,
        clock: Callable[[], datetime],
        publisher: str,
        contact: str,
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._publisher = publisher
        self._contact = contact
        # pySHACL prepares the shapes as it goes, so that one thread at a time may validate.
        self._lock = threading.Lock()
        self._refused: dict[str, dict[str, tuple[str, tuple[RecordProblem, ...]]]] = {}

    def take(self, site: str, records: tuple[DatasetRecord, ...]) -> tuple[RecordProblem, ...]:
        """Make a site's valid records the current ones, and return what is wrong with the others."""
        refused = self._judge(site, records)
        accepted = tuple(record for record in records if record.id not in refused)
        kept = [self._store.record(dataset) for dataset in refused]
        wanted = (*accepted, *(record for record in kept if record is not None and record.site == site))
        if self._store.differs(site, wanted):
            self._audit.append(
                actor=site, action="site.records", subject=site, datasets=[r.id for r in wanted]
            )
            self._store.put_records(site, wanted, at=self._clock())
        return self.problems(site)

    def problems(self, site: str) -> tuple[RecordProblem, ...]:
        """Return what is wrong with the records that a site last sent and the hub did not take."""
        return tuple(p for _, found in self._refused.get(site, {}).values() for p in found)

    def get(self, dataset: str, *, version: int | None = None) -> DatasetRecord:
        """Return a dataset's current record, or one of its versions.

        Raises:
            NotFound: there is no such dataset, or no such version of its record.
        """
        if version is None:
            found = self._store.record(dataset)
            if found is not None:
                return found
            raise NotFound(f"There is no dataset {dataset!r}.", where="dataset", hint="See net.catalogue.")
        for one in self.versions(dataset):
            if one.version == version:
                return one.record
        raise NotFound(f"The record of {dataset!r} has no version {version}.", where="version")

    def versions(self, dataset: str) -> tuple[RecordVersion, ...]:
        """Return every version of a dataset's record, the newest first.

        Raises:
            NotFound: there never was such a dataset.
        """
        found = self._store.versions(dataset)
        if not found:
            raise NotFound(f"There is no dataset {dataset!r}.", where="dataset", hint="See net.catalogue.")
        return found

    def document(self, dataset: str, form: documents.Form, *, version: int | None = None) -> str:
        """Return a dataset as a document of linked data.

        Raises:
            NotFound: there is no such dataset, or no such version of its record.
        """
        return "".join(documents.stream([dataset_graph(self.get(dataset, version=version))], form))

    def catalogue(self, form: documents.Form) -> Iterator[str]:
        """Return the whole catalogue as one document, piece by piece."""
        records = self._store.records()
        datasets = [record.id for record in records]
        head = catalogue_graph(datasets, publisher=self._publisher, contact=self._contact)
        return documents.stream(chain([head], map(dataset_graph, records)), form)

    def _judge(self, site: str, records: tuple[DatasetRecord, ...]) -> set[str]:
        """Validate what is new, and return the datasets whose record is refused."""
        before = self._refused.get(site, {})
        now: dict[str, tuple[str, tuple[RecordProblem, ...]]] = {}
        for record in self._store.unknown(site, records):
            digest = substance(record)
            known = before.get(record.id)
            if known is not None and known[0] == digest:
                now[record.id] = known
                continue
            with self._lock:
                found = required(problems([record]).get(record.id, ()))
            if found:
                now[record.id] = (digest, found)
                self._audit.append(
                    actor=site,
                    action="site.record_refused",
                    subject=record.id,
                    problems=[problem.text for problem in found],
                )
        self._refused[site] = now
        return set(now)


def check_ownership(site: str, records: tuple[DatasetRecord, ...]) -> None:
    """Return if a site speaks of its own datasets, of each once.

    Raises:
        InvalidRequest: it does not.
    """
    for number, record in enumerate(records):
        where = f"datasets.{number}"
        if record.site != site or not record.id.startswith(f"{site}/"):
            raise InvalidRequest("A site describes its own datasets only.", where=where)
        check_count(record.patients, site, where=f"{where}.patients")
        check_count(record.studies, site, where=f"{where}.studies")
    if len({record.id for record in records}) != len(records):
        raise InvalidRequest("A dataset is described twice.", where="datasets")
