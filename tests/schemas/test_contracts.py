"""Contracts: one canonical form, closed fields, signatures that mean one thing."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from unica_sdk.errors import InvalidRequest, PermitProblem, SignatureInvalid
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import (
    CohortQuery,
    CountAnswer,
    CountResult,
    Offline,
    Released,
    Suppressed,
    Unsupported,
    unknown_criteria,
)
from unica_sdk.schemas.job import JobRequest
from unica_sdk.schemas.permit import Permit, Purpose
from unica_sdk.schemas.signing import Signable, sign, verify

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()

queries = st.builds(
    CohortQuery,
    sex=st.lists(st.sampled_from(vocabulary.terms("sex")), max_size=16).map(tuple),
    modality=st.lists(st.sampled_from(vocabulary.terms("modality")), max_size=16).map(tuple),
    manufacturer=st.lists(st.sampled_from(["Siemens", "siemens ", "GE"]), max_size=16).map(tuple),
)


class Note(Signable):
    KIND: ClassVar[str] = "note"
    text: str


class Letter(Signable):
    KIND: ClassVar[str] = "letter"
    text: str


def permit(**changes: Any) -> Permit:
    fields: dict[str, Any] = {
        "id": "p1",
        "holder": "alice",
        "project": "demo",
        "title": "Demonstration",
        "purpose": Purpose.SCIENTIFIC_RESEARCH,
        "legal_basis": "EHDS Art. 68",
        "datasets": ("gr/one",),
        "apps": ("sha256:" + "0" * 64,),
        "issued": NOW,
        "expires": NOW + timedelta(days=1),
    }
    return Permit(**{**fields, **changes})


@given(queries, st.randoms())
def test_equal_meaning_has_equal_bytes(query: CohortQuery, random: Any) -> None:
    shuffled = {
        name: random.sample(getattr(query, name), len(getattr(query, name))) * 2
        for name in ("sex", "modality", "manufacturer")
    }
    assert CohortQuery(**shuffled).question() == query.question()


def test_sites_are_an_address_not_a_question() -> None:
    assert CohortQuery(sites=("gr",)).question() == CohortQuery(sites=("pt",)).question()
    assert CohortQuery(sites=("gr",)).criteria() == ()


@pytest.mark.parametrize(
    ("criteria", "word"),
    [
        ({"modality": ("XYZ",)}, "not a modality"),
        ({"sex": ("f",)}, "not a sex"),
        ({"age": {"low": 60, "high": 50}}, "backwards"),
        ({"lung_rads": ("4B",)}, "Extra inputs"),
        ({"manufacturer": ("x" * 65,)}, "at most 64"),
        ({"manufacturer": ("   ",)}, "at least 1"),
        ({"manufacturer": tuple(f"m{i}" for i in range(40))}, "at most 32"),
    ],
)
def test_a_query_that_is_not_understood_is_refused(criteria: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        CohortQuery(**criteria)


def test_unknown_criteria_are_named_never_ignored() -> None:
    assert unknown_criteria({"modality": ["MG"], "zeta": 1, "alpha": ["x"], "empty": None}) == (
        "alpha",
        "zeta",
    )


answers = st.lists(
    st.one_of(
        st.tuples(st.integers(10, 500), st.integers(0, 5)).map(
            lambda t: Released(site="s", n=t[0], low=t[0] - t[1], high=t[0] + t[1], index_version=1)
        ),
        st.just(Suppressed(site="s", below=10, index_version=1)),
        st.just(Offline(site="s")),
        st.just(Unsupported(site="s", criteria=("x",))),
    )
)


@given(answers, st.data())
def test_the_total_holds_the_truth(given_answers: list[CountAnswer], data: st.DataObject) -> None:
    truth = 0
    for answer in given_answers:
        low, high = {"released": lambda a: (a.low, a.high), "suppressed": lambda a: (0, a.below - 1)}.get(
            answer.status, lambda a: (0, 10_000)
        )(answer)
        truth += data.draw(st.integers(low, high))
    result = CountResult.of(CohortQuery(), given_answers)
    assert result.lower <= truth
    assert result.upper is None or truth <= result.upper
    unbounded = any(answer.status in ("offline", "unsupported") for answer in given_answers)
    assert (result.upper is None) == unbounded


def test_a_signature_is_for_one_kind_one_key_and_these_bytes() -> None:
    signed = sign(Note(text="yes"), KEY)
    assert verify(signed, Note, KEY.public_key()).text == "yes"
    with pytest.raises(SignatureInvalid, match="letter was expected"):
        verify(signed, Letter, KEY.public_key())
    relabelled = signed.model_copy(update={"kind": "letter"})
    with pytest.raises(SignatureInvalid):
        verify(relabelled, Letter, KEY.public_key())
    with pytest.raises(SignatureInvalid):
        verify(signed, Note, Ed25519PrivateKey.generate().public_key())


@given(st.integers(0, 20), st.characters(codec="ascii"))
def test_any_change_to_the_payload_breaks_the_signature(position: int, character: str) -> None:
    signed = sign(Note(text="permission"), KEY)
    position %= len(signed.payload)
    changed = signed.payload[:position] + character + signed.payload[position + 1 :]
    if changed != signed.payload:
        with pytest.raises(SignatureInvalid):
            verify(signed.model_copy(update={"payload": changed}), Note, KEY.public_key())


@pytest.mark.parametrize("signature", ["", "not base64 !", "AAAA"])
def test_a_broken_signature_is_an_error_not_a_crash(signature: str) -> None:
    signed = sign(Note(text="yes"), KEY).model_copy(update={"signature": signature})
    with pytest.raises(SignatureInvalid):
        verify(signed, Note, KEY.public_key())


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"holder": "bob"}, "somebody else"),
        ({"now": NOW - timedelta(seconds=1)}, "valid from"),
        ({"now": NOW + timedelta(days=1)}, "valid from"),
        ({"dataset": "pt/one"}, "does not cover the dataset"),
        ({"app": "sha256:" + "1" * 64}, "does not cover this app"),
    ],
    ids=["foreign", "early", "expired", "other-dataset", "other-app"],
)
def test_a_permit_allows_only_what_it_says(case: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {
        "holder": "alice",
        "now": NOW,
        "dataset": "gr/one",
        "app": "sha256:" + "0" * 64,
    }
    permit().require(**asked)
    with pytest.raises(PermitProblem, match=message):
        permit().require(**{**asked, **case})


def test_a_permit_cannot_end_before_it_begins() -> None:
    with pytest.raises(ValidationError, match="before it is issued"):
        permit(expires=NOW)


def manifest() -> AppManifest:
    return AppManifest.model_validate(
        {
            "name": "app",
            "version": "1.0.0",
            "title": "App",
            "description": "",
            "image": {"modality": "MG", "rows": 64, "columns": 80},
            "label": {"field": "outcome", "positive": ["screen_detected"]},
            "parameters": {
                "epochs": {
                    "kind": "number",
                    "description": "",
                    "default": 1,
                    "low": 1,
                    "high": 5,
                    "integer": True,
                },
                "rate": {"kind": "number", "description": "", "default": 0.1, "low": 0.001, "high": 1},
                "norm": {
                    "kind": "choice",
                    "description": "",
                    "default": "group",
                    "choices": ["group", "none"],
                },
            },
        }
    )


def test_parameters_are_filled_and_typed() -> None:
    assert manifest().fill({}) == {"epochs": 1, "rate": 0.1, "norm": "group"}
    assert manifest().fill({"epochs": 2.0})["epochs"] == 2


@pytest.mark.parametrize(
    ("given_value", "where"),
    [
        ({"epochs": 6}, "parameters.epochs"),
        ({"epochs": 1.5}, "parameters.epochs"),
        ({"epochs": True}, "parameters.epochs"),
        ({"epochs": "2"}, "parameters.epochs"),
        ({"rate": float("nan")}, "parameters.rate"),
        ({"norm": "batch"}, "parameters.norm"),
        ({"unknown": 1}, "parameters"),
    ],
)
def test_parameters_out_of_bounds_are_refused(given_value: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        manifest().fill(given_value)
    assert refused.value.where == where


@pytest.mark.parametrize("parameters", [{"\ud800": 1}, {"epochs": "\ud800"}, {"epochs": float("inf")}])
def test_parameters_that_are_no_json_are_refused_at_once(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="parameters"):
        JobRequest(app="sha256:" + "0" * 64, cohort="hmac:" + "0" * 64, permit="p", parameters=parameters)


def test_nothing_can_be_added_to_a_contract_or_changed_in_it() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        permit(extra_power=True)
    with pytest.raises(ValidationError, match="frozen"):
        permit().holder = "mallory"  # type: ignore[misc]
