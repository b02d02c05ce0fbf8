"""A graph as JSON-LD and Turtle, and back; the same graph always gives the same bytes, offline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

from unica_sdk.errors import InvalidRequest
from unica_sdk.records import namespaces

if TYPE_CHECKING:
    from rdflib import Graph

Form = Literal["jsonld", "turtle"]

MAX_BYTES = 16 * 1024 * 1024
"""The longest document that is read."""


def to_jsonld(graph: Graph) -> dict[str, Any]:
    """Return a graph as JSON-LD 1.1, flattened, with its context inside, so that nothing is fetched."""
    text = graph.serialize(format="json-ld", context=dict(namespaces.PREFIXES), sort_keys=True)
    found = json.loads(text)
    nodes = found.get("@graph") or [{k: v for k, v in found.items() if k != "@context"}]
    nodes = sorted((_sorted(node) for node in nodes if node), key=lambda node: str(node.get("@id")))
    return {"@context": dict(namespaces.PREFIXES), "@graph": nodes}


def to_turtle(graph: Graph) -> str:
    """Return a graph as Turtle."""
    return graph.serialize(format="turtle")


def stream(graphs: Iterable[Graph], form: Form) -> Iterator[str]:
    """Yield one document of many graphs, piece by piece, so that a large catalogue is never whole in memory.

    No two of the graphs may speak of one subject.
    """
    if form == "turtle":
        yield from map(to_turtle, graphs)
        return
    yield json.dumps({"@context": dict(namespaces.PREFIXES)})[:-1] + ', "@graph": ['
    lead = ""
    for graph in graphs:
        for node in to_jsonld(graph)["@graph"]:
            yield lead + json.dumps(node, ensure_ascii=False)
            lead = ",\n"
    yield "]}"


def from_jsonld(document: str | dict[str, Any]) -> Graph:
    """Read JSON-LD whose context is inside.

    Raises:
        InvalidRequest: it is too long or no JSON-LD, or wants something to be fetched.
    """
    from rdflib import Graph
    from rdflib.plugins.parsers.jsonld import to_rdf

    text = document if isinstance(document, str) else json.dumps(document)
    _check_length(text)
    with _refused_as("JSON-LD"):
        data = json.loads(text)
        if _wants_fetching(data):
            raise InvalidRequest(
                "The JSON-LD has a context elsewhere; nothing is fetched.",
                where="@context",
                hint="Put the context into the document.",
            )
        # A record is one graph without a name: in a store without names the parser makes none.
        read = to_rdf(data, Graph(store="SimpleMemory"))
    graph = Graph()
    for triple in read:
        graph.add(triple)
    return graph


def from_turtle(text: str) -> Graph:
    """Read Turtle.

    Raises:
        InvalidRequest: it is too long, or no Turtle.
    """
    from rdflib import Graph

    _check_length(text)
    with _refused_as("Turtle"):
        return Graph().parse(data=text, format="turtle")


@contextmanager
def _refused_as(form: str) -> Iterator[None]:
    try:
        yield
    except InvalidRequest:
        raise
    except Exception as err:
        # rdflib's parsers raise what they like, and this document is somebody else's.
        hint = next(iter(str(err).splitlines()), "")[:200]
        raise InvalidRequest(f"This is not {form}.", hint=hint) from err


def _check_length(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise InvalidRequest(f"The document is longer than {MAX_BYTES} characters.")


def _wants_fetching(value: Any) -> bool:
    """Whether a context, or one that it imports, stands at an address."""
    if isinstance(value, list):
        return any(map(_wants_fetching, value))
    if not isinstance(value, dict):
        return False
    for name, inner in value.items():
        if name == "@import" or (name == "@context" and _names_an_address(inner)) or _wants_fetching(inner):
            return True
    return False


def _names_an_address(context: Any) -> bool:
    if isinstance(context, list):
        return any(map(_names_an_address, context))
    return isinstance(context, str)


def _sorted(node: Any) -> dict[str, Any]:
    """Return a node with the values of each property in an order that does not depend on the store's."""
    ordered = {
        name: sorted(value, key=lambda one: json.dumps(one, sort_keys=True))
        if isinstance(value, list)
        else value
        for name, value in node.items()
    }
    return cast(dict[str, Any], ordered)
