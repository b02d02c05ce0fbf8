"""`unica node ingest`: progress while it reads, and the list of what was left out and why."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import IngestReport, Skipped, ingest

EXAMPLES = 3
"""How many files of a reason are named in a terminal; `--json` and the quarantine's list name all."""

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

NONE = "none"
"""In place of a training resolution: nothing is prepared."""


def ingest_folder(
    home: Path,
    folder: Path,
    *,
    dataset: str,
    title: str,
    description: str,
    clinical: Path | None,
    mapping: Path | None = None,
    synthetic: bool,
    as_json: bool,
    workers: int | None = None,
    scheduler: str | None = None,
    reread: bool = False,
    prepare: tuple[str, ...] = (),
) -> IngestReport:
    """Ingest a folder at a node and say on the terminal what came of it.

    `prepare` names training resolutions in place of the node's own; the word `none` is none.

    Raises:
        UnicaError: there is no such node or folder, its clinical table cannot be read, the disk is full, or
            the cluster cannot be reached.
    """
    with Progress(*_COLUMNS, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Reading", total=None)
        report = ingest(
            NodeHome.open(home),
            folder,
            dataset=dataset,
            title=title,
            description=description,
            synthetic=synthetic,
            clinical=clinical,
            mapping=mapping,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            workers=workers,
            scheduler=scheduler,
            reread=reread,
            prepare=[word for word in prepare if word != NONE] if prepare else None,
        )
    console = Console()
    if as_json:
        console.print_json(json.dumps(asdict(report)))
    else:
        _show(console, report, folder)
    return report


def _show(console: Console, report: IngestReport, folder: Path) -> None:
    console.print(
        f"Index version {report.version}: {report.indexed} images of {report.patients} patients; "
        f"{report.read} files read, {len(report.skipped)} in quarantine.",
        markup=False,
        highlight=False,
    )
    if report.skipped:
        console.print(_quarantine(report.skipped, folder))
    if report.unmapped:
        table = Table("Field", "Word", "Times", title="Outside the vocabulary", title_justify="left")
        for word in report.unmapped:
            # Text: a word of a header or a table is a stranger's, and may look like markup.
            table.add_row(word.field, Text(word.value), str(word.count))
        console.print(table)
    cache = report.cache
    if cache.prepared or cache.left:
        left = f"; {cache.left} are left to the first job: {cache.why}" if cache.left else ""
        said = f"Prepared {cache.prepared} images for training{left}."
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Quality report: {report.quality}", markup=False, highlight=False, soft_wrap=True)


def _quarantine(skipped: Sequence[Skipped], folder: Path) -> Table:
    """Return what was left out, the most frequent reason first, each with a few of its files."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for skip in skipped:
        groups[skip.reason, skip.detail].append(skip.path.removeprefix(f"{folder}/"))
    table = Table(
        title="In quarantine",
        title_justify="left",
        caption="All of them: --json, or quarantine/ in the node's folder",
    )
    table.add_column("Files", justify="right", no_wrap=True)
    table.add_column("Why", ratio=1, overflow="fold")
    table.add_column("For example", ratio=1, overflow="fold")
    for (reason, detail), paths in sorted(groups.items(), key=lambda group: -len(group[1])):
        why = Text(reason.replace("_", " "), "bold").append(f"\n{detail}" if detail else "", "not bold")
        more = ["…"] if len(paths) > EXAMPLES else []
        table.add_row(str(len(paths)), why, Text("\n".join([*paths[:EXAMPLES], *more])))
    return table
