"""The one way out of the notebook: HTTP to the gateway, with the hub's server token."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import (
    ConfigurationError,
    InvalidRequest,
    NotSignedIn,
    Unavailable,
    UnicaError,
    error_tree,
)

T = TypeVar("T")

_UP = "Start the environment with `unica up`, or use unica.LocalNetwork() on a laptop."


class Gateway:
    """A typed JSON channel to the gateway's researcher face.

    The httpx transport is a constructor argument, so that LocalNetwork and tests need no network.
    """

    def __init__(self, *, base_url: str, token: str, transport: httpx.BaseTransport, where: str) -> None:
        self._where = where
        self._client = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"},
            transport=transport,
            timeout=httpx.Timeout(60, connect=5),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, kind: type[T], /, **query: Any) -> T:
        """Read something; query values of None are left out."""
        params = {key: value for key, value in query.items() if value is not None}
        return self._call("GET", path, kind, params=params)

    def text(self, path: str, /, **query: Any) -> str:
        """Read something that is a document of its own; query values of None are left out."""
        params = {key: value for key, value in query.items() if value is not None}
        return self._answer("GET", path, params=params).text

    def post(self, path: str, kind: type[T], /, body: Any = None) -> T:
        """Ask for something to be done."""
        return self._call("POST", path, kind, json=body)

    def stream(self, path: str, kind: type[T], /, body: Any = None) -> Generator[T]:
        """Ask for something to be done, and yield what is said meanwhile, one value a line.

        Close the iterator to go away before the end.
        """
        where = f"POST {path}"
        try:
            with self._client.stream("POST", path, json=body) as response:
                if response.is_error:
                    response.read()
                    raise _raised(response, where)
                for line in _lines(response.iter_bytes()):
                    yield _understood(kind, line, where)
        except httpx.HTTPError as err:
            raise Unavailable("The gateway did not answer to the end.", where=self._where, hint=_UP) from err

    def _call(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        response = self._answer(method, path, **options)
        return _understood(kind, response.content, f"{method} {path}")

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as err:
            raise Unavailable("The gateway did not answer.", where=self._where, hint=_UP) from err
        if response.is_error:
            raise _raised(response, f"{method} {path}")
        return response


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines; only a newline ends one, whatever else Unicode calls a line's end."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _understood(kind: type[T], content: str | bytes, where: str) -> T:
    try:
        return TypeAdapter[T](kind).validate_json(content)
    except ValidationError as err:
        raise Unavailable(
            "The gateway answered in a form this client does not know.",
            where=where,
            hint="Client and gateway are of different versions; update the older one.",
        ) from err


def _raised(response: httpx.Response, where: str) -> UnicaError:
    """Return the error that the gateway names, as the class it raised."""
    try:
        error = response.json()["error"]
        kind = error_tree().get(error["code"], UnicaError)
        return kind(error["message"], where=error.get("where") or where, hint=error.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"The gateway answered {response.status_code}.", where=where, hint=_UP)


@contextmanager
def invalid_request(*, hint: str = "") -> Iterator[None]:
    """Turn a contract's refusal into the error a person reads: the first problem, and where it is.

    Raises:
        InvalidRequest: what was asked does not fit the contract.
    """
    try:
        yield
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(first["msg"].removeprefix("Value error, "), where=where, hint=hint) from err


def open_gateway(gateway: str | None = None, token: str | None = None) -> Gateway:
    """Return a channel to the gateway that the settings name.

    `gateway` is `unix://<socket>` or `http://127.0.0.1:<port>`; by default `UNICA_GATEWAY`, else the
    socket in the state folder. The token is by default `JUPYTERHUB_API_TOKEN`, else the token file there.

    Raises:
        ConfigurationError: no gateway can be found.
        NotSignedIn: there is no token.
    """
    address = gateway or os.environ.get("UNICA_GATEWAY") or _default_socket()
    secret = token or os.environ.get("JUPYTERHUB_API_TOKEN") or _token_file()
    parts = urlsplit(address)
    if parts.scheme == "unix":
        transport: httpx.BaseTransport = httpx.HTTPTransport(uds=parts.path)
        return Gateway(base_url="http://gateway", token=secret, transport=transport, where=address)
    if parts.scheme in ("http", "https"):
        return Gateway(base_url=address, token=secret, transport=httpx.HTTPTransport(), where=address)
    raise InvalidRequest(
        f"{address!r} is not a gateway address.",
        where="UNICA_GATEWAY",
        hint="Use unix:///… or http://127.0.0.1:…",
    )


def state_folder() -> Path:
    """Return the default state folder: `/var/lib/unica` for root, else `$XDG_STATE_HOME/unica`.

    `UNICA_STATE` overrides.
    """
    if chosen := os.environ.get("UNICA_STATE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/unica")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "unica"


def _default_socket() -> str:
    socket = state_folder() / "run" / "gateway.sock"
    if not socket.exists():
        raise ConfigurationError("There is no gateway to connect to.", where=str(socket), hint=_UP)
    return f"unix://{socket}"


def _token_file() -> str:
    path = state_folder() / "client" / "token"
    try:
        mode = path.stat().st_mode & 0o077
        text = path.read_text().strip()
    except OSError as err:
        raise NotSignedIn("There is no token to sign in with.", where=str(path), hint=_UP) from err
    if mode:
        raise NotSignedIn("Others can read the token file.", where=str(path), hint=f"chmod 600 {path}")
    return text
