"""The dashboard's panels: every state has a text, no site's text becomes markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from a_federation import dataset, federation
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.client import panels
from unica_sdk.errors import DataError
from unica_sdk.schemas.cohort import Offline, Refused
from unica_sdk.schemas.job import JobState


class Reader(HTMLParser):
    """What a browser would see: the tags, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=st.text(min_size=1))
def test_a_sites_words_stay_words(text: str) -> None:
    page = Reader(panels.datasets_table(federation(datasets=(dataset("gr", title=text),))))
    plain = Reader(panels.datasets_table(federation(datasets=(dataset("gr", title="x"),))))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]


def test_an_empty_federation_says_so() -> None:
    empty = federation(nodes=(), datasets=(), jobs={}, cases_lower=0, cases_upper=0)
    assert "No node" in panels.nodes_table(empty)
    assert "No node has published" in panels.datasets_table(empty)
    assert "No job" in panels.jobs_table(empty)
    assert panels.cases_text(empty).startswith("No cases yet")
    assert "synthetic" not in panels.summary(empty)


@pytest.mark.parametrize(
    ("lower", "upper", "text"),
    [
        (1590, 1610, "Between 1,590 and 1,610 cases of the 100,000 that are the goal: 1.6 %."),
        (1600, None, "At least 1,600 cases"),
        (1, 1, "1 case of the 100,000"),
        (0, 9, "Between 0 and 9 cases"),
    ],
)
def test_cases_are_a_range(lower: int, upper: int | None, text: str) -> None:
    shown = federation(cases_lower=lower, cases_upper=upper)
    assert panels.cases_text(shown).startswith(text)
    images = [attributes for tag, attributes in Reader(panels.cases_panel(shown)).tags if tag == "img"]
    assert len(images) == 1
    assert text in str(images[0]["alt"])
    assert str(images[0]["src"]).startswith("data:image/svg+xml;base64,")


def test_more_cases_than_the_goal_still_fit() -> None:
    figure = panels.cases_figure(federation(cases_lower=150_000, cases_upper=160_000))
    assert figure.axes[0].get_xlim()[1] >= 160_000


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Refused(site="gr", code="malformed"), "not released"),
        (Offline(site="gr"), "not answered"),
    ],
)
def test_an_unknown_number_is_not_a_zero(answer: Refused | Offline, text: str) -> None:
    record = dataset("gr").model_copy(update={"patients": answer, "studies": answer})
    page = Reader(panels.datasets_table(federation(datasets=(record,))))
    assert page.text.count(text) == 2


def test_synthetic_is_said_for_the_page_and_each_dataset() -> None:
    assert "Every dataset shown here is synthetic" in panels.summary(federation())
    mixed = federation(datasets=(dataset("gr"), dataset("pt").model_copy(update={"synthetic": False})))
    assert "1 of 2 datasets" in Reader(panels.summary(mixed)).text
    assert Reader(panels.datasets_table(mixed)).text.count("synthetic") == 1


def test_jobs_of_every_state_are_counted() -> None:
    page = Reader(panels.jobs_table(federation(jobs={state.value: 2 for state in JobState})))
    assert f"{2 * len(JobState)} jobs" in page.text
    assert all(state.value in page.text for state in JobState)


def test_the_snapshot_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "indicators.json"
    path.write_bytes(federation().canonical())
    assert panels.load_indicators(path) == federation()
    path.write_text("{}")
    with pytest.raises(DataError):
        panels.load_indicators(path)
    with pytest.raises(DataError):
        panels.load_indicators(tmp_path / "missing")
