"""A site's policy and the one form of every decision taken under it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from unica_sdk.schemas.contract import Contract, Names

Resolution = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}$")]
"""Of prepared images: ROWSxCOLUMNS, or of volumes: SLICESxROWSxCOLUMNS."""


class SitePolicy(Contract):
    """What a site insists on; read from its `policy.toml`.

    Units: `threshold`, `rounding` and `minimum_cases` are people; `job_seconds` is wall time of one message;
    `cache_gib` is 2³⁰ bytes of the node's disk.
    """

    threshold: int = Field(default=10, ge=3, description="Counts below this are suppressed, zero included.")
    rounding: int = Field(default=5, ge=1, description="Released counts are multiples of this.")
    minimum_cases: int = Field(default=50, ge=10, description="A job needs this many cases at the site.")
    job_seconds: float = Field(default=600, gt=0, description="A message's child is killed after this long.")
    prepare: tuple[Resolution, ...] = Field(
        default=("512x512",),
        description="Compressed images are prepared at these ROWSxCOLUMNS, volumes SLICESxROWSxCOLUMNS.",
    )
    cache_gib: int = Field(
        default=200,
        ge=0,
        description="GiB that prepared images may take; what was used longest ago goes first.",
    )
    approved_apps: Names = Field(default=(), description="SHA-256 of the app bundles the site approved.")


class Decision(Contract):
    """What a policy decided: public text is fixed, detail goes to the site's own audit."""

    allow: bool
    code: str
    public_text: str
    audit_text: str = ""
