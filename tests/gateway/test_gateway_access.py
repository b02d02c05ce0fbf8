"""Who may do what: every route of every face, with no token, the wrong power, the right one."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from fastapi.routing import APIRoute
from gateway_world import SECRET, World, client, hello

from unica_sdk.gateway.app import researcher_app
from unica_sdk.gateway.identity import TokenIdentity
from unica_sdk.schemas.identity import Person, Scope

DIGEST = "sha256:" + "0" * 64
KEYED = "hmac:" + "0" * 64
FREEZE = {"query": {}, "permit": "none"}
JOB = {"app": DIGEST, "cohort": KEYED, "permit": "none"}

ROUTES: list[tuple[str, str, str | None, dict[str, Any] | None, int]] = [
    ("GET", "/v1/me", None, None, 200),
    ("GET", "/v1/nodes", Scope.CATALOGUE_READ, None, 200),
    ("GET", "/v1/datasets", Scope.CATALOGUE_READ, None, 200),
    ("GET", "/v1/datasets.jsonld", Scope.CATALOGUE_READ, None, 200),
    ("GET", "/v1/datasets.ttl", Scope.CATALOGUE_READ, None, 200),
    ("GET", "/v1/datasets/gr/no", Scope.CATALOGUE_READ, None, 404),
    ("GET", "/v1/datasets/gr/no.jsonld", Scope.CATALOGUE_READ, None, 404),
    ("GET", "/v1/datasets/gr/no.ttl", Scope.CATALOGUE_READ, None, 404),
    ("GET", "/v1/datasets/gr/no/versions", Scope.CATALOGUE_READ, None, 404),
    ("GET", "/v1/search", Scope.CATALOGUE_READ, None, 200),
    ("GET", "/v1/apps", Scope.CATALOGUE_READ, None, 200),
    ("POST", "/v1/counts", Scope.COHORT_COUNT, {"query": {}}, 200),
    ("POST", "/v1/counts/stream", Scope.COHORT_COUNT, {"query": {}}, 200),
    ("POST", "/v1/breakdowns", Scope.COHORT_COUNT, {"query": {}, "by": ["sex"]}, 200),
    ("GET", "/v1/permits", Scope.PERMIT_READ, None, 200),
    ("POST", "/v1/cohorts", Scope.COHORT_FREEZE, FREEZE, 403),
    ("GET", "/v1/cohorts", Scope.COHORT_FREEZE, None, 200),
    ("POST", "/v1/jobs", Scope.JOB_SUBMIT, JOB, 404),
    ("GET", "/v1/jobs", Scope.JOB_SUBMIT, None, 200),
    ("GET", "/v1/jobs/none", Scope.JOB_SUBMIT, None, 404),
    ("GET", "/v1/jobs/none/events", Scope.JOB_SUBMIT, None, 404),
    ("POST", "/v1/jobs/none/cancel", Scope.JOB_SUBMIT, None, 404),
    ("GET", "/v1/indicators", Scope.DASHBOARD_VIEW, None, 200),
]
"""Method, path, the power it needs, a body, and the status for whoever has that power and nothing else."""


def status(app: FastAPI, method: str, path: str, token: str | None, body: Any = None) -> int:
    async def call() -> int:
        async with client(app, token) as caller:
            return (await caller.request(method, path, json=body)).status_code

    return asyncio.run(call())


@pytest.mark.parametrize(
    ("method", "path", "scope", "body", "granted"), ROUTES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_route_opens_to_its_own_power_only(
    world: World, method: str, path: str, scope: str | None, body: Any, granted: int
) -> None:
    others = tuple(power for power in Scope.ALL if power != scope)
    people = {
        "right": Person(subject="alice", scopes=(scope,) if scope else ()),
        "wrong": Person(subject="alice", scopes=others),
    }
    app = researcher_app(world.gateway, TokenIdentity(people))
    assert status(app, method, path, None, body) == 401
    assert status(app, method, path, "unknown", body) == 401
    if scope is not None:
        assert status(app, method, path, "wrong", body) == 403
    assert status(app, method, path, "right", body) == granted


def test_the_table_has_every_route(world: World) -> None:
    paths = {path.replace("/none", "/{job_id}").replace("/gr/no", "/{site}/{name}") for _, path, *_ in ROUTES}
    described = world.researcher.openapi()["paths"]
    assert set(described) == paths
    assert sum(len(methods) for methods in described.values()) == len(ROUTES)


@pytest.mark.parametrize("face", ["researcher", "nodes", "engines"])
@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/v1", "/v1/../docs"])
def test_no_face_serves_documentation(world: World, face: str, path: str) -> None:
    token = {"researcher": "alice-token", "nodes": world.site_token("gr"), "engines": SECRET}[face]
    assert status(getattr(world, face), "GET", path, token) == 404
    assert status(getattr(world, face), "GET", path, None) == 401


def test_nothing_of_one_face_is_reachable_through_another(world: World) -> None:
    tokens = {"researcher": "alice-token", "nodes": world.site_token("gr"), "engines": SECRET}
    own = {
        face: [
            (method, route.path.format(job_id="none", site="gr", name="no"))
            for route in walk(getattr(world, face))
            for method in sorted(route.methods)
        ]
        for face in tokens
    }
    assert all(own.values())
    for face, token in tokens.items():
        for other, routes in own.items():
            for method, path in routes:
                if other != face:
                    assert status(getattr(world, face), method, path, token, {}) == 404, (face, path)
                    # Nor does a caller of one face become anybody at another.
                    assert status(getattr(world, other), method, path, token, {}) == 401, (other, path)


def walk(app: FastAPI) -> list[APIRoute]:
    """The routes of a face, those of included routers too."""
    found: list[APIRoute] = []
    todo = list(app.routes)
    while todo:
        route = todo.pop()
        if isinstance(route, APIRoute):
            found.append(route)
        else:
            todo.extend(getattr(getattr(route, "original_router", None), "routes", []))
    return found


def test_a_site_is_known_by_the_key_it_was_enrolled_with(world: World) -> None:
    stranger = Ed25519PrivateKey.generate()
    refused = {
        "expired": world.site_token("gr", iat=1, exp=61),
        "from the future": world.site_token("gr", iat=2**31, exp=2**31 + 60),
        "another audience": world.site_token("gr", aud="another"),
        "no audience": world.site_token("gr", aud=None),
        "no end": world.site_token("gr", exp=None),
        "too long": world.site_token("gr", exp=2**31),
        "another key": world.site_token("gr", key=stranger),
        "another site's key": world.site_token("gr", key=world.site_keys["lt"]),
        "not enrolled": world.site_token("pt", key=stranger),
        "no site": world.site_token("gr", sub=None),
        "no token": "nonsense",
    }
    body = hello("gr").model_dump(mode="json")
    statuses = {why: status(world.nodes, "POST", "/node/v1/hello", t, body) for why, t in refused.items()}
    assert statuses == dict.fromkeys(refused, 401)
    assert status(world.nodes, "POST", "/node/v1/hello", world.site_token("gr"), body) == 200


def test_a_site_describes_itself_only(world: World) -> None:
    token = world.site_token("gr")
    foreign = hello("lt").model_dump(mode="json")
    assert status(world.nodes, "POST", "/node/v1/hello", token, foreign) == 422
    posing = hello("gr").model_dump(mode="json")
    posing["datasets"][0]["id"] = "lt/mammo"
    assert status(world.nodes, "POST", "/node/v1/hello", token, posing) == 422
    lying = hello("gr").model_dump(mode="json")
    lying["datasets"][0]["patients"]["high"] = 1
    assert status(world.nodes, "POST", "/node/v1/hello", token, lying) == 422
    twice = hello("gr").model_dump(mode="json")
    twice["datasets"] *= 2
    assert status(world.nodes, "POST", "/node/v1/hello", token, twice) == 422
    assert world.store.records() == ()


@pytest.mark.parametrize("secret", ["", "engine-secre", "engine-secret2", "ENGINE-SECRET", "é"])
def test_the_engine_shows_the_whole_secret(world: World, secret: str) -> None:
    assert status(world.engines, "GET", "/engine/v1/nodes", secret.encode() or None) == 401  # type: ignore[arg-type]
    assert status(world.engines, "GET", "/engine/v1/nodes", SECRET) == 200


def test_failures_have_one_shape_and_tell_no_secrets(world: World) -> None:
    async def go() -> None:
        async with client(world.researcher, "alice-token") as alice:
            bad = await alice.post("/v1/counts", json={"query": {"modality": ["XYZ"]}})
            error = bad.json()["error"]
            assert bad.status_code == 422
            assert (error["code"], error["where"]) == ("UNICA-200", "query.modality")
            unknown = await alice.post("/v1/counts", json={"query": {"lung_rads": ["4B"]}})
            assert unknown.status_code == 422
            assert unknown.json()["error"]["where"] == "query.lung_rads"
            for content in (b"{", b"\xff", b"[" * 100_000, b'{"query": {"age": 1e999}}'):
                broken = await alice.post("/v1/counts", content=content)
                assert (broken.status_code, set(broken.json()["error"])) == (
                    422,
                    {"code", "message", "where", "hint"},
                )
            long = await alice.post("/v1/counts", content=b" " * (5 * 1024 * 1024))
            assert long.status_code == 422
            site = await alice.get("/v1/datasets", params={"site": "nowhere"})
            assert site.status_code == 422
            assert "gr, lt" in site.json()["error"]["hint"]

    asyncio.run(go())


def test_bodies_are_checked_before_any_policy(world: World) -> None:
    async def go() -> None:
        async with client(world.researcher, "alice-token") as alice:
            body = {"query": {"age": {"low": 69, "high": 50}}, "permit": "nobodys"}
            reply = await alice.post("/v1/cohorts", json=body)
            assert (reply.status_code, reply.json()["error"]["code"]) == (422, "UNICA-200")
            body = {"query": {"sites": ["nowhere"]}, "permit": "nobodys"}
            reply = await alice.post("/v1/cohorts", json=body)
            assert (reply.status_code, reply.json()["error"]["where"]) == (422, "query.sites")

    asyncio.run(go())
