"""The coordinator's line to the gateway's engine face: orders, reports, enrolled sites."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

import httpx
from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import ConfigurationError, InvalidRequest, Unavailable
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.contract import Name
from unica_sdk.schemas.job import JobOrder, JobUpdate

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a report is kept and offered again while the gateway is away."""


class GatewayLink:
    """Speaks to the engine face at `unix:///path/of.sock` or `http://127.0.0.1:port`, with its secret.

    Its methods raise ConfigurationError where the gateway does not accept the secret, and InvalidRequest
    where it does not understand what it is told: neither is an answer.
    """

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
        self.close()

    def order(self, job: str) -> JobOrder | None:
        """Return what is to be done for a job, or None where the gateway has no such job to do.

        Raises:
            Unavailable: the gateway does not answer.
        """
        found = self._ask("GET", f"/engine/v1/jobs/{job}/order") if _is_name(job) else None
        return JobOrder.model_validate_json(found) if found is not None else None

    def report(self, job: str, update: JobUpdate, *, patience: float = PATIENCE_SECONDS) -> bool:
        """Report one step and return whether the job is still wanted; one that does not exist is not.

        Raises:
            Unavailable: the gateway did not answer for `patience` seconds.
        """
        if not _is_name(job):
            return False
        path = f"/engine/v1/jobs/{job}/updates"
        said = self._ask("POST", path, update.model_dump_json(), patience=patience)
        return said is not None and TypeAdapter(dict[str, bool]).validate_json(said)["wanted"]

    def running(self) -> list[str]:
        """Return the jobs that the gateway takes for running.

        Raises:
            Unavailable: the gateway does not answer.
        """
        return TypeAdapter(list[str]).validate_json(self._told("/engine/v1/jobs"))

    def nodes(self) -> list[NodeEnrolment]:
        """Return the enrolled sites.

        Raises:
            Unavailable: the gateway does not answer.
        """
        return TypeAdapter(list[NodeEnrolment]).validate_json(self._told("/engine/v1/nodes"))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _told(self, path: str) -> bytes:
        """Return what every gateway has an answer to."""
        told = self._ask("GET", path, patience=0.0)
        if told is None:
            raise ConfigurationError("What answers in the gateway's place is not the gateway.")
        return told

    def _ask(
        self, method: str, path: str, content: str | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> bytes | None:
        """Return what the gateway answers; None where it knows no such thing, and only then."""
        end, wait = time.monotonic() + patience, 0.1
        headers = {"Content-Type": "application/json"} if content is not None else {}
        while True:
            try:
                answer = self._client.request(method, path, content=content, headers=headers)
                if answer.status_code < 500:
                    return _content(answer)
                problem = str(answer.status_code)
            except httpx.TransportError as err:
                problem = type(err).__name__
            if time.monotonic() + wait > end:
                raise Unavailable("The gateway did not answer.", where=problem)
            log.warning("the gateway did not answer (%s), asking again", problem)
            time.sleep(wait)
            wait = min(5.0, wait * 2)


def _content(answer: httpx.Response) -> bytes | None:
    status = answer.status_code
    if status == 200:
        return answer.content
    if status == 404:
        return None
    if status in (401, 403):
        raise ConfigurationError(
            "The gateway does not accept the engine's secret.",
            where=str(status),
            hint="Start the engine again: it reads the secret when it starts.",
        )
    raise InvalidRequest("The gateway does not understand the engine.", where=str(status))


def _is_name(job: str) -> bool:
    """Whether a job's number, which anybody may have written into a run, can be one of the gateway's."""
    try:
        TypeAdapter(Name).validate_python(job)
    except ValidationError:
        return False
    return True
