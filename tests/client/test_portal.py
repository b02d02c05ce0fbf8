"""The transport into an app of this process: answers arrive in parts, and whoever goes away is gone."""

import threading
from collections.abc import Iterator

import anyio
import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.types import Receive, Scope, Send

from unica_sdk.testing.portal import PortalTransport

PATIENCE = 20


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as made:
        yield made


class Talking:
    """An app that says one word, and the next when it is told to; it notes how it ended."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.asked: list[tuple[str, str, bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        self.asked.append((scope["method"], scope["path"], scope["query_string"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"talk")]})
        try:
            await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
            while not self.go_on.is_set():
                await anyio.sleep(0.01)
            await send({"type": "http.response.body", "body": b"two\n"})
        finally:
            self.ended.set()


def client_of(app: object, portal: BlockingPortal) -> httpx.Client:
    return httpx.Client(transport=PortalTransport(app, portal), base_url="http://app")  # type: ignore[arg-type]


def test_an_answer_arrives_in_the_parts_it_is_sent_in(portal: BlockingPortal) -> None:
    app = Talking()
    with client_of(app, portal) as client, client.stream("POST", "/x?a=1", content=b"hello") as response:
        parts = response.iter_bytes()
        assert (response.status_code, response.headers["x-kind"]) == (200, "talk")
        assert next(parts) == b"one\n"
        app.go_on.set()
        assert list(parts) == [b"two\n"]
    assert app.asked == [("POST", "/x", b"a=1", b"hello")]


def test_whoever_stops_reading_ends_the_apps_part(portal: BlockingPortal) -> None:
    app = Talking()
    with client_of(app, portal) as client, client.stream("POST", "/x") as response:
        assert next(response.iter_bytes()) == b"one\n"
        assert not app.ended.is_set()
    assert app.ended.wait(PATIENCE)


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("a fault of the app")


def test_an_app_that_fails_is_a_500_or_an_answer_that_broke_off(portal: BlockingPortal) -> None:
    with client_of(failing, portal) as client:
        assert client.get("/").status_code == 500
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/late")


def test_a_portal_that_is_closed_cannot_be_reached() -> None:
    with start_blocking_portal() as portal:
        client = client_of(Talking(), portal)
    with client, pytest.raises(httpx.ConnectError):
        client.get("/")
