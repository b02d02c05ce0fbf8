"""`unica node consent` and `unica node key`: identifiers come from a file or standard input only.

An argument on a command line is seen by every user of the machine and kept in a shell's history.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from unica_sdk.errors import ConfigurationError, InvalidRequest, UnicaError
from unica_sdk.node.consent import ConsentRegistry, Mode, Word
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.rotation import rotate

MODES = ", ".join(Mode)


def read_identifiers(file: Path) -> list[str]:
    """Return the identifiers in a file, one on each line; `-` is standard input.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        # With the mark that some programs begin a file with: it would make the first one another person.
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError("The list of identifiers cannot be read.", where=str(file)) from err
    return [line.strip() for line in text.splitlines() if line.strip()]


def say(home: Path, word: Word, file: Path, *, dataset: str | None) -> str:
    """Record what the people in a file say, and return sentences about it that name nobody.

    They say how many of these people the index has not, for a word that is misspelt changes nothing.

    Raises:
        UnicaError: there is no such node, nobody was named, or it could not be recorded.
    """
    identifiers = read_identifiers(file)
    if not identifiers:
        raise InvalidRequest("Nobody was named.", hint="One identifier stands on each line.")
    node = NodeHome.open(home)
    registry = ConsentRegistry.of(node)
    number = (registry.add if word == "add" else registry.withdraw)(identifiers, dataset=dataset)
    about = f"dataset {dataset}" if dataset else "everything"
    done = "consent" if word == "add" else "withdrawal"
    known = len(set(identifiers)) - number
    return (
        f"Recorded the {done} of {number} people for {about}; {known} had said so before."
        f" Revision {registry.revision()}.{_strangers(node, registry, identifiers, dataset)}"
    )


def _strangers(node: NodeHome, registry: ConsentRegistry, identifiers: list[str], dataset: str | None) -> str:
    """Say how many of these people have no image in the index, or in the dataset."""
    people = {registry.pseudonym(identifier) for identifier in identifiers}
    try:
        with Index.open(node.index_folder) as index:
            ((there,),) = index.rows(
                "SELECT count(DISTINCT patient) FROM instance"
                " WHERE patient IN (SELECT unnest($people::VARCHAR[]))"
                " AND dataset = coalesce($dataset, dataset)",
                {"people": list(people), "dataset": dataset},
            )
    except UnicaError as err:
        # It is recorded all the same, and is there when the index is.
        return f" Which of them have images is not known: {err.message}"
    absent = len(people) - there
    where = f"in the dataset {dataset}" if dataset else "in the index"
    return f" {absent} of these {len(people)} have no image {where} now." if absent else ""


def declare(home: Path, dataset: str, mode: str) -> str:
    """Record what a dataset declares.

    Raises:
        UnicaError: there is no such node or mode, or it could not be recorded.
    """
    try:
        wanted = Mode(mode.replace("-", "_"))
    except ValueError as err:
        raise InvalidRequest(f"{mode!r} is not a mode of consent.", hint=f"Modes: {MODES}.") from err
    changed = ConsentRegistry.of(NodeHome.open(home)).declare(dataset, wanted)
    return f"{dataset} is {wanted}{'' if changed else ' already'}."


def show(home: Path, file: Path | None, *, as_json: bool) -> None:
    """Print the last words of everybody, or of those in a file, by the hospital's identifiers.

    Raises:
        UnicaError: there is no such node, or the registry cannot be read.
    """
    node = NodeHome.open(home)
    registry = ConsentRegistry.of(node)
    entries = registry.entries(None if file is None else read_identifiers(file))
    node.audit.append(actor="operator", action="consent_list", subject=node.site, shown=len(entries))
    state = registry.state()
    if as_json:
        people = [
            {"identifier": e.identifier, "dataset": e.dataset, "word": e.word, "at": e.at.isoformat()}
            for e in entries
        ]
        told = {"revision": state.revision, "datasets": dict(state.modes), "people": people}
        Console().print_json(json.dumps(told))
        return
    table = Table("Identifier", "About", "Last word", "Since")
    for entry in entries:
        table.add_row(
            Text(entry.identifier), entry.dataset or "everything", entry.word, f"{entry.at:%Y-%m-%d %H:%M}"
        )
    for dataset, mode in sorted(state.modes.items()):
        Console().print(f"{dataset} is {mode}.", markup=False, highlight=False)
    Console().print(table)


def change_key(home: Path) -> str:
    """Change a node's site key and say what came of it.

    Raises:
        UnicaError: there is no such node, or a folder is not there any more.
    """
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, int] = {}

        def progress(folder: str, done: int, total: int) -> None:
            if folder not in tasks:
                tasks[folder] = bar.add_task(escape(folder), total=total)
            bar.update(tasks[folder], completed=done, total=total)  # type: ignore[arg-type]

        reports = rotate(NodeHome.open(home), progress=progress)
    images = sum(report.indexed for report in reports)
    return (
        f"The site key is new: {images} images of {len(reports)} folders ingested again, old snapshots ended."
    )
