"""Counts as they come, on whose budget, what is remembered, and breakdowns added up."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from gateway_world import (
    World,
    client,
    connected,
    hello,
    releasing,
    silent,
    suppressing,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unica_sdk.errors import Unavailable
from unica_sdk.gateway.memory import FRESH_SECONDS, AnswerMemory
from unica_sdk.gateway.switchboard import MAX_OPEN
from unica_sdk.schemas.cohort import (
    BreakdownResult,
    Cell,
    CohortQuery,
    CountResult,
    CountStep,
    Refused,
    Released,
    Suppressed,
)
from unica_sdk.schemas.exchange import Answer, CountQuestion, Hello
from unica_sdk.schemas.identity import Person, Scope
from unica_sdk.schemas.policy import SitePolicy

ALICE = Person(subject="alice", scopes=Scope.ALL)
GR = CohortQuery(sites=("gr",))
POLICY = SitePolicy()


class Listening:
    """A site that answers as `inner` does and keeps what it was asked."""

    def __init__(self, inner: Callable[[str, dict[str, Any]], Answer | None] = releasing) -> None:
        self.asked: list[dict[str, Any]] = []
        self._inner = inner

    def __call__(self, site: str, question: dict[str, Any]) -> Answer | None:
        self.asked.append(question)
        return self._inner(site, question)


async def asked(world: World, path: str, body: dict[str, Any], who: str = "alice-token") -> httpx.Response:
    async with client(world.researcher, who) as person:
        return await person.post(path, json=body)


def counted(reply: httpx.Response) -> CountResult:
    assert reply.status_code == 200, reply.text
    return CountResult.model_validate_json(reply.content)


# -- as they come


def test_a_stream_says_whom_it_asks_then_who_answers_and_ends_with_the_result(world: World) -> None:
    def with_budget(site: str, question: dict[str, Any]) -> Answer:
        return releasing(site, question).model_copy(update={"left": 41})

    async def go() -> tuple[httpx.Response, CountResult]:
        async with connected(world, gr=with_budget, lt=suppressing):
            streamed = await asked(world, "/v1/counts/stream", {"query": {"modality": ["MG"]}})
            return streamed, counted(await asked(world, "/v1/counts", {"query": {"modality": ["MG"]}}))

    reply, whole = asyncio.run(go())
    assert reply.headers["content-type"] == "application/x-ndjson"
    steps = [CountStep.model_validate_json(line) for line in reply.text.splitlines()]
    assert steps[0].asked == ("gr", "lt")
    assert not any(step.asked for step in steps[1:])
    came = [answer for step in steps for answer in step.answers]
    assert sorted(came, key=lambda answer: answer.site) == list(whole.answers)
    assert [step.result for step in steps] == [*[None] * (len(steps) - 1), whole]
    assert whole.left == {"gr": 41}


def test_one_site_asleep_keeps_nobody_waiting_but_the_end(world: World) -> None:
    async def go() -> tuple[list[CountStep], bool]:
        steps: list[CountStep] = []
        async with connected(world, gr=releasing, lt=silent):
            came = asyncio.Event()

            async def listen() -> None:
                async for step in world.gateway.cohorts.steps(ALICE, CohortQuery()):
                    steps.append(step)
                    if step.answers:
                        came.set()

            listening = asyncio.create_task(listen())
            await asyncio.wait_for(came.wait(), 10)
            early = not listening.done()
            await listening
        return steps, early

    steps, early = asyncio.run(go())
    assert early, "the answer of the one came while the other was still waited for"
    assert any(not step.answers and step.result is None for step in steps[1:]), "the wait was heard of"
    result = steps[-1].result
    assert result is not None
    assert [(answer.site, answer.status) for answer in result.answers] == [
        ("gr", "released"),
        ("lt", "offline"),
    ]


def test_whoever_goes_away_takes_the_question_back(world: World) -> None:
    async def go() -> int:
        async with client(world.nodes, world.site_token("gr")) as node:
            await node.post("/node/v1/hello", content=hello("gr").model_dump_json())
            steps = world.gateway.cohorts.steps(ALICE, CohortQuery(sites=("gr",)))
            await anext(steps)
            held = asyncio.create_task(node.get("/node/v1/questions", params={"wait": 5}))
            waiting = asyncio.create_task(anext(steps))
            question = (await held).json()[0]
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await steps.aclose()
            late = await node.post("/node/v1/answers", content=releasing("gr", question).model_dump_json())
            return late.status_code

    assert asyncio.run(go()) == 404


def test_a_gateway_that_ends_lets_nobody_wait_for_the_deadline(world: World) -> None:
    async def go() -> CountResult:
        async with connected(world, gr=silent, lt=silent):
            count = asyncio.create_task(world.gateway.cohorts.count(ALICE, CohortQuery()))
            await asyncio.sleep(0.1)
            world.gateway.release_waiters()
            return await asyncio.wait_for(count, 1.5)

    assert [answer.status for answer in asyncio.run(go()).answers] == ["offline", "offline"]


# -- on whose budget


@pytest.mark.parametrize(
    ("token", "body", "permit"),
    [
        ("alice-token", {}, "p-1"),
        ("alice-token", {"permit": "p-1"}, "p-1"),
        ("bob-token", {}, None),
    ],
    ids=["the-only-active", "named", "none"],
)
def test_a_question_carries_who_asks_and_the_permit_that_pays(
    world: World, token: str, body: dict[str, Any], permit: str | None
) -> None:
    world.operator.add_permit(
        world.signed_permit(id="p-old", issued=world.now[0] - timedelta(9), expires=world.now[0])
    )
    site = Listening()

    async def go() -> None:
        async with connected(world, gr=site):
            for path, more in (("/v1/counts", {}), ("/v1/breakdowns", {"by": ["sex"]})):
                reply = await asked(world, path, {"query": {"sites": ["gr"]}, **body, **more}, token)
                assert reply.status_code == 200, reply.text

    asyncio.run(go())
    assert [q["kind"] for q in site.asked] == ["count", "breakdown"]
    for question in site.asked:
        assert question["asker"] == token.removesuffix("-token")
        carried = question["permit"] and json.loads(question["permit"]["payload"])["id"]
        assert carried == permit
    assert [e.detail.get("permit") for e in world.audit.entries() if e.action.startswith("cohort.")] == [
        permit,
        permit,
    ]


def test_of_several_active_permits_none_is_guessed(world: World) -> None:
    world.operator.add_permit(world.signed_permit(id="p-2"))
    site = Listening()

    async def go() -> None:
        async with connected(world, gr=site):
            for body in ({}, {"permit": "p-2"}):
                counted(await asked(world, "/v1/counts", {"query": {"sites": ["gr"]}, **body}))

    asyncio.run(go())
    carried = [q["permit"] and json.loads(q["permit"]["payload"])["id"] for q in site.asked]
    assert carried == [None, "p-2"]


@pytest.mark.parametrize("permit", ["p-1", "p-none"])
def test_nobody_counts_on_a_permit_that_is_not_theirs(world: World, permit: str) -> None:
    before = world.actions()
    for path, more in COUNTING:
        reply = asyncio.run(asked(world, path, {"query": {}, "permit": permit, **more}, "bob-token"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "UNICA-310")
    assert world.actions() == before


# -- malformed questions

LONG = "x" * 100_000
COUNTING: list[tuple[str, dict[str, Any]]] = [
    ("/v1/counts", {}),
    ("/v1/counts/stream", {}),
    ("/v1/breakdowns", {"by": ["sex"]}),
]
ENTERED = {"site.enrolled", "app.added", "permit.added"}
"""What the audit holds before anybody asked anything."""
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"modality": ["XYZ"]}, "query.modality"),
    ({"modality": "MG"}, "query.modality"),
    ({"modality": [LONG]}, "query.modality"),
    ({"modality": ["MG"] * 33}, "query.modality"),
    ({"modality": [["MG"]]}, "query.modality"),
    ({"modality": None}, "query.modality"),
    ({"diagnosis": ["'; DROP TABLE patient; --"]}, "query.diagnosis"),
    ({"manufacturer": [""]}, "query.manufacturer"),
    ({"manufacturer": [LONG]}, "query.manufacturer"),
    ({"age": {"low": -1, "high": 5}}, "query.age.low"),
    ({"age": {"low": 60, "high": 50}}, "query.age"),
    ({"age": {"low": 10**400, "high": 10**400}}, "query.age.low"),
    ({"age": [50, 69]}, "query.age"),
    ({"sites": ["../gr"]}, "query.sites"),
    ({"sites": ["nowhere"]}, "query.sites"),
    ({"sites": ["gr\n"]}, "query.sites"),
    ({"lung_rads": ["4B"]}, "query.lung_rads"),
    ({"sex": ["female"], "\ud800": 1}, "query"),
    ({LONG: 1}, ("query." + LONG)[:1_000]),
]


def test_a_hostile_query_is_422_with_the_field_and_is_nobodys_refusal(world: World) -> None:
    site = Listening()

    async def go() -> list[list[httpx.Response]]:
        async with connected(world, gr=site), client(world.researcher, "alice-token") as alice:
            return [
                [
                    await alice.post(path, content=json.dumps({"query": query, **more}))
                    for path, more in COUNTING
                ]
                for query, _ in HOSTILE
            ]

    for replies, (query, where) in zip(asyncio.run(go()), HOSTILE, strict=True):
        for reply in replies:
            error = reply.json()["error"]
            assert (reply.status_code, error["where"]) == (422, where), str(query)[:50]
            assert 0 < len(error["message"]) <= 1_000, "what was sent is not sent back at length"
    assert site.asked == []
    assert set(world.actions()) == {*ENTERED, "site.connected", "site.records"}


def test_a_breakdown_by_what_is_no_facet_is_422(world: World) -> None:
    async def go() -> list[httpx.Response]:
        wrong: list[Any] = [[], ["sex", "age", "outcome"], ["site"], ["sex; --"], "sex", [LONG], None]
        return [await asked(world, "/v1/breakdowns", {"query": {}, "by": by}) for by in wrong]

    for reply in asyncio.run(go()):
        assert (reply.status_code, reply.json()["error"]["where"]) == (422, "by")
        assert len(reply.text) < 2_000
    assert set(world.actions()) == ENTERED


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "query": anything
        | st.dictionaries(st.sampled_from(["sex", "age", "sites", "modality"]), anything, max_size=4),
        "permit": anything,
        "by": anything,
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies)
def test_whatever_is_sent_is_answered_or_turned_away(world: World, body: dict[str, Any]) -> None:
    """No body makes the gateway fail, and none but a whole question on one's own budget is in the audit."""
    before = len(world.actions())

    async def go() -> httpx.Response:
        async with client(world.researcher, "bob-token") as bob:
            return await bob.post("/v1/counts/stream", content=json.dumps(body))

    reply = asyncio.run(go())
    assert reply.status_code in (200, 403, 422), reply.text
    assert len(world.actions()) - before == (reply.status_code == 200)


# -- what is remembered


def heard(world: World, site: str = "gr", **changed: Any) -> None:
    world.gateway.hello(site, hello(site, **{"policy": POLICY, **changed}))


async def count_twice(
    world: World, site: Listening, between: Callable[[], None], *, who: str = "alice-token"
) -> tuple[CountResult, CountResult]:
    body = {"query": {"modality": ["MG"], "sites": ["gr"]}}
    async with connected(world, policy=POLICY, gr=site):
        first = counted(await asked(world, "/v1/counts", body))
        between()
        return first, counted(await asked(world, "/v1/counts", body, who))


def test_a_repeated_count_asks_no_site_and_is_the_same(world: World) -> None:
    def with_budget(site: str, question: dict[str, Any]) -> Answer:
        return releasing(site, question).model_copy(update={"left": 40})

    site = Listening(with_budget)
    first, again = asyncio.run(count_twice(world, site, lambda: None))
    assert first == again
    assert again.left == {"gr": 40}
    assert len(site.asked) == 1
    assert world.actions().count("cohort.count") == 2, "the hub's own audit has both"


@pytest.mark.parametrize(
    "change",
    [
        lambda world: heard(world, index_version=2),
        lambda world: heard(world, policy=SitePolicy(threshold=20)),
        lambda world: heard(world, policy=None),
        lambda world: (heard(world, index_version=2), heard(world)),
        lambda world: world.gateway.hello(
            "gr", Hello(datasets=(), policy=POLICY, audit_head="h", audit_length=1)
        ),
    ],
    ids=["new-version", "new-policy", "no-policy", "there-and-back", "no-dataset"],
)
def test_a_site_that_changed_is_asked_again(world: World, change: Callable[[World], None]) -> None:
    site = Listening()
    asyncio.run(count_twice(world, site, lambda: change(world)))
    assert len(site.asked) == 2


def test_another_person_is_the_sites_business(world: World) -> None:
    """Its budgets and its audit are kept by who asks, so that it must be asked."""
    site = Listening()
    asyncio.run(count_twice(world, site, lambda: None, who="bob-token"))
    assert [question["asker"] for question in site.asked] == ["alice", "bob"]


def test_another_question_is_another_question(world: World) -> None:
    site = Listening(lambda s, q: releasing(s, q))

    async def go() -> None:
        async with connected(world, policy=POLICY, gr=site):
            for query in ({"sex": ["female"]}, {"sex": ["male"]}, {"sex": ["female"], "age": None}):
                counted(await asked(world, "/v1/counts", {"query": {**query, "sites": ["gr"]}}))
            await asked(world, "/v1/breakdowns", {"query": {"sex": ["female"]}, "by": ["age"]})

    asyncio.run(go())
    assert [q["kind"] for q in site.asked] == ["count", "count", "breakdown"]


def test_what_is_no_number_is_asked_again(world: World) -> None:
    site = Listening(
        lambda s, q: Answer(question=q["id"], count=Refused(site=s, code="budget_spent"), left=0)
    )
    first, _ = asyncio.run(count_twice(world, site, lambda: None))
    assert len(site.asked) == 2
    assert first.left == {"gr": 0}


def _answer(version: int, *, left: int | None = None) -> Answer:
    count = Released(site="gr", n=40, low=38, high=42, index_version=version)
    return Answer(question="q", count=count, left=left)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_answer_outlives_an_opt_out_for_longer_than_a_heartbeat() -> None:
    """The last hello may have been sent just before it: what a hello vouches for ends with its heartbeat."""
    clock = Clock()
    memory = AnswerMemory(clock=clock)
    given = {"payer": "person:alice", "question": b"q"}
    memory.heard("gr", hello("gr", policy=POLICY))
    _, basis = memory.recall("gr", **given)
    memory.keep("gr", _answer(1), **given, basis=basis)
    clock.now = FRESH_SECONDS
    assert memory.recall("gr", **given)[0] == _answer(1)
    clock.now = FRESH_SECONDS + 0.01
    assert memory.recall("gr", **given)[0] is None
    memory.heard("gr", hello("gr", policy=POLICY))
    assert memory.recall("gr", **given)[0] == _answer(1), "the site says that nothing changed"


def test_a_site_ahead_of_its_hello_makes_the_hub_forget_at_once() -> None:
    memory = AnswerMemory()
    one, two = ({"payer": "person:alice", "question": q} for q in (b"1", b"2"))
    memory.heard("gr", hello("gr", policy=POLICY))
    _, basis = memory.recall("gr", **one)
    memory.keep("gr", _answer(1), **one, basis=basis)
    memory.keep("gr", _answer(2), **two, basis=basis)
    assert memory.recall("gr", **one)[0] is None
    assert memory.recall("gr", **two)[0] is None
    # A hello that was on its way, and says the old version once more, brings nothing back.
    memory.heard("gr", hello("gr", policy=POLICY))
    assert memory.recall("gr", **one)[0] is None


def test_an_answer_that_was_asked_for_before_a_change_is_not_kept_after_it() -> None:
    memory = AnswerMemory()
    given = {"payer": "person:alice", "question": b"q"}
    memory.heard("gr", hello("gr", policy=POLICY))
    _, basis = memory.recall("gr", **given)
    memory.heard("gr", hello("gr", policy=SitePolicy(threshold=20)))
    memory.heard("gr", hello("gr", policy=POLICY))
    memory.keep("gr", _answer(1), **given, basis=basis)
    assert memory.recall("gr", **given)[0] is None


def test_what_is_left_is_what_the_site_said_last() -> None:
    memory = AnswerMemory()
    one, two = ({"payer": "person:alice", "question": q} for q in (b"1", b"2"))
    memory.heard("gr", hello("gr", policy=POLICY))
    _, basis = memory.recall("gr", **one)
    memory.keep("gr", _answer(1, left=9), **one, basis=basis)
    memory.keep("gr", _answer(1, left=8), **two, basis=basis)
    recalled = memory.recall("gr", **one)[0]
    assert recalled is not None
    assert recalled.left == 8


# -- breakdowns


def cells_of(site: str, numbers: dict[str, int | None]) -> tuple[Cell, ...]:
    """A number, or None where there are too few."""
    return tuple(
        Cell(
            values=(value,),
            count=Suppressed(site=site, below=50, index_version=1)
            if n is None
            else Released(site=site, n=n, low=n - 20, high=n + 20, index_version=1),
        )
        for value, n in numbers.items()
    )


def breaking_down(**numbers: int | None) -> Callable[[str, dict[str, Any]], Answer]:
    def respond(site: str, question: dict[str, Any]) -> Answer:
        count = Released(site=site, n=300, low=280, high=320, index_version=1)
        cells = cells_of(site, numbers) if question["kind"] == "breakdown" else ()
        return Answer(question=question["id"], count=count, cells=cells, left=30)

    return respond


async def broken_down(world: World, by: list[str], **query: Any) -> BreakdownResult:
    reply = await asked(world, "/v1/breakdowns", {"query": query, "by": by})
    assert reply.status_code == 200, reply.text
    return BreakdownResult.model_validate_json(reply.content)


def test_cells_are_added_up_over_the_sites(world: World) -> None:
    async def go() -> BreakdownResult:
        gr, lt = breaking_down(male=None, female=100), breaking_down(female=200, male=60)
        async with connected(world, gr=gr, lt=lt):
            return await broken_down(world, ["sex"])

    result = asyncio.run(go())
    assert [(cell.values, cell.lower, cell.upper) for cell in result.cells] == [
        (("female",), 80 + 180, 120 + 220),
        (("male",), 0 + 40, 49 + 80),
    ]
    assert [site.count.site for site in result.sites] == ["gr", "lt"]
    assert (result.by, result.left) == (("sex",), {"gr": 30, "lt": 30})


def test_a_site_without_a_number_leaves_the_upper_bounds_open(world: World) -> None:
    refusing = Listening(lambda s, q: Answer(question=q["id"], count=Refused(site=s, code="budget_spent")))

    async def go() -> list[BreakdownResult]:
        found = []
        async with connected(world, gr=breaking_down(female=100), lt=refusing):
            found.append(await broken_down(world, ["sex"]))
        async with connected(world, gr=breaking_down(female=100), lt=silent):
            found.append(await broken_down(world, ["sex"]))
        return found

    for result, status in zip(asyncio.run(go()), ("refused", "offline"), strict=True):
        assert [(cell.lower, cell.upper) for cell in result.cells] == [(80, None)]
        assert [site.count.status for site in result.sites] == ["released", status]


def test_a_cell_that_a_site_does_not_name_is_bounded_by_what_it_said(world: World) -> None:
    async def go() -> BreakdownResult:
        gr, lt = breaking_down(acme=100, zeta=None), breaking_down(bolt=90)
        async with connected(world, gr=gr, lt=lt):
            return await broken_down(world, ["manufacturer"])

    cells = {cell.values: (cell.lower, cell.upper) for cell in asyncio.run(go()).cells}
    assert cells == {
        ("acme",): (80, 120 + 320),
        ("bolt",): (70, 49 + 110),
        ("zeta",): (0, 49 + 320),
    }


def test_cells_stand_in_the_order_of_their_facets(world: World) -> None:
    def two(site: str, question: dict[str, Any]) -> Answer:
        count = Suppressed(site=site, below=50, index_version=1)
        values = [("100-109", "male"), ("50-59", "male"), ("100-109", "female"), ("50-59", "female")]
        cells = tuple(Cell(values=value, count=count) for value in values)
        return Answer(question=question["id"], count=count, cells=cells)

    async def go() -> BreakdownResult:
        async with connected(world, gr=two):
            return await broken_down(world, ["sex", "age"], sites=["gr"])

    result = asyncio.run(go())
    assert result.by == ("age", "sex")
    assert [cell.values for cell in result.cells] == [
        ("50-59", "female"),
        ("50-59", "male"),
        ("100-109", "female"),
        ("100-109", "male"),
    ]


def test_a_repeated_breakdown_asks_no_site(world: World) -> None:
    site = Listening(breaking_down(female=100))

    async def go() -> tuple[BreakdownResult, BreakdownResult, BreakdownResult]:
        async with connected(world, policy=POLICY, gr=site):
            first = await broken_down(world, ["sex"], sites=["gr"])
            again = await broken_down(world, ["sex"], sites=["gr"])
            return first, again, await broken_down(world, ["age"], sites=["gr"])

    first, again, _ = asyncio.run(go())
    assert first == again
    assert [question["by"] for question in site.asked] == [["sex"], ["age"]]


def test_cells_are_believed_only_if_they_fit(world: World) -> None:
    async def go() -> list[int]:
        async with client(world.nodes, world.site_token("gr")) as node:
            await node.post("/node/v1/hello", content=hello("gr").model_dump_json())

            async def ask(path: str, **more: Any) -> tuple["asyncio.Task[Any]", dict[str, Any]]:
                task = asyncio.create_task(asked(world, path, {"query": {"sites": ["gr"]}, **more}))
                return task, (await node.get("/node/v1/questions", params={"wait": 5})).json()[0]

            async def post(answer: dict[str, Any]) -> int:
                return (await node.post("/node/v1/answers", json=answer)).status_code

            task, question = await ask("/v1/breakdowns", by=["sex"])
            true = breaking_down(female=100)("gr", question).model_dump(mode="json")
            (cell,), refused = true["cells"], {"status": "refused", "site": "gr", "code": "x"}
            wrong = [
                await post({**true, **spoilt})
                for spoilt in (
                    {"cells": [{**cell, "values": ["female", "50-59"]}]},
                    {"cells": [{**cell, "values": ["f" * 65]}]},
                    {"cells": [cell, cell]},
                    {"cells": [{**cell, "count": {**cell["count"], "site": "lt"}}]},
                    {"cells": [{**cell, "count": {**cell["count"], "high": 3}}]},
                    {"count": refused},
                )
            ]
            assert await post(true) == 204
            await task
            task, question = await ask("/v1/counts")
            wrong.append(await post({**true, "question": question["id"]}))
            assert await post({**true, "question": question["id"], "cells": []}) == 204
            await task
            return wrong

    assert asyncio.run(go()) == [422] * 7


# -- what a site insists on


def test_a_sites_settings_are_what_its_last_hello_said(world: World) -> None:
    policy = SitePolicy(threshold=20, approved_apps=(world.app.id,))
    assert [node.policy for node in world.gateway.nodes()] == [None, None]
    world.gateway.hello("gr", hello("gr", policy=policy))
    world.gateway.hello("lt", hello("lt"))
    assert [node.policy for node in world.gateway.nodes()] == [policy, None]
    changed = SitePolicy(threshold=30)
    world.gateway.hello("gr", hello("gr", policy=changed))
    assert world.store.sites()["gr"].policy == changed


def test_too_many_questions_are_turned_away_whole(world: World) -> None:
    async def go() -> list[str]:
        board = world.gateway.switchboard
        many = {f"s{n}": CountQuestion(id=f"q{n}", query={}, asker="a") for n in range(MAX_OPEN + 1)}
        with pytest.raises(Unavailable):
            await board.ask(many, seconds=1)
        async with connected(world, gr=releasing):
            return [answer.status for answer in (await world.gateway.cohorts.count(ALICE, GR)).answers]

    assert asyncio.run(go()) == ["released"]
