"""What the node answers to the hub's questions. No network here: a question in, an answer out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import AuditBroken, NotFound, PermitProblem, SignatureInvalid, UnicaError
from unica_sdk.node import cohort
from unica_sdk.node.admitted import AdmittedIndex, AdmittedViews
from unica_sdk.node.catalogue import records
from unica_sdk.node.disclosure import decide, protect
from unica_sdk.node.home import NodeHome
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import (
    CohortQuery,
    CountAnswer,
    Refused,
    Released,
    Snapshot,
    Unsupported,
    unknown_criteria,
)
from unica_sdk.schemas.exchange import Answer, CountQuestion, FreezeQuestion, Question
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import verify

MALFORMED = "malformed"
PERMIT_INVALID = "permit_invalid"
AUDIT_UNAVAILABLE = "audit_unavailable"
UNAVAILABLE = "unavailable"
"""The fixed codes of `Refused`; why is in the site's audit, or its log where there is none."""


class Answerer:
    """Answers counts and freezes from the current index as consent leaves it, under the policy as it stands.

    Each answer is in the site's audit before it is given; where that fails there is no answer.
    """

    def __init__(self, home: NodeHome) -> None:
        self.home = home
        self._views = AdmittedViews(home)

    def answer(self, question: Question) -> Answer:
        """Answer one question; what is wrong with it, or here, is an answer too.

        Raises:
            ConfigurationError: this is no node at all, so there is nobody to answer.
        """
        site = self.home.site
        try:
            if isinstance(question, FreezeQuestion):
                return self._freeze(question, site)
            return self._count(question, site)
        except AuditBroken:
            return Answer(question=question.id, count=Refused(site=site, code=AUDIT_UNAVAILABLE))
        except UnicaError as err:
            return self._unavailable(question, site, err)

    def records(self) -> tuple[DatasetRecord, ...]:
        """Return the site's dataset records in protected numbers; none where nothing was ingested.

        Raises:
            ConfigurationError: the policy cannot be read.
            DataError: the index cannot be read.
        """
        try:
            with self._views.open() as index:
                return self._records(index)
        except NotFound:
            return ()

    def _records(self, index: AdmittedIndex) -> tuple[DatasetRecord, ...]:
        return records(index, site=self.home.site, policy=self.home.policy(), key=self.home.site_key())

    def _count(self, question: CountQuestion, site: str) -> Answer:
        query = _parse(question.query, site)
        if not isinstance(query, CohortQuery):
            return self._give(question, query)
        policy = self.home.policy()
        try:
            with self._views.open() as index:
                version, unknown = index.version, cohort.unknown_here(index, query)
                n = 0 if unknown else cohort.count(index, query)
        except NotFound:
            version, unknown, n = 0, (), 0
        if unknown:
            return self._give(question, Unsupported(site=site, criteria=unknown))
        return self._give(question, self._protected(n, query, policy, version), policy=policy, n=n)

    def _freeze(self, question: FreezeQuestion, site: str) -> Answer:
        query = _parse(question.query, site)
        if not isinstance(query, CohortQuery):
            return self._give(question, query)
        refused = Refused(site=site, code=PERMIT_INVALID)
        try:
            permit = verify(question.permit, Permit, self.home.steward_key())
            permit.require(holder=question.holder, now=datetime.now(UTC))
        except (SignatureInvalid, PermitProblem) as err:
            return self._give(question, refused, detail=str(err))
        policy = self.home.policy()
        with self._views.open() as index:
            datasets = cohort.covered(index, site=site, permitted=permit.datasets)
            if not datasets:
                return self._give(question, refused, detail="covers no dataset of this site")
            if unknown := cohort.unknown_here(index, query):
                return self._give(question, Unsupported(site=site, criteria=unknown))
            frozen = cohort.freeze(
                self.home, index, query, permit=permit.id, holder=question.holder, datasets=datasets
            )
        return self._frozen(question, query, policy, frozen)

    def _frozen(
        self, question: FreezeQuestion, query: CohortQuery, policy: SitePolicy, frozen: cohort.FrozenList
    ) -> Answer:
        n = len(frozen.patients)
        count = self._protected(n, query, policy, frozen.index_version)
        if not isinstance(count, Released):
            return self._give(question, count, policy=policy, n=n)
        answer = self._give(question, count, policy=policy, n=n, snapshot=frozen.id)
        kept = cohort.store(self.home, frozen)
        snapshot = Snapshot(site=self.home.site, id=kept.id, cases=count, index_version=frozen.index_version)
        return answer.model_copy(update={"snapshot": snapshot})

    def _protected(self, n: int, query: CohortQuery, policy: SitePolicy, version: int) -> CountAnswer:
        return protect(
            n,
            policy=policy,
            site=self.home.site,
            key=self.home.site_key(),
            question=query.question(),
            index_version=version,
        )

    def _give(
        self,
        question: Question,
        count: CountAnswer,
        *,
        policy: SitePolicy | None = None,
        n: int | None = None,
        **detail: Any,
    ) -> Answer:
        """Write the audit, then return the answer. The true number stays in the site's own audit."""
        if policy is not None and n is not None:
            detail["decision"] = decide(n, policy=policy).audit_text
        actor = question.holder if isinstance(question, FreezeQuestion) else "gateway"
        self.home.audit.append(
            actor=actor,
            action=question.kind,
            subject=question.id,
            query=question.query,
            status=count.status,
            **detail,
        )
        return Answer(question=question.id, count=count)

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
