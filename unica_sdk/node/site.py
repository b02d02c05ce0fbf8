"""A site's guard: what a job must show before any line of its app runs here, and the cases it then gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from unica_sdk.errors import (
    AuditBroken,
    ConfigurationError,
    DataError,
    InvalidRequest,
    NotFound,
    PermitProblem,
    SignatureInvalid,
    UnicaError,
)
from unica_sdk.federation.ports import Admission, Cases, Refusal, Task
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.budget import Asked, Budget
from unica_sdk.node.cohort import FrozenList, load
from unica_sdk.node.disclosure import protect
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import People, cases_of, prepare_cases
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.job import FailureCode
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import SignedDocument, verify
from unica_sdk.schemas.ticket import Ticket, parameters_digest

CLOCK_SKEW = timedelta(minutes=5)
"""How far the gateway's clock may run ahead of the site's."""

JOB_COST = 3
"""What one person can move in a job's numbers: its cases, the held-out people, and those of one class."""


class LocalSite:
    """The node's own side of jobs; implements `unica_sdk.federation.ports.Site`.

    It takes nobody's word: the ticket must verify against the pinned gateway key, and the permit inside it
    against the pinned steward key, whatever the hub says.
    """

    def __init__(self, home: NodeHome) -> None:
        self.home = home
        self._budget = Budget(home.folder)

    @property
    def name(self) -> str:
        """The site's name."""
        return self.home.site

    def record(self, action: str, subject: str, **detail: Any) -> None:
        """Write the site's audit.

        Raises:
            AuditBroken: it could not be written; do not do what it would have recorded.
        """
        self.home.audit.append(actor="runner", action=action, subject=subject, **detail)

    def approved(self, app: str) -> bool:
        """Whether the bundle with this digest may be unpacked here at all; without a readable policy, none.

        Raises:
            AuditBroken: the policy cannot be read and that could not be recorded.
        """
        try:
            return app in self.home.policy().approved_apps
        except ConfigurationError as err:
            self.record("policy_unreadable", app, detail=str(err))
            return False

    def admit(
        self,
        *,
        task: Task,
        ticket: SignedDocument | None,
        app: str,
        manifest: AppManifest,
        parameters: Mapping[str, Any],
    ) -> Admission:
        """Check one message before any line of the app runs; `app` is the digest of the actual bytes.

        Raises:
            Refusal: with the code that the hub may know; the reason is in the site's audit.
        """
        try:
            admission = self._admission(ticket, app, manifest, parameters)
        except Refusal as refusal:
            self._write(
                "refuse", _job_of(ticket), task=task, app=app, code=refusal.code, detail=refusal.detail
            )
            raise
        self._write(
            "admit",
            admission.ticket.job,
            task=task,
            app=app,
            holder=admission.ticket.holder,
            snapshot=admission.snapshot,
        )
        return admission

    def cases(self, admission: Admission, manifest: AppManifest) -> Cases:
        """Return the admitted snapshot's cases at the app's resolution, less those withdrawn since.

        Raises:
            Refusal: so many files cannot be read any more that too few people are left; the budget is spent,
                which happens after the admission only where the index changed since; or the audit failed.
            DataError: the index cannot be read.
        """
        frozen = load(self.home, admission.snapshot)
        policy = self.home.policy()
        with open_admitted(self.home) as index:
            prepared = prepare_cases(self.home, index, frozen, manifest)
        asked = _Numbers(frozen, manifest, version=index.version, readable=not prepared.unreadable)
        self._pay(asked, policy)
        self._write(
            "cases",
            admission.ticket.job,
            images=len(prepared.cases.labels),
            patients=prepared.people.all,
            unreadable=prepared.unreadable,
            withheld=prepared.withheld,
            index_version=index.version,
        )
        if self._enough(prepared.people.all, asked, manifest, policy) is None:
            raise Refusal(FailureCode.TOO_FEW_CASES, f"{prepared.unreadable} files could not be read")
        return replace(prepared.cases, tested=self._tested(prepared.people, asked, policy))

    def _tested(self, people: People, asked: _Numbers, policy: SitePolicy) -> Released | None:
        """Return how many people a figure would be about, or None where it would be about too few.

        A rank statistic over a small class gives its size and its cases' places away, so each class must
        pass by itself.
        """
        positive, negative = people.tested_positive, people.tested_negative
        numbers = {"positive": positive, "negative": negative, "tested": positive + negative}
        answers = {what: self._protect(n, what, asked, policy) for what, n in numbers.items()}
        told = answers["tested"]
        passed = all(isinstance(answer, Released) for answer in answers.values())
        return told if passed and isinstance(told, Released) else None

    def _admission(
        self,
        signed: SignedDocument | None,
        app: str,
        manifest: AppManifest,
        parameters: Mapping[str, Any],
    ) -> Admission:
        ticket = self._ticket(signed, app)
        permit = self._permit(ticket)
        policy = self._policy_for(app)
        filled = _parameters(ticket, manifest, parameters)
        frozen = self._snapshot(ticket, permit)
        return Admission(
            ticket=ticket,
            snapshot=frozen.id,
            parameters=filled,
            cases=self._paid_cases(frozen, manifest, policy),
            seconds=policy.job_seconds,
        )

    def _ticket(self, signed: SignedDocument | None, app: str) -> Ticket:
        if signed is None:
            raise Refusal(FailureCode.NO_TICKET)
        try:
            ticket = verify(signed, Ticket, self.home.gateway_key())
        except (SignatureInvalid, ConfigurationError) as err:
            raise Refusal(FailureCode.TICKET_INVALID, str(err)) from err
        now = datetime.now(UTC)
        if now >= ticket.expires:
            raise Refusal(FailureCode.TICKET_EXPIRED, f"expired {ticket.expires:%Y-%m-%d %H:%M:%S}")
        if ticket.issued > now + CLOCK_SKEW:
            raise Refusal(FailureCode.TICKET_INVALID, "issued in the future")
        if ticket.app != app:
            raise Refusal(FailureCode.TICKET_INVALID, "the ticket is for another app")
        if self.name not in ticket.cohort:
            raise Refusal(FailureCode.TICKET_INVALID, "the ticket is not for this site")
        return ticket

    def _permit(self, ticket: Ticket) -> Permit:
        try:
            permit = verify(ticket.permit, Permit, self.home.steward_key())
            permit.require(holder=ticket.holder, now=datetime.now(UTC), app=ticket.app)
        except (SignatureInvalid, PermitProblem, ConfigurationError) as err:
            raise Refusal(FailureCode.PERMIT_INVALID, str(err)) from err
        return permit

    def _policy_for(self, app: str) -> SitePolicy:
        try:
            policy = self.home.policy()
        except ConfigurationError as err:
            raise Refusal(FailureCode.APP_NOT_APPROVED, str(err)) from err
        if app not in policy.approved_apps:
            raise Refusal(FailureCode.APP_NOT_APPROVED)
        return policy

    def _snapshot(self, ticket: Ticket, permit: Permit) -> FrozenList:
        try:
            frozen = load(self.home, ticket.cohort[self.name])
        except (NotFound, DataError) as err:
            raise Refusal(FailureCode.COHORT_UNKNOWN, str(err)) from err
        if (frozen.permit, frozen.holder) != (permit.id, ticket.holder):
            raise Refusal(FailureCode.COHORT_UNKNOWN, "frozen under another permit or by another person")
        outside = [name for name in frozen.datasets if f"{self.name}/{name}" not in permit.datasets]
        if outside:
            raise Refusal(FailureCode.PERMIT_INVALID, "does not cover " + ", ".join(outside))
        return frozen

    def _paid_cases(self, frozen: FrozenList, manifest: AppManifest, policy: SitePolicy) -> Released:
        try:
            with open_admitted(self.home) as index:
                cases = cases_of(self.home.site_key(), index, frozen, manifest)
                people, version = len({case.patient for case in cases}), index.version
        except UnicaError as err:
            raise Refusal(FailureCode.COHORT_UNKNOWN, str(err)) from err
        asked = _Numbers(frozen, manifest, version=version)
        self._pay(asked, policy)
        told = self._enough(people, asked, manifest, policy)
        if told is None:
            raise Refusal(FailureCode.TOO_FEW_CASES, f"{people} people of {_required(policy, manifest)}")
        return told

    def _enough(
        self, people: int, asked: _Numbers, manifest: AppManifest, policy: SitePolicy
    ) -> Released | None:
        """Return the number of people as it may leave, or None where that is too small.

        It is the number with noise that is compared: a limit that the true one had to pass would tell, by
        cohorts that differ a little, what the true one is.
        """
        cases = self._protect(people, asked.cases, asked, policy)
        required = _required(policy, manifest)
        return cases if isinstance(cases, Released) and cases.n >= required else None

    def _pay(self, asked: _Numbers, policy: SitePolicy) -> None:
        """Take the price of a job's numbers from its permit and the site, once for each version of the index.

        Raises:
            Refusal: the budget is spent, or cannot be written.
        """
        for one in asked.asked():
            try:
                charge = self._budget.charge(one, payer=f"permit:{asked.permit}", policy=policy)
            except DataError as err:
                raise Refusal(FailureCode.AUDIT_UNAVAILABLE, str(err)) from err
            if not charge.allowed:
                raise Refusal(FailureCode.BUDGET_SPENT, f"{charge.left} questions are left")

    def _protect(self, n: int, what: str, asked: _Numbers, policy: SitePolicy) -> Released | Suppressed:
        return protect(
            n,
            policy=policy,
            site=self.name,
            key=self.home.site_key(),
            question=asked.question(what),
            index_version=asked.version,
        )

    def _write(self, action: str, subject: str, **detail: Any) -> None:
        try:
            self.record(action, subject, **detail)
        except AuditBroken as err:
            raise Refusal(FailureCode.AUDIT_UNAVAILABLE, str(err)) from err


class _Numbers:
    """The numbers of one frozen cohort for one app on one version: what each is called, and their price."""

    def __init__(
        self, frozen: FrozenList, manifest: AppManifest, *, version: int, readable: bool = True
    ) -> None:
        self.permit, self.version = frozen.permit, version
        # Where files could not be read, it is another number than the one that admitted the job.
        self.cases = "cases" if readable else "readable cases"
        self._about = [frozen.id, manifest.digest()]

    def question(self, what: str) -> bytes:
        """Return the canonical bytes of one of the numbers."""
        return canonical_json(["job", what, *self._about])

    def asked(self) -> tuple[Asked, ...]:
        """Return what is paid for."""
        costs = {self.cases: 1} | {"cases": JOB_COST}
        return tuple(
            Asked(question=self.question(what), version=self.version, cost=cost)
            for what, cost in costs.items()
        )


def _parameters(
    ticket: Ticket, manifest: AppManifest, parameters: Mapping[str, Any]
) -> dict[str, float | int | str]:
    try:
        if parameters_digest(parameters) != ticket.parameters:
            raise Refusal(FailureCode.PARAMETERS_INVALID, "not those of the ticket")
        if ticket.rounds > manifest.maximum_rounds:
            raise Refusal(FailureCode.PARAMETERS_INVALID, f"{ticket.rounds} rounds are too many")
        return manifest.fill(parameters)
    except (InvalidRequest, ValueError, TypeError) as err:
        # What is not JSON has no digest, so it is not what the ticket was made for.
        raise Refusal(FailureCode.PARAMETERS_INVALID, str(err)) from err


def _required(policy: SitePolicy, manifest: AppManifest) -> int:
    return max(policy.minimum_cases, policy.threshold, manifest.minimum_cases)


def _job_of(ticket: SignedDocument | None) -> str:
    """A name for the audit only: the ticket may be anybody's."""
    return f"ticket {ticket.signature[:16]}" if ticket else "no ticket"
