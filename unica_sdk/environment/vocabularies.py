"""`unica vocabulary …`: the shared table on a terminal, and what somebody's words differ in from it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from unica_sdk.errors import DataError, InvalidRequest
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.vocabulary_doctor import Entry, Finding, examine_list, examine_words

_ENTRIES: TypeAdapter[list[Entry]] = TypeAdapter(list[Entry])
_COLUMNS = "key (or field), system, code, label"


def show(field: str | None, *, as_json: bool) -> None:
    """Print the table, or one field of it.

    Raises:
        InvalidRequest: there is no such field.
    """
    if field is not None and field not in vocabulary.FIELDS:
        raise InvalidRequest(
            f"The vocabulary has no field {field!r}.", hint="Fields: " + ", ".join(vocabulary.FIELDS) + "."
        )
    chosen = [concept for concept in vocabulary.CONCEPTS if field in (None, concept.field)]
    console = Console()
    if as_json:
        told = [{**c.model_dump(mode="json"), "codes": c.codes, "local": c.local} for c in chosen]
        fields = [key.model_dump(mode="json") for key in vocabulary.KEYS if field in (None, key.field)]
        console.print_json(
            json.dumps({"version": vocabulary.VERSION, "fields": fields, "concepts": told}, default=list)
        )
        return
    table = Table("Field", "Word", "Meaning", "Codes", title=f"Vocabulary {vocabulary.VERSION}")
    for concept in chosen:
        codes = ", ".join(concept.codes) or "local"
        table.add_row(concept.field, concept.term, concept.label, codes)
    console.print(table)


def examine(*, node: Path | None, file: Path | None, as_json: bool) -> bool:
    """Compare a node, or another system's list, with the table; print what is wrong, return whether any is.

    Raises:
        InvalidRequest: neither was given, or both.
        UnicaError: there is no such node, or the list cannot be read.
    """
    if (node is None) == (file is None):
        raise InvalidRequest("Say what to compare with the vocabulary: --node HOME or --list FILE.")
    findings = _of_node(node) if node is not None else examine_list(read_list(file)) if file else ()
    if as_json:
        Console().print_json(json.dumps([finding.model_dump(mode="json") for finding in findings]))
    else:
        _show(findings)
    return bool(findings)


def read_list(file: Path) -> list[Entry]:
    """Return another system's list: CSV with a line of column names, or a JSON array of objects.

    Raises:
        DataError: it cannot be read, or has other columns.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if file.suffix.lower() == ".json" else _csv_rows(text)
        return _ENTRIES.validate_python([_named(row) for row in rows])
    except OSError as err:
        raise DataError("The list cannot be read.", where=str(file), hint=err.strerror or "") from err
    except (ValueError, csv.Error, AttributeError, TypeError) as err:
        detail = err.errors()[0]["msg"] if isinstance(err, ValidationError) else str(err)
        raise DataError(
            f"This is not a list of concepts: {detail}.", where=str(file), hint=f"Columns: {_COLUMNS}."
        ) from err


def _of_node(folder: Path) -> tuple[Finding, ...]:
    from unica_sdk.node.home import NodeHome
    from unica_sdk.node.words import words_of

    return examine_words(words_of(NodeHome.open(folder)))


def _csv_rows(text: str) -> list[dict[str, str | None]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return list(csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True))


def _named(row: dict[str, str | None]) -> dict[str, str]:
    """Return a row with its columns by our names; what a list has besides is not asked for."""
    there = {str(name).strip().lower(): str(value or "").strip() for name, value in row.items()}
    if "key" not in there and "field" in there:
        there["key"] = there["field"]
    return {name: there[name] for name in Entry.model_fields if name in there}


def _show(findings: tuple[Finding, ...]) -> None:
    console = Console()
    if not findings:
        console.print(
            f"Nothing is wrong: every value is in the vocabulary {vocabulary.VERSION}.", highlight=False
        )
        return
    for one in findings:
        head = f"{one.kind.replace('_', '-')}  {one.field}: {one.about}"
        console.print(head, style="bold", markup=False, highlight=False)
        console.print(f"    {one.text} → {one.fix}", markup=False, highlight=False, soft_wrap=True)
