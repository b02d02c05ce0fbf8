"""The operator's commands on the explorer's endpoint: who may ask, and where it listens."""

from __future__ import annotations

from unica_sdk.environment import operator, service_user
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import ConfigurationError
from unica_sdk.gateway import explorer_clients


def add(layout: Layout, name: str, *, port: int | None) -> str:
    """Enter a client, audited first, and return its key with what the operator does next.

    Raises:
        ConfigurationError: there is no hub in this folder, or the file cannot be written.
        InvalidRequest: the name is not short, lower-case and without spaces.
    """
    before = _opened(layout)
    operator.hub_audit(layout).append(actor="operator", action="explorer.client_added", subject=name)
    key = explorer_clients.add_client(layout.explorer, name, port=port)
    now = explorer_clients.read_clients(layout.explorer)
    on = before.keys and before.port == now.port
    lines = [
        f"Key of {name}, shown once: {key}",
        f"Endpoint: http://127.0.0.1:{now.port}/beam, for a reverse proxy with TLS: docs/explorer.md.",
        "It takes this key from now on." if on else "It is on from the next start: unica down, unica up.",
    ]
    return "\n".join(lines)


def remove(layout: Layout, name: str) -> str:
    """Remove a client, audited first, and return what that means.

    Raises:
        ConfigurationError: there is no hub in this folder, or the file cannot be written.
        NotFound: there is no such client.
    """
    _opened(layout)
    operator.hub_audit(layout).append(actor="operator", action="explorer.client_removed", subject=name)
    explorer_clients.remove_client(layout.explorer, name)
    left = len(explorer_clients.read_clients(layout.explorer).keys)
    rest = f"{left} left." if left else "Nobody is left: the endpoint is off from the next start."
    return f"Removed {name}; its key opens nothing any more. {rest}"


def show(layout: Layout) -> str:
    """Return where the endpoint listens and who may ask.

    Raises:
        ConfigurationError: there is no hub in this folder, or the file cannot be read.
    """
    clients = _opened(layout)
    if not clients.keys:
        return "The explorer's endpoint is off: no client was added."
    return f"http://127.0.0.1:{clients.port}/beam, for: {', '.join(sorted(clients.keys))}."


def _opened(layout: Layout) -> explorer_clients.ExplorerClients:
    if not layout.gateway.is_dir():
        raise ConfigurationError(
            "There is no hub in this state folder.", where=str(layout.state), hint="Run `unica up` once."
        )
    service_user.become_owner(layout)
    return explorer_clients.read_clients(layout.explorer)
