"""A researcher's workspace in the real hub: JupyterLab, its banner, its home and what its token can do."""

import json
from collections.abc import Callable, Iterator

import pytest
from browser import Browser
from running_hub import RunningHub

from hub_config.roles import powers_of
from hub_config.settings import ISOLATION

REPORT = """
import json, os, urllib.request
def ask(path, **more):
    request = urllib.request.Request(os.environ["JUPYTERHUB_API_URL"] + path, **more)
    request.add_header("Authorization", "Bearer " + os.environ["JUPYTERHUB_API_TOKEN"])
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as err:
        return err.code, {}
print(json.dumps({
    "gateway": os.environ["UNICA_GATEWAY"],
    "marker": os.environ["UNICA_ENVIRONMENT"],
    "home": os.environ["HOME"],
    "files": sorted(os.listdir()),
    "me": ask("/user")[1],
    "new token": ask("/users/alice/tokens", data=b"{}", method="POST")[0],
    "proxy token": "CONFIGPROXY_AUTH_TOKEN" in os.environ,
}))
"""


@pytest.fixture(scope="module")
def alice(signed_in: Callable[[str], Browser]) -> Iterator[Browser]:
    browser = signed_in("alice")
    browser.start_workspace()
    yield browser
    browser.stop_workspace()


def test_a_kernel_has_all_the_sdk_needs_and_no_more(hub: RunningHub, alice: Browser) -> None:
    report = json.loads(alice.run(REPORT))
    assert report["gateway"] == f"unix://{hub.settings.gateway_socket}"
    assert report["marker"] == hub.marker
    assert report["home"] == str(hub.settings.homes / "alice")
    assert "01_first_study.ipynb" in report["files"]
    assert report["me"]["name"] == "alice"
    scopes = {scope for scope in report["me"]["scopes"] if scope.startswith("custom:")}
    assert scopes == set(powers_of(("researchers",)))
    assert report["new token"] == 403
    assert report["proxy token"] is False


def test_lab_shows_the_banner_and_asks_nobody_outside(alice: Browser) -> None:
    page = alice.http.get("/user/alice/lab").text
    body = page[page.index("<body") :]
    assert body.index(ISOLATION) < body.index("<script")
    start = page.index(">", page.index('id="jupyter-config-data"')) + 1
    config = json.loads(page[start : page.index("</script>", start)])
    assert config["news"] == {"disabled": True}
    assert "@jupyterlab/apputils-extension:announcements" in config["disabledExtensions"]


def test_there_are_no_terminals(alice: Browser) -> None:
    assert alice.http.get("/user/alice/api/terminals").status_code == 404


def test_nobody_else_enters(alice: Browser, signed_in: Callable[[str], Browser]) -> None:
    for name in ("tom", "mona", "olga"):
        assert signed_in(name).http.get("/user/alice/api/contents").status_code in (403, 404)
