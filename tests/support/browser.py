"""A person at a browser, and what tests of running parts need, for every folder of tests."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect


def free_ports(n: int) -> list[int]:
    """Return ports nobody listens on, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def wait_until(condition: Any, *, what: str, seconds: float = 150) -> Any:
    """Return the condition's first true value; fail where it stays false."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def marked_processes(marker: str, *, with_command: str = "") -> list[int]:
    """Return the processes of this environment whose command line contains a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            marked = f"UNICA_ENVIRONMENT={marker}".encode() in (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marked and command and with_command in command:
            found.append(int(entry.name))
    return found


class Browser:
    """What a person does with the hub's pages, without the pixels."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.name = ""
        self.http = httpx.Client(base_url=base, follow_redirects=True, timeout=120)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the browser."""
        self.http.close()

    def sign_in(self, name: str, password: str) -> httpx.Response:
        """Fill in the sign-in form."""
        self.name = name
        self.http.get("/hub/login")
        form = {"username": name, "password": password, "_xsrf": self._xsrf("/hub/")}
        return self.http.post("/hub/login", data=form)

    def api(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Ask the hub's own interface as its pages do."""
        self.http.get("/hub/home")
        headers = {"X-XSRFToken": self._xsrf("/hub/"), "Referer": f"{self.base}/hub/home"}
        return self.http.request(method, f"/hub/api{path}", headers=headers, **request)

    def start_workspace(self) -> None:
        """Start the person's server and open it once, which signs the browser in to it."""
        reply = self.api("POST", f"/users/{self.name}/server")
        assert reply.status_code in (201, 202, 400), reply.text
        wait_until(self._workspace_ready, what=f"the server of {self.name}")
        assert self.http.get(f"/user/{self.name}/lab").status_code == 200

    def _workspace_ready(self) -> bool:
        servers = self.api("GET", f"/users/{self.name}").json().get("servers", {})
        return bool(servers.get("", {}).get("ready"))

    def stop_workspace(self) -> None:
        """Stop the person's server."""
        self.api("DELETE", f"/users/{self.name}/server")
        wait_until(lambda: not self._workspace_ready(), what="the server stops")

    @contextmanager
    def kernel(self) -> Iterator[Callable[[str], str]]:
        """A fresh kernel of the person's server: call it with code, get what was printed."""
        headers = {"X-XSRFToken": self._xsrf(f"/user/{self.name}/")}
        made = self.http.post(f"/user/{self.name}/api/kernels", json={"name": "python3"}, headers=headers)
        kernel = f"/user/{self.name}/api/kernels/{made.json()['id']}"
        try:
            yield lambda code: self._execute(f"{kernel}/channels", code)
        finally:
            self.http.delete(kernel, headers=headers)

    def run(self, code: str) -> str:
        """Run code in a kernel of its own and return what it printed."""
        with self.kernel() as execute:
            return execute(code)

    def cookies(self, path: str) -> str:
        """Return the Cookie header for a path."""
        return "; ".join(
            f"{one.name}={one.value}" for one in self.http.cookies.jar if path.startswith(one.path)
        )

    def _execute(self, path: str, code: str) -> str:
        message = execute_request(code)
        printed = []
        address = self.base.replace("http", "ws", 1) + path
        with connect(address, additional_headers={"Cookie": self.cookies(path)}, origin=self.base) as channel:
            channel.send(json.dumps(message))
            while True:
                answer = json.loads(channel.recv(timeout=120))
                if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                    continue
                content = answer["content"]
                if answer["msg_type"] == "stream":
                    printed.append(content["text"])
                elif answer["msg_type"] == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif answer["msg_type"] == "status" and content["execution_state"] == "idle":
                    return "".join(printed)

    def _xsrf(self, path: str) -> str:
        return next(
            one.value or "" for one in self.http.cookies.jar if (one.name, one.path) == ("_xsrf", path)
        )


def execute_request(code: str) -> dict[str, Any]:
    """Return the message that asks a kernel to run code."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": uuid.uuid4().hex}
    return {
        "header": {**header, "username": "", "version": "5.3", "date": "2030-01-01T00:00:00Z"},
        "parent_header": {},
        "metadata": {},
        "content": {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        },
        "channel": "shell",
        "buffers": [],
    }


class Turn(threading.Thread):
    """One request in the background; `join` and read `reply`."""

    def __init__(self, browser: Browser, path: str) -> None:
        super().__init__(daemon=True)
        self.browser, self.path = browser, path
        self.reply: httpx.Response | None = None

    def run(self) -> None:
        """Make the request."""
        self.reply = self.browser.http.get(self.path)
