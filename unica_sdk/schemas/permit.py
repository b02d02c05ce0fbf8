"""Permits: who may do what with which data until when, signed by a data steward.

Fields follow the prototype permit of the EHDS secondary-use pilots and Regulation (EU) 2025/327, Art. 53
(purposes), 66 (minimisation) and 68 (data permit).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import Field, model_validator

from unica_sdk.errors import PermitProblem
from unica_sdk.schemas.contract import Contract, Moment, Name, Names
from unica_sdk.schemas.signing import Signable


class Purpose(StrEnum):
    """The purposes of Regulation (EU) 2025/327, Art. 53(1)."""

    PUBLIC_HEALTH = "public_health"
    POLICY_MAKING = "policy_making"
    STATISTICS = "statistics"
    EDUCATION = "education"
    SCIENTIFIC_RESEARCH = "scientific_research"
    IMPROVING_CARE = "improving_care"


class OutputKind(StrEnum):
    """What may be asked to leave the environment."""

    METRICS = "metrics"
    MODEL = "model"
    TABLE = "table"
    FIGURE = "figure"


class Permit(Signable):
    """What a steward allowed one named person to do.

    `datasets` and `apps` list what is covered, by dataset identifier and by app digest; nothing else is.
    """

    KIND: ClassVar[str] = "permit"

    id: Name
    holder: str = Field(min_length=1, max_length=255)
    project: Name
    title: str = Field(max_length=200)
    purpose: Purpose
    legal_basis: str
    datasets: Names
    apps: Names
    outputs: tuple[OutputKind, ...] = (OutputKind.METRICS,)
    conditions: tuple[str, ...] = ()
    demonstration: bool = False
    issued: Moment
    expires: Moment

    @model_validator(mode="after")
    def _ordered(self) -> Permit:
        if self.expires <= self.issued:
            raise ValueError("the permit expires before it is issued")
        return self

    def require(
        self,
        *,
        holder: str,
        now: datetime,
        dataset: str | None = None,
        app: str | None = None,
    ) -> None:
        """Return if this person may use this dataset and app now.

        Raises:
            PermitProblem: not this holder, not yet or no longer valid, or the dataset or app is not covered.
        """
        where = f"permit {self.id}"
        if holder != self.holder:
            raise PermitProblem("The permit belongs to somebody else.", where=where)
        if not self.issued <= now < self.expires:
            raise PermitProblem(
                f"The permit is valid from {self.issued:%Y-%m-%d} to {self.expires:%Y-%m-%d}.",
                where=where,
                hint="Ask the data steward to renew it.",
            )
        if dataset is not None and dataset not in self.datasets:
            raise PermitProblem(f"The permit does not cover the dataset {dataset}.", where=where)
        if app is not None and app not in self.apps:
            raise PermitProblem(
                "The permit does not cover this app.",
                where=where,
                hint=f"Ask the data steward to add {app[:19]}… to the permit.",
            )


class PermitSummary(Contract):
    """A permit as its holder sees it in a list."""

    permit: Permit
    key: str
    active: bool
