"""A site's policy and the one form of every decision taken under it."""

from __future__ import annotations

from pydantic import Field

from unica_sdk.schemas.contract import Contract, Names


class SitePolicy(Contract):
    """What a site insists on; read from its `policy.toml`.

    Units: `threshold`, `rounding` and `minimum_cases` are people; `job_seconds` is wall time of one message.
    """

    threshold: int = Field(default=10, ge=3, description="Counts below this are suppressed, zero included.")
    rounding: int = Field(default=5, ge=1, description="Released counts are multiples of this.")
    minimum_cases: int = Field(default=50, ge=10, description="A job needs this many cases at the site.")
    job_seconds: float = Field(default=600, gt=0, description="A message's child is killed after this long.")
    approved_apps: Names = Field(default=(), description="SHA-256 of the app bundles the site approved.")


class Decision(Contract):
    """What a policy decided: public text is fixed, detail goes to the site's own audit."""

    allow: bool
    code: str
    public_text: str
    audit_text: str = ""
