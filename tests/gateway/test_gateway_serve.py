"""The gateway's process: four real listeners, their modes, stale sockets, taken ports, SIGTERM."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_world import WritingEngine, enrolment
from small_hub import running

from unica_sdk.errors import ConfigurationError
from unica_sdk.gateway.keys import write_public_key
from unica_sdk.gateway.listeners import loopback_listener, unix_listener
from unica_sdk.gateway.serve import GatewaySettings, run
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.identity import Scope

PROCESS = """
import sys
from gateway_world import WritingEngine
from unica_sdk.gateway.serve import GatewaySettings, serve
serve(GatewaySettings.model_validate_json(sys.stdin.read()), WritingEngine())
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raw_settings(folder: Path, hub_api: str) -> dict[str, Any]:
    write_public_key(folder / "steward.pub", Ed25519PrivateKey.generate().public_key())
    return {
        "database": f"sqlite:///{folder}/gateway.sqlite",
        "audit": str(folder / "audit.jsonl"),
        "ticket_key": str(folder / "ticket.key"),
        "steward_public_key": str(folder / "steward.pub"),
        "researcher_socket": str(folder / "gateway.sock"),
        "engine_socket": str(folder / "engine.sock"),
        "engine_secret": "hush",
        "node_port": free_port(),
        "service_port": free_port(),
        "hub_api": hub_api,
        "hub_token": "hush too",
    }


def settings_in(folder: Path, hub_api: str) -> GatewaySettings:
    return GatewaySettings.model_validate(raw_settings(folder, hub_api))


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run(settings, WritingEngine(), stop=stop, ready=ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not task.done():
            yield
    finally:
        stop.set()
        await task


def over(path: Path, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(path)),
        base_url="http://gateway",
        headers={"Authorization": f"Bearer {token}"},
    )


def test_four_faces_at_four_doors(tmp_path: Path) -> None:
    async def go(hub_api: str) -> None:
        settings = settings_in(tmp_path, hub_api)
        async with serving(settings):
            modes = [
                stat.S_IMODE(path.stat().st_mode)
                for path in (settings.researcher_socket, settings.engine_socket)
            ]
            assert modes == [0o660, 0o600]
            async with over(settings.researcher_socket, "t") as alice:
                me = await alice.get("/v1/me")
                assert me.json()["person"]["subject"] == "alice"
                assert "server" not in me.headers
                assert (await alice.get("/engine/v1/nodes")).status_code == 404
                assert (await alice.get("/node/v1/questions")).status_code == 404
                # What the operator's command enters beside the running gateway is there at once.
                store = Store.open(settings.database)
                store.enrol(enrolment("gr", Ed25519PrivateKey.generate()))
                store.close()
                assert [node["site"] for node in (await alice.get("/v1/nodes")).json()] == ["gr"]
            async with over(settings.engine_socket, "hush") as engine:
                assert (await engine.get("/engine/v1/nodes")).status_code == 200
                assert (await engine.get("/v1/me")).status_code == 404
            async with httpx.AsyncClient(trust_env=False) as outside:
                node = await outside.get(f"http://127.0.0.1:{settings.node_port}/node/v1/questions")
                assert node.status_code == 401
                pages = await outside.get(f"http://127.0.0.1:{settings.service_port}/services/unica/")
                assert pages.status_code == 302
        assert not settings.researcher_socket.exists()
        assert not settings.engine_socket.exists()

    with running() as hub:
        hub.users["t"] = {"kind": "user", "name": "alice", "scopes": [Scope.CATALOGUE_READ]}
        asyncio.run(go(hub.api_url))


def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    first = unix_listener(path, mode=0o600)
    with pytest.raises(ConfigurationError, match="Another gateway"):
        unix_listener(path, mode=0o600)
    first.close()
    assert path.exists()
    unix_listener(path, mode=0o600).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="not a socket"):
        unix_listener(path, mode=0o600)
    assert path.read_text() == "precious"
    for wrong in (tmp_path / "no" / "x.sock", tmp_path / ("x" * 120)):
        with pytest.raises(ConfigurationError):
            unix_listener(wrong, mode=0o600)


def test_a_taken_port_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def go() -> None:
        settings = settings_in(tmp_path, "http://127.0.0.1:1/hub/api")
        taken = pytest.raises(ConfigurationError, match=f"Port {settings.service_port} is taken")
        with loopback_listener(settings.service_port), taken:
            await run(settings, WritingEngine(), stop=asyncio.Event())
        assert not settings.researcher_socket.exists()

    asyncio.run(go())


def test_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    assert "hush" not in repr(settings_in(tmp_path, "http://127.0.0.1:1/hub/api"))


def test_the_process_starts_again_after_a_kill_and_ends_when_told(tmp_path: Path) -> None:
    settings = raw_settings(tmp_path, "http://127.0.0.1:1/hub/api")
    path = Path(settings["researcher_socket"])
    for ending, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        process = started(settings)
        try:
            answers(path)
            process.send_signal(ending)
            assert process.wait(timeout=30) == code
        finally:
            process.kill()
            process.wait()
        assert path.exists() == (ending == signal.SIGKILL)


def test_a_request_that_is_held_open_is_let_go_at_the_end(tmp_path: Path) -> None:
    async def go() -> None:
        settings, key = settings_in(tmp_path, "http://127.0.0.1:1/hub/api"), Ed25519PrivateKey.generate()
        store = Store.open(settings.database)
        store.enrol(enrolment("gr", key))
        store.close()
        now = int(time.time())
        claims = {"sub": "gr", "aud": "unica-gateway", "iat": now, "exp": now + 60}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='EdDSA')}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=30) as node:
            url = f"http://127.0.0.1:{settings.node_port}/node/v1/questions"
            async with serving(settings):
                assert (await node.get(url)).json() == []
                held = asyncio.create_task(node.get(url, params={"wait": 20}))
                await asyncio.sleep(0.3)
                assert not held.done()
            assert (await held).json() == []

    asyncio.run(go())


def started(settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings).encode())
    process.stdin.close()
    return process


def answers(path: Path) -> None:
    """Wait until somebody listens, who then answers 401: nobody is signed in."""
    end = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                break
        assert time.monotonic() < end, "the gateway did not start"
        time.sleep(0.05)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://gateway") as stranger:
        assert stranger.get("/v1/me").status_code == 401
