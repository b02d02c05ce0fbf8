"""The truth table of admission: what a site says to every way a job can be wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from node_people import APP, PATIENTS, People, told, told_of

from unica_sdk.federation.ports import Refusal, Site
from unica_sdk.node import cohort
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.answers import Answerer
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import cases_of
from unica_sdk.node.site import LocalSite
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CohortQuery, Released, Suppressed
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.exchange import CountQuestion
from unica_sdk.schemas.job import FailureCode
from unica_sdk.schemas.signing import SignedDocument, sign
from unica_sdk.schemas.ticket import Ticket, parameters_digest

OTHER_APP = "sha256:" + "b" * 64


@dataclass
class Message:
    """A message that a site admits; a case of the table changes something about it or about the site."""

    node: NodeHome
    people: People
    manifest: AppManifest
    app: str = APP
    parameters: dict[str, Any] = field(default_factory=lambda: {"epochs": 2})
    permit: dict[str, Any] = field(default_factory=dict)
    permit_signer: Ed25519PrivateKey | None = None
    ticket: dict[str, Any] = field(default_factory=dict)
    ticket_signer: Ed25519PrivateKey | None = None
    frozen: dict[str, Any] = field(default_factory=dict)
    query: CohortQuery = field(default_factory=CohortQuery)
    spoil: Callable[[SignedDocument], SignedDocument | None] = lambda signed: signed

    def snapshot(self) -> str:
        with open_admitted(self.node) as index:
            under = {"permit": "permit-1", "project": "p", "holder": "alice"} | self.frozen
            return cohort.store(
                self.node, cohort.freeze(self.node, index, self.query, **{"datasets": ("screening",)} | under)
            ).id

    def signed(self) -> SignedDocument | None:
        now = datetime.now(UTC)
        fields = {
            "job": "job-1",
            "holder": "alice",
            "app": APP,
            "parameters": parameters_digest({"epochs": 2}),
            "cohort": self.ticket.get("cohort") or {"gr": self.snapshot()},
            "permit": self.people.permit(self.permit_signer, **self.permit),
            "rounds": 3,
            "issued": now - timedelta(seconds=1),
            "expires": now + timedelta(minutes=5),
            **self.ticket,
        }
        ticket = Ticket.model_validate(fields)
        return self.spoil(sign(ticket, self.ticket_signer or self.people.gateway))

    def send(self) -> Any:
        return LocalSite(self.node).admit(
            task="train",
            ticket=self.signed(),
            app=self.app,
            manifest=self.manifest,
            parameters=self.parameters,
        )


def _about(message: Message, snapshot: str, what: str) -> bytes:
    return canonical_json(["job", what, snapshot, message.manifest.digest()])


def _told(message: Message, snapshot: str, what: str, n: int) -> Released | Suppressed:
    return told_of(message.node, n, _about(message, snapshot, what))


@pytest.fixture
def message(node: NodeHome, people: People, manifest: AppManifest) -> Message:
    return Message(node=node, people=people, manifest=manifest)


def _no_ticket(m: Message) -> None:
    m.spoil = lambda signed: None


def _strangers_ticket(m: Message) -> None:
    m.ticket_signer = m.people.stranger


def _stewards_ticket(m: Message) -> None:
    m.ticket_signer = m.people.steward


def _changed_ticket(m: Message) -> None:
    m.spoil = lambda signed: signed.model_copy(update={"payload": signed.payload.replace("job-1", "job-2")})


def _permit_as_ticket(m: Message) -> None:
    m.spoil = lambda signed: m.people.permit(m.people.gateway)


def _relabelled_permit_as_ticket(m: Message) -> None:
    m.spoil = lambda signed: m.people.permit(m.people.gateway).model_copy(update={"kind": "ticket"})


def _gateway_not_pinned(m: Message) -> None:
    (m.node.folder / "gateway.pub").unlink()


def _expired_ticket(m: Message) -> None:
    m.ticket = {"expires": datetime.now(UTC)}


def _future_ticket(m: Message) -> None:
    m.ticket = {"issued": datetime.now(UTC) + timedelta(hours=1)}


def _ticket_for_another_app(m: Message) -> None:
    m.node.approve(OTHER_APP)
    m.app = OTHER_APP


def _ticket_for_another_site(m: Message) -> None:
    m.ticket = {"cohort": {"pt": m.snapshot()}}


def _permit_signed_by_the_gateway(m: Message) -> None:
    m.permit_signer = m.people.gateway


def _expired_permit(m: Message) -> None:
    m.permit = {"expires": datetime.now(UTC) - timedelta(minutes=1)}


def _permit_of_another(m: Message) -> None:
    m.permit = {"holder": "bob"}


def _ticket_for_another_holder(m: Message) -> None:
    m.ticket = {"holder": "bob"}


def _permit_without_the_app(m: Message) -> None:
    m.permit = {"apps": (OTHER_APP,)}


def _permit_without_the_dataset(m: Message) -> None:
    m.permit = {"datasets": ("gr/other",)}


def _steward_not_pinned(m: Message) -> None:
    (m.node.folder / "steward.pub").unlink()


def _app_not_approved(m: Message) -> None:
    (m.node.folder / "policy.toml").write_text("approved_apps = []")


def _policy_broken(m: Message) -> None:
    (m.node.folder / "policy.toml").write_text("threshold = many")


def _other_parameters(m: Message) -> None:
    m.parameters = {"epochs": 3}


def _parameters_out_of_bounds(m: Message) -> None:
    m.parameters = {"epochs": 6}
    m.ticket = {"parameters": parameters_digest(m.parameters)}


def _unknown_parameter(m: Message) -> None:
    m.parameters = {"epochs": 2, "shell": "id"}
    m.ticket = {"parameters": parameters_digest(m.parameters)}


def _parameters_that_are_not_json(m: Message) -> None:
    m.parameters = {"epochs": float("nan")}


def _too_many_rounds(m: Message) -> None:
    m.ticket = {"rounds": m.manifest.maximum_rounds + 1}


def _unknown_snapshot(m: Message) -> None:
    m.ticket = {"cohort": {"gr": "hmac:" + "0" * 64}}


def _snapshot_of_another_permit(m: Message) -> None:
    m.frozen = {"permit": "permit-2"}


def _snapshot_of_another_holder(m: Message) -> None:
    m.frozen = {"holder": "bob"}


def _changed_snapshot(m: Message) -> None:
    identity = m.snapshot()
    (path,) = m.node.snapshot_folder.iterdir()
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "patients": [*content["patients"], "f" * 32]}))
    m.ticket = {"cohort": {"gr": identity}}


def _no_index(m: Message) -> None:
    m.ticket = {"cohort": {"gr": m.snapshot()}}
    (m.node.index_folder / "CURRENT").unlink()


def _nothing_left_to_ask(m: Message) -> None:
    path = m.node.folder / "policy.toml"
    path.write_text(path.read_text().replace("person_budget = 50", "person_budget = 2"))


def _too_few_people(m: Message) -> None:
    m.query = CohortQuery(outcome=("screen_detected",))


def _app_wants_more(m: Message) -> None:
    m.manifest = m.manifest.model_copy(update={"minimum_cases": PATIENTS + 50})


def _site_wants_more(m: Message) -> None:
    path = m.node.folder / "policy.toml"
    path.write_text(path.read_text().replace("minimum_cases = 50", f"minimum_cases = {PATIENTS + 50}"))


def _no_image_of_the_modality(m: Message) -> None:
    image = m.manifest.image.model_copy(update={"modality": "CT"})
    m.manifest = m.manifest.model_copy(update={"image": image})


def _no_audit(m: Message) -> None:
    m.ticket = {"cohort": {"gr": m.snapshot()}}
    (m.node.folder / "audit.jsonl").write_text("this is not an entry\n")


def _no_audit_for_the_refusal(m: Message) -> None:
    _no_audit(m)
    _no_ticket(m)


TABLE: dict[FailureCode, tuple[Callable[[Message], None], ...]] = {
    FailureCode.NO_TICKET: (_no_ticket,),
    FailureCode.TICKET_INVALID: (
        _strangers_ticket,
        _stewards_ticket,
        _changed_ticket,
        _permit_as_ticket,
        _relabelled_permit_as_ticket,
        _gateway_not_pinned,
        _future_ticket,
        _ticket_for_another_app,
        _ticket_for_another_site,
    ),
    FailureCode.TICKET_EXPIRED: (_expired_ticket,),
    FailureCode.PERMIT_INVALID: (
        _permit_signed_by_the_gateway,
        _expired_permit,
        _permit_of_another,
        _ticket_for_another_holder,
        _permit_without_the_app,
        _permit_without_the_dataset,
        _steward_not_pinned,
    ),
    FailureCode.APP_NOT_APPROVED: (_app_not_approved, _policy_broken),
    FailureCode.PARAMETERS_INVALID: (
        _other_parameters,
        _parameters_out_of_bounds,
        _unknown_parameter,
        _parameters_that_are_not_json,
        _too_many_rounds,
    ),
    FailureCode.COHORT_UNKNOWN: (
        _unknown_snapshot,
        _snapshot_of_another_permit,
        _snapshot_of_another_holder,
        _changed_snapshot,
        _no_index,
    ),
    FailureCode.TOO_FEW_CASES: (
        _too_few_people,
        _app_wants_more,
        _site_wants_more,
        _no_image_of_the_modality,
    ),
    FailureCode.BUDGET_SPENT: (_nothing_left_to_ask,),
    FailureCode.AUDIT_UNAVAILABLE: (_no_audit, _no_audit_for_the_refusal),
}

RUNNERS_CODES = {
    FailureCode.APP_CRASHED,
    FailureCode.APP_FAILED,
    FailureCode.APP_TIMEOUT,
    FailureCode.REPLY_INVALID,
    FailureCode.SITE_OFFLINE,
    FailureCode.SITE_TIMEOUT,
    FailureCode.BELOW_QUORUM,
    FailureCode.DEADLINE,
    FailureCode.ENGINE,
}
"""What happens after a site's admission, or outside it."""


def test_the_table_has_every_code_that_admission_can_give() -> None:
    assert set(TABLE) == set(FailureCode) - RUNNERS_CODES


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        pytest.param(code, case, id=f"{code}-{case.__name__}")
        for code, cases in TABLE.items()
        for case in cases
    ],
)
def test_a_wrong_message_is_refused_with_its_code(
    message: Message, code: FailureCode, wrong: Callable[[Message], None]
) -> None:
    wrong(message)
    with pytest.raises(Refusal) as refused:
        message.send()
    assert refused.value.code is code
    # Only the code leaves: the text of the refusal is the code and nothing else.
    assert str(refused.value) == code.value
    if code is not FailureCode.AUDIT_UNAVAILABLE:
        last = list(message.node.audit.entries())[-1]
        assert (last.actor, last.action, last.detail["code"]) == ("runner", "refuse", code.value)


def test_a_right_message_is_admitted_and_recorded(message: Message) -> None:
    admission = message.send()
    assert admission.ticket.job == "job-1"
    assert admission.parameters == {"epochs": 2}
    assert admission.seconds == 600
    assert admission.cases == _told(message, admission.snapshot, "cases", PATIENTS)
    last = list(message.node.audit.entries())[-1]
    assert (last.action, last.subject, last.detail["holder"]) == ("admit", "job-1", "alice")


def test_the_admitted_cases_are_those_of_the_snapshot(message: Message) -> None:
    message.query = CohortQuery(outcome=("negative",))
    message.manifest = message.manifest.model_copy(update={"minimum_cases": 20})
    cases = LocalSite(message.node).cases(message.send(), message.manifest)
    assert cases.images.shape == (66, 8, 10)
    assert cases.labels.sum() == 0
    assert cases.held_out.dtype == np.bool_


@pytest.mark.parametrize("threshold", [3, 4, 5, 8, 12, 15, 20, 40])
def test_no_figure_may_leave_about_few_people_of_either_class(
    message: Message, set_policy: Callable[..., None], threshold: int
) -> None:
    set_policy(message.node, threshold=threshold, rounding=5, noise=2, site_budget=4, person_budget=4)
    admission = message.send()
    cases = LocalSite(message.node).cases(admission, message.manifest)
    # one image a patient in this collection, so that images are people
    positive = int((cases.labels[cases.held_out] == 1).sum())
    negative = int((cases.labels[cases.held_out] == 0).sum())
    numbers = {"positive": positive, "negative": negative, "tested": positive + negative}
    told = {what: _told(message, admission.snapshot, what, n) for what, n in numbers.items()}
    passed = all(isinstance(answer, Released) for answer in told.values())
    assert cases.tested == (told["tested"] if passed else None)


def test_the_numbers_of_a_job_are_questions_of_their_own(message: Message) -> None:
    """Were two of them one question, their noise would be the same and their difference exact."""
    admission = message.send()
    whats = ("cases", "positive", "negative", "tested")
    assert len({_told(message, admission.snapshot, what, 500).n for what in whats}) > 1
    about = {_about(message, admission.snapshot, what) for what in whats}
    about |= {cohort.question_about(CohortQuery(), datasets=scope) for scope in (None, ("screening",))}
    assert len(about) == 6


def test_a_job_is_paid_for_once_by_its_permit_and_the_site(
    message: Message, set_policy: Callable[..., None]
) -> None:
    set_policy(message.node, noise=4, site_budget=5, person_budget=5)
    site = LocalSite(message.node)
    for _ in range(3):
        site.cases(message.send(), message.manifest)
    other = message.manifest.model_copy(update={"title": "another app, or other bounds"})
    message.manifest = other
    with pytest.raises(Refusal) as refused:
        message.send()
    assert refused.value.code is FailureCode.BUDGET_SPENT
    asked = Answerer(message.node).answer(CountQuestion(id="q", query={}, asker="bob"))
    assert (asked.count.status, asked.left) == (told(message.node, PATIENTS).status, 1)


def test_a_withdrawal_in_the_middle_of_a_job_is_paid_for_and_may_end_it(
    message: Message, set_policy: Callable[..., None]
) -> None:
    set_policy(message.node, noise=4, site_budget=5, person_budget=5)
    site, admission = LocalSite(message.node), message.send()
    ConsentRegistry.of(message.node).withdraw(["P0001"])
    with pytest.raises(Refusal) as refused:
        site.cases(admission, message.manifest)
    assert refused.value.code is FailureCode.BUDGET_SPENT


def test_the_smallest_cohort_is_judged_by_the_number_with_noise(message: Message) -> None:
    """Else cohorts that differ by one person would show where the true number stands."""
    admitted = []
    for required in range(PATIENTS - 30, PATIENTS + 31, 5):
        message.manifest = message.manifest.model_copy(update={"minimum_cases": required})
        snapshot = message.snapshot()
        cases = _told(message, snapshot, "cases", PATIENTS)
        try:
            message.send()
            admitted.append(required)
            assert isinstance(cases, Released)
            assert cases.n >= required
        except Refusal as refusal:
            assert refusal.code in (FailureCode.TOO_FEW_CASES, FailureCode.BUDGET_SPENT)
            assert refusal.code is FailureCode.BUDGET_SPENT or cases.n < required
    assert admitted


def test_without_a_budget_that_can_be_written_no_job_begins(message: Message) -> None:
    message.send()
    (message.node.folder / "budget.sqlite").write_bytes(b"no database")
    with pytest.raises(Refusal) as refused:
        message.send()
    assert refused.value.code is FailureCode.AUDIT_UNAVAILABLE


def test_cases_that_can_no_longer_be_read_do_not_slip_below_the_minimum(message: Message) -> None:
    admission = message.send()
    with open_admitted(message.node) as index:
        frozen = cohort.load(message.node, admission.snapshot)
        paths = [case.path for case in cases_of(message.node.site_key(), index, frozen, message.manifest)]
    gone = [Path(path).rename(path + ".away") for path in paths[: PATIENTS - 15]]
    try:
        with pytest.raises(Refusal) as refused:
            LocalSite(message.node).cases(admission, message.manifest)
    finally:
        for path in gone:
            path.rename(str(path).removesuffix(".away"))
    assert refused.value.code is FailureCode.TOO_FEW_CASES


def test_approval_follows_the_policy_as_it_stands(node: NodeHome) -> None:
    site: Site = LocalSite(node)
    assert site.name == "gr"
    assert site.approved(APP)
    assert not site.approved(OTHER_APP)
    (node.folder / "policy.toml").write_text("broken")
    assert not site.approved(APP)
    assert list(node.audit.entries())[-1].action == "policy_unreadable"
