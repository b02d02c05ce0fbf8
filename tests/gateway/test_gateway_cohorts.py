"""Counts and freezes through the faces: who is asked, who answered, what is believed."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_world import (
    World,
    client,
    connected,
    enrolment,
    frozen,
    hello,
    releasing,
    silent,
    suppressing,
)

from unica_sdk.gateway.bell import Bell
from unica_sdk.gateway.switchboard import Switchboard
from unica_sdk.schemas.cohort import CountResult, FrozenCohort
from unica_sdk.schemas.exchange import Answer, CountQuestion


async def counted(world: World, query: dict[str, Any] | None = None) -> CountResult:
    async with client(world.researcher, "alice-token") as alice:
        reply = await alice.post("/v1/counts", json={"query": query or {}})
    assert reply.status_code == 200, reply.text
    return CountResult.model_validate_json(reply.content)


def test_a_count_adds_up_what_the_sites_answer(world: World) -> None:
    async def go() -> CountResult:
        async with connected(world, gr=releasing, lt=suppressing):
            return await counted(world)

    result = asyncio.run(go())
    assert [answer.status for answer in result.answers] == ["released", "suppressed"]
    assert (result.lower, result.upper) == (38, 51)
    assert world.actions()[-1] == "cohort.count"


def test_a_site_that_is_not_connected_is_offline_at_once_and_a_silent_one_at_the_deadline(
    world: World,
) -> None:
    async def go() -> tuple[CountResult, CountResult]:
        nobody = await counted(world)
        async with connected(world, gr=releasing, lt=silent):
            return nobody, await counted(world)

    nobody, silence = asyncio.run(go())
    assert [answer.status for answer in nobody.answers] == ["offline", "offline"]
    assert [answer.status for answer in silence.answers] == ["released", "offline"]
    assert (silence.lower, silence.upper) == (38, None)


def test_only_the_sites_named_are_asked_and_they_do_not_learn_of_each_other(world: World) -> None:
    asked: list[dict[str, Any]] = []

    def remembering(site: str, question: dict[str, Any]) -> Answer:
        asked.append({"site": site, **question})
        return releasing(site, question)

    async def go() -> CountResult:
        async with connected(world, gr=remembering, lt=remembering):
            return await counted(world, {"sites": ["gr"], "modality": ["MG"], "sex": []})

    assert [answer.site for answer in asyncio.run(go()).answers] == ["gr"]
    assert [(entry["site"], entry["query"]) for entry in asked] == [("gr", {"modality": ["MG"]})]


def test_a_question_waits_for_a_node_that_reconnects(world: World) -> None:
    async def go() -> None:
        async with client(world.nodes, world.site_token("gr")) as node:
            await node.post("/node/v1/hello", content=hello("gr").model_dump_json())
            count = asyncio.create_task(counted(world, {"sites": ["gr"]}))
            lost = (await node.get("/node/v1/questions", params={"wait": 5})).json()
            assert len(lost) == 1
            again = (await node.get("/node/v1/questions", params={"wait": 5})).json()
            assert again == lost
            answer = releasing("gr", again[0]).model_dump_json()
            assert (await node.post("/node/v1/answers", content=answer)).status_code == 204
            assert (await node.post("/node/v1/answers", content=answer)).status_code == 404
            assert (await count).lower == 38
            assert (await node.get("/node/v1/questions")).json() == []

    asyncio.run(go())


def test_the_newest_poll_of_a_site_gets_the_question() -> None:
    """The older one belongs to a connection that may be gone."""

    async def go() -> None:
        board = Switchboard(Bell())
        old = asyncio.create_task(board.take("gr", wait=20))
        await asyncio.sleep(0)
        new = asyncio.create_task(board.take("gr", wait=20))
        assert await old == ()
        question = CountQuestion(id="q", query={}, asker="alice")
        asked = asyncio.create_task(board.ask({"gr": question}, seconds=20))
        assert await new == (question,)
        answer = releasing("gr", question.model_dump())
        board.accept("gr", answer)
        assert await asked == {"gr": answer}

    asyncio.run(go())


def test_an_answer_is_believed_only_from_the_site_that_was_asked(world: World) -> None:
    async def go() -> None:
        async with (
            client(world.nodes, world.site_token("gr")) as gr,
            client(world.nodes, world.site_token("lt")) as lt,
        ):
            for site, node in (("gr", gr), ("lt", lt)):
                await node.post("/node/v1/hello", content=hello(site).model_dump_json())
            count = asyncio.create_task(counted(world, {"sites": ["gr"]}))
            question = (await gr.get("/node/v1/questions", params={"wait": 5})).json()[0]
            true = releasing("gr", question).model_dump(mode="json")

            async def post(node: httpx.AsyncClient, answer: dict[str, Any]) -> int:
                return (await node.post("/node/v1/answers", json=answer)).status_code

            assert await post(lt, {**true, "count": {**true["count"], "site": "lt"}}) == 404
            assert await post(lt, true) == 422
            assert await post(gr, {**true, "question": "another"}) == 404
            assert await post(gr, {**true, "count": {**true["count"], "high": 3}}) == 422
            snapshot = releasing("gr", {**question, "kind": "freeze"}).model_dump(mode="json")
            assert await post(gr, snapshot) == 422
            assert await post(gr, true) == 204
            assert (await count).lower == 38

    asyncio.run(go())


def test_a_freeze_names_who_takes_part_and_who_is_left_out(world: World) -> None:
    async def go() -> FrozenCohort:
        async with connected(world, gr=releasing, lt=suppressing):
            async with client(world.researcher, "alice-token") as alice:
                body = {"query": {"modality": ["MG"]}, "permit": "p-1"}
                reply = await alice.post("/v1/cohorts", json=body)
                listed = await alice.get("/v1/cohorts")
            assert reply.status_code == 200, reply.text
            assert listed.json() == [reply.json()]
            async with client(world.researcher, "bob-token") as bob:
                assert (await bob.get("/v1/cohorts")).json() == []
        return FrozenCohort.model_validate_json(reply.content)

    cohort = asyncio.run(go())
    assert cohort.sites == ("gr",)
    assert [(answer.site, answer.status) for answer in cohort.left_out] == [("lt", "suppressed")]
    assert cohort.id == FrozenCohort.identity({"gr": cohort.snapshots[0].id})
    assert (cohort.holder, cohort.permit) == ("alice", "p-1")


def test_freezing_the_same_twice_keeps_one(world: World) -> None:
    assert asyncio.run(frozen(world)) == asyncio.run(frozen(world))
    assert len(world.store.cohorts("alice")) == 1


def test_a_cohort_of_nobody_says_why(world: World) -> None:
    async def go() -> httpx.Response:
        async with (
            connected(world, gr=suppressing, lt=silent),
            client(world.researcher, "alice-token") as alice,
        ):
            return await alice.post("/v1/cohorts", json={"query": {}, "permit": "p-1"})

    reply = asyncio.run(go())
    assert reply.status_code == 422
    assert "gr: fewer than 10; lt: offline" in reply.json()["error"]["hint"]
    assert world.store.cohorts("alice") == ()


@pytest.mark.parametrize(
    ("token", "permit", "code"),
    [
        ("alice-token", "p-1", None),
        ("bob-token", "p-1", "UNICA-310"),
        ("alice-token", "p-2", "UNICA-310"),
        ("alice-token", "p-expired", "UNICA-310"),
        ("alice-token", "p-later", "UNICA-310"),
        ("alice-token", "p-elsewhere", "UNICA-310"),
        ("alice-token", "p-forged", "UNICA-320"),
    ],
)
def test_a_freeze_needs_a_permit_that_is_ones_own_valid_and_wide_enough(
    world: World, token: str, permit: str, code: str | None
) -> None:
    day = timedelta(days=1)
    world.operator.add_permit(
        world.signed_permit(id="p-expired", issued=world.now[0] - 2 * day, expires=world.now[0] - day)
    )
    world.operator.add_permit(
        world.signed_permit(id="p-later", issued=world.now[0] + day, expires=world.now[0] + 2 * day)
    )
    world.operator.add_permit(world.signed_permit(id="p-elsewhere", datasets=("pt/mammo",)))
    if permit == "p-forged":
        forge(world)

    async def go() -> httpx.Response:
        async with connected(world, gr=releasing, lt=releasing), client(world.researcher, token) as person:
            return await person.post("/v1/cohorts", json={"query": {}, "permit": permit})

    reply = asyncio.run(go())
    assert reply.json().get("error", {}).get("code") == code
    assert reply.status_code == (403 if code else 200)


def forge(world: World) -> None:
    """Have another steward's permit stand in the database, as after a break-in."""
    signed = world.signed_permit(id="p-forged")
    steward, world.steward = world.steward, Ed25519PrivateKey.generate()
    forged = world.signed_permit(id="p-forged")
    world.steward = steward
    assert forged.payload == signed.payload
    world.store.add_permit(signed, steward_public_key=steward.public_key())
    from sqlalchemy import update

    from unica_sdk.gateway import tables

    with world.store._database.write() as connection:
        connection.execute(
            update(tables.permit)
            .where(tables.permit.c.id == "p-forged")
            .values(document=forged.model_dump_json())
        )


def test_a_site_outside_the_permit_is_left_out_unless_it_was_named(world: World) -> None:
    world.operator.add_permit(world.signed_permit(id="p-gr", datasets=("gr/mammo",)))

    async def go(query: dict[str, Any]) -> httpx.Response:
        async with (
            connected(world, gr=releasing, lt=releasing),
            client(world.researcher, "alice-token") as alice,
        ):
            return await alice.post("/v1/cohorts", json={"query": query, "permit": "p-gr"})

    everywhere = FrozenCohort.model_validate_json(asyncio.run(go({})).content)
    assert everywhere.sites == ("gr",)
    assert everywhere.left_out[0].model_dump(exclude={"status"}) == {"site": "lt", "code": "not_in_permit"}
    named = asyncio.run(go({"sites": ["gr", "lt"]}))
    assert (named.status_code, named.json()["error"]["code"]) == (403, "UNICA-310")
    assert "lt" in named.json()["error"]["message"]


def test_records_are_versioned_and_searched(world: World) -> None:
    gateway = world.gateway
    gateway.hello("gr", hello("gr"))
    gateway.hello("gr", hello("gr"))
    gateway.hello("lt", hello("lt", modalities=("DX",), title="Lung films"))
    assert world.actions().count("site.records") == 2, "the same records again are no news"
    gateway.hello("gr", hello("gr", n=900))
    assert [r.id for r in gateway.datasets()] == ["gr/mammo", "lt/mammo"]
    assert [r.id for r in gateway.datasets(text="PHANTOM gr")] == ["gr/mammo"]
    assert [r.id for r in gateway.datasets(modalities=["DX"])] == ["lt/mammo"]
    assert [r.id for r in gateway.datasets(sites=["lt"], text="films")] == ["lt/mammo"]
    seen = gateway.indicators()
    assert (seen.goal_cases, seen.cases_lower, seen.cases_upper) == (100_000, 898 + 798, 902 + 802)
    assert seen.isolation == "none"


def test_an_audit_that_went_back_at_a_site_is_noted(world: World) -> None:
    world.gateway.hello("gr", hello("gr", head="a", length=10))
    welcome = world.gateway.hello("gr", hello("gr", head="b", length=11))
    assert "site.audit_went_back" not in world.actions()
    assert (welcome.audit_head, welcome.audit_length) == world.audit.head()
    world.gateway.hello("gr", hello("gr", head="c", length=11))
    world.gateway.hello("gr", hello("gr", head="d", length=5))
    assert world.actions().count("site.audit_went_back") == 2


def test_a_site_enrolled_later_is_there_at_once(world: World) -> None:
    world.operator.enrol(enrolment("pt", Ed25519PrivateKey.generate()))
    assert [node.site for node in world.gateway.nodes()] == ["gr", "lt", "pt"]
    assert not any(node.online for node in world.gateway.nodes())


def test_nothing_is_done_that_the_audit_cannot_record(world: World) -> None:
    cohort = asyncio.run(frozen(world))
    world.audit.path.rename(world.folder / "kept.jsonl")
    world.audit.path.mkdir()
    asked: list[str] = []

    def remembering(site: str, question: dict[str, Any]) -> Answer:
        asked.append(site)
        return releasing(site, question)

    async def go() -> None:
        async with client(world.nodes, world.site_token("gr")) as gr:
            questions = asyncio.create_task(gr.get("/node/v1/questions", params={"wait": 1}))
            await asyncio.sleep(0)
            async with client(world.researcher, "alice-token") as alice:
                job = {"app": world.app.id, "cohort": cohort, "permit": "p-1"}
                for path, body in (
                    ("/v1/counts", {"query": {}}),
                    ("/v1/cohorts", {"query": {"sex": ["female"]}, "permit": "p-1"}),
                    ("/v1/jobs", job),
                ):
                    reply = await alice.post(path, json=body)
                    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "UNICA-600")
            assert (await questions).json() == []
            changed = hello("gr", n=5_000).model_dump_json()
            assert (await gr.post("/node/v1/hello", content=changed)).status_code == 500

    asyncio.run(go())
    assert asked == []
    assert world.store.jobs.of("alice") == ()
    assert len(world.store.cohorts("alice")) == 1
    assert all(record.patients.n != 5_000 for record in world.store.records())  # type: ignore[union-attr]
