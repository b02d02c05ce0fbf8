"""What a dashboard shows: the released indicators at one moment, kept in a file while its page is made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import ValidationError

from unica_sdk.errors import AccessDenied, Unavailable
from unica_sdk.schemas.catalogue import Indicators


async def fetch_indicators(socket: Path, *, token: str, timeout: float = 20) -> bytes:
    """Ask the gateway for the indicators with the viewer's own token; return them as canonical JSON.

    Raises:
        AccessDenied: the gateway does not show them to the holder of this token.
        Unavailable: the gateway does not answer, or answers something else.
    """
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gateway", timeout=timeout
        ) as client:
            reply = await client.get("/v1/indicators", headers={"Authorization": f"Bearer {token}"})
    except httpx.HTTPError as err:
        raise Unavailable(
            "The gateway did not answer.", where=str(socket), hint="See `unica status`."
        ) from err
    if reply.status_code in (401, 403):
        raise AccessDenied("The gateway does not show the indicators.", where=str(socket))
    if reply.status_code != 200:
        raise Unavailable(f"The gateway answered {reply.status_code}.", where=str(socket))
    try:
        return Indicators.model_validate_json(reply.content).canonical()
    except ValidationError as err:
        raise Unavailable("The gateway's indicators are not in the agreed form.", where=str(socket)) from err


@contextmanager
def kept(content: bytes, *, folder: Path) -> Iterator[Path]:
    """Keep the content in a file of its own (0600) for as long as the block runs."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        path.unlink(missing_ok=True)
