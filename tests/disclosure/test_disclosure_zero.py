"""Nobody and a few people cannot be told apart: neither by the answer, nor by its size, nor by its time."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unica_sdk.node.answers import Answerer
from unica_sdk.node.home import NodeHome, policy_text
from unica_sdk.node.index import DatasetInfo, InstanceRow, publish
from unica_sdk.schemas.exchange import BreakdownQuestion, CountQuestion, Question
from unica_sdk.schemas.policy import SitePolicy

MAKERS = 160
UNLIKELY = 4.5
"""Standard deviations: a test that is passed by chance alone fails once in 150,000 runs."""


@pytest.fixture(scope="module")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    """A site with 160 makers of one to nine people each, and a budget to ask about all of them."""
    folder = tmp_path_factory.mktemp("zero") / "gr"
    folder.mkdir()
    (folder / "site.key").write_bytes(bytes(range(32)))
    home = NodeHome.create(folder, site="gr", name="x", country="GR")
    policy = SitePolicy(noise=100, site_budget=10_000, person_budget=10_000)
    (folder / "policy.toml").write_text(policy_text(policy))
    rows = [
        InstanceRow(
            path=f"/{maker}/{n}", patient=f"{maker:016x}{n:016x}", study=f"s{maker}.{n}",
            series=f"r{maker}.{n}", instance=f"i{maker}.{n}", modality="MG", body_part="breast",
            manufacturer=_maker(maker), sex="female", age=40 + n, rows=8, columns=8, frames=1, samples=1,
            transfer_syntax="1.2.840.10008.1.2.1",
        )
        for maker in range(MAKERS)
        for n in range(1 + maker % 9)
    ]  # fmt: skip
    info = DatasetInfo(name="one", title="t", description="d", synthetic=True)
    publish(home.index_folder, info=info, source="/a", instances=rows, clinical=[])
    return Answerer(home)


def _maker(number: int, *, there: bool = True) -> str:
    return f"{'maker' if there else 'taker'} {number:04d}"


def _of(number: int, *, there: bool) -> Question:
    query: dict[str, Any] = {"manufacturer": [_maker(number, there=there)]}
    return CountQuestion(id=f"{number:032x}", query=query, asker="alice")


def _by_age(number: int, *, there: bool) -> Question:
    query: dict[str, Any] = {"manufacturer": [_maker(number, there=there)]}
    return BreakdownQuestion(id=f"{number:032x}", query=query, by=("age",), asker="alice")


def _deviation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return by how many standard deviations the ranks of two samples differ (Mann and Whitney)."""
    values = np.concatenate([one, other])
    order = values.argsort()
    ranks = np.empty(len(values))
    ranks[order] = np.arange(1, len(values) + 1)
    for value in np.unique(values):
        ranks[values == value] = ranks[values == value].mean()
    n, m = len(one), len(other)
    mean, spread = n * (n + m + 1) / 2, math.sqrt(n * m * (n + m + 1) / 12)
    return float((ranks[:n].sum() - mean) / spread)


def _asked(
    answerer: Answerer, make: Callable[..., Question]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[list[str]]]:
    """Ask about none and about few in turns; return the seconds of each, and the answers."""
    seconds: list[list[float]] = [[], []]
    answers: list[list[str]] = [[], []]
    rng = np.random.default_rng(0)
    for number in range(MAKERS):
        for kind in rng.permutation(2):
            question = make(number, there=bool(kind))
            start = time.perf_counter()
            answer = answerer.answer(question)
            seconds[kind].append(time.perf_counter() - start)
            answers[kind].append(answer.model_dump_json(exclude={"left"}))
    return np.array(seconds[0]), np.array(seconds[1]), answers


@pytest.mark.parametrize("make", [_of, _by_age])
def test_none_and_few_differ_neither_in_value_nor_in_size_nor_in_time(
    answerer: Answerer, make: Callable[..., Question]
) -> None:
    none, few, answers = _asked(answerer, make)
    assert abs(_deviation(none, few)) < UNLIKELY
    sizes = [np.array([len(text) for text in side], dtype=np.float64) for side in answers]
    assert abs(_deviation(*sizes)) < UNLIKELY
    released = [np.array(['"status":"released"' in text for text in side], np.float64) for side in answers]
    assert abs(_deviation(*released)) < UNLIKELY
    assert 0 < released[0].mean() + released[1].mean() < 1
    suppressed = {
        text[text.index('"count"') :] for side in answers for text in side if "released" not in text
    }
    assert len(suppressed) == 1


def test_the_clock_would_show_a_difference_if_there_were_one(answerer: Answerer) -> None:
    """A query that is malformed takes no look at the index, and is told from one that does."""
    counts, _, _ = _asked(answerer, _of)
    start, seconds = time.perf_counter(), []
    for number in range(MAKERS):
        answerer.answer(CountQuestion(id=f"{number}", query={"modality": ["nonsense"]}, asker="alice"))
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    assert _deviation(counts, np.array(seconds)) > 2 * UNLIKELY
