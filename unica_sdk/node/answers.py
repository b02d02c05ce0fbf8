"""What the node answers to the hub's questions. No network here: a question in, an answer out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import (
    AuditBroken,
    ConfigurationError,
    NotFound,
    PermitProblem,
    SignatureInvalid,
    UnicaError,
)
from unica_sdk.node import cohort
from unica_sdk.node.admitted import AdmittedViews
from unica_sdk.node.breakdown import Cells, cells_of, count_cells
from unica_sdk.node.budget import Asked, Budget
from unica_sdk.node.disclosure import decide, protect
from unica_sdk.node.home import NodeHome
from unica_sdk.node.standing import StandingMeasures
from unica_sdk.schemas.cohort import (
    Cell,
    CohortQuery,
    CountAnswer,
    Refused,
    Released,
    Snapshot,
    Suppressed,
    Unsupported,
    unknown_criteria,
)
from unica_sdk.schemas.exchange import Answer, BreakdownQuestion, CountQuestion, FreezeQuestion, Question
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import verify

MALFORMED = "malformed"
PERMIT_INVALID = "permit_invalid"
BUDGET_SPENT = "budget_spent"
AUDIT_UNAVAILABLE = "audit_unavailable"
UNAVAILABLE = "unavailable"
"""The fixed codes of `Refused`; why is in the site's audit, or its log where there is none."""


class Answerer:
    """Answers counts, breakdowns and freezes from the current index as consent leaves it, under the policy.

    Each answer is paid for and in the site's audit before it is given; where that fails there is no answer.
    """

    def __init__(self, home: NodeHome) -> None:
        self.home = home
        self._views = AdmittedViews(home)
        self._budget = Budget(home.folder)
        self.standing = StandingMeasures(home, self._views, self._budget)

    def answer(self, question: Question) -> Answer:
        """Answer one question; what is wrong with it, or here, is an answer too.

        Raises:
            ConfigurationError: this is no node at all, so there is nobody to answer.
        """
        site = self.home.site
        try:
            query = _parse(question.query, site)
            if not isinstance(query, CohortQuery):
                return self._give(question, query)
            if isinstance(question, FreezeQuestion):
                return self._freeze(question, query)
            return self._count(question, query)
        except AuditBroken:
            return Answer(question=question.id, count=Refused(site=site, code=AUDIT_UNAVAILABLE))
        except UnicaError as err:
            return self._unavailable(question, site, err)

    def _count(self, question: CountQuestion | BreakdownQuestion, query: CohortQuery) -> Answer:
        policy = self.home.policy()
        cells: Cells | None = None
        version, n, numbers = 0, 0, dict[tuple[str, ...], int]()
        if isinstance(question, BreakdownQuestion):
            words = self._manufacturers() if "manufacturer" in question.by else ()
            cells = cells_of(query, question.by, manufacturers=words)
        try:
            with self._views.open() as index:
                version = index.version
                if unknown := cohort.unknown_here(index, query, *(cells.by if cells else ())):
                    return self._give(question, Unsupported(site=self.home.site, criteria=unknown))
                n = cohort.count(index, query)
                numbers = count_cells(index, cells) if cells else {}
        except NotFound:
            numbers = dict.fromkeys(cells.queries, 0) if cells else {}
        about = cohort.question_about(query)
        answer = Answer(question=question.id, count=self._protected(n, about, policy, version))
        if cells is None:
            asked = Asked(question=about, version=version)
        else:
            asked = cells.asked(version)
            answer = answer.model_copy(update={"cells": self._cells(cells, numbers, policy, version)})
        detail = self._decision(n, about, policy, version)
        return self._sell(question, answer, asked, self._payer(question), policy, decision=detail)

    def _cells(
        self, cells: Cells, numbers: Mapping[tuple[str, ...], int], policy: SitePolicy, version: int
    ) -> tuple[Cell, ...]:
        return tuple(
            Cell(
                values=values,
                count=self._protected(numbers[values], cohort.question_about(narrower), policy, version),
            )
            for values, narrower in cells.queries.items()
        )

    def _manufacturers(self) -> tuple[str, ...]:
        """Return the words that anybody may read in the site's records."""
        known = self.standing.current().datasets
        return tuple(sorted({word for one in known for word in one.measures.manufacturers}))

    def _freeze(self, question: FreezeQuestion, query: CohortQuery) -> Answer:
        refused = Refused(site=self.home.site, code=PERMIT_INVALID)
        try:
            permit = verify(question.permit, Permit, self.home.steward_key())
            permit.require(holder=question.holder, now=datetime.now(UTC))
        except (SignatureInvalid, PermitProblem) as err:
            return self._give(question, refused, detail=str(err))
        with self._views.open() as index:
            datasets = cohort.covered(index, site=self.home.site, permitted=permit.datasets)
            if not datasets:
                return self._give(question, refused, detail="covers no dataset of this site")
            if unknown := cohort.unknown_here(index, query):
                return self._give(question, Unsupported(site=self.home.site, criteria=unknown))
            frozen = cohort.freeze(
                self.home,
                index,
                query,
                permit=permit.id,
                project=permit.project,
                holder=question.holder,
                datasets=datasets,
            )
        return self._frozen(question, frozen, self.home.policy())

    def _frozen(self, question: FreezeQuestion, frozen: cohort.FrozenList, policy: SitePolicy) -> Answer:
        n, version = len(frozen.patients), frozen.index_version
        about = cohort.question_about(frozen.query, datasets=frozen.datasets)
        count = self._protected(n, about, policy, version)
        detail = {"decision": self._decision(n, about, policy, version)}
        if isinstance(count, Released):
            detail["snapshot"] = frozen.id
        answer = self._sell(
            question,
            Answer(question=question.id, count=count),
            Asked(question=about, version=version),
            f"permit:{frozen.permit}",
            policy,
            **detail,
        )
        if not isinstance(answer.count, Released):
            return answer
        kept = cohort.store(self.home, frozen)
        snapshot = Snapshot(site=self.home.site, id=kept.id, cases=answer.count, index_version=version)
        return answer.model_copy(update={"snapshot": snapshot})

    def _payer(self, question: CountQuestion | BreakdownQuestion) -> str:
        """Return the permit where the asker holds one that this site accepts, else the asker, as named."""
        try:
            if question.permit is not None:
                permit = verify(question.permit, Permit, self.home.steward_key())
                permit.require(holder=question.asker, now=datetime.now(UTC))
                return f"permit:{permit.id}"
        except (SignatureInvalid, PermitProblem, ConfigurationError):
            # A count needs no permit, so one that does not hold is no permit and nothing worse.
            pass
        return f"asker:{question.asker}"

    def _protected(self, n: int, about: bytes, policy: SitePolicy, version: int) -> Released | Suppressed:
        return protect(
            n,
            policy=policy,
            site=self.home.site,
            key=self.home.site_key(),
            question=about,
            index_version=version,
        )

    def _decision(self, n: int, about: bytes, policy: SitePolicy, version: int) -> str:
        key = self.home.site_key()
        return decide(n, policy=policy, key=key, question=about, index_version=version).audit_text

    def _sell(
        self,
        question: Question,
        answer: Answer,
        asked: Asked,
        payer: str,
        policy: SitePolicy,
        **detail: Any,
    ) -> Answer:
        """Take the price, write the audit, then return the answer; a refusal where the price is too high."""
        charge = self._budget.charge(
            asked,
            payer=payer,
            policy=policy,
            record=lambda: self._record(question, answer.count, payer=payer, **detail),
        )
        if charge.allowed:
            return answer.model_copy(update={"left": charge.left})
        refused = self._give(question, Refused(site=self.home.site, code=BUDGET_SPENT), payer=payer)
        return refused.model_copy(update={"left": charge.left})

    def _give(self, question: Question, count: CountAnswer, **detail: Any) -> Answer:
        """Write the audit, then return an answer without a number."""
        self._record(question, count, **detail)
        return Answer(question=question.id, count=count)

    def _record(self, question: Question, count: CountAnswer, **detail: Any) -> None:
        """Write the audit. True numbers stand there and nowhere else."""
        self.home.audit.append(
            actor=question.holder if isinstance(question, FreezeQuestion) else "gateway",
            action=question.kind,
            subject=question.id,
            query=question.query,
            status=count.status,
            **detail,
        )

    def _unavailable(self, question: Question, site: str, error: UnicaError) -> Answer:
        code = UNAVAILABLE
        try:
            self.home.audit.append(actor="node", action="unavailable", subject=question.id, detail=str(error))
        except AuditBroken:
            code = AUDIT_UNAVAILABLE
        return Answer(question=question.id, count=Refused(site=site, code=code))


def _parse(raw: Mapping[str, Any], site: str) -> CohortQuery | Unsupported | Refused:
    """Return the query, or why there is none: what this site does not know comes before what is malformed."""
    if unknown := unknown_criteria(raw):
        return Unsupported(site=site, criteria=unknown)
    try:
        known = {name: value for name, value in raw.items() if value not in (None, [], {}, "")}
        return CohortQuery.model_validate(known)
    except ValidationError:
        return Refused(site=site, code=MALFORMED)
