from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dicom_files import write_collection, write_dicom
from node_people import PATIENTS, People

from unica_sdk.node import cohort
from unica_sdk.node.answers import Answerer
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import ingest
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Refused, Released, Suppressed, Unsupported
from unica_sdk.schemas.exchange import Answer, CountQuestion, FreezeQuestion


def _count(node: NodeHome, query: dict[str, Any]) -> Any:
    answer = Answerer(node).answer(CountQuestion(id="q1", query=query))
    assert answer.question == "q1"
    assert answer.snapshot is None
    return answer.count


def _freeze(
    node: NodeHome, people: People, query: dict[str, Any], holder: str = "alice", **permit: Any
) -> Answer:
    signer = permit.pop("signer", None)
    question = FreezeQuestion(id="f1", query=query, holder=holder, permit=people.permit(signer, **permit))
    return Answerer(node).answer(question)


def test_a_count_is_rounded_and_its_interval_holds_the_truth(node: NodeHome) -> None:
    assert _count(node, {}) == Released(site="gr", n=90, low=88, high=92, index_version=1)
    assert _count(node, {"outcome": ["screen_detected"]}) == Released(
        site="gr", n=20, low=18, high=22, index_version=1
    )


def test_none_and_few_look_the_same(node: NodeHome) -> None:
    nobody = _count(node, {"modality": ["CT"]})
    few = _count(node, {"age": {"low": 40, "high": 40}})
    assert nobody == few == Suppressed(site="gr", below=10, index_version=1)


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
    assert isinstance(_count(empty_node, {"sex": ["female"]}), Released)
    ingest(empty_node, images, **words, clinical=clinical)
    assert isinstance(_count(empty_node, {"diagnosis": ["none"]}), Suppressed)


def test_before_the_first_ingest_nobody_is_there(empty_node: NodeHome) -> None:
    assert _count(empty_node, {}) == Suppressed(site="lt", below=10, index_version=0)
    assert Answerer(empty_node).records() == ()


def test_every_answer_is_in_the_audit_with_the_true_number(node: NodeHome, people: People) -> None:
    before = node.audit.verify()
    _count(node, {"outcome": ["screen_detected"]})
    _freeze(node, people, {})
    _count(node, {"x": 1})
    entries = list(node.audit.entries())[before:]
    assert [(e.actor, e.action, e.detail["status"]) for e in entries] == [
        ("gateway", "count", "released"),
        ("alice", "freeze", "released"),
        ("gateway", "count", "unsupported"),
    ]
    assert "22" in entries[0].detail["decision"]


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


def test_a_freeze_keeps_a_list_that_only_the_site_can_read(node: NodeHome, people: People) -> None:
    answer = _freeze(node, people, {"outcome": ["negative"]})
    assert answer.count == Released(site="gr", n=65, low=63, high=67, index_version=1)
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
    assert answer == Answer(question="f1", count=Suppressed(site="gr", below=10, index_version=1))
    assert list(node.snapshot_folder.iterdir()) == []


def test_a_permit_freezes_by_the_data_it_covers_alone(node: NodeHome, people: People, tmp_path: Path) -> None:
    """Twelve people have a CT in another dataset; the permit does not cover it, so nobody may know."""
    for number in range(12):
        write_dicom(
            tmp_path / "ct" / f"{number}", patient=f"P{number:04d}", number=500 + number, Modality="CT"
        )
    ingest(node, tmp_path / "ct", dataset="ct", title="t", description="d", synthetic=True)
    assert isinstance(_count(node, {"modality": ["CT"]}), Released)
    assert isinstance(_freeze(node, people, {"modality": ["CT"]}).count, Suppressed)
    both = ("gr/ct", "gr/screening")
    wide = _freeze(node, people, {"modality": ["CT"]}, datasets=both)
    assert isinstance(wide.count, Released)


def test_records_describe_each_dataset_in_protected_numbers(
    node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "few" / f"{number}", patient=f"Q{number}", number=900 + number, Modality="CT")
    ingest(node, tmp_path / "few", dataset="few", title="Few", description="d", synthetic=True)
    quiet = {"noise": 1.0, "person_budget": 1, "site_budget": 1, "rounding": 1}
    set_policy(node, **quiet)
    few, screening = Answerer(node).records()
    assert (few.id, few.modalities, few.manufacturers, few.ages) == ("gr/few", (), (), None)
    assert isinstance(few.patients, Suppressed)
    assert isinstance(few.studies, Suppressed)
    assert (screening.id, screening.title, screening.synthetic) == (
        "gr/screening",
        "Screening mammograms",
        True,
    )
    assert (screening.modalities, screening.body_parts) == (("MG",), ("breast",))
    assert isinstance(screening.patients, Released)
    assert screening.patients.low <= 88 <= screening.patients.high
    assert screening.index_version == 2
    # 28 people are in their forties and 20 in each decade after: what is named are decades, not ages.
    assert screening.ages == AgeRange(low=40, high=79)
    set_policy(node, threshold=19, **quiet)
    assert Answerer(node).records()[1].ages == AgeRange(low=40, high=49)
    set_policy(node, threshold=29, **quiet)
    assert Answerer(node).records()[1].ages is None


def test_many_studies_of_few_people_are_not_released(empty_node: NodeHome, tmp_path: Path) -> None:
    for number in range(30):
        write_dicom(tmp_path / "d" / f"{number}", patient=f"P{number % 3}", number=number + 1)
    ingest(empty_node, tmp_path / "d", dataset="one", title="t", description="d", synthetic=True)
    (record,) = Answerer(empty_node).records()
    assert isinstance(record.studies, Suppressed)
