"""A mapping: one TOML file that says which columns of a table mean what, and which words mean which term."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from unica_sdk.errors import ConfigurationError, NotFound, UnknownTerm
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.clinical import FIELDS, TERM_FIELDS
from unica_sdk.schemas.contract import Contract

Unit = Literal["years", "months", "weeks", "days"]
"""Units of time; the record's own are years for an age and months for a follow-up."""

Several = Literal["same", "lowest", "highest"]
"""What several different values of one patient mean: a contradiction, or a choice that the mapping makes."""

NUMBER_FIELDS = ("age", "follow_up_months")
FLAG_FIELDS = ("interval_cancer",)
FLAGS = {"true": True, "yes": True, "false": False, "no": False}
"""The words for yes and no that need no mapping. 1 and 2 do: what they mean differs between programs."""

_Column = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Columns = Annotated[
    tuple[_Column, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
]
_Word = Annotated[str, BeforeValidator(lambda value: str(value).lower() if isinstance(value, int) else value)]


def _folded(words: dict[str, str]) -> dict[str, str]:
    folded = {word.strip().casefold(): term for word, term in words.items()}
    if len(folded) != len(words):
        raise ValueError("a word stands twice, once in another case")
    return folded


class FieldMapping(Contract):
    """Where one field of the record comes from.

    Exactly one of: `column` (several where the same thing may stand in either), `since` with `until` (two
    dates, whose distance is the value), or `constant` (true of every patient of the table).
    """

    column: _Columns = ()
    since: _Column | None = None
    until: _Column | None = None
    constant: str | None = None
    values: Annotated[dict[str, _Word], AfterValidator(_folded)] = Field(default_factory=dict)
    unit: Unit | None = None
    date_format: str | None = None
    several: Several | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> FieldMapping:
        dates = self.since is not None and self.until is not None
        if (self.since is None) != (self.until is None):
            raise ValueError("`since` and `until` go together")
        if sum((bool(self.column), dates, self.constant is not None)) != 1:
            raise ValueError("give one of `column`, `since` with `until`, and `constant`")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column this field is read from."""
        dates = (self.since, self.until) if self.since and self.until else ()
        return (*self.column, *dates)


class TableMapping(Contract):
    """How one source of clinical data is read; see docs/clinical-data.md.

    `patient` is the column of the hospital's identifier; in FHIR it is the system of that identifier, empty
    where each patient has one only.
    """

    title: str = ""
    format: Literal["csv", "parquet", "fhir"] | None = None
    patient: str = "patient_id"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "latin-1", "cp1250", "cp1252", "cp1253", "cp1257"] = "utf-8"
    decimal: Literal[".", ","] = "."
    date_format: str | None = None
    missing: tuple[str, ...] = ()
    fields: dict[str, FieldMapping]

    @model_validator(mode="after")
    def _of_the_record(self) -> TableMapping:
        for name, field in self.fields.items():
            if name not in FIELDS:
                raise ValueError(f"{name} is not a field of the record; fields: {', '.join(FIELDS)}")
            _check(name, field)
        return self


def _check(name: str, field: FieldMapping) -> None:
    for term in (*field.values.values(), *((field.constant,) if field.constant is not None else ())):
        _check_target(name, term)
    number = name in NUMBER_FIELDS
    if not number and (field.unit or field.since):
        raise ValueError(f"{name} has no unit and is not a time between two dates")
    if not number and field.several in ("lowest", "highest") and not _ordered(name):
        raise ValueError(f"{name} has no lowest and no highest")
    if number and field.values:
        raise ValueError(f"{name} is a number: it has no words to map")


def _check_target(name: str, term: str) -> None:
    if name in FLAG_FIELDS:
        if term not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {term!r}")
        return
    for field in TERM_FIELDS:
        if field == name:
            try:
                vocabulary.concept(field, term)
            except UnknownTerm as err:
                raise ValueError(f"{err.message} {err.hint}") from err


def _ordered(name: str) -> bool:
    return name in ("birads", "density", "lung_rads", "pirads", "isup")


DEFAULT = TableMapping(
    fields={
        name: FieldMapping(column=(name,), optional=name not in ("outcome", "diagnosis")) for name in FIELDS
    }
)
"""For a table whose columns are named like the fields; `outcome` and `diagnosis` must be there."""


def read_mapping(path: Path) -> TableMapping:
    """Read a mapping.

    Raises:
        ConfigurationError: no such file, not TOML, or it maps to something that the record does not have.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError("The mapping cannot be read.", where=str(path)) from err


def templates() -> tuple[str, ...]:
    """Return the names of the mappings that come with the package.

    Example:
        >>> templates()
        ('breast', 'fhir', 'lung', 'prostate', 'screening_negative')
    """
    found = files("unica_sdk.node").joinpath("templates").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in found if f.name.endswith(".toml")))


def template(name: str) -> str:
    """Return the text of a mapping that comes with the package, to be adapted to one's own table.

    Raises:
        NotFound: there is none of this name.
    """
    if name not in templates():
        raise NotFound(f"There is no template {name!r}.", hint="Templates: " + ", ".join(templates()) + ".")
    return files("unica_sdk.node").joinpath("templates", f"{name}.toml").read_text(encoding="utf-8")


def template_mapping(name: str) -> TableMapping:
    """Return a mapping that comes with the package."""
    return _parse(template(name), f"template {name}")


def _parse(text: str, where: str) -> TableMapping:
    try:
        return TableMapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as err:
        raise ConfigurationError(f"The mapping is not TOML: {err}", where=where) from err
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"The mapping{f', at {place}' if place else ''}: {first['msg'].removeprefix('Value error, ')}.",
            where=where,
            hint="See docs/clinical-data.md, or start from `unica node template breast`.",
        ) from err
