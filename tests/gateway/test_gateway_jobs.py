"""The life of a job: taken in, ticketed, reported on, always ended, and never changed after."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from gateway_world import (
    BUNDLE,
    SECRET,
    SITES,
    World,
    client,
    frozen,
    request_for,
    until,
)
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.errors import InvalidRequest
from unica_sdk.gateway.lifecycle import NEXT, step
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.job import (
    Failure,
    FailureCode,
    Job,
    JobEvent,
    JobOrder,
    JobState,
    JobUpdate,
    Participant,
    ParticipantState,
)
from unica_sdk.schemas.metrics import Estimate, Metrics, MetricSet, RoundMetrics
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import verify
from unica_sdk.schemas.ticket import Ticket, parameters_digest

AUC = Estimate(value=0.9, low=0.85, high=0.95, n=80, method="test")
METRICS = Metrics(pooled=MetricSet(auc=AUC), sites={"gr": MetricSet(auc=AUC)})


async def submitted(world: World, frozen_cohort: str, **changed: Any) -> httpx.Response:
    async with client(world.researcher, "alice-token") as alice:
        body = request_for(world, frozen_cohort).model_dump(mode="json")
        return await alice.post("/v1/jobs", json={**body, **changed})


async def queued(world: World, **changed: Any) -> str:
    """Submit a job and wait until the engine has it; return its number."""
    reply = await submitted(world, await frozen(world), **changed)
    assert reply.status_code == 200, reply.text
    await until(lambda: bool(world.engine.started))
    job: str = reply.json()["id"]
    return job


async def tell(world: World, job: str, **update: Any) -> httpx.Response:
    async with client(world.engines, SECRET) as engine:
        body = JobUpdate(**{"text": "…", **update}).model_dump_json()
        return await engine.post(f"/engine/v1/jobs/{job}/updates", content=body)


async def shown(world: World, job: str) -> Job:
    async with client(world.researcher, "alice-token") as alice:
        return Job.model_validate_json((await alice.get(f"/v1/jobs/{job}")).content)


def test_a_job_from_submission_to_metrics(world: World) -> None:
    async def go() -> None:
        job = await queued(world, parameters={"epochs": 2})
        async with client(world.engines, SECRET) as engine:
            order = JobOrder.model_validate_json((await engine.get(f"/engine/v1/jobs/{job}/order")).content)
            nodes = (await engine.get("/engine/v1/nodes")).json()
        assert world.engine.started == [(order, BUNDLE)]
        assert [node["site"] for node in nodes] == list(SITES)
        check_order(world, order)

        running = await tell(world, job, text="Round 1", state="running")
        assert running.json() == {"wanted": True}
        figures = RoundMetrics(round=1, loss=0.5, auc=AUC, sites={"gr": {"loss": 0.5, "secret": 1.0}})
        await tell(world, job, text="Round 1 is done.", round=figures)
        left = Participant(
            site="lt",
            state=ParticipantState.DROPPED,
            failure=Failure(code=FailureCode.SITE_TIMEOUT, site="lt"),
        )
        await tell(world, job, text="lt left", participants=(left,), failure=left.failure, site="lt")
        end = await tell(world, job, text="Done", state="degraded", metrics=METRICS, failure=left.failure)
        assert end.json() == {"wanted": True}

        seen = await shown(world, job)
        assert seen.state is JobState.DEGRADED
        assert seen.metrics == METRICS
        assert seen.finished == world.now[0]
        assert [entry.sites for entry in seen.history] == [{"gr": {"loss": 0.5}}]
        assert [(p.site, p.state) for p in seen.participants] == [("gr", "invited"), ("lt", "dropped")]
        assert all(isinstance(p.cases, Released) for p in seen.participants)

        async with client(world.researcher, "alice-token") as alice:
            raw = (await alice.get(f"/v1/jobs/{job}/events")).json()
            assert (await alice.get(f"/v1/jobs/{job}/events", params={"after": 4})).json() == raw[4:]
            over = await alice.get(f"/v1/jobs/{job}/events", params={"after": len(raw), "wait": 20})
            assert over.json() == []
        events = [JobEvent.model_validate(entry) for entry in raw]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        states = [event.state.value for event in events if event.state]
        assert states == ["submitted", "checking", "queued", "running", "degraded"]
        assert "gr.secret" in next(event.text for event in events if event.round)
        audited = [action for action in world.actions() if action.startswith("job.")]
        assert audited == [f"job.{state}" for state in states]

    asyncio.run(go())


def check_order(world: World, order: JobOrder) -> None:
    ticket = verify(order.ticket, Ticket, world.ticket_key.public_key())
    assert (ticket.job, ticket.holder, ticket.app) == (order.job, "alice", world.app.id)
    assert order.parameters == {"epochs": 2}
    assert ticket.parameters == parameters_digest(order.parameters)
    assert set(ticket.cohort) == set(order.sites) == set(SITES)
    assert verify(ticket.permit, Permit, world.steward.public_key()).id == "p-1"
    assert ticket.expires - ticket.issued == timedelta(seconds=order.deadline, minutes=5)
    assert order.sites["gr"] == "ecdsa-sha2-nistp384 gr"


@pytest.mark.parametrize(
    ("changed", "code", "where"),
    [
        ({"parameters": {"epochs": 99}}, "UNICA-200", "parameters.epochs"),
        ({"parameters": {"layers": 2}}, "UNICA-200", "parameters"),
        ({"rounds": 101}, "UNICA-200", "rounds"),
        ({"quorum": 3}, "UNICA-200", "quorum"),
        ({"deadline": 1}, "UNICA-200", "deadline"),
        ({"app": "sha256:" + "0" * 64}, "UNICA-210", "app"),
        ({"cohort": "hmac:" + "0" * 64}, "UNICA-210", "cohort"),
        ({"permit": "p-2"}, "UNICA-310", "permit p-2"),
        ({"permit": "p-other"}, "UNICA-310", "permit p-other"),
    ],
)
def test_a_job_that_cannot_be_is_refused_before_it_exists(
    world: World, changed: dict[str, Any], code: str, where: str
) -> None:
    world.operator.add_permit(world.signed_permit(id="p-other"))

    async def go() -> httpx.Response:
        return await submitted(world, await frozen(world), **changed)

    error = asyncio.run(go()).json()["error"]
    assert (error["code"], error["where"]) == (code, where)
    assert world.store.jobs.of("alice") == ()
    assert "job.submitted" not in world.actions()


def test_a_permit_without_the_app_or_without_a_sites_data_opens_no_job(world: World) -> None:
    async def go() -> None:
        cohort = await frozen(world)
        for narrower in ({"apps": ()}, {"datasets": ("gr/mammo",)}):
            world.operator.add_permit(world.signed_permit(**narrower))
            reply = await submitted(world, cohort)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "UNICA-310")

    asyncio.run(go())


def test_a_number_that_is_none_is_no_parameter(world: World) -> None:
    async def go() -> int:
        cohort = await frozen(world)
        body = request_for(world, cohort).model_dump_json()
        async with client(world.researcher, "alice-token") as alice:
            content = body.replace('"parameters":{}', '"parameters":{"epochs":1e999}')
            return (await alice.post("/v1/jobs", content=content)).status_code

    assert asyncio.run(go()) == 422


def test_other_peoples_jobs_are_not_there(world: World) -> None:
    async def go() -> None:
        job = await queued(world)
        async with client(world.researcher, "bob-token") as bob:
            replies = [
                await bob.get(f"/v1/jobs/{job}"),
                await bob.get(f"/v1/jobs/{job}/events"),
                await bob.post(f"/v1/jobs/{job}/cancel"),
            ]
            assert [reply.status_code for reply in replies] == [404, 404, 404]
            assert (await bob.get("/v1/jobs")).json() == []
            assert (await bob.get("/v1/permits")).json() == []
        assert (await shown(world, job)).state is JobState.QUEUED

    asyncio.run(go())


def test_a_cancelled_job_is_stopped_and_no_longer_wanted(world: World) -> None:
    async def go() -> None:
        job = await queued(world)
        await tell(world, job, state="running")
        async with client(world.researcher, "alice-token") as alice:
            waiting = asyncio.create_task(
                alice.get(f"/v1/jobs/{job}/events", params={"after": 4, "wait": 20})
            )
            cancelled = await alice.post(f"/v1/jobs/{job}/cancel")
            assert [event["state"] for event in (await waiting).json()] == ["cancelled"]
            again = await alice.post(f"/v1/jobs/{job}/cancel")
        assert cancelled.json()["state"] == again.json()["state"] == "cancelled"
        assert (await tell(world, job, state="running")).json() == {"wanted": False}
        async with client(world.engines, SECRET) as engine:
            assert (await engine.get(f"/engine/v1/jobs/{job}/order")).status_code == 404
        await until(lambda: world.engine.stopped == [job])

    asyncio.run(go())


def test_what_the_engine_says_is_checked(world: World) -> None:
    async def go() -> None:
        job = await queued(world)
        foreign = Participant(site="pt", state=ParticipantState.TAKING_PART)
        for wrong in (
            {"state": "submitted"},
            {"state": "completed"},
            {"participants": (foreign,)},
            {"site": "pt"},
        ):
            assert (await tell(world, job, **wrong)).status_code == 422
        assert (await tell(world, "no-such-job")).status_code == 404
        assert (await shown(world, job)).state is JobState.QUEUED

    asyncio.run(go())


def test_an_engine_that_does_not_take_a_job_fails_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.engine.refuses = True

    async def go() -> Job:
        reply = await submitted(world, await frozen(world))
        job = reply.json()["id"]
        await until(lambda: world.store.jobs.get(job).state.final)
        return await shown(world, job)

    ended = asyncio.run(go())
    assert ended.state is JobState.FAILED
    assert ended.failure == Failure(code=FailureCode.ENGINE)
    assert ended.finished is not None


def test_a_job_nobody_ends_is_ended(world: World) -> None:
    async def go() -> None:
        job = await queued(world)
        world.gateway.jobs.sweep()
        assert (await shown(world, job)).state is JobState.QUEUED
        world.now[0] += timedelta(seconds=60 + 31)
        watch = asyncio.create_task(world.gateway.watch(every=0.05))
        await until(lambda: world.store.jobs.get(job).state.final)
        watch.cancel()
        ended = await shown(world, job)
        assert (ended.state, ended.failure) == (JobState.FAILED, Failure(code=FailureCode.DEADLINE))
        await until(lambda: world.engine.stopped == [job])

    asyncio.run(go())


def test_a_permit_that_ends_between_submission_and_start_fails_the_job(world: World) -> None:
    async def go() -> Job:
        cohort = await frozen(world)
        first = await submitted(world, cohort)
        await until(lambda: bool(world.engine.started))
        # As after a crash between the two: a job that was taken in and not handed over.
        job = first.json()["id"]
        reset(world, job)
        world.now[0] += timedelta(days=2)
        world.gateway.jobs.resume()
        await until(lambda: world.store.jobs.get(job).state.final)
        return await shown(world, job)

    ended = asyncio.run(go())
    assert ended.failure == Failure(code=FailureCode.PERMIT_INVALID)
    assert len(world.engine.started) == 1


def test_a_job_taken_in_before_a_crash_is_handed_over_after_it(world: World) -> None:
    async def go() -> None:
        job = await queued(world)
        reset(world, job)
        world.gateway.jobs.resume()
        await until(lambda: len(world.engine.started) == 2)
        assert {order.job for order, _ in world.engine.started} == {job}
        assert (await shown(world, job)).state is JobState.QUEUED

    asyncio.run(go())


def reset(world: World, job: str) -> None:
    """Put a job back to submitted, as it stood on disk before it was handed over."""
    from sqlalchemy import update

    from unica_sdk.gateway import tables

    earlier = world.store.jobs.get(job).model_copy(update={"state": JobState.SUBMITTED})
    with world.store._database.write() as connection:
        connection.execute(
            update(tables.job)
            .where(tables.job.c.id == job)
            .values(state="submitted", document=earlier.model_dump_json())
        )


def some_job() -> Job:
    return Job(
        id="j",
        holder="alice",
        app="sha256:" + "0" * 64,
        app_name="a",
        cohort="hmac:" + "0" * 64,
        permit="p",
        project="p",
        rounds=1,
        quorum=1,
        deadline=60,
        state=JobState.SUBMITTED,
        participants=(Participant(site="gr", state=ParticipantState.INVITED),),
        created="2026-11-01T00:00:00Z",  # type: ignore[arg-type]
    )


@given(st.lists(st.sampled_from(list(JobState)), max_size=12))
def test_whatever_is_reported_a_final_state_never_changes(states: list[JobState]) -> None:
    job = some_job()
    for state in states:
        before = job
        try:
            following = step(job, JobUpdate(text="", state=state, metrics=METRICS), now=before.created)
        except InvalidRequest:
            assert state not in NEXT[before.state]
            continue
        if before.state.final:
            assert following is None
            continue
        assert following is not None
        job = following.job
        assert job.state == state
        assert (job.finished is not None) == job.state.final
        assert (job.failure is not None) == (job.state is JobState.FAILED)


def test_every_open_state_can_fail_and_none_is_a_dead_end() -> None:
    assert set(NEXT) == {state for state in JobState if not state.final}
    assert all(JobState.FAILED in following for following in NEXT.values())
