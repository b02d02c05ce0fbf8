"""What is wrong with records, by our SHACL shapes: each problem names the property and the fix.

Nothing is fetched: shapes come with the package, imports are not followed, and no rule or script of a shape
runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from unica_sdk.records import namespaces
from unica_sdk.records.graph import dataset_graph
from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem

if TYPE_CHECKING:
    from rdflib import Graph

_SHACL = "http://www.w3.org/ns/shacl#"


def shapes_text() -> str:
    """Return our shapes as Turtle, for whoever wants to validate with them elsewhere."""
    return files("unica_sdk.records").joinpath("shapes.ttl").read_text(encoding="utf-8")


def problems(records: Iterable[DatasetRecord]) -> dict[str, tuple[RecordProblem, ...]]:
    """Return what is wrong with records, by the dataset's id; a record with nothing wrong is left out."""
    found: dict[str, tuple[RecordProblem, ...]] = {}
    for record in records:
        if wrong := validate(dataset_graph(record)):
            found[record.id] = wrong
    return found


def required(problems: Iterable[RecordProblem]) -> tuple[RecordProblem, ...]:
    """Return the problems that keep a record out of the catalogue; the others are recommendations."""
    return tuple(problem for problem in problems if problem.required)


def validate(graph: Graph) -> tuple[RecordProblem, ...]:
    """Return what is wrong with a graph of datasets, the required first, each once."""
    from pyshacl import validate as check
    from rdflib import Graph, URIRef

    conforms, results, _ = check(graph, shacl_graph=_shapes(), inference="none", do_owl_imports=False)
    if conforms or not isinstance(results, Graph):
        return ()
    found: dict[RecordProblem, None] = {}
    for result in results.subjects(URIRef(_SHACL + "focusNode")):
        found[_problem(results, result)] = None
    return tuple(sorted(found, key=lambda p: (p.dataset, not p.required, p.property, p.text)))


@cache
def _shapes() -> Graph:
    from rdflib import Graph

    return Graph().parse(data=shapes_text(), format="turtle")


@cache
def _names() -> dict[str, str]:
    """Every shape's property by the shape's address."""
    from rdflib import URIRef

    found: dict[str, str] = defaultdict(str)
    for shape, name in _shapes().subject_objects(URIRef(_SHACL + "name")):
        found[str(shape)] = str(name)
    return found


def _problem(results: Graph, result: Any) -> RecordProblem:
    from rdflib import URIRef

    def said(name: str) -> str:
        return str(results.value(result, URIRef(_SHACL + name)) or "")

    focus = said("focusNode").removeprefix(namespaces.DATASET).partition("#")[0]
    prop = _names()[said("sourceShape")] or namespaces.compact(said("resultPath"))
    text = said("resultMessage")
    severity = said("resultSeverity").removeprefix(_SHACL)
    return RecordProblem(dataset=focus, property=prop, text=text, required=severity == "Violation")
