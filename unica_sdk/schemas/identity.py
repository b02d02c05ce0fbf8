"""People as the hub sees them: a subject and what their token may do."""

from __future__ import annotations

from typing import Literal

from unica_sdk.schemas.contract import Contract, Names


class Person(Contract):
    """Who is asking, and the `custom:unica:…` powers of the token they ask with."""

    subject: str
    groups: Names = ()
    scopes: Names = ()


class Scope:
    """The powers, one scope each. A name is `custom:unica:<thing>:<verb>`."""

    CATALOGUE_READ = "custom:unica:catalogue:read"
    COHORT_COUNT = "custom:unica:cohort:count"
    COHORT_FREEZE = "custom:unica:cohort:freeze"
    JOB_SUBMIT = "custom:unica:job:submit"
    PERMIT_READ = "custom:unica:permit:read"
    DASHBOARD_VIEW = "custom:unica:dashboard:view"
    AUDIT_READ = "custom:unica:audit:read"

    ALL = (
        CATALOGUE_READ,
        COHORT_COUNT,
        COHORT_FREEZE,
        JOB_SUBMIT,
        PERMIT_READ,
        DASHBOARD_VIEW,
        AUDIT_READ,
    )


class Session(Contract):
    """Who the gateway takes the caller for, and how this environment is isolated."""

    person: Person
    isolation: Literal["none"] = "none"
    version: str
