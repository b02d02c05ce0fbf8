"""What came of the rules: a report for machines (JSON) and for people (`html`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from unica_sdk.files import private_folder, write_private
from unica_sdk.node.index_tables import InstanceRow
from unica_sdk.node.ledger import Ledger
from unica_sdk.node.quality.html import page
from unica_sdk.node.quality.rules import EDITION, RULES, Dimension, Finding, Unit
from unica_sdk.node.quarantine import Quarantined

EXAMPLES = 1000
"""Findings of a rule that a report names; it has the number of all."""

_NUMBERS: Mapping[Unit, str] = {
    "files": "SELECT count(*) FROM here",
    "images": "SELECT count(*) FROM kept",
    "patients": "SELECT count(DISTINCT patient) FROM kept",
    "studies": "SELECT count(DISTINCT study) FROM kept",
    "series": "SELECT count(DISTINCT nullif(series, '')) FROM kept",
}


def _of_row(column: str) -> str:
    """Return the expression of what the ledger's image row has in a column of the index."""
    return f"json_extract(image, '$[{InstanceRow._fields.index(column)}]')"


_DISTRIBUTIONS: Mapping[str, str] = {
    "Modality": "SELECT modality, count(*) FROM kept GROUP BY 1 ORDER BY 2 DESC, 1",
    "Body part": f"SELECT coalesce({_of_row('body_part')}, '(none that is known)'), count(*) FROM kept"  # noqa: S608
    " GROUP BY 1 ORDER BY 2 DESC, 1",
    "Manufacturer": f"SELECT coalesce({_of_row('manufacturer')}, '(not given)'), count(*) FROM kept"  # noqa: S608
    " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 12",
    "Sex": "SELECT coalesce(sex, '(not given)'), count(DISTINCT patient) FROM kept GROUP BY 1 ORDER BY 1",
    "Age": "SELECT coalesce((10 * (age / 10)) || '–' || (10 * (age / 10) + 9), '(not given)'), count(*)"  # noqa: S608
    f" FROM (SELECT min({_of_row('age')}) AS age FROM kept GROUP BY patient)"
    " GROUP BY 1 ORDER BY min(coalesce(age, 1000))",
    "Year of acquisition (dates are shifted)": "SELECT coalesce(substr(day, 1, 4), '(not given)'), count(*)"
    " FROM kept GROUP BY 1 ORDER BY 1",
}
"""What a report shows of the images that were kept: title to words and numbers."""


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """How one rule fared: of how many things, how many broke it, and the first of those."""

    id: str
    dimension: Dimension
    hard: bool
    text: str
    unit: Unit
    checked: int
    failed: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """The quality of one folder of one dataset. True numbers, pseudonyms, paths: it stays at the site."""

    site: str
    dataset: str
    folder: str
    synthetic: bool
    version: int
    created: str
    rules_edition: int
    files: int
    images: int
    patients: int
    rules: tuple[RuleResult, ...]
    reasons: tuple[tuple[str, int], ...]
    """Of the files in quarantine: reason and number."""
    unmapped: tuple[tuple[str, str, int], ...]
    """Words outside the vocabulary: field, word, number."""
    distributions: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]


def build(
    ledger: Ledger,
    *,
    site: str,
    dataset: str,
    folder: str,
    synthetic: bool,
    version: int,
    quarantined: Sequence[Quarantined],
    findings: Iterable[Finding],
    unmapped: Iterable[tuple[str, str, int]],
) -> QualityReport:
    """Put a report together.

    Args:
        ledger: what became of each file.
        site: the site's short name.
        dataset: the dataset's.
        folder: where the files are.
        synthetic: whether they are of nobody.
        version: the version of the index that this is the quality of.
        quarantined: the files that are not in the index.
        findings: of the soft rules on many files.
        unmapped: words outside the vocabulary, with their number.
    """
    failed: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = {rule: [] for rule in RULES}
    reasons: Counter[str] = Counter()

    def note(rule: str, about: str, detail: str) -> None:
        failed[rule] += 1
        if len(examples[rule]) < EXAMPLES:
            examples[rule].append((about, detail))

    for file in quarantined:
        note(file.rule, file.path, file.detail or file.reason.replace("_", " "))
        reasons[file.reason] += 1
    for finding in findings:
        note(*finding)
    for path, broken in ledger.query("SELECT path, findings FROM kept WHERE findings <> '[]' ORDER BY path"):
        for rule, detail in json.loads(broken):
            note(rule, path, detail)
    numbers: dict[Unit, int] = {unit: next(ledger.query(sql))[0] for unit, sql in _NUMBERS.items()}
    return QualityReport(
        site=site,
        dataset=dataset,
        folder=folder,
        synthetic=synthetic,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rules_edition=EDITION,
        files=numbers["files"],
        images=numbers["images"],
        patients=numbers["patients"],
        rules=tuple(
            RuleResult(
                id=rule.id,
                dimension=rule.dimension,
                hard=rule.hard,
                text=rule.text,
                unit=rule.unit,
                checked=max(numbers[rule.unit], failed[rule.id]),
                failed=failed[rule.id],
                examples=tuple(examples[rule.id]),
            )
            for rule in RULES.values()
        ),
        reasons=tuple(reasons.most_common()),
        unmapped=tuple(unmapped),
        distributions=tuple(
            (title, tuple((str(word), number) for word, number in ledger.query(sql)))
            for title, sql in _DISTRIBUTIONS.items()
        ),
    )


def write(report: QualityReport, folder: Path, name: str) -> Path:
    """Write a report as NAME.json and NAME.html, readable by their owner alone; return the latter's path.

    Raises:
        OSError: it cannot be written.
    """
    private_folder(folder)
    text = json.dumps(asdict(report), ensure_ascii=False, indent=1)
    write_private(folder / f"{name}.json", text.encode())
    write_private(folder / f"{name}.html", page(report).encode())
    return folder / f"{name}.html"
