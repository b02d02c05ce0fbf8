"""The agent against a real HTTP server that speaks the node face."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from dicom_files import write_dicom
from gateway_face import GatewayFace, Serving
from node_people import People

from unica_sdk.node.agent import Agent
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.schemas.cohort import Refused, Released
from unica_sdk.schemas.exchange import BreakdownQuestion, CountQuestion, FreezeQuestion, Welcome

PATIENCE = 30


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
