"""Cohorts in the EUCAIM explorer's form: written for it, or read from what it asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas import explorer

if TYPE_CHECKING:
    from unica_sdk.client.cohorts import Cohort
    from unica_sdk.client.network import Network
    from unica_sdk.schemas.cohort import CohortQuery


def ast_of(query: CohortQuery) -> dict[str, Any]:
    """Return a query as the explorer posts it: `{"id", "sites", "query"}`, under a new id.

    Raises:
        Inexpressible: the explorer has no key or word for something in it.
    """
    return explorer.to_ast(query, id=uuid4())


def cohort_from(ast: Mapping[str, Any] | str | bytes, network: Network) -> Cohort:
    """Return what the explorer asks as a cohort of a network; `ast` is what it posts, parsed or as JSON.

    Raises:
        InvalidRequest: it is malformed; `where` is the place.
        Inexpressible: it says what a query cannot; `criteria` names the fields.
    """
    query = explorer.from_ast(ast if isinstance(ast, Mapping) else _parsed(ast))
    criteria = {name: getattr(query, name) for name in (*query.criteria(), "sites")}
    if query.age is not None:
        criteria["age"] = (query.age.low, query.age.high)
    return network.cohort(**criteria)


def _parsed(text: str | bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise InvalidRequest("This is not JSON.", where="ast") from err
    if not isinstance(found, dict):
        raise InvalidRequest("This is not what the explorer posts.", where="ast")
    return found
