"""A gateway's socket with nothing behind it but given indicators; who may see them, the real hub says."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Response

from unica_sdk.schemas.identity import Scope


def app(*, hub_api: str, indicators: Path) -> FastAPI:
    """Return the one route that the dashboards use."""
    app = FastAPI()

    @app.get("/v1/indicators")
    async def _indicators(authorization: str = Header()) -> Response:
        async with httpx.AsyncClient() as client:
            person = await client.get(f"{hub_api}/user", headers={"Authorization": authorization})
        if person.status_code != 200:
            raise HTTPException(401)
        if Scope.DASHBOARD_VIEW not in person.json()["scopes"]:
            raise HTTPException(403)
        return Response(indicators.read_bytes(), media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(app(hub_api=sys.argv[1], indicators=Path(sys.argv[2])), uds=sys.argv[3], log_level="warning")
