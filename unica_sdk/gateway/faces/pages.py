"""The hub-service face: pages for a browser, behind the hub's sign-in; they read and never change."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from unica_sdk.errors import NotFound, NotSignedIn, UnicaError
from unica_sdk.gateway.faces.failures import status_of
from unica_sdk.gateway.faces.sign_in import CALLBACK, HubOAuth, SignIn
from unica_sdk.gateway.identity import Identity
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.cohort import CountAnswer, Released, Suppressed
from unica_sdk.schemas.identity import Person, Scope

BANNERS = {"none": "Not isolated: demonstration environment"}
"""What every page says of each kind of isolation."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def service_app(gateway: Gateway, identity: Identity, oauth: HubOAuth) -> FastAPI:
    """Return the face for browsers, served below `oauth.prefix` as the hub's proxy passes it on.

    Each section of a page needs its own power: nodes `catalogue:read`, permits and one's jobs `permit:read`.
    """
    pages = Pages(gateway, sign_in=SignIn(oauth, identity), oauth=oauth)
    app = FastAPI(
        title="UNICA pages", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.add_exception_handler(UnicaError, pages.failed)
    app.add_exception_handler(HTTPException, pages.failed)
    app.add_exception_handler(Exception, pages.failed)
    prefix = oauth.prefix.rstrip("/")
    for path, page in (
        ("/", pages.home),
        ("/jobs/{job_id}", pages.job),
        (f"/{CALLBACK}", pages.callback),
        ("/style.css", pages.style),
    ):
        app.add_route(prefix + path, page, methods=["GET"])
    return app


class Pages:
    """The pages, as handlers of requests."""

    def __init__(self, gateway: Gateway, *, sign_in: SignIn, oauth: HubOAuth) -> None:
        self._gateway = gateway
        self._sign_in = sign_in
        self._oauth = oauth
        self._templates = Environment(
            loader=PackageLoader("unica_sdk.gateway.faces", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["count"] = count_words

    async def home(self, request: Request) -> Response:
        """Who is signed in, their permits and jobs, and the sites."""
        person = await self._person(request)
        if person is None:
            return self._sign_in.begin(request)
        return self._page("home.html", **await asyncio.to_thread(self._records_of, person))

    async def job(self, request: Request) -> Response:
        """One job of the person who is signed in: its sites, its rounds, what happened."""
        person = await self._person(request)
        if person is None:
            return self._sign_in.begin(request)
        if Scope.PERMIT_READ not in person.scopes:
            raise NotFound("You have no such job.")
        job = await asyncio.to_thread(self._gateway.jobs.get, person, request.path_params["job_id"])
        events = await self._gateway.events(person, job.id, after=0, wait=0)
        return self._page("job.html", person=person, job=job, events=events)

    async def callback(self, request: Request) -> Response:
        """Where the hub sends the browser back to."""
        return await self._sign_in.finish(request)

    async def style(self, request: Request) -> Response:
        """The pages' one style sheet: nothing in it is anybody's, so it needs no sign-in."""
        sheet = self._templates.get_template("style.css").render()
        return PlainTextResponse(sheet, media_type="text/css", headers={"X-Content-Type-Options": "nosniff"})

    async def failed(self, request: Request, error: Exception) -> Response:
        """Say on a page what went wrong."""
        if isinstance(error, HTTPException):
            missing = error.status_code in (404, 405)
            known = (
                NotFound("There is no such page.") if missing else UnicaError("The request cannot be read.")
            )
            status = error.status_code
        else:
            known = error if isinstance(error, UnicaError) else UnicaError("The gateway failed.")
            status = status_of(known)
        return self._page("failure.html", status=status, error=known, person=None)

    def _records_of(self, person: Person) -> dict[str, Any]:
        reads_permits = Scope.PERMIT_READ in person.scopes
        return {
            "person": person,
            "powers": [scope.removeprefix("custom:unica:") for scope in person.scopes],
            "permits": self._gateway.permits(person) if reads_permits else None,
            "jobs": self._gateway.jobs.of(person) if reads_permits else None,
            "nodes": self._gateway.nodes() if Scope.CATALOGUE_READ in person.scopes else None,
        }

    async def _person(self, request: Request) -> Person | None:
        try:
            return await self._sign_in.person(request)
        except NotSignedIn:
            # Whoever is not signed in is sent to the hub; that is the page's answer, not a failure.
            return None

    def _page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        content = self._templates.get_template(template).render(
            prefix=self._oauth.prefix,
            hub_prefix=self._oauth.hub_prefix,
            banner=BANNERS[self._gateway.isolation],
            status=status,
            **values,
        )
        return HTMLResponse(content, status_code=status, headers=_HEADERS)


def count_words(answer: CountAnswer | None) -> str:
    """Return a site's number as a page shows it.

    Example:
        >>> count_words(Suppressed(site="gr", below=10, index_version=1))
        'fewer than 10'
    """
    if isinstance(answer, Released):
        return f"{answer.n} ({answer.low}–{answer.high})"
    if isinstance(answer, Suppressed):
        return f"fewer than {answer.below}"
    return answer.status if answer is not None else "–"
