"""The token for `unica` commands in a terminal outside the hub."""

from __future__ import annotations

import httpx

from hub_config.roles import powers_of
from unica_sdk.errors import AccessDenied, NotFound, Unavailable

LIFETIME = 7 * 24 * 3600
"""Seconds that a terminal token lives."""


def issue_token(*, hub_api: str, operator_token: str, person: str, lifetime: int = LIFETIME) -> str:
    """Have the hub make a token with which `person`, a researcher, may study from this machine's terminal.

    `hub_api` is the hub's own address (`HubSettings.hub_api`). The token holds a researcher's powers at the
    gateway and nothing at the hub; it stops working when the person is removed from the registry.

    Raises:
        Unavailable: the hub does not answer.
        NotFound: the hub does not know the person as a researcher (the registry is read when it starts).
        AccessDenied: the operator's token is not the hub's.
    """
    request = {
        "note": "terminal of this machine",
        "expires_in": lifetime,
        "scopes": list(powers_of(("researchers",))),
    }
    headers = {"Authorization": f"Bearer {operator_token}"}
    try:
        reply = httpx.post(f"{hub_api}/users/{person}/tokens", json=request, headers=headers, timeout=30)
    except httpx.HTTPError as err:
        raise Unavailable("The hub did not answer.", where=hub_api, hint="See `unica status`.") from err
    if reply.status_code == 201:
        return str(reply.json()["token"])
    if reply.status_code in (400, 404) or "not found" in reply.text:
        raise NotFound(f"The hub knows no researcher {person}.", where=hub_api, hint="Restart the hub.")
    raise AccessDenied(f"The hub refused a terminal token ({reply.status_code}).", where=hub_api)
