"""Who is calling: people by their hub token, sites by the JWTs they sign, the engine by its secret."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from unica_sdk.errors import NotFound, NotSignedIn, Unavailable
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.identity import Person

AUDIENCE = "unica-gateway"
"""The audience of the JWTs that sites sign for the gateway."""

LONGEST_JWT = 300
"""The most seconds a site's JWT may be valid: they are made for each request."""

CLOCK_SKEW = 30
"""By how many seconds a site's clock may be off."""

CACHE_SECONDS = 5.0
"""How long the hub's word about a token holds; a revocation takes effect within it."""

_CACHE_SIZE = 4096


class Identity(Protocol):
    """Tells who holds a token."""

    async def person(self, token: str) -> Person:
        """Return who holds a token.

        Raises:
            NotSignedIn: nobody does, or no longer.
            Unavailable: it could not be found out.
        """
        ...


class TokenIdentity:
    """A fixed list of tokens, for LocalNetwork and tests."""

    def __init__(self, people: Mapping[str, Person]) -> None:
        self._people = {_hashed(token): person for token, person in people.items()}

    async def person(self, token: str) -> Person:
        """Return who holds a token."""
        found = self._people.get(_hashed(token))
        if found is None:
            raise _unknown_token()
        return found


class HubIdentity:
    """Asks the hub about each token, and believes the answer for five seconds.

    `api_url` is the hub's API, `http://…/hub/api` or `http+unix://<quoted socket path>/hub/api`. The caller's
    own token is what asks, so the gateway needs no power of its own.
    """

    def __init__(
        self,
        api_url: str,
        *,
        cache_seconds: float = CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api_url = api_url
        self._cache_seconds = min(cache_seconds, CACHE_SECONDS)
        self._clock = clock
        self._cache: dict[str, tuple[float, Person]] = {}

    async def person(self, token: str) -> Person:
        """Return who holds a token; a service of the hub is the subject `service:<name>`."""
        key, now = _hashed(token), self._clock()
        cached = self._cache.get(key)
        if cached and now < cached[0]:
            return cached[1]
        self._cache.pop(key, None)
        person = _person(await self._user(token))
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[key] = (now + self._cache_seconds, person)
        return person

    async def _user(self, token: str) -> dict[str, Any]:
        client, base = hub_client(self._api_url)
        try:
            async with client:
                response = await client.get(f"{base}/user", headers={"Authorization": f"token {token}"})
        except (httpx.HTTPError, UnicodeError) as err:
            raise _hub_away() from err
        if response.status_code in (401, 403, 404):
            raise _unknown_token()
        if response.is_error:
            raise _hub_away()
        try:
            model = response.json()
        except ValueError as err:
            raise _hub_away() from err
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            raise _unknown_token()
        return model


def hub_client(api_url: str) -> tuple[httpx.AsyncClient, str]:
    """Return a client for the hub's API and the base of its addresses; made anew for each event loop's use.

    Example:
        >>> hub_client("http+unix://%2Frun%2Fhub.sock/hub/api")[1]
        'http://hub/hub/api'
    """
    parts = urlsplit(api_url)
    base, socket = api_url.rstrip("/"), None
    if parts.scheme == "http+unix":
        base, socket = f"http://hub{parts.path.rstrip('/')}", unquote(parts.netloc)
    # The hub is on this machine or in this cluster: its certificates are not the public ones.
    transport = httpx.AsyncHTTPTransport(uds=socket, verify=parts.scheme == "https", trust_env=False)
    return httpx.AsyncClient(transport=transport, timeout=10, trust_env=False), base


class SiteIdentity:
    """Tells which site signed a JWT, by the key it was enrolled with.

    A token that was verified is believed for five seconds: a site that answers sends it again at once. A key
    that is replaced is refused within that time.
    """

    def __init__(
        self, enrolment: Callable[[str], NodeEnrolment], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._enrolment = enrolment
        self._clock = clock
        self._cache: dict[str, tuple[float, str]] = {}

    def known(self, token: str) -> str | None:
        """Return the site whose token this is, if it was verified just now; None if it must be verified."""
        until, site = self._cache.get(_hashed(token), (0.0, ""))
        return site if self._clock() < until else None

    def site(self, token: str) -> str:
        """Return the site that signed this token for this gateway, just now.

        Raises:
            NotSignedIn: for whatever reason; the caller is not told which.
        """
        try:
            claimed = jwt.decode(token, options={"verify_signature": False}).get("sub")
            enrolment = self._enrolment(claimed if isinstance(claimed, str) else "")
            claims = jwt.decode(
                token,
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(enrolment.signing_key)),
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                leeway=CLOCK_SKEW,
                options={"require": ["exp", "iat", "sub", "aud"]},
            )
        except (jwt.PyJWTError, NotFound, ValueError) as err:
            raise NotSignedIn(
                "The site's token is not accepted.",
                hint="Check the site's clock and that it is enrolled with its present key.",
            ) from err
        if int(claims["exp"]) - int(claims["iat"]) > LONGEST_JWT:
            raise NotSignedIn("The site's token is valid for too long.")
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        # Never beyond the token's own end, by this machine's clock and with the same patience as above.
        left = int(claims["exp"]) + CLOCK_SKEW - time.time()
        self._cache[_hashed(token)] = (self._clock() + min(CACHE_SECONDS, left), enrolment.site)
        return enrolment.site


def _person(model: Mapping[str, Any]) -> Person:
    name = model["name"]
    return Person(
        subject=f"service:{name}" if model.get("kind") == "service" else name,
        groups=tuple(_words(model.get("groups"))),
        scopes=tuple(word for word in _words(model.get("scopes")) if word.startswith("custom:unica:")),
    )


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _unknown_token() -> NotSignedIn:
    return NotSignedIn(
        "The token is not known to the hub.", hint="Sign in again; in a notebook, restart your server."
    )


def _hub_away() -> Unavailable:
    return Unavailable("The hub did not answer.", hint="Try again; if it persists, see `unica status`.")
