"""What a snapshot's identity tells: the same for the same, and nothing across questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unica_sdk.node import cohort
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import DatasetInfo, Index, InstanceRow, publish
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import CohortQuery
from unica_sdk.schemas.contract import sorted_unique

NAMES = st.text("abcdef0123456789", min_size=1, max_size=6)
LISTS = st.lists(NAMES, max_size=6).map(tuple).map(sorted_unique)
PERMITS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
QUERIES = st.sampled_from([CohortQuery(), CohortQuery(modality=("MG",)), CohortQuery(sex=("female",))])
PARTS = st.fixed_dictionaries(
    {
        "permit": PERMITS,
        "query": QUERIES,
        "datasets": LISTS,
        "patients": LISTS,
        "index_version": st.integers(1, 3),
    }
)


@given(st.binary(min_size=32, max_size=32), PARTS, PARTS)
def test_identities_are_equal_exactly_where_everything_is(secret: bytes, one: dict, other: dict) -> None:
    key = SiteKey(secret)
    same = cohort.snapshot_id(key, **one) == cohort.snapshot_id(key, **other)
    assert same is (one == other)


@given(PARTS)
def test_another_site_gives_the_same_list_another_identity(parts: dict) -> None:
    one, other = (cohort.snapshot_id(SiteKey(bytes([n]) * 32), **parts) for n in (1, 2))
    assert one != other


def _row(patient: str, modality: str) -> InstanceRow:
    return InstanceRow(
        path=f"/{patient}",
        patient=patient,
        study=f"s{patient}",
        series=f"r{patient}",
        instance=f"i{patient}{modality}",
        modality=modality,
        body_part="breast",
        manufacturer="acme",
        sex="female",
        age=60,
        rows=8,
        columns=8,
        frames=1,
        samples=1,
        transfer_syntax="1.2.840.10008.1.2.1",
    )


def _put(home: NodeHome, source: str, patients: int, modality: str = "MG") -> None:
    info = DatasetInfo(name="one", title="t", description="d", synthetic=True)
    rows = [_row(f"{number:032x}", modality) for number in range(patients)]
    publish(home.index_folder, info=info, source=source, instances=rows, clinical=[])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[NodeHome]:
    home = NodeHome.create(tmp_path / "gr", site="gr", name="x", country="GR")
    _put(home, "/a", 20)
    yield home


def _freeze(home: NodeHome, query: CohortQuery, permit: str = "p") -> str:
    with Index.open(home.index_folder) as index:
        return cohort.freeze(
            home, index, query, permit=permit, project="p", holder="alice", datasets=("one",)
        ).id


def _admitted_freeze(home: NodeHome, query: CohortQuery) -> str:
    with open_admitted(home) as index:
        return cohort.freeze(
            home, index, query, permit="p", project="p", holder="alice", datasets=("one",)
        ).id


def test_two_questions_with_the_same_people_cannot_be_seen_to_have_them(home: NodeHome) -> None:
    """A researcher who compares identities must not learn that two criteria pick the same people."""
    queries = [CohortQuery(), CohortQuery(modality=("MG",)), CohortQuery(modality=("CT", "MG"))]
    assert len({_freeze(home, query) for query in queries}) == 3
    assert _freeze(home, CohortQuery(), "p") != _freeze(home, CohortQuery(), "other")


def test_an_identity_does_not_tell_whether_another_version_changed_anybody(home: NodeHome) -> None:
    """One that stayed would say, for the price of two freezes, that nobody who came or withdrew matches."""
    query = CohortQuery(modality=("MG",))
    first = _freeze(home, query)
    assert _freeze(home, query) == first
    _put(home, "/b", 5, modality="CT")
    second = _freeze(home, query)
    _put(home, "/a", 19)
    assert len({first, second, _freeze(home, query)}) == 3
    registry = ConsentRegistry.of(home)
    for person in ("somebody", "nobody"):
        before = _admitted_freeze(home, query)
        registry.withdraw([person])
        assert _admitted_freeze(home, query) != before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(sites=st.lists(st.sampled_from(["gr", "lt", "pt"]), max_size=3).map(tuple))
def test_the_address_of_a_question_is_not_part_of_it(home: NodeHome, sites: tuple[str, ...]) -> None:
    assert _freeze(home, CohortQuery(sites=sites)) == _freeze(home, CohortQuery())
