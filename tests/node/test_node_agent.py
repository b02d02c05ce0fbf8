"""The agent against a real HTTP server that speaks the node face."""

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dicom_files import write_dicom
from fastapi import FastAPI, Header, HTTPException, Response
from node_people import People

from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.schemas.cohort import Refused, Released
from unica_sdk.schemas.exchange import (
    Answer,
    BreakdownQuestion,
    CountQuestion,
    FreezeQuestion,
    Hello,
    Question,
    Welcome,
)

PATIENCE = 30


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


@pytest.fixture
def face(node: NodeHome) -> GatewayFace:
    return GatewayFace(node.enrolment().signing_key)


@pytest.fixture
def serving(face: GatewayFace) -> Iterator[Serving]:
    server = Serving(face.app())
    yield server
    server.close()


@pytest.fixture
def running(node: NodeHome, serving: Serving) -> Iterator[threading.Thread]:
    stop = threading.Event()
    with httpx.Client(base_url=f"http://127.0.0.1:{serving.port}") as client:
        agent = Agent(node, client, hello_seconds=0.1, wait_seconds=1)
        thread = threading.Thread(target=agent.run, args=(stop,))
        thread.start()
        yield thread
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.usefixtures("running")
def test_hello_brings_the_records_and_the_audit_head(node: NodeHome, face: GatewayFace) -> None:
    hello = face.hellos.get(timeout=PATIENCE)
    assert [record.id for record in hello.datasets] == ["gr/screening"]
    assert (hello.audit_head, hello.audit_length) == node.audit.head()
    assert hello.policy == node.policy()
    claims = face.claims[0]
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("gr", 60)


@pytest.mark.usefixtures("running")
def test_questions_are_answered_by_their_number(face: GatewayFace, people: People) -> None:
    face.questions.put(CountQuestion(id="q1", query={}, asker="alice"))
    face.questions.put(FreezeQuestion(id="q2", query={}, holder="alice", permit=people.permit()))
    face.questions.put(CountQuestion(id="q3", query={"modality": ["XX"]}, asker="alice"))
    face.questions.put(BreakdownQuestion(id="q4", query={}, by=("outcome",), asker="alice"))
    answers = {a.question: a for a in (face.answers.get(timeout=PATIENCE) for _ in range(4))}
    assert isinstance(answers["q1"].count, Released)
    assert answers["q4"].count == answers["q1"].count
    assert [cell.values for cell in answers["q4"].cells] == [
        ("interval_cancer",),
        ("negative",),
        ("screen_detected",),
    ]
    assert answers["q2"].snapshot is not None
    assert answers["q3"].count == Refused(site="gr", code="malformed")


@pytest.mark.usefixtures("running")
def test_a_gateway_that_fails_for_a_while_is_asked_again(face: GatewayFace) -> None:
    face.broken = True
    face.questions.put(CountQuestion(id="lost", query={}, asker="alice"))
    for _ in range(4):
        face.turned_away.get(timeout=PATIENCE)
    face.broken = False
    face.questions.put(CountQuestion(id="q1", query={}, asker="alice"))
    assert face.hellos.get(timeout=PATIENCE).datasets
    answered = face.answers.get(timeout=PATIENCE)
    assert answered.question in {"lost", "q1"}


def test_the_agent_waits_for_a_gateway_that_is_not_there_yet(node: NodeHome, face: GatewayFace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stop = threading.Event()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        thread = threading.Thread(target=Agent(node, client, wait_seconds=1).run, args=(stop,))
        thread.start()
        try:
            for _ in range(2):
                # Twice: the gateway comes up, goes, and comes up again.
                server = Serving(face.app(), port)
                face.questions.put(CountQuestion(id="q", query={}, asker="alice"))
                assert face.answers.get(timeout=PATIENCE).question == "q"
                server.close()
        finally:
            stop.set()
            thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_hub_that_rewrites_its_audit_is_noticed(
    node: NodeHome, face: GatewayFace, serving: Serving
) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{serving.port}") as client:
        agent = Agent(node, client)
        agent.hello()
        before = node.audit.verify()
        agent.hello()
        face.welcome = Welcome(audit_head="sha256:" + "2" * 64, audit_length=9)
        agent.hello()
        assert node.audit.verify() == before
        face.welcome = Welcome(audit_head="sha256:" + "3" * 64, audit_length=8)
        agent.hello()
    last = list(node.audit.entries())[-1]
    assert (last.action, last.detail["known"]["audit_length"]) == ("hub_audit_rewritten", 9)


def test_another_nodes_key_is_not_this_nodes(empty_node: NodeHome, serving: Serving) -> None:
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{serving.port}") as client,
        pytest.raises(httpx.HTTPStatusError),
    ):
        Agent(empty_node, client).hello()


def test_the_records_follow_the_index_and_the_policy(
    node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    with httpx.Client() as client:
        agent = Agent(node, client)
        assert agent.record() == agent.record()
        (before,) = agent.record()
        assert before.patients.status == "released"
        set_policy(node, threshold=100)
        assert agent.record()[0].patients.status == "suppressed"
        write_dicom(tmp_path / "more" / "1", patient="Q", number=1)
        ingest(node, tmp_path / "more", dataset="more", title="t", description="d", synthetic=True)
        assert [record.id for record in agent.record()] == ["gr/more", "gr/screening"]
