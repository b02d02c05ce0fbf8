"""Signing in by the hub: the OAuth authorization-code flow, with state and PKCE, for the browser's pages.

Sources: RFC 6749 section 4.1, RFC 7636 (PKCE, S256), JupyterHub's OAuth provider for services.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from unica_sdk.errors import AccessDenied, NotSignedIn, Unavailable
from unica_sdk.gateway.identity import Identity, hub_client
from unica_sdk.schemas.identity import Person

CALLBACK = "oauth_callback"
"""The path of the callback below the service's prefix."""

STATE_SECONDS = 600
"""How long a person may take to sign in."""

SESSION_SECONDS = 12 * 3600
"""The longest a sign-in lasts; the hub is asked about its token all the while and may end it sooner."""


@dataclass(frozen=True, kw_only=True)
class HubOAuth:
    """The service as the hub knows it, and where the hub is.

    `prefix` is the service's path at the proxy, `hub_prefix` the hub's; `api_url` is the hub's own address,
    never through the proxy.
    """

    api_url: str
    client_id: str
    client_secret: str = field(repr=False)
    prefix: str = "/services/unica/"
    hub_prefix: str = "/hub/"

    def __post_init__(self) -> None:
        for path in (self.prefix, self.hub_prefix):
            if not (path.startswith("/") and path.endswith("/")):
                raise ValueError(f"{path!r} must begin and end with a slash")

    @property
    def redirect_uri(self) -> str:
        """Where the hub sends the browser back to."""
        return self.prefix + CALLBACK


class SignIn:
    """Keeps the browser's session in a cookie that only this process can read.

    The hub's token inside is encrypted under a key made at start: after a restart the browser signs in again,
    which takes a redirect and nothing of the person.
    """

    def __init__(self, oauth: HubOAuth, identity: Identity) -> None:
        self._oauth = oauth
        self._identity = identity
        self._seal = Fernet(Fernet.generate_key())
        self._session_cookie = f"{oauth.client_id}-session"
        self._state_cookie = f"{oauth.client_id}-state"

    async def person(self, request: Request) -> Person:
        """Return who is signed in.

        Raises:
            NotSignedIn: nobody, or no longer.
            Unavailable: the hub did not say.
        """
        sealed = request.cookies.get(self._session_cookie, "")
        return await self._identity.person(self._opened(sealed, SESSION_SECONDS)["token"])

    def begin(self, request: Request) -> Response:
        """Send the browser to the hub's sign-in page."""
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        query = {
            "client_id": self._oauth.client_id,
            "redirect_uri": self._oauth.redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        address = f"{self._oauth.hub_prefix}api/oauth2/authorize?{urlencode(query)}"
        response = RedirectResponse(address, status_code=302)
        content = {"state": state, "verifier": verifier, "next": self._own_path(request.url.path)}
        self._set(request, response, self._state_cookie, content, seconds=STATE_SECONDS)
        return response

    async def finish(self, request: Request) -> Response:
        """Take the browser back from the hub, with a code for a token.

        Raises:
            AccessDenied: the hub said no, or this browser did not begin this sign-in.
            Unavailable: the hub did not answer.
        """
        pending = self._pending(request)
        code = request.query_params.get("code", "")
        if not code:
            raise AccessDenied(
                "The hub did not let you in.", hint="Ask the operator which group you belong to."
            )
        token = await self._token(code, verifier=pending["verifier"])
        await self._identity.person(token)
        response = RedirectResponse(self._own_path(pending["next"]), status_code=302)
        response.delete_cookie(self._state_cookie, path=self._oauth.prefix)
        self._set(request, response, self._session_cookie, {"token": token}, seconds=SESSION_SECONDS)
        return response

    def forget(self, response: Response) -> None:
        """Drop the browser's session."""
        response.delete_cookie(self._session_cookie, path=self._oauth.prefix)

    def _pending(self, request: Request) -> dict[str, str]:
        try:
            pending = self._opened(request.cookies.get(self._state_cookie, ""), STATE_SECONDS)
        except NotSignedIn as err:
            raise _not_begun_here() from err
        given = request.query_params.get("state", "")
        if not hmac.compare_digest(pending["state"].encode(), given.encode()):
            raise _not_begun_here()
        return pending

    async def _token(self, code: str, *, verifier: str) -> str:
        client, base = hub_client(self._oauth.api_url)
        form = {
            "client_id": self._oauth.client_id,
            "client_secret": self._oauth.client_secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._oauth.redirect_uri,
            "code_verifier": verifier,
        }
        try:
            async with client:
                response = await client.post(f"{base}/oauth2/token", data=form)
        except httpx.HTTPError as err:
            raise Unavailable("The hub did not answer.", hint="Try again in a minute.") from err
        if response.status_code >= 500:
            raise Unavailable("The hub did not answer.", hint="Try again in a minute.")
        try:
            token = response.json()["access_token"] if response.is_success else None
        except (ValueError, KeyError, TypeError):
            token = None
        if not isinstance(token, str):
            raise AccessDenied(
                "The hub did not accept the sign-in.", hint="Begin again from the hub's home page."
            )
        return token

    def _set(
        self, request: Request, response: Response, name: str, content: dict[str, str], *, seconds: int
    ) -> None:
        sealed = self._seal.encrypt(json.dumps(content).encode()).decode()
        # The proxy ends TLS and says so; the word of a liar could only lose them their own cookie.
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))
        response.set_cookie(
            name,
            sealed,
            max_age=seconds,
            path=self._oauth.prefix,
            httponly=True,
            secure=secure,
            samesite="lax",
        )

    def _opened(self, sealed: str, seconds: int) -> dict[str, str]:
        try:
            content: dict[str, str] = json.loads(self._seal.decrypt(sealed.encode(), ttl=seconds))
        except (InvalidToken, ValueError) as err:
            raise NotSignedIn("Nobody is signed in in this browser.") from err
        return content

    def _own_path(self, path: str) -> str:
        """Return the path where it is ours, else our first page: nobody is sent elsewhere."""
        own = path.startswith(self._oauth.prefix) and not any(odd in path for odd in ("//", "\\", ".."))
        return path if own and not path.endswith(CALLBACK) else self._oauth.prefix


def _not_begun_here() -> AccessDenied:
    return AccessDenied(
        "This sign-in was not begun in this browser, or took too long.", hint="Open the page again."
    )
