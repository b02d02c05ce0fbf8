"""Reads the explorer's tree: checks its shape, makes each condition a clause, and collects the problems."""

from __future__ import annotations

from math import floor, isinf
from typing import Any, NoReturn

from unica_sdk.errors import Inexpressible, InvalidRequest, UnknownTerm
from unica_sdk.schemas import explorer_codes as codes
from unica_sdk.schemas.cohort import CRITERIA
from unica_sdk.schemas.explorer_logic import YEARS, Clause, all_of, any_of

MAX_DEPTH = 8
MAX_NODES = 1024
"""The deepest and largest tree that is read: the format has four levels, its subgroups two more."""

MAX_VALUE = 128
"""The most characters of a key, a system or a value."""

TYPES = ("EQUALS", "NOT_EQUALS", "IN", "BETWEEN", "LOWER_THAN", "GREATER_THAN", "CONTAINS")


class Tree:
    """One reading of one tree: every criterion that cannot be said is named, not only the first."""

    def __init__(self) -> None:
        self._nodes = 0
        self._problems: dict[str, list[str]] = {}

    def clauses(self, ast: Any) -> tuple[Clause, ...]:
        """Return the tree as an OR of clauses; an OR of nothing at the top is everyone, as in the explorer.

        Raises:
            InvalidRequest: the tree is malformed, too deep or too large.
            Inexpressible: it says what a query cannot.
        """
        if isinstance(ast, dict) and "operand" not in ast:
            _malformed("The tree begins with an operand.", "ast")
        empty = isinstance(ast, dict) and ast.get("operand") == "OR" and ast.get("children") == []
        found: tuple[Clause, ...] | None
        found = ({},) if empty and set(ast) == {"operand", "children"} else self._read(ast, "ast", 1)
        if found is None:
            reasons = dict.fromkeys(reason for reasons in self._problems.values() for reason in reasons)
            raise Inexpressible(
                "This cannot be asked here: " + "; ".join(reasons) + ".",
                where="query",
                hint="Nothing was counted: without these criteria it would be another question.",
                criteria=tuple(self._problems),
            )
        return found

    def _read(self, node: Any, where: str, depth: int) -> tuple[Clause, ...] | None:
        """Return the clauses of one node, or None where a problem was noted in it."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            _malformed(f"The tree has more than {MAX_DEPTH} levels or {MAX_NODES} parts.", where)
        if not isinstance(node, dict):
            _malformed("This is not an object.", where)
        return self._operation(node, where, depth) if "operand" in node else self._condition(node, where)

    def _operation(self, node: dict[str, Any], where: str, depth: int) -> tuple[Clause, ...] | None:
        _only(node, {"operand", "children"}, {"key"}, where)
        operand, children = node["operand"], node["children"]
        if operand not in ("AND", "OR", "NOT", "XOR"):
            _malformed("An operand is AND or OR.", f"{where}.operand")
        if not isinstance(children, list) or not (children or operand == "AND"):
            _malformed("An operation has a list of children.", f"{where}.children")
        if "key" in node:
            _agrees(_text(node["key"], f"{where}.key"), children, where)
        parts = [
            self._read(child, f"{where}.children.{number}", depth + 1)
            for number, child in enumerate(children)
        ]
        if operand in ("NOT", "XOR"):
            for name in _keys_below(children):
                self._note(name, f"{operand} over {name}")
            return None
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            return None
        return self._combined(operand, whole)

    def _combined(self, operand: str, parts: list[tuple[Clause, ...]]) -> tuple[Clause, ...] | None:
        try:
            return all_of(parts) if operand == "AND" else any_of([c for part in parts for c in part])
        except Inexpressible as err:
            for name in err.criteria:
                self._note(name, err.message.rstrip("."))
            return None

    def _condition(self, node: dict[str, Any], where: str) -> tuple[Clause, ...] | None:
        _only(node, {"key", "type", "value"}, {"system"}, where)
        key, kind = _text(node["key"], f"{where}.key"), node["type"]
        if kind not in TYPES:
            _malformed("A type is one of " + ", ".join(TYPES) + ".", f"{where}.type")
        values = _values(kind, node["value"], f"{where}.value")
        system = _text(node.get("system") or "", f"{where}.system")
        field = codes.field_of(key)
        name = field or key
        if field is None:
            self._note(name, f"{key} is not a key that is known here")
        elif field not in CRITERIA:
            wrong = [f"{v} {said}" for v in _words(values) if (said := codes.mistaken(field, v))]
            self._note(name, *(wrong or [f"{field} is not something that people can be asked for by"]))
        elif not codes.system_fits(key, system):
            self._note(name, f"{system} is not the system of {key}")
        else:
            return self._age(kind, values) if field == "age" else self._terms(field, kind, values, where)
        return None

    def _terms(self, field: str, kind: str, values: Any, where: str) -> tuple[Clause, ...] | None:
        if kind not in ("EQUALS", "IN") or len(_words(values)) < len(values):
            self._note(field, f"{field} {kind}")
            return None
        found: set[str] = set()
        for value in values:
            try:
                found.update(codes.values_of(field, value))
            except UnknownTerm as err:
                self._note(field, err.message)
        if field == "manufacturer":
            found = {_maker(value, f"{where}.value") for value in found}
        return None if field in self._problems else ({field: frozenset(found)},)

    def _age(self, kind: str, values: Any) -> tuple[Clause, ...] | None:
        match kind:
            case "BETWEEN":
                years = {year for year in YEARS if values[0] <= year <= values[1]}
            case "LOWER_THAN":
                years = {year for year in YEARS if year < values[0]}
            case "GREATER_THAN":
                years = {year for year in YEARS if year > values[0]}
            case "EQUALS" | "IN":
                years = {year for year in YEARS if year in values}
            case _:
                self._note("age", f"age {kind}")
                return None
        if not all(isinstance(v, int | float) and (isinf(v) or v == floor(v)) for v in values):
            self._note("age", f"age {kind} with other than whole years")
            return None
        if not years:
            self._note("age", "nobody has an age like that")
            return None
        return ({"age": frozenset(years)},)

    def _note(self, name: str, *reasons: str) -> None:
        self._problems.setdefault(name, []).extend(reasons)


def _values(kind: str, value: Any, where: str) -> tuple[Any, ...]:
    """Return a condition's value as its type has it; an open bound of BETWEEN is infinite."""
    if kind in ("EQUALS", "NOT_EQUALS", "CONTAINS"):
        return (_single(value, where),)
    if kind == "IN":
        if not isinstance(value, list) or not 0 < len(value) <= MAX_NODES:
            _malformed("IN has a list of values.", where)
        return tuple(_single(one, where) for one in value)
    if kind in ("LOWER_THAN", "GREATER_THAN"):
        return (_number(value, where),)
    if not isinstance(value, dict) or not value or not set(value) <= {"min", "max"}:
        _malformed("BETWEEN has min, max or both.", where)
    low = _number(value["min"], f"{where}.min") if "min" in value else float("-inf")
    high = _number(value["max"], f"{where}.max") if "max" in value else float("inf")
    if low > high:
        _malformed("The range runs backwards.", where)
    return low, high


def _single(value: Any, where: str) -> str | float:
    return _text(value, where) if isinstance(value, str) else _number(value, where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e9:
        _malformed("This is not a number that can be meant.", where)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_VALUE or not value.isprintable():
        _malformed(f"This is not a word of at most {MAX_VALUE} characters.", where)
    return value


def _only(node: dict[str, Any], needed: set[str], allowed: set[str], where: str) -> None:
    """Return if an object has the names it needs and no other: what is not understood is not ignored."""
    for name in sorted(needed - set(node)):
        _malformed(f"{name} is missing.", where)
    for name in sorted(set(node) - needed - allowed):
        _malformed(f"{name[:MAX_VALUE]!r} is not known here.", where)


def _agrees(key: str, children: list[Any], where: str) -> None:
    """Return if an operation's own key, which newer explorers write, is that of the conditions below it."""
    for child in children:
        if isinstance(child, dict) and "operand" not in child and child.get("key") != key:
            _malformed("The operation's key is not its conditions'.", f"{where}.key")


def _keys_below(children: list[Any]) -> list[str]:
    """Return the names of every field below; the children were read before, so they are as they should be."""
    found: dict[str, None] = {}
    todo = list(children)
    while todo:
        node = todo.pop(0)
        if "operand" in node:
            todo.extend(node["children"])
        else:
            found[codes.field_of(node["key"]) or node["key"]] = None
    return list(found)


def _words(values: tuple[Any, ...]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _maker(word: str, where: str) -> str:
    """Return a maker's name as queries write it, so that two spellings of one are one."""
    name = word.strip().lower()
    if not 0 < len(name) <= codes.MAX_MAKER:
        _malformed(f"A maker has 1 to {codes.MAX_MAKER} letters.", where)
    return name


def _malformed(message: str, where: str) -> NoReturn:
    raise InvalidRequest(message, where=where)
