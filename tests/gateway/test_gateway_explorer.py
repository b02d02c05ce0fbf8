"""The explorer's endpoint: off until somebody is let in; each site's answer as it is, or a named failure."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from gateway_world import Respond, World, client, connected, releasing, silent, suppressing
from small_hub import running
from test_gateway_serve import free_port, serving, settings_in

from unica_sdk.environment import exploring
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import ConfigurationError, InvalidRequest, NotFound
from unica_sdk.gateway import explorer as explorer_module
from unica_sdk.gateway.app import explorer_app
from unica_sdk.gateway.explorer import ExplorerDesk
from unica_sdk.gateway.explorer_clients import add_client, read_clients, remove_client
from unica_sdk.schemas.cohort import CohortQuery, Refused, Suppressed, Unsupported
from unica_sdk.schemas.exchange import Answer
from unica_sdk.schemas.explorer import to_ast
from unica_sdk.schemas.explorer_answers import unasked

MAMMOGRAMS = CohortQuery(modality=("MG",))


class Endpoint:
    """The endpoint over a world of sites, and the keys of two explorers."""

    def __init__(self, world: World) -> None:
        self.file = world.folder / "explorer.json"
        self.keys = {name: add_client(self.file, name) for name in ("eucaim", "other")}
        self.desk = ExplorerDesk(world.gateway, audit=world.audit)
        self.app: FastAPI = explorer_app(self.desk, self.file)

    def as_client(self, name: str = "eucaim") -> httpx.AsyncClient:
        return client(self.app, self.keys[name])

    async def answers(self, task: dict[str, Any], **query: Any) -> dict[str, dict[str, Any]]:
        """Post a task and return what its events say, by site."""
        async with self.as_client() as caller:
            posted = await caller.post("/beam", json=task)
            assert (posted.status_code, posted.content) == (201, b""), posted.text
            heard = await caller.get(f"/beam/{task['id']}", params=query)
        assert heard.headers["content-type"].startswith("text/event-stream")
        return {event["from"].split(".")[1]: event for event in read(heard.text)}


def read(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, each with its body opened."""
    found = []
    for block in stream.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            assert lines[0] == "event: new_result"
            event = json.loads(lines[1].removeprefix("data: "))
            assert set(event) == {"task", "from", "status", "body"}
            found.append({**event, "body": json.loads(base64.b64decode(event["body"]))})
    return found


def task(query: CohortQuery = MAMMOGRAMS) -> dict[str, Any]:
    return to_ast(query, id=uuid4())


def saying(*conditions: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A task with one AND of fields, each of one condition."""
    ast = {
        "operand": "OR",
        "children": [
            {"operand": "AND", "children": [{"operand": "OR", "children": [c]} for c in conditions]}
        ],
    }
    identity = str(uuid4())

    def packed(value: Any) -> str:
        return base64.b64encode(json.dumps(value).encode()).decode()

    tree = packed({"ast": ast, "id": f"{identity}__search__{identity}"})
    return {"id": identity, "query": packed({"lang": "ast", "query": tree}), **changed}


@asynccontextmanager
async def asking(world: World, **respond: Respond) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(world)
    async with connected(world, **respond):
        yield endpoint
    endpoint.desk.close()


@pytest.fixture
def endpoint(world: World) -> Endpoint:
    return Endpoint(world)


def answered(answer: Any) -> Respond:
    def respond(site: str, question: dict[str, Any]) -> Answer:
        return Answer(question=question["id"], count=answer(site=site))

    return respond


def test_the_explorer_gets_each_sites_protected_number_in_its_own_form(world: World) -> None:
    async def go() -> dict[str, dict[str, Any]]:
        async with asking(world, gr=releasing, lt=suppressing) as endpoint:
            return await endpoint.answers(task())

    found = asyncio.run(go())
    assert {site: event["status"] for site, event in found.items()} == {"gr": "succeeded", "lt": "succeeded"}
    assert found["gr"]["body"] == {
        "provider": "Hospital gr",
        "provider_icon": "",
        "collections": [
            {
                "id": "gr/mammo",
                "name": "Phantom mammograms",
                "description": "About 40 people, between 38 and 42 95 times in 100. Synthetic."
                " SYNTHETIC DATA.",
                "studies_count": 40,
                "subjects_count": 40,
                "subjects_range": {"min": 38, "max": 42},
                "age_range": {"min": None, "max": None},
                "gender": [],
                "modality": ["MG"],
                "body_parts": ["Breast"],
            }
        ],
    }
    small = found["lt"]["body"]["collections"][0]
    assert (small["subjects_count"], small["studies_count"], small["subjects_range"]) == (
        9,
        9,
        {"min": 0, "max": 9},
    )
    assert small["name"] == "Phantom mammograms (fewer than 10)"


def test_the_explorer_asks_as_a_subject_of_its_own_and_is_audited(world: World) -> None:
    askers: list[str] = []

    def noting(site: str, question: dict[str, Any]) -> Answer:
        askers.append(question["asker"])
        return releasing(site, question)

    async def go() -> None:
        async with asking(world, gr=noting, lt=noting) as endpoint:
            await endpoint.answers(task())

    asyncio.run(go())
    assert askers == ["explorer:eucaim"] * 2
    last = list(world.audit.entries())[-1]
    assert (last.actor, last.action, last.detail["sites"]) == (
        "explorer:eucaim",
        "cohort.count",
        ["gr", "lt"],
    )
    assert last.detail["query"] == {"modality": ["MG"]}


def test_whatever_a_suppressed_number_was_the_bytes_are_the_same(world: World) -> None:
    async def go() -> set[str]:
        bodies = set()
        async with asking(world, gr=suppressing, lt=suppressing) as endpoint:
            for _ in range(2):
                found = await endpoint.answers(task())
                bodies.add(json.dumps(found["gr"]["body"]))
        return bodies

    assert len(asyncio.run(go())) == 1


@pytest.mark.parametrize(
    ("answer", "status", "criteria"),
    [
        (lambda site: Unsupported(site=site, criteria=("diagnosis",)), "permafailed", ["diagnosis"]),
        (lambda site: Refused(site=site, code="budget_spent"), "tempfailed", []),
        (lambda site: Refused(site=site, code="no_index"), "permafailed", []),
        (lambda site: Suppressed(site=site, below=50, index_version=3), "succeeded", None),
    ],
)
def test_a_site_without_a_number_fails_and_says_why(
    world: World, answer: Any, status: str, criteria: list[str] | None
) -> None:
    async def go() -> dict[str, dict[str, Any]]:
        async with asking(world, gr=answered(answer)) as endpoint:
            return await endpoint.answers(task())

    found = asyncio.run(go())
    assert found["gr"]["status"] == status
    assert found["gr"]["body"].get("criteria") == criteria
    assert (found["lt"]["status"], found["lt"]["body"]["criteria"]) == ("tempfailed", [])


@pytest.mark.parametrize(
    ("condition", "criterion"),
    [
        ({"key": "SNOMEDCT432213005", "type": "BETWEEN", "value": {"min": 2015}}, "year_of_diagnosis"),
        ({"key": "SNOMEDCT1", "type": "EQUALS", "value": "SNOMEDCT2"}, "SNOMEDCT1"),
        ({"key": "RID10311", "type": "EQUALS", "value": "RID999"}, "modality"),
        ({"key": "RID10311", "type": "NOT_EQUALS", "value": "RID10321"}, "modality"),
        ({"key": "IMG1005459", "type": "EQUALS", "value": "IMG1005479"}, "birads"),
    ],
)
def test_what_cannot_be_asked_fails_for_good_at_every_site_and_no_site_is_asked(
    world: World, condition: dict[str, Any], criterion: str
) -> None:
    asked: list[str] = []

    def noting(site: str, question: dict[str, Any]) -> Answer:
        asked.append(site)
        return releasing(site, question)

    async def go() -> dict[str, dict[str, Any]]:
        async with asking(world, gr=noting, lt=noting) as endpoint:
            sex = {"key": "SNOMEDCT263495000", "type": "EQUALS", "value": "SNOMEDCT248152002"}
            return await endpoint.answers(saying(condition, sex))

    found = asyncio.run(go())
    assert [(event["status"], event["body"]["criteria"]) for event in found.values()] == [
        ("permafailed", [criterion])
    ] * 2
    assert asked == []
    last = list(world.audit.entries())[-1]
    assert (last.actor, last.action, last.detail["criteria"]) == (
        "explorer:eucaim",
        "explorer.inexpressible",
        [criterion],
    )


def test_or_within_a_field_is_one_question(world: World) -> None:
    queries: list[dict[str, Any]] = []

    def noting(site: str, question: dict[str, Any]) -> Answer:
        queries.append(question["query"])
        return releasing(site, question)

    async def go() -> None:
        async with asking(world, gr=noting) as endpoint:
            both = {"key": "RID10311", "type": "IN", "value": ["RID10321", "RID10312"]}
            found = await endpoint.answers(saying(both, sites=["gr"]))
            assert set(found) == {"gr"}

    asyncio.run(go())
    assert queries == [{"modality": ["CT", "MR"]}]


def test_a_malformed_task_is_refused_with_its_field_and_nothing_is_written(
    world: World, endpoint: Endpoint
) -> None:
    before = world.actions()
    good = task()
    cases = {
        "id": {**good, "id": "1"},
        "query": {**good, "query": "no base64"},
        "sites": {**good, "sites": ["nowhere"]},
        "sites.0": {**good, "sites": ["NO SITE"]},
        "more": {**good, "more": 1},
        "ast.children.0.children.0.children.0.value": saying(
            {"key": "SNOMEDCT263495000", "type": "EQUALS", "value": ["SNOMEDCT248152002"]}
        ),
    }

    async def go() -> None:
        async with endpoint.as_client() as caller:
            for where, body in cases.items():
                reply = await caller.post("/beam", json=body)
                assert (reply.status_code, reply.json()["error"]["where"]) == (422, where.removesuffix(".0"))
                assert reply.json()["error"]["message"]
            for content in (b"", b"{", b"[" * 100_000, b'{"id": NaN}', b"\xff" * 100, b" " * 5_000_000):
                reply = await caller.post("/beam", content=content)
                assert (reply.status_code, reply.json()["error"]["code"]) == (422, "UNICA-200")
            count = await caller.get(f"/beam/{good['id']}", params={"wait_count": -1})
            assert (count.status_code, count.json()["error"]["where"]) == (422, "wait_count")

    asyncio.run(go())
    assert world.actions() == before


def test_only_who_has_a_key_is_let_in_and_only_to_its_own_tasks(world: World) -> None:
    async def go() -> None:
        async with asking(world, gr=releasing, lt=releasing) as endpoint:
            mine = task()
            await endpoint.answers(mine)
            for key in (None, "", "alice-token", world.site_token("gr"), endpoint.keys["eucaim"] + "x", "é"):
                raw = key.encode("latin-1") if key else None
                async with client(endpoint.app, raw) as stranger:  # type: ignore[arg-type]
                    assert (await stranger.post("/beam", json=task())).status_code == 401
                    assert (await stranger.get(f"/beam/{mine['id']}")).status_code == 401
            async with endpoint.as_client("other") as other:
                assert (await other.get(f"/beam/{mine['id']}")).status_code == 404
                assert (await other.get(f"/beam/{uuid4()}")).status_code == 404
                for path in ("/", "/docs", "/openapi.json", "/v1/me", "/node/v1/questions"):
                    assert (await other.get(path)).status_code == 404
            for face in (world.researcher, world.nodes, world.engines):
                async with client(face, endpoint.keys["eucaim"]) as elsewhere:
                    assert (await elsewhere.post("/beam", json=task())).status_code == 401

    asyncio.run(go())


def test_a_key_that_is_taken_away_opens_nothing_more(endpoint: Endpoint) -> None:
    async def go() -> None:
        async with endpoint.as_client() as caller:
            assert (await caller.get(f"/beam/{uuid4()}")).status_code == 404
            remove_client(endpoint.file, "eucaim")
            assert (await caller.get(f"/beam/{uuid4()}")).status_code == 401
            endpoint.file.chmod(0o644)
            unreadable = await caller.get(f"/beam/{uuid4()}")
            assert unreadable.status_code == 503
            assert str(endpoint.file) not in unreadable.text

    asyncio.run(go())


def test_keys_are_kept_as_hashes_in_a_file_of_the_service_user(tmp_path: Path) -> None:
    file = tmp_path / "explorer.json"
    assert read_clients(file).keys == {}
    first, second = add_client(file, "eucaim", port=9000), add_client(file, "other")
    content = file.read_text()
    assert first not in content
    assert second not in content
    assert (file.stat().st_mode & 0o777, read_clients(file).port) == (0o600, 9000)
    with pytest.raises(InvalidRequest):
        add_client(file, "No Name")
    with pytest.raises(NotFound):
        remove_client(file, "nobody")
    file.write_text("{")
    with pytest.raises(ConfigurationError):
        read_clients(file)


def test_the_same_task_again_is_the_same_and_its_name_is_no_other_tasks(world: World) -> None:
    questions: list[str] = []

    def noting(site: str, question: dict[str, Any]) -> Answer:
        questions.append(question["id"])
        return releasing(site, question)

    async def go() -> None:
        async with asking(world, gr=noting, lt=noting) as endpoint:
            mine = task()
            first = await endpoint.answers(mine)
            assert await endpoint.answers(mine) == first
            async with endpoint.as_client() as caller:
                two = task()
                await asyncio.gather(*(caller.post("/beam", json=two) for _ in range(4)))
                await caller.get(f"/beam/{two['id']}")
                other = await caller.post("/beam", json={**task(CohortQuery()), "id": mine["id"]})
                assert (other.status_code, other.json()["error"]["where"]) == (422, "id")
            assert len(await endpoint.answers(mine, wait_count=0)) == 2
            assert len(await endpoint.answers(mine, wait_count=7)) == 2

    asyncio.run(go())
    assert len(questions) == 4


def test_what_is_under_way_is_bounded_and_what_is_over_makes_room(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer_module, "MAX_UNDER_WAY", 2)
    monkeypatch.setattr(explorer_module, "MAX_TASKS", 3)

    async def go() -> None:
        async with connected(world, gr=silent, lt=silent), endpoint.as_client() as caller:
            tasks = [task() for _ in range(3)]
            codes = [(await caller.post("/beam", json=one)).status_code for one in tasks]
            assert codes == [201, 201, 503]
            assert len(read((await caller.get(f"/beam/{tasks[0]['id']}")).text)) == 2
            for _ in range(4):
                nothing = saying({"key": "SNOMEDCT1", "type": "EQUALS", "value": "x"})
                assert (await caller.post("/beam", json=nothing)).status_code == 201
            assert (await caller.get(f"/beam/{tasks[0]['id']}")).status_code == 404

    asyncio.run(go())


def test_where_the_audit_cannot_be_written_no_site_is_asked(world: World) -> None:
    asked: list[str] = []

    def noting(site: str, question: dict[str, Any]) -> Answer:
        asked.append(site)
        return releasing(site, question)

    async def go() -> dict[str, dict[str, Any]]:
        async with asking(world, gr=noting, lt=noting) as endpoint:
            world.audit.path.rename(world.folder / "kept.jsonl")
            world.audit.path.mkdir()
            return await endpoint.answers(task())

    found = asyncio.run(go())
    assert asked == []
    assert {event["status"] for event in found.values()} == {"tempfailed"}


def test_the_door_is_there_only_where_somebody_was_let_in(tmp_path: Path) -> None:
    """The real process's listeners: without a client none for explorers, with one a port of its own."""

    async def go(hub_api: str) -> None:
        settings = settings_in(tmp_path, hub_api).model_copy(update={"explorer": tmp_path / "explorer.json"})
        port = free_port()
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as outside:
            async with serving(settings):
                with pytest.raises(httpx.ConnectError):
                    await outside.get("/beam/x")
            key = add_client(tmp_path / "explorer.json", "eucaim", port=port)
            async with serving(settings):
                assert (await outside.get("/beam/x")).status_code == 401
                outside.headers["Authorization"] = f"Bearer {key}"
                one = to_ast(MAMMOGRAMS, id=UUID(int=1))
                assert (await outside.post("/beam", json=one)).status_code == 201
                async with outside.stream("GET", f"/beam/{one['id']}") as stream:
                    assert "".join([text async for text in stream.aiter_text()]) == ": waiting\n\n"

    with running() as hub:
        asyncio.run(go(hub.api_url))


def test_the_operators_commands_say_what_they_do_and_are_audited(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    with pytest.raises(ConfigurationError, match="no hub"):
        exploring.show(layout)
    layout.create()
    assert "off" in exploring.show(layout)
    said = exploring.add(layout, "eucaim", port=9001)
    assert "unica down, unica up" in said
    assert "127.0.0.1:9001/beam" in said
    assert "from now on" in exploring.add(layout, "eucaim", port=None)
    assert "eucaim" in exploring.show(layout)
    assert "Nobody is left" in exploring.remove(layout, "eucaim")
    audit = (layout.gateway / "audit.jsonl").read_text()
    assert audit.count("explorer.client_added") == 2
    assert "explorer.client_removed" in audit


def test_a_site_whose_name_has_dots_is_told_apart() -> None:
    assert unasked("t", "gr.athens", "no").sender == "unica.gr~athens.hub"
