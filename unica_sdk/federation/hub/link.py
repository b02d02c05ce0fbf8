"""The coordinator's line to the gateway's engine face: orders, reports, enrolled sites."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

import httpx
from pydantic import TypeAdapter

from unica_sdk.errors import Unavailable
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.job import JobOrder, JobUpdate

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a report is kept and offered again while the gateway is away."""


class GatewayLink:
    """Speaks to the engine face at `unix:///path/of.sock` or `http://127.0.0.1:port`, with its secret."""

    def __init__(self, address: str, secret: str) -> None:
        path = address.removeprefix("unix://")
        local = path != address
        self._client = httpx.Client(
            base_url="http://gateway" if local else address,
            transport=httpx.HTTPTransport(uds=path) if local else None,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=10.0,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def order(self, job: str) -> JobOrder | None:
        """Return what is to be done for a job, or None where the gateway has no such job to do.

        Raises:
            Unavailable: the gateway does not answer.
        """
        answer = self._ask("GET", f"/engine/v1/jobs/{job}/order")
        return JobOrder.model_validate_json(answer.content) if answer.status_code == 200 else None

    def report(self, job: str, update: JobUpdate) -> bool:
        """Report one step and return whether the job is still wanted.

        Raises:
            Unavailable: the gateway did not answer for a minute.
        """
        answer = self._ask("POST", f"/engine/v1/jobs/{job}/updates", update.model_dump_json())
        return answer.status_code == 200 and bool(answer.json().get("wanted"))

    def nodes(self) -> list[NodeEnrolment]:
        """Return the enrolled sites.

        Raises:
            Unavailable: the gateway does not answer, or not as it should.
        """
        answer = self._ask("GET", "/engine/v1/nodes", patience=0.0)
        if answer.status_code != 200:
            raise Unavailable("The gateway does not tell its sites.", where=str(answer.status_code))
        return TypeAdapter(list[NodeEnrolment]).validate_json(answer.content)

    def _ask(
        self, method: str, path: str, content: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> httpx.Response:
        end, wait = time.monotonic() + patience, 0.1
        headers = {"Content-Type": "application/json"} if content is not None else {}
        while True:
            try:
                answer = self._client.request(method, path, content=content, headers=headers)
                if answer.status_code < 500:
                    return answer
                problem = str(answer.status_code)
            except httpx.TransportError as err:
                problem = type(err).__name__
            if time.monotonic() + wait > end:
                raise Unavailable("The gateway did not answer.", where=problem)
            log.warning("the gateway did not answer (%s), asking again", problem)
            time.sleep(wait)
            wait = min(5.0, wait * 2)
