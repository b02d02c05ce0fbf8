"""Apps: what a bundle declares about itself, and how it stands in the list of approved apps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.contract import Contract, Digest, Name


class NumberParameter(Contract):
    """A number within bounds, both included; an integer where `integer` is set."""

    kind: Literal["number"] = "number"
    description: str
    default: float
    low: float
    high: float
    integer: bool = False

    @model_validator(mode="after")
    def _default_in_bounds(self) -> NumberParameter:
        if not self.low <= self.default <= self.high:
            raise ValueError(f"the default {self.default} is outside {self.low}–{self.high}")
        return self


class ChoiceParameter(Contract):
    """One of a few words."""

    kind: Literal["choice"] = "choice"
    description: str
    default: str
    choices: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> ChoiceParameter:
        if self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is not among the choices")
        return self


Parameter = Annotated[NumberParameter | ChoiceParameter, Field(discriminator="kind")]


class MetricBound(Contract):
    """A number the app may report from a site each round; anything else is dropped and reported."""

    description: str
    low: float
    high: float


class ImageInput(Contract):
    """The images an app trains on: one modality, at one resolution (rows, columns)."""

    modality: str
    rows: int = Field(ge=8, le=1024)
    columns: int = Field(ge=8, le=1024)


class LabelInput(Contract):
    """A binary label from the clinical table: positive where the field has one of the values."""

    field: Literal["outcome", "diagnosis"]
    positive: tuple[str, ...] = Field(min_length=1)


class AppManifest(Contract):
    """What an app is, needs, takes and gives: `unica.toml` inside its bundle."""

    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: str
    description: str
    task: Literal["binary_classification"] = "binary_classification"
    image: ImageInput
    label: LabelInput
    strategy: Literal["fedavg"] = "fedavg"
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    metrics: dict[Name, MetricBound] = Field(default_factory=dict)
    minimum_cases: int = Field(default=50, ge=10)
    maximum_rounds: int = Field(default=100, ge=1, le=1000)

    def fill(self, given: Mapping[str, Any]) -> dict[str, float | int | str]:
        """Return every parameter with its value: the one given, else the default.

        Raises:
            InvalidRequest: an unknown parameter, a wrong type, or a value out of bounds.
        """
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            raise InvalidRequest(
                f"{self.name} has no parameter {', '.join(unknown)}.",
                where="parameters",
                hint="It takes: " + (", ".join(self.parameters) or "none") + ".",
            )
        return {
            name: _checked(name, parameter, given.get(name, parameter.default))
            for name, parameter in self.parameters.items()
        }


def _checked(name: str, parameter: Parameter, value: Any) -> float | int | str:
    where = f"parameters.{name}"
    if isinstance(parameter, ChoiceParameter):
        if value not in parameter.choices:
            raise InvalidRequest(
                f"{value!r} is not a choice.",
                where=where,
                hint="Use one of: " + ", ".join(parameter.choices) + ".",
            )
        return str(value)
    # JSON's 1e999 arrives as infinity, which has no whole-number form to check.
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise InvalidRequest(f"{value!r} is not a number.", where=where)
    if parameter.integer and value != int(value):
        raise InvalidRequest(f"{value!r} is not a whole number.", where=where)
    if not parameter.low <= value <= parameter.high:
        raise InvalidRequest(f"{value} is outside {parameter.low:g} to {parameter.high:g}.", where=where)
    return int(value) if parameter.integer else float(value)


def _finite(value: float) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class App(Contract):
    """An app in the catalogue: its manifest and the SHA-256 of its bundle, which is its identity."""

    id: Digest
    manifest: AppManifest
