"""The `/node/v1` face of a gateway over real HTTP, with nothing behind it."""

import queue
import socket
import threading
from typing import Any

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import FastAPI, Header, HTTPException, Response

from unica_sdk.schemas.exchange import Answer, Hello, Question, Welcome


class GatewayFace:
    """The `/node/v1` face with nothing behind it: questions are put in, hellos and answers come out."""

    def __init__(self, signing_key: str) -> None:
        self.key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signing_key))
        self.hellos: queue.Queue[Hello] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.questions: queue.Queue[Any] = queue.Queue()
        self.claims: list[dict[str, Any]] = []
        self.welcome = Welcome(audit_head="sha256:" + "1" * 64, audit_length=7)
        self.broken = False
        self.turned_away: queue.Queue[None] = queue.Queue()

    def app(self) -> FastAPI:
        app = FastAPI()

        def admit(authorization: str) -> None:
            token = authorization.removeprefix("Bearer ")
            try:
                claims = jwt.decode(token, self.key, algorithms=["EdDSA"], audience="unica-gateway")
            except jwt.InvalidTokenError as err:
                raise HTTPException(401) from err
            self.claims.append(claims)
            if self.broken:
                self.turned_away.put(None)
                raise HTTPException(500)

        @app.post("/node/v1/hello")
        def hello(body: Hello, authorization: str = Header()) -> Welcome:
            admit(authorization)
            self.hellos.put(body)
            return self.welcome

        @app.get("/node/v1/questions")
        def questions(wait: int, authorization: str = Header()) -> list[Question]:
            admit(authorization)
            try:
                return [self.questions.get(timeout=wait)]
            except queue.Empty:
                return []

        @app.post("/node/v1/answers", status_code=204)
        def answers(body: Answer, authorization: str = Header()) -> Response:
            admit(authorization)
            self.answers.put(body)
            return Response(status_code=204)

        return app


class Serving:
    """A uvicorn server in a thread on a socket of its own."""

    def __init__(self, app: FastAPI, port: int = 0) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(
            app, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
