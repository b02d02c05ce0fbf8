"""The pages for browsers: the sign-in flow with the hub, who sees what, and nothing without it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from gateway_world import World, frozen, hello, request_for, until
from small_hub import SmallHub, running

from unica_sdk.gateway.app import HubOAuth, service_app
from unica_sdk.gateway.identity import HubIdentity
from unica_sdk.schemas.identity import Person, Scope

PREFIX = "/services/unica/"
ALL = [Scope.PERMIT_READ, Scope.CATALOGUE_READ]


@asynccontextmanager
async def browser(world: World, hub: SmallHub, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    oauth = HubOAuth(
        api_url=hub.api_url,
        client_id="service-unica",
        client_secret=hub.client_secret,
        **changed,
    )
    app = service_app(world.gateway, HubIdentity(hub.api_url, cache_seconds=0), oauth)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.test") as made:
        yield made


def asked_of(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 302
    return {
        name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()
    }


async def signed_in(
    made: httpx.AsyncClient,
    hub: SmallHub,
    *,
    name: str = "alice",
    scopes: list[str] = ALL,
    page: str = PREFIX,
) -> httpx.Response:
    """Go through the whole flow, with the hub letting `name` in."""
    asked = asked_of(await made.get(page))
    hub.users["oauth-token"] = {"kind": "user", "name": name, "groups": ["researchers"], "scopes": scopes}
    hub.codes["code"] = ("oauth-token", asked["code_challenge"])
    return await made.get(PREFIX + "oauth_callback", params={"code": "code", "state": asked["state"]})


def test_a_stranger_is_sent_to_the_hub_and_comes_back_to_the_page(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            first = await made.get(PREFIX)
            address = urlsplit(first.headers["location"])
            assert (address.netloc, address.path) == ("", "/hub/api/oauth2/authorize")
            asked = asked_of(first)
            assert asked["redirect_uri"] == PREFIX + "oauth_callback"
            assert asked["code_challenge_method"] == "S256"
            back = await signed_in(made, hub, page=PREFIX + "jobs/j-1")
            assert back.headers["location"] == PREFIX + "jobs/j-1"
            cookie = back.headers.get_list("set-cookie")[-1]
            assert "oauth-token" not in str(back.headers)
            for word in ("HttpOnly", "SameSite=lax", f"Path={PREFIX}"):
                assert word in cookie
            home = await made.get(PREFIX)
            assert home.status_code == 200
            assert "Not isolated: demonstration environment" in home.text
            assert '<strong id="subject">alice</strong>' in home.text
            assert "default-src 'none'" in home.headers["content-security-policy"]

    with running() as hub:
        asyncio.run(go(hub))


def test_the_pages_show_permits_jobs_and_nodes_with_words_where_there_are_none(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            await signed_in(made, hub, name="bob")
            empty = (await made.get(PREFIX)).text
            assert "You have no permit." in empty
            assert "You have submitted no job yet." in empty
            assert "Hospital gr" in empty
        world.gateway.hello("gr", hello("gr", name="mammo"))
        cohort = await frozen(world)
        alice = Person(subject="alice", scopes=(Scope.JOB_SUBMIT,))
        job = world.gateway.jobs.submit(alice, request_for(world, cohort))
        await until(lambda: bool(world.engine.started))
        async with browser(world, hub) as made:
            await signed_in(made, hub)
            home = (await made.get(PREFIX)).text
            for words in ("p-1", "gr/mammo", job.id, "breast-screen", "online"):
                assert words in home
            page = await made.get(f"{PREFIX}jobs/{job.id}")
            assert page.status_code == 200
            assert "Checked; handed to the engine." in page.text
            assert "40 (38–42)" in page.text
        async with browser(world, hub) as made:
            await signed_in(made, hub, name="bob")
            assert (await made.get(f"{PREFIX}jobs/{job.id}")).status_code == 404

    with running() as hub:
        asyncio.run(go(hub))


def test_a_section_needs_its_own_power(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        for scopes, seen in (
            ([], set()),
            ([Scope.PERMIT_READ], {"permits", "jobs"}),
            ([Scope.CATALOGUE_READ], {"nodes"}),
        ):
            async with browser(world, hub) as made:
                await signed_in(made, hub, scopes=scopes)
                assert set(re.findall(r'<h2 id="(\w+)"', (await made.get(PREFIX)).text)) == seen

    with running() as hub:
        asyncio.run(go(hub))


def test_what_people_are_called_is_never_markup(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            await signed_in(made, hub, name="<script>alert(1)</script>")
            text = (await made.get(PREFIX)).text
            assert "<script>" not in text
            assert "&lt;script&gt;" in text

    with running() as hub:
        asyncio.run(go(hub))


def test_a_sign_in_ends_when_the_hub_ends_it(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            await signed_in(made, hub)
            assert (await made.get(PREFIX)).status_code == 200
            hub.users.clear()
            assert (await made.get(PREFIX)).status_code == 302

    with running() as hub:
        asyncio.run(go(hub))


@pytest.mark.parametrize(
    "how", ["no state", "another state", "no cookie", "another browser", "no code", "old code"]
)
def test_a_callback_that_was_not_begun_here_signs_nobody_in(world: World, how: str) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made, browser(world, hub) as other:
            asked = asked_of(await made.get(PREFIX))
            hub.users["oauth-token"] = {"kind": "user", "name": "mallory", "scopes": []}
            hub.codes["code"] = ("oauth-token", asked["code_challenge"])
            query = {"code": "code", "state": asked["state"]}
            caller = made
            if how == "no state":
                del query["state"]
            elif how == "another state":
                query["state"] = "x" * 43
            elif how == "no cookie":
                made.cookies.clear()
            elif how == "another browser":
                asked_of(await other.get(PREFIX))
                caller = other
            elif how == "no code":
                query = {"state": asked["state"], "error": "access_denied"}
            else:
                query["code"] = "older"
            reply = await caller.get(PREFIX + "oauth_callback", params=query)
            assert reply.status_code == 403
            assert (await caller.get(PREFIX)).status_code == 302

    with running() as hub:
        asyncio.run(go(hub))


@pytest.mark.parametrize("path", ["/", "/services/", "/services/unica", "/v1/me", "/docs", PREFIX + "docs"])
def test_there_is_nothing_outside_the_prefix(world: World, path: str) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            await signed_in(made, hub)
            assert (await made.get(path)).status_code == 404
            assert (await made.post(PREFIX)).status_code == 405
            assert (await made.get(PREFIX + "style.css")).headers["content-type"].startswith("text/css")

    with running() as hub:
        asyncio.run(go(hub))


def test_the_pages_work_under_another_prefix(world: World) -> None:
    async def go(hub: SmallHub) -> None:
        prefix = "/spe/services/unica/"
        async with browser(world, hub, prefix=prefix, hub_prefix="/spe/hub/") as made:
            first = await made.get(prefix)
            assert first.headers["location"].startswith("/spe/hub/api/oauth2/authorize?")
            assert (await made.get(PREFIX)).status_code == 404

    with running() as hub:
        asyncio.run(go(hub))


@pytest.mark.parametrize(
    "page", ["jobs/%2F%2Felsewhere.test", "jobs/..%2f..%2f..%2felsewhere", "jobs/%5C%5Celsewhere.test"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(world: World, page: str) -> None:
    async def go(hub: SmallHub) -> None:
        async with browser(world, hub) as made:
            first = await made.get(PREFIX + page)
            if first.status_code == 302:
                back = await signed_in(made, hub, page=PREFIX + page)
                assert back.headers["location"] == PREFIX
            else:
                assert first.status_code == 404

    with running() as hub:
        asyncio.run(go(hub))


def test_secrets_do_not_show() -> None:
    oauth = HubOAuth(api_url="http://127.0.0.1:1/hub/api", client_id="service-unica", client_secret="hush")
    assert "hush" not in repr(oauth)
    with pytest.raises(ValueError, match="slash"):
        HubOAuth(api_url="", client_id="", client_secret="", prefix="/services/unica")
