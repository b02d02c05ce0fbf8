"""What each group may do, as data: the hub's roles and scopes follow from three tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub_config.registry import GROUPS
from unica_sdk.schemas.identity import Scope

GATEWAY_SERVICE = "unica"
DASHBOARDS_SERVICE = "dashboards"
OPERATOR_SERVICE = "operator"

_STUDY = (
    Scope.CATALOGUE_READ,
    Scope.COHORT_COUNT,
    Scope.COHORT_FREEZE,
    Scope.JOB_SUBMIT,
    Scope.PERMIT_READ,
)

POWERS: Mapping[str, tuple[str, ...]] = {
    "researchers": _STUDY,
    # Trainees work on LocalNetwork: no power at the gateway.
    "trainees": (),
    "managers": (Scope.DASHBOARD_VIEW,),
    "stewards": (Scope.CATALOGUE_READ, Scope.PERMIT_READ),
    "auditors": (Scope.AUDIT_READ,),
    "operators": (Scope.CATALOGUE_READ, Scope.DASHBOARD_VIEW),
}
"""Group → the powers its members have at the gateway."""

ENTRANCES: Mapping[str, tuple[str, ...]] = {
    "researchers": (GATEWAY_SERVICE,),
    "trainees": (),
    "managers": (GATEWAY_SERVICE, DASHBOARDS_SERVICE),
    "stewards": (GATEWAY_SERVICE,),
    "auditors": (GATEWAY_SERVICE,),
    "operators": (GATEWAY_SERVICE, DASHBOARDS_SERVICE),
}
"""Group → the services behind the hub's sign-in that its members may open."""

WORKSPACES = ("researchers", "trainees")
"""The groups whose members have a JupyterLab of their own."""

DESCRIPTIONS: Mapping[str, str] = {
    Scope.CATALOGUE_READ: "Read the catalogue of datasets",
    Scope.COHORT_COUNT: "Ask the sites for protected counts",
    Scope.COHORT_FREEZE: "Freeze a cohort under a permit",
    Scope.JOB_SUBMIT: "Submit jobs under a permit and follow them",
    Scope.PERMIT_READ: "Read one's permits",
    Scope.DASHBOARD_VIEW: "See the dashboards",
    Scope.AUDIT_READ: "Read the audit",
}

SERVICE_PAGES = (Scope.CATALOGUE_READ, Scope.PERMIT_READ, Scope.DASHBOARD_VIEW, Scope.AUDIT_READ)
"""What the gateway's pages may do for the person in front of them: read, never change."""


def powers_of(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the powers of someone in these groups.

    Example:
        >>> powers_of(("managers", "auditors"))
        ('custom:unica:audit:read', 'custom:unica:dashboard:view')
    """
    return tuple(sorted({power for group in groups for power in POWERS.get(group, ())}))


def custom_scopes() -> dict[str, dict[str, str]]:
    """Return the scopes the hub has to know, in the hub's form."""
    return {scope: {"description": DESCRIPTIONS[scope]} for scope in Scope.ALL}


def hub_roles() -> list[dict[str, Any]]:
    """Return the hub's roles.

    The role `user` replaces the hub's default, which would let everybody make tokens and share servers. The
    role `server` says what the token inside a workspace can do; the hub cuts it down to what its owner can.
    """
    return [
        {"name": "user", "description": "Nothing but one's own name", "scopes": ["read:users!user"]},
        {
            "name": "server",
            "description": "A workspace, with its owner's powers to study",
            "scopes": ["users:activity!user", "access:servers!server", *_STUDY],
        },
        {
            "name": "terminal",
            "description": "Makes a researcher's token for this machine's terminal",
            "services": [OPERATOR_SERVICE],
            "scopes": ["tokens!group=researchers"],
        },
        *(_role_of(group) for group in GROUPS),
    ]


def _role_of(group: str) -> dict[str, Any]:
    workspace = ["servers!user", "access:servers!user", "users:activity!user"]
    return {
        "name": f"unica-{group}",
        "description": f"What {group} may do",
        "groups": [group],
        "scopes": [
            *(workspace if group in WORKSPACES else []),
            *POWERS[group],
            *(f"access:services!service={service}" for service in ENTRANCES[group]),
        ],
    }
