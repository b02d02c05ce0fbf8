"""The dashboards in the real hub: who sees them, and that a page is all a viewer gets."""

import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from browser import Browser, Turn, execute_request, marked_processes, wait_until
from running_gateway import RunningGateway
from running_hub import RunningHub
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hub_config.settings import ISOLATION

PAGE = "/services/dashboards/"
SignedIn = Callable[[str], Browser]


def kernels(hub: RunningHub) -> list[int]:
    """Return the dashboards' kernels that are running now."""
    return marked_processes(hub.marker, with_command="ipykernel_launcher")


def test_a_manager_sees_the_federation(hub: RunningHub, gateway: RunningGateway, signed_in: SignedIn) -> None:
    gateway.hear_from("gr")
    page = signed_in("mona").http.get(PAGE)
    assert page.status_code == 200
    for text in (
        ISOLATION,
        "State of",
        "Every dataset shown here is synthetic",
        "Between 1,590 and 1,610 cases of the 100,000",
        "1 of 2 nodes online",
        "Greece",
        "Portugal",
        "Phantom mammograms",
        "Chest &lt;script&gt;alert(1)&lt;/script&gt; &amp; breast",
        "fewer than 10",
        "No job has been submitted yet",
    ):
        assert text in page.text, text
    assert 'role="alert"' not in page.text


def test_the_page_stands_alone(gateway: RunningGateway, signed_in: SignedIn) -> None:
    page = signed_in("mona").http.get(f"{PAGE}voila/render/federation.ipynb")
    assert page.status_code == 200
    assert "<script" not in page.text
    wanted = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?([^"'\s>)]+)""", page.text)
    assert [url for url in wanted if not url.startswith(("/", "data:", "#"))] == []
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


@pytest.mark.parametrize("name", ["alice", "tom", "sara", "audrey"])
def test_others_are_refused(signed_in: SignedIn, name: str) -> None:
    for path in (PAGE, f"{PAGE}voila/render/federation.ipynb"):
        page = signed_in(name).http.get(path)
        assert page.status_code == 403
        assert "Phantom" not in page.text
        assert ISOLATION in page.text


def test_a_stolen_workspace_token_does_not_open_them(hub: RunningHub, signed_in: SignedIn) -> None:
    page = httpx.get(f"{hub.base}{PAGE}", headers={"Authorization": f"token {hub.tokens.operator}"})
    assert page.status_code in (302, 403)
    assert "Phantom" not in page.text


def test_a_kernel_knows_no_token_and_ends_with_its_page(
    hub: RunningHub, gateway: RunningGateway, signed_in: SignedIn
) -> None:
    turn = Turn(signed_in("mona"), PAGE)
    turn.start()
    pid = wait_until(lambda: kernels(hub), what="the page's kernel")[0]
    environment = Path(f"/proc/{pid}/environ").read_text()
    turn.join()
    assert "JUPYTERHUB" not in environment
    assert "TOKEN" not in environment
    assert turn.reply is not None
    assert turn.reply.status_code == 200
    assert kernels(hub) == []
    assert list((hub.settings.dashboards_folder / "snapshots").iterdir()) == []


def test_a_page_closed_early_leaves_no_kernel(
    hub: RunningHub, gateway: RunningGateway, signed_in: SignedIn
) -> None:
    with signed_in("mona").http.stream("GET", PAGE) as page:
        assert page.status_code == 200
        next(page.iter_raw())
    wait_until(lambda: not kernels(hub), what="the kernel of the closed page ends")


def test_a_viewer_reaches_no_kernel(hub: RunningHub, gateway: RunningGateway, signed_in: SignedIn) -> None:
    browser = signed_in("mona")
    turn = Turn(browser, PAGE)
    turn.start()
    wait_until(lambda: kernels(hub), what="the page's kernel")
    (file,) = wait_until(
        lambda: re.findall(r"Kernel started: ([0-9a-f-]{36})", hub.log())[-1:], what="the kernel's id"
    )
    path = f"{PAGE}api/kernels/{file}/channels"
    address = hub.base.replace("http", "ws", 1) + path
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(address, additional_headers={"Cookie": browser.cookies(path)}, origin=hub.base) as channel,
    ):
        channel.send(json.dumps(execute_request("open('/tmp/owned', 'w')")))
    assert refused.value.response.status_code == 404
    assert browser.http.post(f"{PAGE}api/kernels", json={"name": "python3"}).status_code == 404
    assert browser.http.delete(f"{PAGE}api/kernels/{file}").status_code == 404
    assert browser.http.post(f"{PAGE}voila/api/shutdown/{file}").status_code == 404
    assert browser.http.post(PAGE).status_code in (403, 405)
    turn.join()


@pytest.mark.parametrize(
    "path",
    [
        "voila/static/etc/passwd",
        "static/etc/passwd",
        "voila/static/../../../../../../etc/passwd",
        "voila/files/../../hub/registry.json",
        "voila/files/%2e%2e/%2e%2e/registry.json",
        "voila/templates/unica/static/../../../../settings.py",
        "voila/templates/../../../../etc/static/passwd",
        "voila/render/../federation.ipynb",
        "voila/render/%2e%2e%2fnotebooks%2fresearch%2f01_first_study.ipynb",
        "voila/render/..%2f..%2fetc%2fpasswd",
        "voila/render/missing.ipynb",
        "voila/render/federation.ipynb/../../x",
        "voila/tree",
        "voila/api/contents/",
        "federation.ipynb",
        "login",
    ],
)
def test_no_path_leads_out(hub: RunningHub, signed_in: SignedIn, path: str) -> None:
    cookie = signed_in("mona").cookies(PAGE)
    status, body = _ask(hub.settings.dashboards_port, PAGE + path, cookie)
    assert status == 404, body
    # The proxy resolves the dots and may hand the request to the hub, which sends strangers to sign in.
    status, body = _ask(hub.settings.hub_port, PAGE + path, cookie)
    assert status in (302, 404), body


def _ask(port: int, path: str, cookie: str) -> tuple[int, bytes]:
    """Ask for exactly this path: other clients would resolve the dots before sending them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Cookie": cookie})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_without_the_gateway_the_page_says_so(
    hub: RunningHub, gateway: RunningGateway, signed_in: SignedIn
) -> None:
    socket = hub.settings.gateway_socket
    aside = socket.with_suffix(".aside")
    socket.rename(aside)
    try:
        page = signed_in("mona").http.get(PAGE)
    finally:
        aside.rename(socket)
    assert page.status_code == 503
    assert "cannot be read just now" in page.text
    assert ISOLATION in page.text
    assert kernels(hub) == []
