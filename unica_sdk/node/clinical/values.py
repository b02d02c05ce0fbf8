"""From what a cell says to a value of the record, or to a line in the list of what nobody understood."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from unica_sdk.errors import UnknownTerm
from unica_sdk.node.clinical.mapping import (
    FLAG_FIELDS,
    FLAGS,
    NUMBER_FIELDS,
    FieldMapping,
    TableMapping,
    Unit,
)
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.clinical import FIELDS, MAX_AGE, MAX_FOLLOW_UP, TERM_FIELDS, tenths

Value = str | float | bool

Cell = tuple[str, ...]
"""What one cell says, once or as several codings of the same thing; empty where it says nothing."""

Words = Counter[tuple[str, str]]
"""How many patients had a word, by field, that nobody understood."""

UCUM: dict[str, Unit] = {"a": "years", "mo": "months", "wk": "weeks", "d": "days"}
"""Units that a FHIR quantity brings along (UCUM); they go before the mapping's."""

_DAYS = {"years": Decimal("365.25"), "months": Decimal("30.4375"), "weeks": Decimal(7), "days": Decimal(1)}
_RANK = {field: {term: rank for rank, term in enumerate(vocabulary.terms(field))} for field in TERM_FIELDS}


_NUMBER = {mark: re.compile(r"[0-9]{1,9}(" + re.escape(mark) + r"[0-9]{0,9})?\Z") for mark in ".,"}


@dataclass(frozen=True, order=True)
class Unmapped:
    """A word that is not in the vocabulary, where it stood and how often: listed, never guessed."""

    field: str
    value: str
    count: int


class NotUnderstood(Exception):  # noqa: N818 - a verdict on a cell, listed for the data manager
    """The cell says something that is no value of the field; the text is what is listed."""


class Converter:
    """Turns the cells of one field into its value.

    Words are looked up without regard to case: first in the mapping, then among the vocabulary's own words
    and public codes. Nothing else is understood.
    """

    def __init__(self, name: str, field: FieldMapping, table: TableMapping) -> None:
        self.name = name
        self.field = field
        self._number_form = _NUMBER[table.decimal]
        self._date_format = field.date_format or table.date_format
        self._several = field.several or ("lowest" if name == "age" else "same")
        self._term_field = next((f for f in TERM_FIELDS if f == name), None)
        self._known: dict[Cell, frozenset[Value]] = {}

    def value(self, cells: tuple[Cell, ...], words: Words) -> Value | None:
        """Return what several cells of one patient say together; what is of no use is counted in `words`."""
        found: set[Value] = set()
        for cell in cells:
            try:
                found |= self._read(cell)
            except NotUnderstood as err:
                words[self.name, str(err)] += 1
        return self._one_of(found, words)

    def _one_of(self, found: set[Value], words: Words) -> Value | None:
        if len(found) < 2:
            return next(iter(found), None)
        if self._several == "same":
            said = ", ".join(sorted(_shown(value) for value in found))
            words[self.name, f"contradictory: {said}"] += 1
            return None
        ranked = sorted(found, key=self._rank)
        return ranked[0] if self._several == "lowest" else ranked[-1]

    def _rank(self, value: Value) -> float:
        return _RANK[self._term_field][str(value)] if self._term_field else float(value)

    def _read(self, cell: Cell) -> frozenset[Value]:
        known = self._known.get(cell)
        if known is None:
            known = self._fresh(cell)
            if self.name not in NUMBER_FIELDS:
                self._known[cell] = known
        return known

    def _fresh(self, cell: Cell) -> frozenset[Value]:
        if self.field.since:
            return frozenset([self._between(*cell)])
        found: set[Value] = set()
        for text in cell:
            try:
                found.add(self._understood(text))
            except NotUnderstood:
                continue
        if not found:
            raise NotUnderstood(cell[0])
        return frozenset(found)

    def _understood(self, text: str) -> Value:
        if self.name in NUMBER_FIELDS:
            return self._number(text)
        term = self.field.values.get(text.casefold())
        if self.name in FLAG_FIELDS:
            word = text.casefold() if term is None else term
            if word not in FLAGS:
                raise NotUnderstood(text)
            return FLAGS[word]
        if term is not None:
            return term
        try:
            return vocabulary.recognised(self._term_field, text).term if self._term_field else text
        except UnknownTerm as err:
            raise NotUnderstood(text) from err

    def _number(self, text: str) -> float:
        number, _, suffix = text.partition(" ")
        if (suffix and suffix not in UCUM) or not self._number_form.match(number):
            raise NotUnderstood(text)
        own: Unit = "years" if self.name == "age" else "months"
        unit = UCUM.get(suffix, self.field.unit or own)
        amount = Decimal(number.replace(",", "."))
        if unit != own:
            amount = _converted(amount, unit, own)
        return self._bounded(amount, text)

    def _bounded(self, amount: Decimal, text: str) -> float:
        fits = amount < MAX_AGE + 1 if self.name == "age" else amount <= MAX_FOLLOW_UP
        if not fits:
            raise NotUnderstood(text)
        return tenths(amount)

    def _between(self, since: str, until: str) -> float:
        # The dates themselves are never listed: a date of birth names a person.
        told = f"{self.field.since} to {self.field.until}: "
        try:
            first, last = self._date(since), self._date(until)
            if last < first:
                raise NotUnderstood(told + "backwards")
            amount = years_between(first, last) if self.name == "age" else months_between(first, last)
        except ValueError as err:  # the year 9999, which stands for an unknown one, has no next birthday
            raise NotUnderstood(told + "not two whole dates") from err
        return self._bounded(amount, told + "too long")

    def _date(self, text: str) -> date:
        if self._date_format:
            return datetime.strptime(text, self._date_format).date()
        return date.fromisoformat(text[:10])


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def converters(table: TableMapping) -> dict[str, Converter]:
    """Return a converter for each mapped field, in the record's order."""
    return {name: Converter(name, table.fields[name], table) for name in FIELDS if name in table.fields}


def _converted(amount: Decimal, unit: Unit, own: Unit) -> Decimal:
    if {unit, own} == {"years", "months"}:
        return amount * 12 if unit == "years" else amount / 12
    return amount * _DAYS[unit] / _DAYS[own]


def years_between(first: date, last: date) -> Decimal:
    """Return the completed years and the part of the next one, as people count birthdays.

    Example:
        >>> years_between(date(1970, 3, 1), date(2020, 3, 1))
        Decimal('50')
    """
    whole = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    birthday, following = _same_day(first, first.year + whole), _same_day(first, first.year + whole + 1)
    return whole + Decimal((last - birthday).days) / (following - birthday).days


def months_between(first: date, last: date) -> Decimal:
    """Return the completed months and the part of the next one.

    Example:
        >>> months_between(date(2020, 1, 31), date(2020, 2, 29))
        Decimal('1')
    """
    whole = 12 * (last.year - first.year) + last.month - first.month
    if _after_months(first, whole) > last:
        whole -= 1
    start, following = _after_months(first, whole), _after_months(first, whole + 1)
    return whole + Decimal((last - start).days) / (following - start).days


def _same_day(day: date, year: int) -> date:
    """The day in another year; 29 February is the first of March in most."""
    if day.month == 2 and day.day == 29 and not calendar.isleap(year):
        return date(year, 3, 1)
    return day.replace(year=year)


def _after_months(day: date, months: int) -> date:
    year, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + year, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
