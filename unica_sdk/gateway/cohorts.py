"""Counts, breakdowns and freezes: one question to every site that is asked, and what came back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from unica_sdk.audit import AuditLog
from unica_sdk.errors import InvalidRequest, PermitProblem
from unica_sdk.gateway.breakdowns import added_up
from unica_sdk.gateway.memory import AnswerMemory, Basis
from unica_sdk.gateway.permits import PermitBook
from unica_sdk.gateway.store import Store
from unica_sdk.gateway.switchboard import Switchboard
from unica_sdk.schemas.cohort import (
    BreakdownResult,
    CohortQuery,
    CountAnswer,
    CountResult,
    CountStep,
    Facets,
    FrozenCohort,
    Offline,
    Refused,
    Released,
    SiteBreakdown,
    Suppressed,
)
from unica_sdk.schemas.contract import canonical_json, sha256
from unica_sdk.schemas.exchange import (
    Answer,
    BreakdownQuestion,
    CountQuestion,
    FreezeQuestion,
    Hello,
    Question,
)
from unica_sdk.schemas.identity import Person
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument

TICK_SECONDS = 0.5
"""How often whoever waits for a count hears that the sites are still waited for."""

NOT_IN_PERMIT = "not_in_permit"
"""The refusal of a site that was left out because the permit covers none of its datasets."""


@dataclass(frozen=True, kw_only=True)
class _Enquiry:
    """One question as it is put: to whom, for whom, and on whose budget. `question` is its canonical form."""

    person: Person
    query: CohortQuery
    by: Facets | None
    sites: tuple[str, ...]
    permit: SignedDocument | None
    payer: str
    question: bytes
    remembered: dict[str, Answer]
    bases: dict[str, Basis | None]

    def put(self) -> Question:
        given: dict[str, Any] = {
            "id": _new_id(),
            "query": _raw(self.query),
            "asker": self.person.subject,
            "permit": self.permit,
        }
        return BreakdownQuestion(**given, by=self.by) if self.by else CountQuestion(**given)


class CohortDesk:
    """Asks the sites on a person's behalf. Seconds: how long the slowest site may take."""

    def __init__(
        self,
        store: Store,
        *,
        audit: AuditLog,
        permits: PermitBook,
        switchboard: Switchboard,
        memory: AnswerMemory,
        clock: Callable[[], datetime],
        count_seconds: float,
        freeze_seconds: float,
    ) -> None:
        self._store = store
        self._audit = audit
        self._permits = permits
        self._switchboard = switchboard
        self._memory = memory
        self._clock = clock
        self._count_seconds = count_seconds
        self._freeze_seconds = freeze_seconds

    async def count(self, person: Person, query: CohortQuery, *, permit: str | None = None) -> CountResult:
        """Ask how many people match; sites that are not connected are offline at once.

        Raises:
            InvalidRequest: the query names a site that is not enrolled.
            PermitProblem: the permit that is named is not this person's, or not valid now.
        """
        result = None
        async with aclosing(self.steps(person, query, permit=permit)) as steps:
            async for step in steps:
                result = step.result
        if result is None:
            raise AssertionError("the last step has the result")
        return result

    async def steps(
        self, person: Person, query: CohortQuery, *, permit: str | None = None
    ) -> AsyncGenerator[CountStep]:
        """Ask how many people match, and yield what is known as it comes to be; the last step has the result.

        Raises:
            InvalidRequest: the query names a site that is not enrolled.
            PermitProblem: the permit that is named is not this person's, or not valid now.
        """
        enquiry = await asyncio.to_thread(self._enquiry, person, query, permit)
        answers: dict[str, Answer] = {}
        asked = enquiry.sites
        async with aclosing(self._answers(enquiry)) as coming:
            async for some in coming:
                answers |= some
                counts = tuple(answer.count for answer in some.values())
                yield CountStep(asked=asked, answers=counts, left=_left(some))
                asked = ()
        result = [answers[s].count if s in answers else Offline(site=s) for s in enquiry.sites]
        yield CountStep(asked=asked, result=CountResult.of(query, result, left=_left(answers)))

    async def breakdown(
        self, person: Person, query: CohortQuery, by: Facets, *, permit: str | None = None
    ) -> BreakdownResult:
        """Ask how many people match, split by one or two facets.

        Raises:
            InvalidRequest: the query names a site that is not enrolled.
            PermitProblem: the permit that is named is not this person's, or not valid now.
        """
        enquiry = await asyncio.to_thread(self._enquiry, person, query, permit, by=by)
        answers: dict[str, Answer] = {}
        async with aclosing(self._answers(enquiry)) as coming:
            async for some in coming:
                answers |= some
        sites = [
            SiteBreakdown(count=answers[s].count, cells=answers[s].cells)
            if s in answers
            else SiteBreakdown(count=Offline(site=s))
            for s in enquiry.sites
        ]
        return added_up(query, by, sites, left=_left(answers))

    def heard(self, site: str, hello: Hello) -> None:
        """Take a site's word on what its answers rest on: those to another version are given no more."""
        self._memory.heard(site, hello)

    async def freeze(self, person: Person, query: CohortQuery, permit_id: str) -> FrozenCohort:
        """Have each covered site freeze who matches, under a permit.

        Without `query.sites`, the sites are those of which the permit covers a dataset; the others stand in
        `left_out` as refused.

        Raises:
            InvalidRequest: an unknown site, or no site froze anybody.
            PermitProblem: no such permit, not valid now, or it covers nothing of a site that was named.
        """
        sites = await asyncio.to_thread(self._sites_of, query)
        permit, signed = await asyncio.to_thread(self._permits.held, permit_id, holder=person.subject)
        asked = await asyncio.to_thread(self._covered, query, sites, permit)
        await asyncio.to_thread(self._record, person, "cohort.freeze", query, asked, permit=permit.id)
        raw = _raw(query)
        questions: dict[str, Question] = {
            site: FreezeQuestion(id=_new_id(), query=raw, holder=person.subject, permit=signed)
            for site in asked
        }
        answers = await self._ask(questions, seconds=self._freeze_seconds)
        refused = [Refused(site=s, code=NOT_IN_PERMIT) for s in sites if s not in asked]
        cohort = self._frozen(person, query, permit, asked=asked, answers=answers, refused=refused)
        await asyncio.to_thread(self._store.add_cohort, cohort)
        return cohort

    def of(self, person: Person) -> tuple[FrozenCohort, ...]:
        """Return this person's frozen cohorts, newest first."""
        return self._store.cohorts(person.subject)

    def _enquiry(
        self, person: Person, query: CohortQuery, permit_id: str | None, *, by: Facets | None = None
    ) -> _Enquiry:
        """Check what is asked, look for what is remembered, write the audit; then the sites may be asked."""
        sites = self._sites_of(query)
        held = self._permits.counted_under(permit_id, holder=person.subject)
        payer = f"permit:{held[0].id}" if held else f"person:{person.subject}"
        question = query.question() if by is None else canonical_json([query.question().decode(), list(by)])
        found = {s: self._memory.recall(s, payer=payer, question=question) for s in sites}
        detail: dict[str, Any] = {"permit": held[0].id} if held else {}
        if by is not None:
            detail["by"] = list(by)
        self._record(person, "cohort.breakdown" if by else "cohort.count", query, sites, **detail)
        return _Enquiry(
            person=person,
            query=query,
            by=by,
            sites=sites,
            permit=held[1] if held else None,
            payer=payer,
            question=question,
            remembered={s: answer for s, (answer, _) in found.items() if answer is not None},
            bases={s: basis for s, (_, basis) in found.items()},
        )

    async def _answers(self, enquiry: _Enquiry) -> AsyncGenerator[dict[str, Answer]]:
        """Yield answers as they come: first what is remembered and who is offline already."""
        away = {
            s: Answer(question="", count=Offline(site=s))
            for s in enquiry.sites
            if s not in enquiry.remembered and not self._switchboard.online(s)
        }
        yield enquiry.remembered | away
        questions = {s: enquiry.put() for s in enquiry.sites if s not in enquiry.remembered and s not in away}
        coming = self._switchboard.answers(questions, seconds=self._count_seconds, every=TICK_SECONDS)
        async with aclosing(coming):
            async for some in coming:
                for site, answer in some.items():
                    self._memory.keep(
                        site,
                        answer,
                        payer=enquiry.payer,
                        question=enquiry.question,
                        basis=enquiry.bases[site],
                    )
                yield some

    def _sites_of(self, query: CohortQuery) -> tuple[str, ...]:
        known = self._store.site_names()
        check_sites_known(query.sites, known, where="query.sites")
        return query.sites or known

    def _covered(self, query: CohortQuery, sites: tuple[str, ...], permit: Permit) -> tuple[str, ...]:
        covered = self._permits.covered_sites(permit)
        outside = [site for site in sites if site not in covered]
        if outside and (query.sites or len(outside) == len(sites)):
            raise PermitProblem(
                f"The permit covers no dataset of {', '.join(outside)}.",
                where=f"permit {permit.id}",
                hint="Ask the data steward to add one, or name other sites.",
            )
        return tuple(site for site in sites if site in covered)

    async def _ask(self, questions: dict[str, Question], *, seconds: float) -> dict[str, Answer]:
        online = {site: q for site, q in questions.items() if self._switchboard.online(site)}
        return await self._switchboard.ask(online, seconds=seconds)

    def _frozen(
        self,
        person: Person,
        query: CohortQuery,
        permit: Permit,
        *,
        asked: tuple[str, ...],
        answers: dict[str, Answer],
        refused: list[Refused],
    ) -> FrozenCohort:
        snapshots = tuple(answers[s].snapshot for s in asked if s in answers)
        frozen = tuple(snapshot for snapshot in snapshots if snapshot is not None)
        with_snapshot = {snapshot.site for snapshot in frozen}
        left_out: list[CountAnswer] = [
            answers[s].count if s in answers else Offline(site=s) for s in asked if s not in with_snapshot
        ]
        left_out.extend(refused)
        if not frozen:
            raise InvalidRequest(
                "No site froze anybody, so there is no cohort.",
                where="query",
                hint="; ".join(_in_words(answer) for answer in left_out) + ". Widen the query or try later.",
            )
        return FrozenCohort(
            id=FrozenCohort.identity({snapshot.site: snapshot.id for snapshot in frozen}),
            query=query,
            permit=permit.id,
            holder=person.subject,
            snapshots=frozen,
            left_out=tuple(sorted(left_out, key=lambda answer: answer.site)),
            created=self._clock(),
        )

    def _record(
        self, person: Person, action: str, query: CohortQuery, sites: tuple[str, ...], **detail: Any
    ) -> None:
        self._audit.append(
            actor=person.subject,
            action=action,
            subject=sha256(query.question()),
            query=query.model_dump(mode="json", exclude_defaults=True),
            sites=list(sites),
            **detail,
        )


def check_sites_known(named: Iterable[str], known: tuple[str, ...], *, where: str) -> None:
    """Return if every named site is enrolled.

    Raises:
        InvalidRequest: it is not; the hint names those that are.

    Example:
        >>> check_sites_known(["gr"], ("gr", "lt"), where="sites")
    """
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise InvalidRequest(
            f"No site is called {', '.join(unknown)}.",
            where=where,
            hint="The sites are: " + (", ".join(known) or "none yet") + ".",
        )


def _raw(query: CohortQuery) -> dict[str, object]:
    """Return the criteria that restrict, and nothing else: where else was asked is no site's business."""
    return query.model_dump(mode="json", exclude_defaults=True, exclude={"sites"})


def _left(answers: dict[str, Answer]) -> dict[str, int]:
    return {site: answer.left for site, answer in answers.items() if answer.left is not None}


def _new_id() -> str:
    return secrets.token_hex(16)


def _in_words(answer: CountAnswer) -> str:
    if isinstance(answer, Suppressed):
        return f"{answer.site}: fewer than {answer.below}"
    if isinstance(answer, Refused):
        return f"{answer.site}: refused ({answer.code.replace('_', ' ')})"
    if isinstance(answer, Released):
        return f"{answer.site}: no snapshot"
    return f"{answer.site}: {answer.status}"
