from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dicom_files import write_collection, write_dicom
from node_people import PATIENTS, People, told, told_of
from node_records import drafts

from unica_sdk.node import cohort
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.answers import Answerer
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import DatasetInfo, Index, InstanceRow, publish
from unica_sdk.node.ingest import ingest
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Refused, Released, Suppressed, Unsupported
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.exchange import Answer, BreakdownQuestion, CountQuestion, FreezeQuestion


def _count(node: NodeHome, query: dict[str, Any]) -> Any:
    answer = Answerer(node).answer(CountQuestion(id="q1", query=query, asker="alice"))
    assert answer.question == "q1"
    assert (answer.snapshot, answer.cells) == (None, ())
    return answer.count


def _freeze(
    node: NodeHome, people: People, query: dict[str, Any], holder: str = "alice", **permit: Any
) -> Answer:
    signer = permit.pop("signer", None)
    question = FreezeQuestion(id="f1", query=query, holder=holder, permit=people.permit(signer, **permit))
    return Answerer(node).answer(question)


def test_a_count_is_what_the_gate_makes_of_the_number_of_matching_people(node: NodeHome) -> None:
    assert _count(node, {}) == told(node, PATIENTS)
    query = CohortQuery(outcome=("screen_detected",))
    assert _count(node, {"outcome": ["screen_detected"]}) == told(node, 22, query)
    released = told(node, PATIENTS)
    assert isinstance(released, Released)
    assert released.low <= PATIENTS <= released.high
    assert released.n % 5 == 0


def test_none_and_few_look_the_same(node: NodeHome) -> None:
    nobody = _count(node, {"modality": ["CT"]})
    few = _count(node, {"age": {"low": 40, "high": 40}})
    assert nobody == few == Suppressed(site="gr", below=50, index_version=1)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (CohortQuery(), PATIENTS),
        (CohortQuery(modality=("MG",)), PATIENTS),
        (CohortQuery(modality=("CT", "MG")), PATIENTS),
        (CohortQuery(modality=("CT",)), 0),
        (CohortQuery(outcome=("screen_detected", "interval_cancer")), 22),
        (CohortQuery(diagnosis=("none",), outcome=("negative",)), 66),
        (CohortQuery(diagnosis=("breast_cancer",), outcome=("negative",)), 0),
        (CohortQuery(sex=("female",), body_part=("breast",)), PATIENTS),
        (CohortQuery(sex=("male", "unknown")), 0),
        (CohortQuery(manufacturer=("PHANTOM works ",)), PATIENTS),
        (CohortQuery(age=AgeRange(low=40, high=49)), 28),
        (CohortQuery(age=AgeRange(low=49, high=49), sites=("pt",)), 2),
    ],
)
def test_fields_are_joined_by_and_values_by_or(node: NodeHome, query: CohortQuery, matches: int) -> None:
    with Index.open(node.index_folder) as index:
        assert cohort.count(index, query) == matches
        assert len(cohort.members(index, query, datasets=("screening",))) == matches
        assert cohort.members(index, query, datasets=("other",)) == ()


def test_what_a_value_holds_is_never_taken_as_sql(node: NodeHome) -> None:
    query = CohortQuery(manufacturer=("x' OR true --", "'); DROP TABLE patient; --"))
    with Index.open(node.index_folder) as index:
        assert cohort.count(index, query) == 0
        assert cohort.count(index, CohortQuery()) == PATIENTS


def test_unknown_criteria_come_before_everything_else(node: NodeHome, people: People) -> None:
    query = {"modality": ["nonsense"], "lung_rads": ["4B"], "er_status": "positive", "psa": None}
    expected = Unsupported(site="gr", criteria=("er_status", "lung_rads"))
    assert _count(node, query) == expected
    assert _freeze(node, people, query, holder="mallory").count == expected


@pytest.mark.parametrize(
    "query",
    [
        {"modality": ["XX"]},
        {"modality": "MG"},
        {"age": {"low": 60, "high": 50}},
        {"age": [50, 60]},
        {"manufacturer": ["x"] * 100},
        {"sites": ["../gr"]},
    ],
)
def test_a_malformed_query_is_refused(node: NodeHome, people: People, query: dict[str, Any]) -> None:
    assert _count(node, query) == Refused(site="gr", code="malformed")
    assert _freeze(node, people, query).count == Refused(site="gr", code="malformed")


def test_a_site_without_a_clinical_table_does_not_answer_zero_cancers(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    images, clinical = write_collection(tmp_path, patients=12)
    words = {"dataset": "one", "title": "t", "description": "d", "synthetic": True}
    ingest(empty_node, images, **words)
    expected = Unsupported(site="lt", criteria=("diagnosis", "outcome"))
    assert _count(empty_node, {"outcome": ["negative"], "diagnosis": ["none"], "sex": ["female"]}) == expected
    assert _count(empty_node, {"sex": ["female"]}) == told(empty_node, 12, CohortQuery(sex=("female",)))
    breakdown = BreakdownQuestion(id="b", query={"sex": ["female"]}, by=("outcome", "age"), asker="alice")
    answer = Answerer(empty_node).answer(breakdown)
    assert (answer.count, answer.cells) == (Unsupported(site="lt", criteria=("outcome",)), ())
    ingest(empty_node, images, **words, clinical=clinical)
    expected = told(empty_node, 9, CohortQuery(diagnosis=("none",)), version=2)
    assert _count(empty_node, {"diagnosis": ["none"]}) == expected


def test_before_the_first_ingest_nobody_is_there(empty_node: NodeHome) -> None:
    assert _count(empty_node, {}) == told(empty_node, 0, version=0)
    assert drafts(empty_node) == ()


def test_every_answer_is_in_the_audit_with_the_true_number(node: NodeHome, people: People) -> None:
    before = node.audit.verify()
    _count(node, {"outcome": ["screen_detected"]})
    _freeze(node, people, {})
    _count(node, {"x": 1})
    entries = list(node.audit.entries())[before:]
    assert [(e.actor, e.action, e.detail["status"]) for e in entries] == [
        ("gateway", "count", "suppressed"),
        ("alice", "freeze", "released"),
        ("gateway", "count", "unsupported"),
    ]
    assert "22 people" in entries[0].detail["decision"]
    assert [entry.detail.get("payer") for entry in entries] == ["asker:alice", "permit:permit-1", None]


def test_without_an_audit_there_is_no_answer_and_no_snapshot(node: NodeHome, people: People) -> None:
    (node.folder / "audit.jsonl").write_text("not an entry\n")
    assert _count(node, {}) == Refused(site="gr", code="audit_unavailable")
    assert _freeze(node, people, {}) == Answer(
        question="f1", count=Refused(site="gr", code="audit_unavailable")
    )
    assert list(node.snapshot_folder.iterdir()) == []


def test_a_broken_policy_answers_nothing(node: NodeHome) -> None:
    (node.folder / "policy.toml").write_text("threshold = 0")
    assert _count(node, {}) == Refused(site="gr", code="unavailable")


def test_a_permit_that_holds_pays_and_any_other_is_none(node: NodeHome, people: People) -> None:
    now = datetime.now(UTC)
    permits = {
        "permit:permit-1": people.permit(),
        "permit:other": people.permit(id="other"),
        "asker:alice": None,
    }
    wrong = [
        people.permit(people.stranger),
        people.permit(holder="bob"),
        people.permit(expires=now - timedelta(hours=1)),
    ]
    answerer, before = Answerer(node), node.audit.verify()
    answers = [
        answerer.answer(CountQuestion(id="q", query={}, asker="alice", permit=permit))
        for permit in [*permits.values(), *wrong]
    ]
    payers = [entry.detail["payer"] for entry in list(node.audit.entries())[before:]]
    assert payers == [*permits, *["asker:alice"] * len(wrong)]
    assert {answer.left for answer in answers} == {49}
    # Whoever pays, and whoever asks, gets the same.
    assert {answer.count for answer in answers} == {told(node, PATIENTS)}
    (node.folder / "steward.pub").unlink()
    question = CountQuestion(id="q", query={}, asker="alice", permit=people.permit())
    assert answerer.answer(question).count == told(node, PATIENTS)


def test_a_spent_budget_refuses_what_is_new_and_repeats_what_is_not(
    node: NodeHome, people: People, set_policy: Callable[..., None]
) -> None:
    set_policy(node, noise=2, site_budget=4, person_budget=2)
    answerer = Answerer(node)

    def ask(low: int, asker: str) -> Answer:
        query = {"age": {"low": low, "high": 90}}
        return answerer.answer(CountQuestion(id="q", query=query, asker=asker))

    first = [ask(low, "alice") for low in (40, 41)]
    assert [answer.left for answer in first] == [1, 0]
    refused = ask(42, "alice")
    assert refused == Answer(question="q", count=Refused(site="gr", code="budget_spent"), left=0)
    last = list(node.audit.entries())[-1]
    assert (last.detail["status"], last.detail["payer"], "decision" in last.detail) == (
        "refused",
        "asker:alice",
        False,
    )
    assert [ask(low, "alice").count for low in (40, 41)] == [answer.count for answer in first]
    assert [ask(low, "bob").left for low in (42, 43)] == [1, 0]
    # The site has none left for anybody, except for what it said already.
    assert ask(44, "carol").count == Refused(site="gr", code="budget_spent")
    assert ask(40, "carol").count == first[0].count
    assert _freeze(node, people, {}).count == Refused(site="gr", code="budget_spent")
    assert list(node.snapshot_folder.iterdir()) == []


def test_without_a_budget_that_can_be_used_there_is_no_answer(node: NodeHome, people: People) -> None:
    _count(node, {})
    (node.folder / "budget.sqlite").unlink()
    assert _count(node, {}) == Refused(site="gr", code="unavailable")
    assert _freeze(node, people, {}).count == Refused(site="gr", code="unavailable")
    last = list(node.audit.entries())[-1]
    assert (last.action, "budget" in last.detail["detail"]) == ("unavailable", True)


def test_a_freeze_keeps_a_list_that_only_the_site_can_read(node: NodeHome, people: People) -> None:
    answer = _freeze(node, people, {"outcome": ["negative"]})
    query = CohortQuery(outcome=("negative",))
    assert answer.count == told(node, 66, query, datasets=("screening",))
    assert answer.count != told(node, 66, query)
    assert answer.snapshot is not None
    assert answer.snapshot.cases == answer.count
    kept = cohort.load(node, answer.snapshot.id)
    assert (kept.permit, kept.holder, kept.datasets, len(kept.patients)) == (
        "permit-1",
        "alice",
        ("screening",),
        66,
    )
    assert not any(patient in answer.model_dump_json() for patient in kept.patients)


@pytest.mark.parametrize(
    "changes",
    [
        {"signer": "gateway"},
        {"signer": "stranger"},
        {"holder": "bob"},
        {"datasets": ("pt/screening",)},
        {"datasets": ("gr/other",)},
        {"expires": datetime.now(UTC) - timedelta(hours=1)},
        {"issued": datetime.now(UTC) + timedelta(hours=1)},
    ],
    ids=str,
)
def test_a_freeze_without_a_good_permit_is_refused(
    node: NodeHome, people: People, changes: dict[str, Any]
) -> None:
    changes = {k: getattr(people, v) if k == "signer" else v for k, v in changes.items()}
    holder = changes.pop("holder", None)
    answer = _freeze(node, people, {}, **({"holder": "bob"} if holder else {}), **changes)
    assert answer == Answer(question="f1", count=Refused(site="gr", code="permit_invalid"))
    assert list(node.snapshot_folder.iterdir()) == []


def test_a_freeze_of_few_leaves_no_trace_but_the_audit(node: NodeHome, people: People) -> None:
    answer = _freeze(node, people, {"age": {"low": 40, "high": 41}})
    assert answer == Answer(question="f1", count=Suppressed(site="gr", below=50, index_version=1), left=49)
    assert list(node.snapshot_folder.iterdir()) == []


def test_a_permit_freezes_by_the_data_it_covers_alone(node: NodeHome, people: People, tmp_path: Path) -> None:
    """Eighty people have a CT in another dataset; the permit does not cover it, so nobody may know."""
    for number in range(80):
        write_dicom(
            tmp_path / "ct" / f"{number}", patient=f"P{number:04d}", number=500 + number, Modality="CT"
        )
    ingest(node, tmp_path / "ct", dataset="ct", title="t", description="d", synthetic=True)
    assert isinstance(_count(node, {"modality": ["CT"]}), Released)
    query = CohortQuery(modality=("CT",))
    narrow = _freeze(node, people, {"modality": ["CT"]})
    assert narrow.count == told(node, 0, query, version=2, datasets=("screening",))
    wide = _freeze(node, people, {"modality": ["CT"]}, datasets=("gr/ct", "gr/screening"))
    assert wide.count == told(node, 80, query, version=2, datasets=("ct", "screening"))


def test_a_freeze_leaves_out_whoever_withdrew(node: NodeHome, people: People) -> None:
    registry = ConsentRegistry.of(node)
    gone = [f"P{number:04d}" for number in range(8)]
    registry.withdraw(gone)
    answer = _freeze(node, people, {})
    assert answer.count == told(node, PATIENTS - 8, version=2, datasets=("screening",))
    assert answer.snapshot is not None
    kept = cohort.load(node, answer.snapshot.id)
    with open_admitted(node) as index:
        frozen = cohort.people_of(node.site_key(), index, kept)
    assert len(frozen) == PATIENTS - 8
    assert not {registry.pseudonym(person) for person in gone} & set(frozen)


def test_records_describe_each_dataset_in_protected_numbers(
    node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "few" / f"{number}", patient=f"Q{number}", number=900 + number, Modality="CT")
    ingest(node, tmp_path / "few", dataset="few", title="Few", description="d", synthetic=True)
    set_policy(node, noise=4, site_budget=16, person_budget=9)
    few, screening = drafts(node)
    assert (few.id, few.modalities, few.manufacturers, few.ages) == ("gr/few", (), (), None)
    assert isinstance(few.patients, Suppressed)
    assert isinstance(few.studies, Suppressed)
    assert (screening.id, screening.title, screening.synthetic) == (
        "gr/screening",
        "Screening mammograms",
        True,
    )
    assert (screening.modalities, screening.body_parts) == (("MG",), ("breast",))
    asked = canonical_json(["catalogue", "gr/screening", "patients"])
    assert screening.patients == told_of(node, PATIENTS, asked, version=2)
    assert screening.index_version == 2


def _people(home: NodeHome, ages: dict[int, int], *, studies: int = 1) -> None:
    """Publish people of these ages, each with some studies."""
    rows = [
        InstanceRow(
            path=f"/{age}/{n}/{study}", patient=f"{age:016x}{n:016x}", study=f"s{age}.{n}.{study}",
            series=f"r{age}.{n}.{study}", instance=f"i{age}.{n}.{study}", modality="MG", body_part="breast",
            manufacturer="acme", sex="female", age=age, rows=8, columns=8, frames=1, samples=1,
            transfer_syntax="1.2.840.10008.1.2.1",
        )
        for age, number in ages.items()
        for n in range(number)
        for study in range(studies)
    ]  # fmt: skip
    info = DatasetInfo(name="one", title="t", description="d", synthetic=True)
    publish(home.index_folder, info=info, source="/a", instances=rows, clinical=[])


def test_a_word_stands_in_a_record_only_where_clearly_enough_people_have_it(empty_node: NodeHome) -> None:
    """Ages are decades, never anybody's own; the limit is 10 and four times the threefold noise: 130."""
    _people(empty_node, {33: 60, 47: 300, 52: 400, 66: 20})
    (record,) = drafts(empty_node)
    assert record.ages == AgeRange(low=40, high=59)
    assert (record.modalities, record.manufacturers) == (("MG",), ("acme",))


def test_many_studies_of_few_people_are_not_released(empty_node: NodeHome) -> None:
    _people(empty_node, {50: 3}, studies=200)
    (record,) = drafts(empty_node)
    assert isinstance(record.patients, Suppressed)
    assert record.studies == Suppressed(site="lt", below=200, index_version=1)


def test_nobody_counts_for_more_than_four_studies(empty_node: NodeHome) -> None:
    _people(empty_node, {50: 500}, studies=9)
    (record,) = drafts(empty_node)
    assert isinstance(record.studies, Released)
    assert record.studies.low <= 2000 <= record.studies.high
    assert record.studies.high - record.studies.low > 150  # the noise of four studies a person
