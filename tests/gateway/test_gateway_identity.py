"""Who holds a token, by the hub's word or a site's signature: believed for a moment, never guessed."""

import asyncio
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_world import World, enrolment
from small_hub import running

from unica_sdk.errors import NotSignedIn, Unavailable
from unica_sdk.gateway.identity import CACHE_SECONDS, CLOCK_SKEW, HubIdentity, SiteIdentity
from unica_sdk.schemas.identity import Person, Scope

ALICE = {
    "kind": "user",
    "name": "alice",
    "groups": ["researchers"],
    "scopes": ["read:users!user=alice", Scope.JOB_SUBMIT, "custom:unica:job:submit!user=bob"],
}


def test_the_hub_says_who_holds_a_token_and_what_they_may() -> None:
    with running() as hub:
        hub.users["t"] = ALICE
        person = asyncio.run(HubIdentity(hub.api_url).person("t"))
        assert person == Person(
            subject="alice",
            groups=("researchers",),
            scopes=(Scope.JOB_SUBMIT, "custom:unica:job:submit!user=bob"),
        )
        assert hub.asked == ["token t"]


def test_a_service_is_never_taken_for_the_person_of_its_name() -> None:
    with running() as hub:
        hub.users["t"] = {"kind": "service", "name": "alice", "scopes": [Scope.DASHBOARD_VIEW]}
        assert asyncio.run(HubIdentity(hub.api_url).person("t")).subject == "service:alice"


def test_an_answer_holds_five_seconds_and_a_revocation_takes_effect() -> None:
    now = [0.0]
    with running() as hub:
        hub.users["t"] = ALICE
        identity = HubIdentity(hub.api_url, cache_seconds=3600, clock=lambda: now[0])

        async def go() -> None:
            await identity.person("t")
            del hub.users["t"]
            now[0] = 4.9
            await identity.person("t")
            assert len(hub.asked) == 1
            now[0] = 5.0
            with pytest.raises(NotSignedIn):
                await identity.person("t")

        asyncio.run(go())


@pytest.mark.parametrize("token", ["unknown", "", "a b", "line\nbreak", "é", "x" * 5000])
def test_a_token_the_hub_does_not_know_is_nobodys(token: str) -> None:
    with running() as hub:
        hub.users["t"] = ALICE
        with pytest.raises((NotSignedIn, Unavailable)):
            asyncio.run(HubIdentity(hub.api_url).person(token))


@pytest.mark.parametrize("model", [{"kind": "user"}, [], "alice", {"name": 7}])
def test_an_answer_that_is_no_user_is_nobody(model: object) -> None:
    with running() as hub:
        hub.users["t"] = model  # type: ignore[assignment]
        with pytest.raises(NotSignedIn):
            asyncio.run(HubIdentity(hub.api_url).person("t"))


def test_a_hub_that_fails_or_is_away_is_not_a_wrong_token() -> None:
    with running() as hub:
        hub.failing = True
        with pytest.raises(Unavailable):
            asyncio.run(HubIdentity(hub.api_url).person("t"))
        gone = hub.api_url
    with pytest.raises(Unavailable):
        asyncio.run(HubIdentity(gone).person("t"))


def test_a_sites_token_is_believed_for_five_seconds_and_never_beyond_its_end(world: World) -> None:
    now = [0.0]
    sites = SiteIdentity(world.gateway.enrolment, clock=lambda: now[0])
    token = world.site_token("gr")
    assert sites.known(token) is None
    assert sites.site(token) == sites.known(token) == "gr"
    world.operator.enrol(enrolment("gr", Ed25519PrivateKey.generate()))
    now[0] = CACHE_SECONDS - 0.1
    assert sites.known(token) == "gr"
    now[0] = CACHE_SECONDS
    assert sites.known(token) is None
    with pytest.raises(NotSignedIn):
        sites.site(token)
    assert sites.known(token) is None

    last = int(time.time()) - CLOCK_SKEW + 2
    ending = world.site_token("lt", iat=last - 60, exp=last)
    assert sites.site(ending) == "lt"
    now[0] += 2.1
    assert sites.known(ending) is None
