"""One patient in the common data model: what a clinical table may say, in the words of the vocabulary.

The fields are those of EUCAIM's patient, cancer_condition, cancer_stage and histologic_grade tables that a
screening study needs. Nothing here names anybody: the patient's identifier is kept beside it, at the node.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.contract import Contract

MAX_AGE = 120
"""Years; an age of 121 is taken for an error of the table."""

MAX_FOLLOW_UP = 1200
"""Months."""


def tenths(value: Decimal | float | str) -> float:
    """Return a number to one decimal, downwards: an age stays within the years that were completed.

    Raises:
        decimal.InvalidOperation: it is not a finite number.

    Example:
        >>> tenths("49.98"), tenths("50"), tenths(0.3)
        (49.9, 50.0, 0.3)
    """
    return float(Decimal(str(value)).quantize(Decimal("0.1"), rounding=ROUND_FLOOR))


def _term(field: vocabulary.Field) -> AfterValidator:
    def check(value: str) -> str:
        if value not in vocabulary.terms(field):
            raise ValueError(f"{value!r} is not a {field} in the vocabulary {vocabulary.VERSION}")
        return value

    return AfterValidator(check)


_OneDecimal = BeforeValidator(lambda value: tenths(value) if isinstance(value, int | float) else value)


class ClinicalRecord(Contract):
    """What is known of one person; None where the source says nothing that can be used.

    Units: `age` is years to one decimal, `follow_up_months` is months to one decimal. `interval_cancer` says
    whether a cancer was found between a negative screening and the next round. `topography` is ICD-O-3,
    `isup` the grade group, `pirads` that of the study, `ct`, `cn` and `cm` the clinical TNM (UICC, 8th
    edition).

    Example:
        >>> ClinicalRecord(age=52.37, birads="4", topography="C50.4").age
        52.3
    """

    age: Annotated[float, _OneDecimal, Field(ge=0, lt=MAX_AGE + 1)] | None = None
    sex: Annotated[str, _term("sex")] | None = None
    population: Annotated[str, _term("population")] | None = None
    topography: Annotated[str, _term("topography")] | None = None
    diagnosis: Annotated[str, _term("diagnosis")] | None = None
    outcome: Annotated[str, _term("outcome")] | None = None
    birads: Annotated[str, _term("birads")] | None = None
    density: Annotated[str, _term("density")] | None = None
    lung_rads: Annotated[str, _term("lung_rads")] | None = None
    pirads: Annotated[str, _term("pirads")] | None = None
    gleason: Annotated[str, _term("gleason")] | None = None
    isup: Annotated[str, _term("isup")] | None = None
    ct: Annotated[str, _term("ct")] | None = None
    cn: Annotated[str, _term("cn")] | None = None
    cm: Annotated[str, _term("cm")] | None = None
    follow_up_months: Annotated[float, _OneDecimal, Field(ge=0, le=MAX_FOLLOW_UP)] | None = None
    interval_cancer: bool | None = None


FIELDS: tuple[str, ...] = tuple(ClinicalRecord.model_fields)
"""Every field of the record, in its order."""

TERM_FIELDS: tuple[vocabulary.Field, ...] = tuple(f for f in get_args(vocabulary.Field) if f in FIELDS)
"""Those whose values are concepts of the vocabulary."""
