"""The EUCAIM explorer's query format: a tree of AND and OR in two layers of base64, and what it says to us.

    {"id": uuid, "sites": […], "query": base64({"lang": "ast", "query": base64({"ast": …, "id": …})})}

The tree nests OR > AND > OR > {key, type, system, value}. What a cohort query cannot say is refused with the
names of the criteria; nothing is dropped and nothing is guessed. Source: samply/lens (`src/types/ast.ts`),
samply/focus (`src/ast.rs`) and samply/eucaim-frontend (`src/services/backend.service.ts`), 2025 and 2026.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationError

from unica_sdk.errors import Inexpressible, InvalidRequest
from unica_sdk.schemas import explorer_codes as codes
from unica_sdk.schemas.cohort import CohortQuery
from unica_sdk.schemas.contract import Contract, Name, canonical_json
from unica_sdk.schemas.explorer_logic import query_of
from unica_sdk.schemas.explorer_tree import Tree

MAX_QUERY = 65_536
"""The most characters of base64 in a query; the explorer's own catalogue, all of it chosen, takes 21,480."""


class ExplorerTask(Contract):
    """What the explorer posts: the task's name, the sites it is for (all where it says none), the query."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
    sites: tuple[Name, ...] | None = Field(default=None, min_length=1, max_length=256)
    query: str = Field(min_length=4, max_length=MAX_QUERY)


def to_ast(query: CohortQuery, *, id: UUID) -> dict[str, Any]:  # noqa: A002 - the format's own word
    """Return a query as the explorer would post it, under a name that the caller makes.

    Raises:
        Inexpressible: a field or word for which no public code is known: others would drop it.

    Example:
        >>> from uuid import UUID
        >>> task = to_ast(CohortQuery(modality=("MR",), sites=("gr",)), id=UUID(int=7))
        >>> task["sites"], from_ast(task).modality
        (['gr'], ('MR',))
    """
    conditions = [{"operand": "OR", "children": _conditions(query, name)} for name in query.criteria()]
    children = [{"operand": "AND", "children": conditions}] if conditions else []
    tree = {"ast": {"operand": "OR", "children": children}, "id": f"{id}__search__{id}"}
    task: dict[str, Any] = {"id": str(id), "query": _packed({"lang": "ast", "query": _packed(tree)})}
    return {**task, "sites": list(query.sites)} if query.sites else task


def from_ast(task: ExplorerTask | Mapping[str, Any]) -> CohortQuery:
    """Return what the explorer asks as a query; trees that mean the same give the same query.

    Raises:
        InvalidRequest: it is malformed, too long or too deep; `where` is the place.
        Inexpressible: it says what a query cannot; `criteria` names the fields.
    """
    asked = task if isinstance(task, ExplorerTask) else _task(task)
    outer = _unpacked(asked.query, "query")
    if set(outer) != {"lang", "query"} or outer["lang"] != "ast":
        _malformed('This is not {"lang": "ast", "query": …}.', "query")
    inner = _unpacked(outer["query"], "query.query")
    if set(inner) != {"ast", "id"} or not isinstance(inner["id"], str):
        _malformed('This is not {"ast": …, "id": "…"}.', "query.query")
    return query_of(Tree().clauses(inner["ast"]), asked.sites or ())


def _task(raw: Mapping[str, Any]) -> ExplorerTask:
    try:
        return ExplorerTask.model_validate(dict(raw))
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        raise InvalidRequest(first["msg"], where=".".join(str(part) for part in first["loc"])) from err


def _conditions(query: CohortQuery, name: str) -> list[dict[str, Any]]:
    written = codes.key_of(name)
    if written is None:
        raise Inexpressible(
            f"The explorer has no key for {name}.", where=name, hint="Leave it out.", criteria=(name,)
        )
    key, system = written
    if query.age and name == "age":
        span = {"min": query.age.low, "max": query.age.high}
        return [{"key": key, "type": "BETWEEN", "system": system, "value": span}]
    words = {term: codes.word_of(name, term) for term in getattr(query, name)}
    unknown = [term for term, word in words.items() if word is None]
    if unknown:
        raise Inexpressible(
            f"The explorer has no word for {', '.join(unknown)}.", where=name, criteria=(name,)
        )
    return [{"key": key, "type": "EQUALS", "system": system, "value": word} for word in words.values()]


def _packed(value: Any) -> str:
    return base64.b64encode(canonical_json(value)).decode()


def _unpacked(text: Any, where: str) -> dict[str, Any]:
    if not isinstance(text, str):
        _malformed("This is not base64.", where)
    try:
        raw = base64.b64decode(text, validate=True)
        found = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError) as err:
        raise InvalidRequest("This is not base64 of JSON in UTF-8.", where=where) from err
    if not isinstance(found, dict):
        _malformed("This is not an object.", where)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: of two values, each reader would choose its own."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _malformed(message: str, where: str) -> NoReturn:
    raise InvalidRequest(message, where=where)
