"""The words that a node has for the vocabulary's fields: those nobody understood, and those in its index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unica_sdk.errors import DataError, NotFound
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.schemas.vocabulary_doctor import Word

_COLUMNS = (
    ("modality", "instance"),
    ("body_part", "instance"),
    ("sex", "instance"),
    ("sex", "clinical"),
    ("diagnosis", "clinical"),
    ("outcome", "clinical"),
)
_NO_WORDS = ("(none)", "contradictory: ")
"""What an ingest lists beside words: a header without a modality, and values that contradict each other."""


def words_of(home: NodeHome) -> list[Word]:
    """Return a node's words: of the newest quality report of each folder, and of the current index.

    Raises:
        DataError: a report or the index cannot be read.
    """
    found = list(_not_understood(home.folder / "reports"))
    try:
        with Index.open(home.index_folder) as index:
            found.extend(_indexed(index))
    except NotFound:
        pass  # nothing was ingested yet, so there is nothing to compare
    return found


def _not_understood(reports: Path) -> Iterator[Word]:
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for path in reports.glob("v*/*.json"):
        try:
            report = json.loads(path.read_bytes())
            about = (str(report["dataset"]), str(report["folder"]))
            if about not in newest or report["version"] >= newest[about]["version"]:
                newest[about] = report
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise DataError("A quality report cannot be read.", where=str(path)) from err
    counts: dict[tuple[str, str], int] = {}
    for report in newest.values():
        for field, word, count in report["unmapped"]:
            if not str(word).startswith(_NO_WORDS):
                counts[field, word] = counts.get((field, word), 0) + int(count)
    for (field, word), count in sorted(counts.items()):
        yield Word(field=field, word=word, count=count)


def _indexed(index: Index) -> Iterator[Word]:
    for column, table in _COLUMNS:
        rows = index.rows(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")  # noqa: S608
        for (word,) in rows:
            yield Word(field=column, word=str(word))
    extra: set[tuple[str, str]] = set()
    for (text,) in index.rows("SELECT DISTINCT extra FROM clinical WHERE extra IS NOT NULL"):
        extra.update((field, str(value)) for field, value in json.loads(text).items())
    for field, word in sorted(extra):
        yield Word(field=field, word=word)
