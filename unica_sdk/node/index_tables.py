"""The tables of the index, and the rows that an ingest puts into them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.contract import Name

SCHEMA = 5
"""Raised when the tables change: an index of another schema is built anew, from the folders it came from."""


class InstanceRow(NamedTuple):
    """One image as the index holds it: what its de-identified copy says, and where that copy is.

    Lengths are in millimetres. Everything from `pixel_offset` on is what a reader needs to get at the pixels
    without looking at the header again; None where the header does not say.
    """

    path: str
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    body_part: str | None
    manufacturer: str | None
    sex: str | None
    age: int | None
    rows: int
    columns: int
    frames: int
    samples: int
    transfer_syntax: str
    pixel_keyword: str | None = None
    pixel_offset: int | None = None
    """The copy's byte at which the pixel data's value begins; None in a deflated file."""
    pixel_length: int | None = None
    """Bytes of native pixel data; None where it is encapsulated, that is, has to be decoded."""
    bits_allocated: int | None = None
    bits_stored: int | None = None
    signed: bool = False
    photometric: str | None = None
    planar: bool = False
    rescale_slope: float | None = None
    rescale_intercept: float | None = None
    window_center: float | None = None
    window_width: float | None = None
    row_spacing: float | None = None
    column_spacing: float | None = None
    slice_thickness: float | None = None
    number: int | None = None
    position: list[float] | None = None
    """Image Position (Patient), three numbers: PS3.3 C.7.6.2."""
    orientation: list[float] | None = None
    """Image Orientation (Patient), six numbers."""
    laterality: str | None = None
    view: str | None = None
    acquired: date | None = None
    """Shifted, like every date of the copy."""
    sha256: str | None = None
    """Of the copy, as it was written."""
    high_bit: int | None = None
    nonlinear: bool = False
    """Whether stored values become modality values by a table (PS3.3 C.11.1), not by slope and intercept."""


class ClinicalFact(NamedTuple):
    """What a clinical table says of one patient."""

    patient: str
    outcome: str | None
    diagnosis: str | None
    sex: str | None
    age: int | None
    extra: str | None = None
    """What the table says besides, as JSON: what is known of `schemas.clinical.ClinicalRecord`."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """How the site describes a dataset, and whether a clinical table came with it."""

    name: str
    title: str
    description: str
    synthetic: bool
    clinical: bool = False


def check_dataset_name(name: str) -> None:
    """Refuse what is no short name of a dataset.

    Raises:
        InvalidRequest: this is none.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as err:
        raise InvalidRequest(
            f"{name[:80]!r} is not a dataset's name.",
            where="dataset",
            hint="Use lower-case letters, digits, dots, dashes and underscores.",
        ) from err


TABLES = """
CREATE TABLE dataset (
    name VARCHAR PRIMARY KEY, title VARCHAR, description VARCHAR, synthetic BOOLEAN, clinical BOOLEAN);
CREATE TABLE instance (
    dataset VARCHAR, folder VARCHAR, path VARCHAR, patient VARCHAR, study VARCHAR, series VARCHAR,
    instance VARCHAR, modality VARCHAR, body_part VARCHAR, manufacturer VARCHAR, sex VARCHAR, age INTEGER,
    rows INTEGER, columns INTEGER, frames INTEGER, samples INTEGER, transfer_syntax VARCHAR,
    pixel_keyword VARCHAR, pixel_offset BIGINT, pixel_length BIGINT, bits_allocated INTEGER,
    bits_stored INTEGER, signed BOOLEAN, photometric VARCHAR, planar BOOLEAN, rescale_slope DOUBLE,
    rescale_intercept DOUBLE, window_center DOUBLE, window_width DOUBLE, row_spacing DOUBLE,
    column_spacing DOUBLE, slice_thickness DOUBLE, number INTEGER, position DOUBLE[], orientation DOUBLE[],
    laterality VARCHAR, view VARCHAR, acquired DATE, sha256 VARCHAR, high_bit INTEGER,
    nonlinear BOOLEAN);
CREATE TABLE clinical (
    dataset VARCHAR, folder VARCHAR, patient VARCHAR, outcome VARCHAR, diagnosis VARCHAR, sex VARCHAR,
    age INTEGER, extra VARCHAR);
"""
