"""The explorer face, `/beam`: EUCAIM's explorer asks as it asks its own broker. Off until one is let in."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from unica_sdk.errors import ConfigurationError, Unavailable
from unica_sdk.gateway.explorer import ExplorerDesk, events
from unica_sdk.gateway.explorer_clients import client_with, read_clients
from unica_sdk.gateway.faces.guard import caller, new_face
from unica_sdk.schemas.explorer import ExplorerTask

_log = logging.getLogger(__name__)

MAX_WAIT_COUNT = 1024
"""The most results that can be waited for; a task ends when every site has said something anyway."""

router = APIRouter(prefix="/beam")


def explorer_app(desk: ExplorerDesk, clients: Path) -> FastAPI:
    """Return the face for explorers, who show the key that the operator gave them.

    The file of clients is read at every request: who is removed is out at once.
    """

    async def identify(key: str) -> str:
        try:
            known = await asyncio.to_thread(read_clients, clients)
        except ConfigurationError as err:
            # Which file is wrong is the operator's business, not a stranger's.
            _log.exception("The explorer's clients cannot be read")
            raise Unavailable("The endpoint is not set up.") from err
        return client_with(known, key)

    app = new_face("UNICA explorer endpoint", identify=identify)
    app.state.desk = desk
    app.include_router(router)
    return app


def _desk(request: Request) -> ExplorerDesk:
    found: ExplorerDesk = request.app.state.desk
    return found


def _client(request: Request) -> str:
    return caller(request, str)


_Desk = Annotated[ExplorerDesk, Depends(_desk)]
_Client = Annotated[str, Depends(_client)]


@router.post("", status_code=201)
async def ask(desk: _Desk, client: _Client, body: ExplorerTask) -> Response:
    """Ask the sites; what comes of it is at `/beam/{id}`."""
    await desk.post(client, body)
    return Response(status_code=201)


@router.get("/{task_id}")
async def listen(
    desk: _Desk,
    client: _Client,
    task_id: str,
    wait_count: Annotated[int | None, Query(ge=0, le=MAX_WAIT_COUNT)] = None,
) -> StreamingResponse:
    """The results of a task as server-sent events, `new_result` each."""
    desk.require(client, task_id)
    stream = events(desk.results(client, task_id, wait_count=wait_count))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
