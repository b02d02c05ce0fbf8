"""Breakdowns: each cell is the narrower query, and which cells there are tells nothing about anybody."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_records import drafts
from pydantic import ValidationError

from unica_sdk.node import cohort
from unica_sdk.node.answers import Answerer
from unica_sdk.node.breakdown import cells_of, count_cells
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import ClinicalFact, DatasetInfo, Index, InstanceRow, publish
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Facet, Refused, Released, Suppressed
from unica_sdk.schemas.exchange import Answer, BreakdownQuestion, CountQuestion
from unica_sdk.schemas.vocabulary import terms

MAKERS = ("acme", "other works")
EVERYTHING: tuple[Facet, ...] = (
    "sex",
    "age",
    "diagnosis",
    "outcome",
    "modality",
    "body_part",
    "manufacturer",
)


def _put(home: NodeHome, people: int) -> None:
    """Publish people who differ in everything, half of them with two modalities, makers and body parts."""
    rows, facts = [], []
    for n in range(people):
        name = f"{n:032x}"
        for image in range(1 + n % 2):
            rows.append(
                InstanceRow(
                    path=f"/{name}/{image}", patient=name, study=f"s{name}", series=f"r{name}",
                    instance=f"i{name}{image}", modality=("MG", "CT", "MR")[(n + image) % 3],
                    body_part=("breast", "lung", None)[(n + image) % 3], manufacturer=MAKERS[(n + image) % 2],
                    sex=("female", "male", None)[n % 3], age=n % 121 if n % 7 else None, rows=8, columns=8,
                    frames=1, samples=1, transfer_syntax="1.2.840.10008.1.2.1",
                )
            )  # fmt: skip
        facts.append(
            ClinicalFact(
                patient=name,
                outcome=terms("outcome")[n % 3],
                diagnosis=terms("diagnosis")[n % 4] if n % 5 else None,
                sex=None,
                age=None,
            )
        )
    info = DatasetInfo(name="one", title="t", description="d", synthetic=True)
    publish(home.index_folder, info=info, source="/a", instances=rows, clinical=facts)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> NodeHome:
    folder = tmp_path_factory.mktemp("breakdown") / "gr"
    folder.mkdir()
    (folder / "site.key").write_bytes(bytes(range(32)))
    home = NodeHome.create(folder, site="gr", name="x", country="GR")
    _put(home, 700)
    return home


FACETS = st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=2, unique=True).map(
    lambda names: tuple(sorted(names))
)
QUERIES = st.builds(
    CohortQuery,
    sex=st.sampled_from([(), ("female",), ("female", "unknown")]),
    modality=st.sampled_from([(), ("CT",), ("CT", "MG")]),
    outcome=st.sampled_from([(), ("negative",)]),
    manufacturer=st.sampled_from([(), ("acme",), ("acme", "nobody's")]),
    age=st.none()
    | st.tuples(st.integers(0, 120), st.integers(0, 120)).map(
        lambda ages: AgeRange(low=min(ages), high=max(ages))
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, by=FACETS)
def test_every_cell_has_the_number_of_the_narrower_query(
    home: NodeHome, query: CohortQuery, by: tuple[Facet, ...]
) -> None:
    cells = cells_of(query, by, manufacturers=MAKERS)
    with Index.open(home.index_folder) as index:
        numbers = count_cells(index, cells)
        assert numbers.keys() == cells.queries.keys()
        for values, narrower in list(cells.queries.items())[:40]:
            assert numbers[values] == cohort.count(index, narrower), values
    for values, narrower in cells.queries.items():
        for facet, value in zip(by, values, strict=True):
            asked = getattr(narrower, facet)
            told = f"{asked.low // 10 * 10}-{asked.low // 10 * 10 + 9}" if facet == "age" else asked[0]
            assert told == value


def _ask(
    home: NodeHome, by: tuple[Facet, ...], query: dict[str, Any] | None = None, asker: str = "a"
) -> Answer:
    question = BreakdownQuestion(id="b", query=query or {}, by=by, asker=asker)
    return Answerer(home).answer(question)


def _count(home: NodeHome, query: dict[str, Any], asker: str = "a") -> Answer:
    return Answerer(home).answer(CountQuestion(id="c", query=query, asker=asker))


def test_an_answer_has_the_very_numbers_that_counts_have(home: NodeHome) -> None:
    answer = _ask(home, ("age", "sex"), {"modality": ["MG"]}, asker="one")
    assert answer.count == _count(home, {"modality": ["MG"]}, asker="two").count
    decades = [f"{low}-{low + 9}" for low in range(0, 120, 10)]
    assert [cell.values for cell in answer.cells] == [
        (decade, sex) for decade in decades for sex in sorted(terms("sex"))
    ]
    for cell in answer.cells[12:18]:
        low = int(cell.values[0].partition("-")[0])
        narrower = {"modality": ["MG"], "age": {"low": low, "high": low + 9}, "sex": [cell.values[1]]}
        assert _count(home, narrower, asker="two").count == cell.count


def test_whoever_has_a_breakdown_has_paid_for_its_total_and_its_cells(home: NodeHome) -> None:
    before = _count(home, {"body_part": ["prostate"]}, asker="payer").left
    assert before is not None
    left = _ask(home, ("outcome", "sex"), asker="payer").left
    assert left == before - 2
    for query in ({}, {"outcome": ["negative"], "sex": ["male"]}):
        assert _count(home, query, asker="payer").left == left
    assert _count(home, {"outcome": ["negative"]}, asker="payer").left == left - 1
    assert _ask(home, ("outcome", "sex"), asker="payer").left == left - 1


MODALITIES = len(vocabulary.terms("modality"))


@pytest.mark.parametrize(
    ("query", "by", "cost"),
    [
        ({}, ("sex",), 2),
        ({}, ("age", "diagnosis"), 2),
        ({}, ("modality",), 2 * MODALITIES),
        ({}, ("body_part", "sex"), 2 * 3),
        ({}, ("body_part", "modality"), 2 * 3 * MODALITIES),
        ({"modality": ["CT", "MG"]}, ("modality",), 2 * 2),
        ({"modality": ["CT", "MG"], "body_part": ["lung"]}, ("body_part", "modality"), 2 * 2),
    ],
)
def test_a_breakdown_costs_what_one_person_can_move(query: dict[str, Any], by: Any, cost: int) -> None:
    cells = cells_of(CohortQuery.model_validate(query), by, manufacturers=MAKERS)
    assert (cells.cost, cells.asked(1).cost) == (cost, cost)


def test_a_breakdown_that_costs_more_than_there_is_is_refused_whole(home: NodeHome) -> None:
    answer = _ask(home, ("body_part", "modality"), asker="c")
    assert (answer.count, answer.cells) == (Refused(site="gr", code="budget_spent"), ())
    assert answer.left is not None
    assert answer.left > 0


def test_the_cells_do_not_hang_on_who_is_there(home: NodeHome, tmp_path: Path) -> None:
    empty = NodeHome.create(tmp_path / "lt", site="lt", name="x", country="LT")
    for by in (("age", "sex"), ("diagnosis",), ("body_part",)):
        shown = [[cell.values for cell in _ask(node, by, asker="d").cells] for node in (home, empty)]
        assert shown[0] == shown[1]
    nobody = [cell.count for cell in _ask(empty, ("sex",), asker="d").cells]
    assert all(isinstance(count, Suppressed | Released) for count in nobody)


def test_makers_are_those_of_the_record_and_cells_of_few_look_like_cells_of_none(home: NodeHome) -> None:
    (record,) = drafts(home)
    assert record.manufacturers == MAKERS
    answer = _ask(home, ("manufacturer",), asker="e")
    assert [cell.values for cell in answer.cells] == [(maker,) for maker in MAKERS]
    small = _ask(home, ("outcome",), {"age": {"low": 33, "high": 33}, "sex": ["male"]}, asker="e").cells
    suppressed = {cell.count.canonical() for cell in small if isinstance(cell.count, Suppressed)}
    assert len(suppressed) == 1


def test_a_query_that_excludes_a_cell_does_not_have_it() -> None:
    by: Any = ("age", "sex")
    query = CohortQuery(sex=("female",), age=AgeRange(low=48, high=61))
    assert list(cells_of(query, by, manufacturers=()).queries) == [
        ("40-49", "female"),
        ("50-59", "female"),
        ("60-69", "female"),
    ]


def test_a_facet_is_named_once_and_there_are_two_at_most() -> None:
    for by in ((), ("sex", "age", "outcome"), ("shoe_size",)):
        with pytest.raises(ValidationError):
            BreakdownQuestion(id="b", query={}, by=by, asker="a")
    assert BreakdownQuestion(id="b", query={}, by=("sex", "age"), asker="a").by == ("age", "sex")
