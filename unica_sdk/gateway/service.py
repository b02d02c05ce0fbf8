"""The gateway without HTTP: what the faces call, one method or desk per thing people and machines do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from unica_sdk import __version__
from unica_sdk.audit import AuditLog
from unica_sdk.errors import UnicaError
from unica_sdk.federation.ports import Engine
from unica_sdk.gateway.bell import Bell
from unica_sdk.gateway.cohorts import CohortDesk
from unica_sdk.gateway.jobs import JobDesk
from unica_sdk.gateway.memory import AnswerMemory
from unica_sdk.gateway.permits import PermitBook
from unica_sdk.gateway.records import RecordDesk, check_ownership
from unica_sdk.gateway.search import CatalogueSearch
from unica_sdk.gateway.store import SiteRow, Store
from unica_sdk.gateway.switchboard import Switchboard
from unica_sdk.schemas.app import App
from unica_sdk.schemas.catalogue import DatasetRecord, Indicators, NodeEnrolment, NodeStatus
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.exchange import Hello, Welcome
from unica_sdk.schemas.identity import Person, Session
from unica_sdk.schemas.job import JobEvent, JobUpdate
from unica_sdk.schemas.permit import PermitSummary
from unica_sdk.schemas.search import DatasetSearch, SearchPage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_log = logging.getLogger(__name__)

GOAL_CASES = 100_000
"""The cases the project has promised."""

PUBLISHER: Final = "The operator of this UNICA hub"
"""Who publishes the catalogue, where the hub's settings name nobody."""

ISOLATION: Final = "none"
"""How kernels are isolated: not at all, until the sandboxes are built, and every page says so."""

EVERYTHING = DatasetSearch()
"""A search that every dataset fits."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Gateway:
    """Everything the gateway does: records in `records`, counts and freezes in `cohorts`, jobs in `jobs`.

    Bound to no event loop: its coroutines may run in any one, its other methods in any thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        audit: AuditLog,
        ticket_key: Ed25519PrivateKey,
        steward_public_key: Ed25519PublicKey,
        engine: Engine,
        clock: Callable[[], datetime] = _utc_now,
        count_seconds: float = 10.0,
        freeze_seconds: float = 30.0,
        presence_seconds: float = 25.0,
        resend_seconds: float = 5.0,
        publisher: str = PUBLISHER,
        contact: str = "",
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._bell = Bell()
        self.switchboard = Switchboard(
            self._bell, presence_seconds=presence_seconds, resend_seconds=resend_seconds
        )
        self._permits = PermitBook(store, steward_public_key=steward_public_key, clock=clock)
        self.records = RecordDesk(store, audit=audit, clock=clock, publisher=publisher, contact=contact)
        self.cohorts = CohortDesk(
            store,
            audit=audit,
            permits=self._permits,
            switchboard=self.switchboard,
            memory=AnswerMemory(),
            clock=clock,
            count_seconds=count_seconds,
            freeze_seconds=freeze_seconds,
        )
        self._catalogue = CatalogueSearch(store)
        self.jobs = JobDesk(
            store,
            audit=audit,
            permits=self._permits,
            ticket_key=ticket_key,
            engine=engine,
            bell=self._bell,
            clock=clock,
        )

    def release_waiters(self) -> None:
        """Let every long-poll return now, and none wait again: the process is about to end."""
        self._bell.close()

    def close(self) -> None:
        """Stop waiting and handing over; the store stays open, it is the caller's."""
        self.release_waiters()
        self.jobs.close()

    @property
    def isolation(self) -> str:
        """How kernels are isolated; every page says it."""
        return ISOLATION

    # -- people

    def session(self, person: Person) -> Session:
        """Return who the caller is, and how this environment is isolated."""
        return Session(person=person, isolation=ISOLATION, version=__version__)

    def permits(self, person: Person) -> tuple[PermitSummary, ...]:
        """Return this person's permits."""
        return self._permits.of(person.subject)

    def nodes(self) -> tuple[NodeStatus, ...]:
        """Return every enrolled site, online or not."""
        records = self._store.records()
        return tuple(
            self._status(row, tuple(r.id for r in records if r.site == site))
            for site, row in self._store.sites().items()
        )

    def datasets(self, search: DatasetSearch = EVERYTHING) -> tuple[DatasetRecord, ...]:
        """Return all datasets that fit, by id.

        Raises:
            UnknownTerm: a word outside the vocabulary.
            InvalidRequest: a site that is not enrolled.
        """
        return self._catalogue.all(search)

    def search(self, search: DatasetSearch) -> SearchPage:
        """Return one page of the datasets that fit, best first, and on the first page the facets.

        Raises:
            UnknownTerm: a word outside the vocabulary.
            InvalidRequest: a site that is not enrolled, or a cursor that no page gave.
        """
        return self._catalogue.find(search)

    def apps(self) -> tuple[App, ...]:
        """Return every app."""
        return self._store.apps()

    def indicators(self) -> Indicators:
        """Return what a project manager sees; the cases are the sum over datasets of the sites' own numbers.

        A person in two datasets of a site counts in both.
        """
        records = self._store.records()
        lower = sum(r.patients.low for r in records if isinstance(r.patients, Released))
        bounded = [r.patients for r in records if isinstance(r.patients, Released | Suppressed)]
        upper = sum(p.high if isinstance(p, Released) else p.below - 1 for p in bounded)
        return Indicators(
            at=self._clock(),
            goal_cases=GOAL_CASES,
            cases_lower=lower,
            cases_upper=upper if len(bounded) == len(records) else None,
            nodes=self.nodes(),
            datasets=records,
            jobs=self._store.jobs.counts(),
            isolation=ISOLATION,
        )

    async def events(self, person: Person, job_id: str, *, after: int, wait: float) -> tuple[JobEvent, ...]:
        """Return a job's events after a number, waiting up to `wait` seconds for the first one.

        A job that is over has no more events, so nobody waits for one.
        """
        found: tuple[JobEvent, ...] = ()

        def look() -> bool:
            nonlocal found
            job = self.jobs.get(person, job_id)
            found = self._store.jobs.events(job_id, after=after)
            return bool(found) or job.state.final

        async def ready() -> bool:
            return await asyncio.to_thread(look)

        await self._bell.until(f"job:{job_id}", ready, seconds=wait)
        return found

    # -- sites

    def hello(self, site: str, hello: Hello) -> Welcome:
        """Take a site's records and the head of its audit; answer with the head of ours.

        Raises:
            InvalidRequest: a record of another site, or one listed twice.
        """
        check_ownership(site, hello.datasets)
        row = self._store.site(site)
        if not self.switchboard.online(site):
            self._audit.append(actor=site, action="site.connected", subject=site)
        if _audit_went_back(row, hello):
            self._audit.append(
                actor=site,
                action="site.audit_went_back",
                subject=site,
                was=[row.audit_head, row.audit_length],
                now=[hello.audit_head, hello.audit_length],
            )
        refused = self.records.take(site, hello.datasets)
        self.switchboard.see(site)
        self.cohorts.heard(site, hello)
        self._store.heard_from(
            site,
            at=self._clock(),
            audit_head=hello.audit_head,
            audit_length=hello.audit_length,
            policy=hello.policy,
        )
        head, length = self._audit.head()
        return Welcome(audit_head=head, audit_length=length, refused=refused)

    def enrolment(self, site: str) -> NodeEnrolment:
        """Return how a site is enrolled.

        Raises:
            NotFound: it is not.
        """
        return self._store.site(site).enrolment

    # -- the engine

    def enrolments(self) -> tuple[NodeEnrolment, ...]:
        """Return every enrolled site with its public keys."""
        return tuple(row.enrolment for row in self._store.sites().values())

    def report(self, job_id: str, update: JobUpdate) -> bool:
        """Take what the engine says of a job; the answer is whether the job is still wanted."""
        return self.jobs.report(job_id, update)

    async def watch(self, *, every: float = 1.0) -> None:
        """End overdue jobs and keep the catalogue's index ready, for ever; run it beside the faces."""
        while True:
            try:
                await asyncio.to_thread(self.jobs.sweep)
                await asyncio.to_thread(self._catalogue.refresh)
            except UnicaError:
                # The database is away; a watchdog that gave up here would never come back.
                _log.exception("The watchdog could not look at the jobs and the catalogue")
            await asyncio.sleep(every)

    def _status(self, row: SiteRow, datasets: tuple[str, ...]) -> NodeStatus:
        site = row.enrolment.site
        return NodeStatus(
            site=site,
            name=row.enrolment.name,
            country=row.enrolment.country,
            online=self.switchboard.online(site),
            last_seen=self.switchboard.last_seen(site) or row.last_seen,
            datasets=datasets,
            policy=row.policy,
            problems=self.records.problems(site),
        )


def _audit_went_back(row: SiteRow, hello: Hello) -> bool:
    """Whether a site's audit is shorter than it was, or another one of the same length."""
    if row.audit_length is None:
        return False
    if hello.audit_length == row.audit_length:
        return hello.audit_head != row.audit_head
    return hello.audit_length < row.audit_length
