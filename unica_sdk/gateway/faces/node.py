"""The node face, `/node/v1`: sites call out to it; nobody calls a site."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response

from unica_sdk.gateway.faces.guard import caller, new_face
from unica_sdk.gateway.identity import SiteIdentity
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.exchange import Answer, Hello, Question, Welcome

MAX_WAIT = 20.0
"""The most seconds a site's request for questions is held; less than what makes a site count as offline."""

router = APIRouter(prefix="/node/v1")


def node_app(gateway: Gateway) -> FastAPI:
    """Return the face for sites, who show a JWT they signed themselves."""
    sites = SiteIdentity(gateway.enrolment)

    async def identify(token: str) -> str:
        known = sites.known(token)
        return known if known is not None else await asyncio.to_thread(sites.site, token)

    app = new_face("UNICA node channel", identify=identify)
    app.state.gateway = gateway
    # Not include_router: FastAPI then makes each route's handler anew at each request.
    app.router.routes.extend(router.routes)
    return app


# Coroutines though they wait for nothing: FastAPI sends what is not one through a thread, at each request.
async def _gateway(request: Request) -> Gateway:
    found: Gateway = request.app.state.gateway
    return found


async def _site(request: Request) -> str:
    return caller(request, str)


_Gateway = Annotated[Gateway, Depends(_gateway)]
_Site = Annotated[str, Depends(_site)]


@router.post("/hello")
def hello(gateway: _Gateway, site: _Site, body: Hello) -> Welcome:
    """Say that the site is there, what it has, and how its audit stands."""
    return gateway.hello(site, body)


@router.get("/questions")
async def questions(
    gateway: _Gateway, site: _Site, wait: Annotated[float, Query(ge=0, le=MAX_WAIT)] = 0.0
) -> tuple[Question, ...]:
    """The questions open for the site; held for `wait` seconds where there is none."""
    return await gateway.switchboard.take(site, wait=wait)


@router.post("/answers", status_code=204)
async def answers(gateway: _Gateway, site: _Site, body: Answer) -> Response:
    """Answer one question."""
    gateway.switchboard.accept(site, body)
    return Response(status_code=204)
