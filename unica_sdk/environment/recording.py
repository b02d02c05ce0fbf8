"""`unica node record`: how a node's records stand, and what to fix before they can be published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from unica_sdk.errors import DataError, NotFound
from unica_sdk.node.home import NodeHome
from unica_sdk.node.publishing import Published, RecordKeeper
from unica_sdk.records import documents
from unica_sdk.records.graph import dataset_graph
from unica_sdk.records.validation import required, validate
from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem

Form = Literal["json", "jsonld", "turtle"]

STATES = {
    "good": "published",
    "older": "not published: the last good record stays",
    "none": "not published",
}
"""What is said of a draft's state."""


def show(home: Path, dataset: str | None, *, form: Form | None) -> bool:
    """Print how a node's records stand, or one of them as a document; return whether all can be published.

    Raises:
        UnicaError: there is no such node or dataset, or its policy or index cannot be read.
    """
    published = RecordKeeper(NodeHome.open(home)).current()
    drafts = _chosen(published, dataset)
    console = Console()
    if form is not None:
        for draft in drafts:
            console.file.write(_document(draft, form) + "\n")
    elif dataset is None:
        _table(console, published)
    else:
        console.print_json(drafts[0].model_dump_json())
    if form is None:
        say_problems(console, (p for p in published.problems if any(p.dataset == d.id for d in drafts)))
    return all(published.state_of(draft.id) == "good" for draft in drafts)


def check(file: Path) -> bool:
    """Validate a record that somebody wrote, Turtle or JSON-LD, and return whether it passes.

    Raises:
        DataError: it cannot be read.
        InvalidRequest: it is neither.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError("The record cannot be read.", where=str(file), hint=str(err)) from err
    jsonld = file.suffix.lower() in (".json", ".jsonld")
    found = validate(documents.from_jsonld(text) if jsonld else documents.from_turtle(text))
    console = Console()
    say_problems(console, found)
    if not required(found):
        console.print("The record has what the profile demands.", highlight=False)
    return not required(found)


def say_problems(console: Console, problems: Iterable[RecordProblem]) -> None:
    """Print what is wrong, dataset by dataset; what is only recommended is marked."""
    before = ""
    for problem in problems:
        if problem.dataset != before:
            console.print(problem.dataset, style="bold", markup=False, highlight=False)
            before = problem.dataset
        mark = "✗" if problem.required else "·"
        console.print(f"  {mark} {problem.text}", markup=False, highlight=False, soft_wrap=True)


def _chosen(published: Published, dataset: str | None) -> tuple[DatasetRecord, ...]:
    if dataset is None:
        return published.drafts
    found = tuple(draft for draft in published.drafts if dataset in (draft.id, draft.id.partition("/")[2]))
    if not found:
        names = ", ".join(draft.id for draft in published.drafts) or "none"
        raise NotFound(f"The node has no dataset {dataset!r}.", hint=f"There are: {names}.")
    return found


def _document(draft: DatasetRecord, form: Form) -> str:
    if form == "json":
        return draft.model_dump_json(indent=2)
    if form == "jsonld":
        return json.dumps(documents.to_jsonld(dataset_graph(draft)), indent=2, ensure_ascii=False)
    return documents.to_turtle(dataset_graph(draft))


def _table(console: Console, published: Published) -> None:
    if not published.drafts:
        console.print("The node has no dataset yet: `unica node ingest`.", highlight=False)
        return
    table = Table("Dataset", "Record", "Tier", "For the next tier")
    for draft in published.drafts:
        state = STATES[published.state_of(draft.id)]
        table.add_row(draft.id, state, str(draft.tier), "\n".join(draft.missing))
    console.print(table)
