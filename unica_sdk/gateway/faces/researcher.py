"""The researcher face, `/v1`: what a notebook's client asks. Each route needs its own power."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from starlette.responses import Response, StreamingResponse

from unica_sdk.gateway.faces import records
from unica_sdk.gateway.faces.guard import caller, holding, new_face
from unica_sdk.gateway.identity import Identity
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.app import App
from unica_sdk.schemas.catalogue import DatasetRecord, Indicators, NodeStatus
from unica_sdk.schemas.cohort import (
    BreakdownResult,
    CohortQuery,
    CountResult,
    CountStep,
    Facets,
    FrozenCohort,
)
from unica_sdk.schemas.contract import Contract, Name
from unica_sdk.schemas.identity import Person, Scope, Session
from unica_sdk.schemas.job import Job, JobEvent, JobRequest
from unica_sdk.schemas.permit import PermitSummary
from unica_sdk.schemas.search import DatasetSearch, SearchPage

MAX_WAIT = 20.0
"""The most seconds a long-poll is held."""

router = APIRouter(prefix="/v1")


class CountRequest(Contract):
    """How many people match? On the budget of `permit`, else of my only active one, else my own."""

    query: CohortQuery
    permit: Name | None = None


class BreakdownRequest(CountRequest):
    """How many people match, split by one or two facets?"""

    by: Facets


class FreezeRequest(Contract):
    """Freeze the people who match, under this permit of mine."""

    query: CohortQuery
    permit: Name


def researcher_app(gateway: Gateway, identity: Identity) -> FastAPI:
    """Return the face for people's clients, who show the token their server holds.

    The description of the interface is `researcher_app(…).openapi()`; it is not served.
    """
    app = new_face("UNICA gateway", identify=identity.person)
    app.state.gateway = gateway
    # Not include_router: FastAPI then makes each route's handler anew at each request.
    app.router.routes.extend([*records.router.routes, *router.routes])
    return app


# Coroutines though they wait for nothing: FastAPI sends what is not one through a thread, at each request.
async def _gateway(request: Request) -> Gateway:
    found: Gateway = request.app.state.gateway
    return found


async def _anyone(request: Request) -> Person:
    return caller(request, Person)


_Gateway = Annotated[Gateway, Depends(_gateway)]
_Anyone = Annotated[Person, Depends(_anyone)]
_CatalogueReader = Annotated[Person, Depends(holding(Scope.CATALOGUE_READ))]
_Counter = Annotated[Person, Depends(holding(Scope.COHORT_COUNT))]
_Freezer = Annotated[Person, Depends(holding(Scope.COHORT_FREEZE))]
_Submitter = Annotated[Person, Depends(holding(Scope.JOB_SUBMIT))]
_PermitReader = Annotated[Person, Depends(holding(Scope.PERMIT_READ))]
_Viewer = Annotated[Person, Depends(holding(Scope.DASHBOARD_VIEW))]
_Search = Annotated[DatasetSearch, Query()]


@router.get("/me")
def me(gateway: _Gateway, person: _Anyone) -> Session:
    """Who the gateway takes you for."""
    return gateway.session(person)


@router.get("/nodes")
def nodes(gateway: _Gateway, person: _CatalogueReader) -> tuple[NodeStatus, ...]:
    """The sites, online or not."""
    return gateway.nodes()


@router.get("/datasets")
def datasets(gateway: _Gateway, person: _CatalogueReader, query: _Search) -> tuple[DatasetRecord, ...]:
    """All datasets that fit, by id; a facet may be given several times."""
    return gateway.datasets(query)


@router.get("/search", response_model=SearchPage)
def search(gateway: _Gateway, person: _CatalogueReader, query: _Search) -> Response:
    """One page of the datasets that fit, best first; a facet may be given several times."""
    # Written out here: FastAPI would look at each of a page's records once more before it did.
    return Response(gateway.search(query).model_dump_json(), media_type="application/json")


@router.get("/apps")
def apps(gateway: _Gateway, person: _CatalogueReader) -> tuple[App, ...]:
    """The apps there are."""
    return gateway.apps()


@router.post("/counts")
async def count(gateway: _Gateway, person: _Counter, body: CountRequest) -> CountResult:
    """How many people match, site by site."""
    return await gateway.cohorts.count(person, body.query, permit=body.permit)


@router.post("/counts/stream", response_model=CountStep)
async def count_as_it_comes(gateway: _Gateway, person: _Counter, body: CountRequest) -> StreamingResponse:
    """How many people match, as the sites answer: one `CountStep` a line, the last one with the result."""
    steps = gateway.cohorts.steps(person, body.query, permit=body.permit)
    # What is wrong with the question must be found before the answer has a status.
    first = await anext(steps)
    return StreamingResponse(_lines(first, steps), media_type="application/x-ndjson")


@router.post("/breakdowns")
async def breakdown(gateway: _Gateway, person: _Counter, body: BreakdownRequest) -> BreakdownResult:
    """How many people match, split by one or two facets, over all sites and site by site."""
    return await gateway.cohorts.breakdown(person, body.query, body.by, permit=body.permit)


@router.get("/permits")
def permits(gateway: _Gateway, person: _PermitReader) -> tuple[PermitSummary, ...]:
    """Your permits."""
    return gateway.permits(person)


@router.post("/cohorts")
async def freeze(gateway: _Gateway, person: _Freezer, body: FreezeRequest) -> FrozenCohort:
    """Freeze the people who match, under a permit of yours."""
    return await gateway.cohorts.freeze(person, body.query, body.permit)


@router.get("/cohorts")
def cohorts(gateway: _Gateway, person: _Freezer) -> tuple[FrozenCohort, ...]:
    """Your frozen cohorts, newest first."""
    return gateway.cohorts.of(person)


@router.post("/jobs")
def submit(gateway: _Gateway, person: _Submitter, body: JobRequest) -> Job:
    """Submit a job."""
    return gateway.jobs.submit(person, body)


@router.get("/jobs")
def jobs(gateway: _Gateway, person: _Submitter) -> tuple[Job, ...]:
    """Your jobs, newest first."""
    return gateway.jobs.of(person)


@router.get("/jobs/{job_id}")
def job(gateway: _Gateway, person: _Submitter, job_id: Name) -> Job:
    """One of your jobs."""
    return gateway.jobs.get(person, job_id)


@router.get("/jobs/{job_id}/events")
async def events(
    gateway: _Gateway,
    person: _Submitter,
    job_id: Name,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT)] = 0.0,
) -> tuple[JobEvent, ...]:
    """A job's events after a number; held open for `wait` seconds where there is none yet."""
    return await gateway.events(person, job_id, after=after, wait=wait)


@router.post("/jobs/{job_id}/cancel")
def cancel(gateway: _Gateway, person: _Submitter, job_id: Name) -> Job:
    """Cancel one of your jobs."""
    return gateway.jobs.cancel(person, job_id)


@router.get("/indicators")
def indicators(gateway: _Gateway, person: _Viewer) -> Indicators:
    """What a project manager sees."""
    return gateway.indicators()


async def _lines(first: CountStep, steps: AsyncGenerator[CountStep]) -> AsyncIterator[bytes]:
    async with aclosing(steps):
        yield _line(first)
        async for step in steps:
            yield _line(step)


def _line(step: CountStep) -> bytes:
    return step.model_dump_json().encode() + b"\n"
