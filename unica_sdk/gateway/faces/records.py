"""The researcher face's records, `/v1/datasets/…`: a dataset, or all, as JSON and as linked data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from unica_sdk.gateway.faces.guard import holding
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.catalogue import DatasetRecord, RecordVersion
from unica_sdk.schemas.contract import Name
from unica_sdk.schemas.identity import Person, Scope

JSONLD = "application/ld+json"
TURTLE = "text/turtle; charset=utf-8"

router = APIRouter(prefix="/v1")


def _gateway(request: Request) -> Gateway:
    found: Gateway = request.app.state.gateway
    return found


_Gateway = Annotated[Gateway, Depends(_gateway)]
_Reader = Annotated[Person, Depends(holding(Scope.CATALOGUE_READ))]
_Version = Annotated[int | None, Query(ge=1, lt=2**31)]


@router.get("/datasets.jsonld", response_class=StreamingResponse)
def catalogue_jsonld(gateway: _Gateway, person: _Reader) -> StreamingResponse:
    """The whole catalogue as JSON-LD."""
    return StreamingResponse(gateway.records.catalogue("jsonld"), media_type=JSONLD)


@router.get("/datasets.ttl", response_class=StreamingResponse)
def catalogue_turtle(gateway: _Gateway, person: _Reader) -> StreamingResponse:
    """The whole catalogue as Turtle."""
    return StreamingResponse(gateway.records.catalogue("turtle"), media_type=TURTLE)


@router.get("/datasets/{site}/{name}.jsonld", response_class=Response)
def dataset_jsonld(
    gateway: _Gateway, person: _Reader, site: Name, name: Name, version: _Version = None
) -> Response:
    """One dataset as JSON-LD; `version` is a number from its versions."""
    text = gateway.records.document(f"{site}/{name}", "jsonld", version=version)
    return Response(text, media_type=JSONLD)


@router.get("/datasets/{site}/{name}.ttl", response_class=Response)
def dataset_turtle(
    gateway: _Gateway, person: _Reader, site: Name, name: Name, version: _Version = None
) -> Response:
    """One dataset as Turtle; `version` is a number from its versions."""
    text = gateway.records.document(f"{site}/{name}", "turtle", version=version)
    return Response(text, media_type=TURTLE)


@router.get("/datasets/{site}/{name}/versions")
def dataset_versions(gateway: _Gateway, person: _Reader, site: Name, name: Name) -> tuple[RecordVersion, ...]:
    """Every version of a dataset's record, the newest first."""
    return gateway.records.versions(f"{site}/{name}")


@router.get("/datasets/{site}/{name}")
def dataset(gateway: _Gateway, person: _Reader, site: Name, name: Name) -> DatasetRecord:
    """One dataset."""
    return gateway.records.get(f"{site}/{name}")
