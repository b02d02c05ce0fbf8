"""A site's policy and the one form of every decision taken under it."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from unica_sdk.schemas.contract import Contract, Names


class SitePolicy(Contract):
    """What a site insists on; read from its `policy.toml`.

    Units: `threshold`, `rounding`, `noise` and `minimum_cases` are people; budgets are distinct questions;
    `job_seconds` is wall time of one message.

    Raises:
        ValueError: the noise σ is too small for the budget of Q questions. Whoever asks all of it, half with
            a person and half without, averages Q/2 differences of variance 2σ² and guesses that person's bit
            rightly with probability Φ(√Q / 4σ): 0.60 at σ = √Q, which is the least that is taken.

    Example:
        >>> SitePolicy(noise=5.0, site_budget=25, person_budget=25).noise
        5.0
    """

    threshold: int = Field(default=10, ge=3, description="Numbers below this are all alike, zero included.")
    rounding: int = Field(default=5, ge=1, description="Released counts are multiples of this.")
    noise: float = Field(default=10.0, gt=0, le=1000, description="Standard deviation of a count's noise.")
    person_budget: int = Field(
        default=50, ge=1, description="Distinct questions of one permit, or one person without, in a period."
    )
    site_budget: int = Field(default=100, ge=1, description="Distinct questions of everybody in a period.")
    budget_days: int = Field(default=7, ge=1, le=366, description="The period of the budgets.")
    minimum_cases: int = Field(default=50, ge=10, description="A job needs this many cases at the site.")
    job_seconds: float = Field(default=600, gt=0, description="A message's child is killed after this long.")
    approved_apps: Names = Field(default=(), description="SHA-256 of the app bundles the site approved.")

    @model_validator(mode="after")
    def _noise_covers_the_budget(self) -> SitePolicy:
        least = math.sqrt(self.site_budget)
        if self.noise < least:
            raise ValueError(
                f"a noise of {self.noise:g} is too small for {self.site_budget} questions:"
                f" at least {least:.1f}, or fewer questions"
            )
        if self.person_budget > self.site_budget:
            raise ValueError("one person's budget is larger than the site's")
        return self


class Decision(Contract):
    """What a policy decided: public text is fixed, detail goes to the site's own audit."""

    allow: bool
    code: str
    public_text: str
    audit_text: str = ""
