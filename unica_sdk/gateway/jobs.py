"""Jobs at the gateway: checked, ticketed, handed to the engine, reported on, and always ended."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from unica_sdk.audit import AuditLog
from unica_sdk.errors import InvalidRequest, PermitProblem, SignatureInvalid, UnicaError
from unica_sdk.federation.ports import Engine
from unica_sdk.gateway.bell import Bell
from unica_sdk.gateway.lifecycle import Step, declared_only, step
from unica_sdk.gateway.permits import PermitBook
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.app import App
from unica_sdk.schemas.cohort import FrozenCohort
from unica_sdk.schemas.identity import Person
from unica_sdk.schemas.job import (
    Failure,
    FailureCode,
    Job,
    JobEvent,
    JobOrder,
    JobRequest,
    JobState,
    JobUpdate,
    Participant,
    ParticipantState,
)
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument, sign
from unica_sdk.schemas.ticket import Ticket, parameters_digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_log = logging.getLogger(__name__)

TICKET_GRACE = timedelta(minutes=5)
"""How long a ticket outlives its job's deadline, for clocks that differ."""

WATCHDOG_GRACE = timedelta(seconds=30)
"""How long after its deadline a job is ended here, where the engine has not."""


class JobDesk:
    """Takes jobs in, and sees to it that each reaches a final state."""

    def __init__(
        self,
        store: Store,
        *,
        audit: AuditLog,
        permits: PermitBook,
        ticket_key: Ed25519PrivateKey,
        engine: Engine,
        bell: Bell,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audit = audit
        self._permits = permits
        self._ticket_key = ticket_key
        self._engine = engine
        self._bell = bell
        self._clock = clock
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="unica-engine")

    def close(self) -> None:
        """Wait for what is being handed to the engine; start nothing more."""
        self._threads.shutdown(cancel_futures=True)

    def submit(self, person: Person, request: JobRequest) -> Job:
        """Check a job and take it in; it is handed to the engine in the background.

        Raises:
            InvalidRequest: parameters, rounds or quorum that cannot be.
            NotFound: no such app, or no such cohort of this person.
            PermitProblem: not held, not valid, or not covering the app or a site's data.
        """
        app = self._store.app(request.app)
        _check_request(app, request)
        cohort = self._store.cohort(request.cohort, holder=person.subject)
        _check_quorum(cohort, request)
        permit = self._check_permit(cohort, request)[0]
        now = self._clock()
        job = _new_job(app, cohort, request, permit=permit, now=now)
        self._audit.append(
            actor=person.subject,
            action="job.submitted",
            subject=job.id,
            request=request.model_dump(mode="json"),
            sites=list(cohort.sites),
        )
        first = JobEvent(sequence=0, at=now, text="Submitted.", state=JobState.SUBMITTED)
        self._store.jobs.add(Step(job=job, event=first), request, due=_due(now, request))
        self._threads.submit(self._launch, job.id)
        return job

    def cancel(self, person: Person, job_id: str) -> Job:
        """Cancel a job of this person; one that is over stays as it ended."""
        self._store.jobs.get(job_id, holder=person.subject)
        update = JobUpdate(text="Cancelled by its holder.", state=JobState.CANCELLED)
        job, changed = self._advance(job_id, update, actor=person.subject)
        if changed:
            self._threads.submit(self._stop, job_id)
        return job

    def get(self, person: Person, job_id: str) -> Job:
        """Return a job of this person."""
        return self._store.jobs.get(job_id, holder=person.subject)

    def of(self, person: Person) -> tuple[Job, ...]:
        """Return this person's jobs, newest first."""
        return self._store.jobs.of(person.subject)

    def order(self, job_id: str) -> JobOrder:
        """Return the order of a job that is under way, for the engine's server side."""
        return self._store.jobs.order(job_id)

    def report(self, job_id: str, update: JobUpdate) -> bool:
        """Take what the engine says of a job; the answer is whether the job is still wanted.

        Raises:
            NotFound: no such job.
            InvalidRequest: the update cannot be; nothing changed.
        """
        if update.round is not None:
            manifest = self._store.app(self._store.jobs.get(job_id).app).manifest
            figures, dropped = declared_only(update.round, manifest)
            text = f"{update.text} Dropped, not declared: {', '.join(dropped)}." if dropped else update.text
            update = update.model_copy(update={"round": figures, "text": text})
        return self._advance(job_id, update, actor="engine")[1]

    def resume(self) -> None:
        """Take up the jobs that an earlier process of the gateway took in and did not hand over."""
        for job_id in self._store.jobs.unfinished(states=(JobState.SUBMITTED, JobState.CHECKING)):
            self._threads.submit(self._launch, job_id)

    def sweep(self) -> None:
        """End the jobs that are overdue: whatever became of the engine, no job stays open for ever."""
        for job_id in self._store.jobs.unfinished(due=self._clock()):
            self._fail(job_id, FailureCode.DEADLINE, "The deadline passed and the engine had not ended it.")
            self._threads.submit(self._stop, job_id)

    def _launch(self, job_id: str) -> None:
        """Check once more, sign the ticket, hand over. Runs in a thread; whatever happens ends in a state."""
        try:
            update = JobUpdate(text="Checking permit, app and cohort.", state=JobState.CHECKING)
            if not self._advance(job_id, update)[1]:
                return
            order, due = self._order(job_id)
            update = JobUpdate(text="Checked; handed to the engine.", state=JobState.QUEUED)
            if not self._advance(job_id, update, order=order, due=due)[1]:
                return
            self._engine.start(order, self._store.bundle(order.app))
            if self._store.jobs.get(job_id).state.final:
                self._engine.stop(job_id)
        except (PermitProblem, SignatureInvalid):
            self._fail(job_id, FailureCode.PERMIT_INVALID, "The permit is no longer valid.")
        except Exception:
            # A thread has nobody to raise to: the job must say it, and the operator's log must say why.
            _log.exception("The job %s could not be started", job_id)
            self._fail(job_id, FailureCode.ENGINE, "The engine did not take the job.")

    def _stop(self, job_id: str) -> None:
        try:
            self._engine.stop(job_id)
        except Exception:
            # The job is over at the gateway already, and its ticket is refused once it expires.
            _log.exception("The engine could not stop the job %s", job_id)

    def _fail(self, job_id: str, code: FailureCode, text: str) -> None:
        try:
            self._advance(job_id, JobUpdate(text=text, state=JobState.FAILED, failure=Failure(code=code)))
        except UnicaError:
            # The audit or the database is away; the watchdog tries again.
            _log.exception("The job %s could not be ended", job_id)

    def _advance(
        self,
        job_id: str,
        update: JobUpdate,
        *,
        actor: str = "gateway",
        order: JobOrder | None = None,
        due: datetime | None = None,
    ) -> tuple[Job, bool]:
        def change(job: Job) -> Step | None:
            following = step(job, update, now=self._clock())
            if following is not None and following.job.state != job.state:
                failure = following.job.failure
                self._audit.append(
                    actor=actor,
                    action=f"job.{following.job.state.value}",
                    subject=job_id,
                    **({"failure": failure.model_dump(mode="json")} if failure else {}),
                )
            return following

        job, changed = self._store.jobs.change(job_id, change, order=order, due=due)
        if changed:
            self._bell.ring(f"job:{job_id}")
        return job, changed

    def _check_permit(self, cohort: FrozenCohort, request: JobRequest) -> tuple[Permit, SignedDocument]:
        permit, signed = self._permits.held(request.permit, holder=cohort.holder)
        if cohort.permit != permit.id:
            raise PermitProblem(
                f"The cohort was frozen under the permit {cohort.permit}.", where=f"permit {permit.id}"
            )
        permit.require(holder=cohort.holder, now=self._clock(), app=request.app)
        outside = sorted(set(cohort.sites) - self._permits.covered_sites(permit))
        if outside:
            raise PermitProblem(
                f"The permit covers no dataset of {', '.join(outside)}.", where=f"permit {permit.id}"
            )
        return permit, signed

    def _order(self, job_id: str) -> tuple[JobOrder, datetime]:
        job, request = self._store.jobs.get(job_id), self._store.jobs.request(job_id)
        app = self._store.app(request.app)
        cohort = self._store.cohort(request.cohort, holder=job.holder)
        _, signed_permit = self._check_permit(cohort, request)
        parameters = app.manifest.fill(request.parameters)
        sites = self._store.sites()
        now = self._clock()
        ticket = Ticket(
            job=job_id,
            holder=job.holder,
            app=app.id,
            parameters=parameters_digest(parameters),
            cohort={snapshot.site: snapshot.id for snapshot in cohort.snapshots},
            permit=signed_permit,
            rounds=request.rounds,
            issued=now,
            expires=now + timedelta(seconds=request.deadline) + TICKET_GRACE,
        )
        order = JobOrder(
            job=job_id,
            app=app.id,
            manifest=app.manifest,
            parameters=parameters,
            ticket=sign(ticket, self._ticket_key),
            sites={site: sites[site].enrolment.engine_key for site in cohort.sites},
            rounds=request.rounds,
            quorum=request.quorum,
            deadline=request.deadline,
            seed=request.seed,
        )
        return order, _due(now, request)


def _check_request(app: App, request: JobRequest) -> None:
    app.manifest.fill(request.parameters)
    if request.rounds > app.manifest.maximum_rounds:
        raise InvalidRequest(
            f"{app.manifest.name} takes at most {app.manifest.maximum_rounds} rounds.", where="rounds"
        )


def _check_quorum(cohort: FrozenCohort, request: JobRequest) -> None:
    if request.quorum > len(cohort.sites):
        raise InvalidRequest(
            f"The quorum is {request.quorum}, and the cohort has {len(cohort.sites)} sites.",
            where="quorum",
            hint="Lower the quorum, or freeze a cohort with more sites.",
        )


def _new_job(app: App, cohort: FrozenCohort, request: JobRequest, *, permit: Permit, now: datetime) -> Job:
    return Job(
        id=f"{now:%Y%m%d}-{secrets.token_hex(4)}",
        holder=cohort.holder,
        app=app.id,
        app_name=app.manifest.name,
        cohort=cohort.id,
        permit=permit.id,
        project=permit.project,
        rounds=request.rounds,
        quorum=request.quorum,
        deadline=request.deadline,
        state=JobState.SUBMITTED,
        participants=tuple(
            Participant(site=snapshot.site, state=ParticipantState.INVITED, cases=snapshot.cases)
            for snapshot in sorted(cohort.snapshots, key=lambda snapshot: snapshot.site)
        ),
        created=now,
    )


def _due(now: datetime, request: JobRequest) -> datetime:
    return now + timedelta(seconds=request.deadline) + WATCHDOG_GRACE
