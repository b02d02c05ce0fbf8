"""The node's connection to the gateway: it always calls out, and never gives up.

One thread says hello with the site's records and audit head; one holds a request open for questions and keeps
polling while others answer, so that an answer takes one round trip.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
from pydantic import TypeAdapter

from unica_sdk.errors import UnicaError
from unica_sdk.files import write_private
from unica_sdk.node.answers import Answerer
from unica_sdk.node.home import NodeHome
from unica_sdk.node.publishing import RecordKeeper
from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem
from unica_sdk.schemas.exchange import Answer, Hello, Question, Welcome

AUDIENCE = "unica-gateway"
TOKEN_SECONDS = 60
REUSE_SECONDS = 20.0
"""How long a token is used again: an answer and the next poll need not be signed each."""

HELLO_SECONDS = 10.0
WAIT_SECONDS = 20
"""How long the gateway may hold a request for questions open."""

BACK_OFF = (0.5, 10.0)
"""Seconds between attempts while the gateway does not answer: the first, and the most."""

_ANSWERING = 2
_LAST_SECONDS = 1.0
_QUESTIONS: TypeAdapter[list[Question]] = TypeAdapter(list[Question])
_log = logging.getLogger(__name__)


class Agent:
    """Keeps one node connected to its gateway.

    Args:
        home: The node.
        client: A client whose base URL is the gateway's; the caller opens and closes it.
        hello_seconds: Time between two heartbeats.
        wait_seconds: How long to hold a request for questions open.
    """

    def __init__(
        self,
        home: NodeHome,
        client: httpx.Client,
        *,
        hello_seconds: float = HELLO_SECONDS,
        wait_seconds: int = WAIT_SECONDS,
    ) -> None:
        self.home = home
        self.answerer = Answerer(home)
        self._records = RecordKeeper(home, standing=self.answerer.standing)
        self._refused: tuple[RecordProblem, ...] = ()
        self._client = client
        self._hello_seconds = hello_seconds
        self._wait_seconds = wait_seconds
        self._token: tuple[float, str] = (float("-inf"), "")

    def run(self, stop: threading.Event) -> None:
        """Stay connected until `stop` is set; returns soon after, however long a request is held open."""
        answering = ThreadPoolExecutor(_ANSWERING, thread_name_prefix="unica-answer")

        def listen(stop: threading.Event) -> None:
            for question in self.questions():
                if stop.is_set():
                    return
                answering.submit(self._answer, question)

        # Daemons: a held request cannot be called back, and must not hold the process.
        threads = [
            threading.Thread(target=self._repeat, args=(step, stop), name=name, daemon=True)
            for name, step in (("unica-hello", self._beat), ("unica-questions", listen))
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        answering.shutdown(wait=True, cancel_futures=True)
        deadline = time.monotonic() + _LAST_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def record(self) -> tuple[DatasetRecord, ...]:
        """Return the site's good records, made anew for a new index, policy or description.

        Raises:
            UnicaError: the policy, the registry of consent, the budget or the index cannot be read.
        """
        return self._records.current().records

    def hello(self) -> Welcome:
        """Send one heartbeat and remember the head of the hub's audit.

        Raises:
            httpx.HTTPError: the gateway did not answer, or not with a welcome.
            UnicaError: the site's own records cannot be made.
        """
        datasets, policy = self.record(), self.home.policy()
        head, length = self.home.audit.head()
        hello = Hello(datasets=datasets, policy=policy, audit_head=head, audit_length=length)
        response = self._post("/node/v1/hello", hello.model_dump_json())
        welcome = Welcome.model_validate_json(response.content)
        self._note_refusals(welcome.refused)
        self._remember(welcome.model_copy(update={"refused": ()}))
        return welcome

    def questions(self) -> list[Question]:
        """Hold a request open and return the questions that came, maybe none.

        Raises:
            httpx.HTTPError: the gateway did not answer.
        """
        response = self._client.get(
            "/node/v1/questions",
            params={"wait": self._wait_seconds},
            headers=self._headers(),
            timeout=httpx.Timeout(10.0, read=self._wait_seconds + 15.0),
        )
        response.raise_for_status()
        return _QUESTIONS.validate_json(response.content)

    def reply(self, answer: Answer) -> None:
        """Post one answer.

        Raises:
            httpx.HTTPError: the gateway did not take it.
        """
        self._post("/node/v1/answers", answer.model_dump_json())

    def _beat(self, stop: threading.Event) -> None:
        self.hello()
        stop.wait(self._hello_seconds)

    def _answer(self, question: Question) -> None:
        try:
            self.reply(self.answerer.answer(question))
        except Exception:
            # The end of this thread's stack. The hub counts the site as not answering; what was decided is
            # in the audit; the next question must still find somebody here.
            _log.exception("Question %s was not answered.", question.id)

    def _repeat(self, step: Callable[[threading.Event], None], stop: threading.Event) -> None:
        first, most = BACK_OFF
        pause = first
        while not stop.is_set():
            try:
                step(stop)
                pause = first
            except Exception as err:
                # The end of this thread's stack: whatever it was, a node that stops calling out is lost.
                if stop.is_set():
                    return
                expected = isinstance(err, httpx.HTTPError | UnicaError)
                _log.warning(
                    "No word with the gateway, again in %.1f s: %s", pause, err, exc_info=not expected
                )
                stop.wait(pause)
                pause = min(most, pause * 2)

    def _post(self, path: str, body: str) -> httpx.Response:
        headers = {**self._headers(), "Content-Type": "application/json"}
        response = self._client.post(path, content=body, headers=headers, timeout=15.0)
        response.raise_for_status()
        return response

    def _headers(self) -> dict[str, str]:
        made, token = self._token
        if not 0 <= time.monotonic() - made < REUSE_SECONDS:
            now = int(time.time())
            claims = {"sub": self.home.site, "aud": AUDIENCE, "iat": now, "exp": now + TOKEN_SECONDS}
            token = jwt.encode(claims, self.home.signing_key(), algorithm="EdDSA")
            self._token = (time.monotonic(), token)
        return {"Authorization": f"Bearer {token}"}

    def _note_refusals(self, refused: tuple[RecordProblem, ...]) -> None:
        """Tell audit and log once what the hub does not take; it keeps the last good record of each."""
        if refused == self._refused:
            return
        for problem in refused:
            _log.warning("The hub refused the record of %s: %s", problem.dataset, problem.text)
        self.home.audit.append(
            actor="gateway",
            action="records_refused",
            subject=self.home.site,
            problems=[f"{problem.dataset} {problem.property}" for problem in refused],
        )
        self._refused = refused

    def _remember(self, welcome: Welcome) -> None:
        """Keep the head of the hub's audit; a hub whose audit got shorter, or other, has rewritten it."""
        path = self.home.folder / "hub-audit.json"
        known = Welcome.model_validate_json(path.read_bytes()) if path.exists() else None
        if known == welcome:
            return
        if known is not None and welcome.audit_length <= known.audit_length:
            self.home.audit.append(
                actor="node",
                action="hub_audit_rewritten",
                subject="gateway",
                known=json.loads(known.canonical()),
                told=json.loads(welcome.canonical()),
            )
        write_private(path, welcome.canonical())
