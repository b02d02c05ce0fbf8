"""The explorers that may ask: one file with the endpoint's port and the hash of each client's key.

There is no file, or no client in it, until the operator adds one: the endpoint is off. A key is 32 random
bytes, so that a plain SHA-256 of it is safe at rest; a password's slow hash would only slow the gateway down.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from pydantic import Field, ValidationError

from unica_sdk.errors import ConfigurationError, InvalidRequest, NotFound, NotSignedIn
from unica_sdk.files import locked, write_private
from unica_sdk.schemas.contract import Contract, Digest, Name, sha256

DEFAULT_PORT = 8055
"""Where the endpoint listens, on 127.0.0.1: the port that EUCAIM's explorer looks for its backend on."""


class ExplorerClients(Contract):
    """The port, and the SHA-256 of each client's key by the client's name."""

    port: int = Field(default=DEFAULT_PORT, ge=0, lt=65536)
    keys: dict[Name, Digest] = Field(default_factory=dict)


def read_clients(path: Path) -> ExplorerClients:
    """Return the clients in a file; where there is no file, there is none.

    Raises:
        ConfigurationError: the file cannot be read, or somebody else could change it.
    """
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except FileNotFoundError:
        return ExplorerClients()
    except OSError as err:
        raise _unreadable(path) from err
    if mode & 0o077:
        raise ConfigurationError(
            "Others can read the file of the explorer's clients.", where=str(path), hint=f"chmod 600 {path}"
        )
    try:
        return ExplorerClients.model_validate_json(content)
    except ValidationError as err:
        raise _unreadable(path) from err


def add_client(path: Path, name: str, *, port: int | None = None) -> str:
    """Enter a client, or a client's new key, and return the key: it is kept nowhere.

    Raises:
        ConfigurationError: the file cannot be read or written.
        InvalidRequest: the name is not short, lower-case and without spaces.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "explorer.json"
        >>> key = add_client(file, "eucaim")
        >>> client_with(read_clients(file), key)
        'eucaim'
    """
    key = secrets.token_urlsafe(32)
    with locked(path.with_suffix(".lock")):
        known = read_clients(path)
        try:
            entered = ExplorerClients(
                port=known.port if port is None else port, keys={**known.keys, name: sha256(key.encode())}
            )
        except ValidationError as err:
            raise InvalidRequest(f"{name!r} cannot be a client's name.", where="name") from err
        _write(path, entered)
    return key


def remove_client(path: Path, name: str) -> None:
    """Remove a client; its key opens nothing from the next request on.

    Raises:
        NotFound: there is no such client.
        ConfigurationError: the file cannot be read or written.
    """
    with locked(path.with_suffix(".lock")):
        known = read_clients(path)
        if name not in known.keys:
            raise NotFound(f"There is no client {name}.", where="explorer")
        rest = {client: digest for client, digest in known.keys.items() if client != name}
        _write(path, known.model_copy(update={"keys": rest}))


def client_with(clients: ExplorerClients, key: str) -> str:
    """Return the client whose key this is; every client's is compared, each in the same time.

    Raises:
        NotSignedIn: it is nobody's.
    """
    given = "sha256:" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    found = [name for name, digest in clients.keys.items() if hmac.compare_digest(digest, given)]
    if not found:
        raise NotSignedIn("The key is not accepted.", hint="Ask the hub's operator for one.")
    return found[0]


def _write(path: Path, clients: ExplorerClients) -> None:
    try:
        write_private(path, clients.canonical())
    except OSError as err:
        raise ConfigurationError(
            f"The explorer's clients cannot be written: {err.strerror}.", where=str(path)
        ) from err


def _unreadable(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "The explorer's clients cannot be read.", where=str(path), hint="Remove the file and add them again."
    )
