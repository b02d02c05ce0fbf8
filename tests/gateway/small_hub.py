"""A real HTTP server that speaks the part of the hub's API the gateway uses: tokens, and codes for tokens."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


@dataclass
class SmallHub:
    """Who holds which token, which codes are out, and what was asked."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: bool = False
    port: int = 0
    client_secret: str = "the service's token"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub/api"

    def user(self, header: str) -> tuple[int, Any]:
        self.asked.append(header)
        if self.failing:
            return 500, {"status": 500}
        model = self.users.get(header.removeprefix("token "))
        return (200, model) if model else (403, {"status": 403, "message": "Forbidden"})

    def exchange(self, form: dict[str, str]) -> tuple[int, Any]:
        """The token for a code that was given to this client, with this redirect and this verifier."""
        token, challenge = self.codes.pop(form.get("code", ""), ("", ""))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
        client = (form.get("client_id"), form.get("client_secret"), form.get("redirect_uri"))
        expected = ("service-unica", self.client_secret, "/services/unica/oauth_callback")
        if not (token and proven and client == expected and form.get("grant_type") == "authorization_code"):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": token, "token_type": "Bearer"}


@contextmanager
def running() -> Iterator[SmallHub]:
    hub = SmallHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(
                *(hub.user(self.headers["Authorization"]) if self.path == "/hub/api/user" else (404, {}))
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._say(*(hub.exchange(form) if self.path == "/hub/api/oauth2/token" else (404, {})))

        def _say(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
