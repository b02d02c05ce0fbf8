"""The real hub is held to the table of roles: who gets where, and who gets nowhere."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from browser import Browser, marked_processes, wait_until
from running_gateway import RunningGateway
from running_hub import PASSWORD, PEOPLE, RunningHub

from hub_config import roles
from hub_config.settings import ISOLATION
from hub_config.terminal import issue_token
from unica_sdk.errors import NotFound, Unavailable

SignedIn = Callable[[str], Browser]


def scopes_of(hub: RunningHub, token: str) -> tuple[int, list[str]]:
    """Return what the hub tells the gateway about a token."""
    reply = httpx.get(
        f"{hub.settings.hub_api}/user", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
    return reply.status_code, reply.json().get("scopes", [])


@pytest.mark.parametrize(
    "path", ["/", "/hub/home", "/services/dashboards/", "/services/unica/", "/user/alice/lab"]
)
def test_a_stranger_meets_the_sign_in_page(hub: RunningHub, gateway: RunningGateway, path: str) -> None:
    with hub.browser() as browser:
        page = browser.http.get(path)
    assert page.url.path == "/hub/login"
    assert 'type="password"' in page.text
    assert ISOLATION in page.text


@pytest.mark.parametrize("name", PEOPLE)
def test_powers_and_entrances(hub: RunningHub, signed_in: SignedIn, name: str) -> None:
    browser, group = signed_in(name), PEOPLE[name]
    held = set(browser.api("GET", "/user").json()["scopes"])
    assert {scope for scope in held if scope.startswith("custom:")} == set(roles.powers_of((group,)))
    for service in (roles.GATEWAY_SERVICE, roles.DASHBOARDS_SERVICE):
        may_enter = service in roles.ENTRANCES[group]
        assert (f"access:services!service={service}" in held) == may_enter
    home = browser.http.get("/hub/home")
    assert ISOLATION in home.text
    assert ("/services/dashboards/" in home.text) == (roles.DASHBOARDS_SERVICE in roles.ENTRANCES[group])
    assert ("JupyterLab" in home.text) == (group in roles.WORKSPACES)


@pytest.mark.parametrize("name", PEOPLE)
def test_nobody_makes_tokens_or_shares(signed_in: SignedIn, name: str) -> None:
    browser = signed_in(name)
    assert browser.api("POST", f"/users/{name}/tokens", json={"note": "mine"}).status_code == 403
    assert browser.api("POST", f"/shares/{name}/", json={"user": "tom"}).status_code in (403, 404)
    assert browser.api("POST", f"/share-codes/{name}/", json={}).status_code in (403, 404)
    assert browser.api("GET", "/users").status_code == 403


@pytest.mark.parametrize("name", [name for name, group in PEOPLE.items() if group not in roles.WORKSPACES])
def test_who_has_no_workspace_cannot_start_one(signed_in: SignedIn, name: str) -> None:
    browser = signed_in(name)
    assert browser.api("POST", f"/users/{name}/server").status_code == 403
    assert browser.http.get(f"/hub/spawn/{name}").status_code in (403, 404)


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong wrong wrong"), ("nobody", PASSWORD), ("expired", PASSWORD), ("alice", "")],
)
def test_a_wrong_sign_in_is_refused_and_recorded(hub: RunningHub, name: str, password: str) -> None:
    with hub.browser() as browser:
        page = browser.sign_in(name, password)
    assert page.status_code == 403
    assert 'type="password"' in page.text
    audit = (hub.settings.hub_folder / "audit.jsonl").read_text()
    assert "sign-in-refused" in audit
    assert "nobody" not in audit, "what was typed as a name may be a password"


def test_a_terminal_token_studies_and_nothing_else(hub: RunningHub) -> None:
    # `leaver` never signed in: the hub knows the registry's people from its start.
    token = issue_token(hub_api=hub.settings.hub_api, operator_token=hub.tokens.operator, person="leaver")
    status, scopes = scopes_of(hub, token)
    assert status == 200
    assert {scope for scope in scopes if scope.startswith("custom:")} == set(
        roles.powers_of(("researchers",))
    )
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/users/leaver/tokens", "/users/leaver/server"):
        assert httpx.post(f"{hub.settings.hub_api}{path}", headers=headers, json={}).status_code in (403, 404)


@pytest.mark.parametrize("person", ["mona", "unheard-of", "expired"])
def test_a_terminal_token_is_for_researchers(hub: RunningHub, person: str) -> None:
    with pytest.raises(NotFound):
        issue_token(hub_api=hub.settings.hub_api, operator_token=hub.tokens.operator, person=person)


def test_a_hub_that_is_not_there_is_said_to_be(hub: RunningHub) -> None:
    with pytest.raises(Unavailable):
        issue_token(hub_api="http://127.0.0.1:1/hub/api", operator_token="x", person="alice")


def test_a_removed_person_is_out_within_seconds(hub: RunningHub) -> None:
    token = issue_token(hub_api=hub.settings.hub_api, operator_token=hub.tokens.operator, person="leaver")
    assert scopes_of(hub, token)[0] == 200

    def signed_out() -> bool:
        return browser.http.get("/hub/home").url.path == "/hub/login"

    with hub.browser("leaver") as browser:
        assert not signed_out()
        hub.registry.remove("leaver")
        wait_until(lambda: scopes_of(hub, token)[0] == 403, what="the token stops")
        wait_until(signed_out, what="the session ends")
        assert browser.sign_in("leaver", PASSWORD).status_code == 403


@pytest.mark.parametrize("name", PEOPLE)
def test_the_gateways_pages_open_to_those_of_the_table(
    gateway: RunningGateway, signed_in: SignedIn, name: str
) -> None:
    page = signed_in(name).http.get("/services/unica/")
    may_enter = roles.GATEWAY_SERVICE in roles.ENTRANCES[PEOPLE[name]]
    assert page.status_code == (200 if may_enter else 403)
    assert ISOLATION in page.text


def test_no_secret_reaches_a_log_or_a_command_line(hub: RunningHub) -> None:
    running = marked_processes(hub.marker)
    assert len(running) >= 3, "hub, proxy and dashboards"
    shown = hub.log() + "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in running)
    for secret in (hub.tokens.gateway, hub.tokens.operator, hub.tokens.proxy, PASSWORD):
        assert secret not in shown
