"""Counts and breakdowns in the client: as they come, what is left, and how they are shown."""

import io
from typing import Any

import pytest
from client_world import ClientWorld, by_sex, releasing, silent, with_left
from gateway_world import suppressing
from rich.console import Console

from unica_sdk.client.cohorts import Cohort, build_query
from unica_sdk.client.counts import ALL_SITES, Count
from unica_sdk.client.progress import shown_meanwhile
from unica_sdk.errors import AccessDenied, InvalidRequest, PermitProblem, Unavailable
from unica_sdk.schemas.cohort import CohortQuery, CountResult, Refused, Released
from unica_sdk.schemas.exchange import Answer


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "at-once"])
def test_a_count_is_the_same_however_it_comes(hub: ClientWorld, stream: bool) -> None:
    with hub.sites(gr=with_left(40), lt=suppressing):
        count = hub.network.cohort(modality="MG").count(stream=stream)
    assert (count.lower, count.upper) == (38, 51)
    assert [answer.site for answer in count.answers] == ["gr", "lt"]
    assert count.left == {"gr": 40}
    assert count.waiting == ()
    for shown in (repr(count), count._repr_html_()):
        assert "about 40" in shown
        assert "fewer than 10" in shown
        assert "Left: questions of your budget" in shown


def test_who_answers_is_known_while_another_sleeps(hub: ClientWorld) -> None:
    seen: list[Count] = []
    with hub.sites(gr=releasing, lt=silent):
        count = hub.network.cohort().count(stream=seen.append)
    assert [answer.status for answer in count.answers] == ["released", "offline"]
    early = seen[-1]
    assert (early.waiting, early.lower, early.upper) == (("lt",), 38, None)
    assert "at least 38 · 1 of 2 sites have answered" in repr(early)
    assert "waiting" in early._repr_html_()


def test_answers_are_iterated_as_they_come_and_can_be_left(hub: ClientWorld) -> None:
    with hub.sites(gr=releasing, lt=silent):
        cohort = hub.network.cohort()
        first = next(cohort.answers())
        assert (first.site, first.status) == ("gr", "released")
        assert [(answer.site, answer.status) for answer in cohort.answers()] == [
            ("gr", "released"),
            ("lt", "offline"),
        ]


def test_a_permit_that_is_named_pays(hub: ClientWorld) -> None:
    hub.world.operator.add_permit(hub.world.signed_permit(id="p-2"))
    with hub.sites(gr=releasing):
        cohort = hub.network.cohort(sites="gr")
        cohort.count(permit="p-2")
        cohort.breakdown("sex", permit="p-2")
        cohort.count()
        with pytest.raises(PermitProblem):
            cohort.count(permit="p-none")
    assert [bool(question["permit"]) for question in hub.asked] == [True, True, False]


def test_an_error_of_a_stream_arrives_as_what_it_was(hub: ClientWorld) -> None:
    with pytest.raises(InvalidRequest, match="nowhere"):
        hub.network.cohort(sites="nowhere").count()
    weak = hub.network._gateway._client
    weak.headers["Authorization"] = "Bearer weak-token"
    with pytest.raises(AccessDenied):
        hub.network.cohort().count()


def test_only_a_newline_ends_a_line(hub: ClientWorld) -> None:
    """A site's own words are in a stream; none of them may break it."""
    code = "a\u2028b\x85c\x0bd\ne"

    def refusing(site: str, question: dict[str, Any]) -> Answer:
        return Answer(question=question["id"], count=Refused(site=site, code=code))

    with hub.sites(gr=refusing):
        (answer,) = hub.network.cohort(sites="gr").count().answers
    assert answer == Refused(site="gr", code=code)


def test_a_stream_that_breaks_off_is_an_error_not_a_count(hub: ClientWorld) -> None:
    class Broken:
        def stream(self, *given: Any) -> Any:
            yield from ()

    cohort = Cohort(query=CohortQuery(), gateway=Broken(), permits=())  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="broke off"):
        cohort.count()


# -- shown on the way


def _counts() -> tuple[Count, Count]:
    gr = Released(site="gr", n=40, low=38, high=42, index_version=1)
    first = Count(CountResult.of(CohortQuery(), [gr]), waiting=["lt"])
    return first, first


def test_in_a_terminal_it_is_shown_in_place_and_gone_at_the_end() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90)
    with shown_meanwhile(after=0, console=console) as show:
        for count in _counts():
            show(count)
    written = out.getvalue()
    assert "1 of 2 sites have answered" in written
    assert "\x1b[2K" in written, "the lines are taken away again"


def test_what_is_quick_or_seen_by_nobody_is_not_shown() -> None:
    for console, after in (
        (Console(file=io.StringIO(), force_terminal=True), 60.0),
        (Console(file=io.StringIO()), 0.0),
    ):
        with shown_meanwhile(after=after, console=console) as show:
            for count in _counts():
                show(count)
        assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_in_a_notebook_it_is_one_output_that_is_empty_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    shown: list[str] = []

    class Handle:
        def update(self, what: Any) -> None:
            shown.append(what._repr_html_())

    def display(what: Any, *, display_id: bool) -> Handle:
        assert display_id
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    console = Console(file=io.StringIO(), force_jupyter=True)
    with shown_meanwhile(after=0, console=console) as show:
        for count in _counts():
            show(count)
    assert [("1 of 2" in html) for html in shown] == [True, True, False]
    assert shown[-1] == ""


# -- breakdowns


def test_a_breakdown_shows_ranges_over_all_sites_and_each_sites_cells(hub: ClientWorld) -> None:
    with hub.sites(gr=by_sex, lt=by_sex):
        broken = hub.network.cohort(modality="MG").breakdown("sex")
    assert broken.by == ("sex",)
    assert [(cell.values, cell.lower, cell.upper) for cell in broken.cells] == [
        (("female",), 160, 240),
        (("male",), 0, 98),
    ]
    assert (broken.count.lower, broken.count.upper, broken.count.left) == (160, 240, {"gr": 7, "lt": 7})
    for shown in (repr(broken), broken._repr_html_()):
        assert "People by sex" in shown
        assert "160 to 240" in shown
        assert "1 cells with too few people at every site" in shown
        assert "fewer than 50" not in shown
    frame = broken.to_frame()
    assert list(frame.columns) == ["sex", "site", "lower", "upper", "n", "status"]
    total = frame[frame["site"] == ALL_SITES].set_index("sex")
    assert (total.loc["female", "lower"], total.loc["male", "upper"]) == (160, 98)
    assert frame.groupby("site")["lower"].sum().to_dict() == {ALL_SITES: 160, "gr": 80, "lt": 80}


def test_a_breakdown_names_who_did_not_answer(hub: ClientWorld) -> None:
    with hub.sites(gr=by_sex):
        broken = hub.network.cohort().breakdown("sex")
    assert "at least 80" in repr(broken)
    assert "lt: offline" in repr(broken)
    nobody = hub.network.cohort(sites="lt").breakdown("age", "sex")
    assert nobody.by == ("age", "sex")
    assert "No site gave any cell." in repr(nobody)


@pytest.mark.parametrize("by", [(), ("sex", "age", "outcome"), ("site",)], ids=str)
def test_a_breakdown_by_what_is_no_facet_asks_nobody(hub: ClientWorld, by: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        hub.network.cohort().breakdown(*by)
    assert raised.value.where.startswith("by")
    assert raised.value.hint
    assert hub.transport.paths == []


# -- the code of a query


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        {"modality": ["MG"], "age": (50, 69)},
        {"sex": ["female"], "manufacturer": ['o\'neill "x"'], "sites": ["gr", "lt"]},
    ],
    ids=str,
)
def test_the_code_of_a_cohort_makes_it_again(hub: ClientWorld, criteria: dict[str, Any]) -> None:
    cohort = hub.network.cohort(**criteria)
    again = eval(cohort.code, {"net": hub.network})  # noqa: S307 - it is what a person would paste
    assert again.query == cohort.query == build_query(**criteria)
