"""The engine face, `/engine/v1`: the engine's server side fetches orders and reports; same machine only."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request

from unica_sdk.errors import NotSignedIn
from unica_sdk.gateway.faces.guard import caller, new_face
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.contract import Contract, Name
from unica_sdk.schemas.job import JobOrder, JobUpdate

router = APIRouter(prefix="/engine/v1")


class Wanted(Contract):
    """Whether a job is still wanted; where not, the engine stops it."""

    wanted: bool


class _Engine:
    """The one caller of this face."""


def engine_app(gateway: Gateway, secret: bytes) -> FastAPI:
    """Return the face for the engine's server side, which shows the secret both were started with."""
    expected = hashlib.sha256(secret).digest()

    async def identify(token: str) -> _Engine:
        # Digests have one length, so the comparison tells nothing of the secret's.
        if not hmac.compare_digest(hashlib.sha256(token.encode("utf-8", "replace")).digest(), expected):
            raise NotSignedIn("The engine's secret is not accepted.")
        return _Engine()

    app = new_face("UNICA engine channel", identify=identify)
    app.state.gateway = gateway
    app.include_router(router)
    return app


def _gateway(request: Request) -> Gateway:
    caller(request, _Engine)
    found: Gateway = request.app.state.gateway
    return found


_Gateway = Annotated[Gateway, Depends(_gateway)]


@router.get("/jobs/{job_id}/order")
def order(gateway: _Gateway, job_id: Name) -> JobOrder:
    """The order of a job that is under way."""
    return gateway.jobs.order(job_id)


@router.post("/jobs/{job_id}/updates")
def update(gateway: _Gateway, job_id: Name, body: JobUpdate) -> Wanted:
    """Report one step of a job."""
    return Wanted(wanted=gateway.report(job_id, body))


@router.get("/nodes")
def nodes(gateway: _Gateway) -> tuple[NodeEnrolment, ...]:
    """The enrolled sites with their engine keys."""
    return gateway.enrolments()
