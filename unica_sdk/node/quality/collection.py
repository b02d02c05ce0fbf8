"""The rules that only many files, or the clinical table, can break: each a function to its findings.

They ask the node's ledger, whose `kept` are the images of one folder, by pseudonyms and tokens: `about` in
their findings is a file's path or a pseudonym.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, Final, Literal, Protocol

from unica_sdk.node.index_tables import ClinicalFact, InstanceRow
from unica_sdk.node.quality.headers import VOLUMES
from unica_sdk.node.quality.rules import Finding

GAP: Final = 1.5
"""A distance this many times the usual one is a gap; reconstructions jitter by far less."""

JITTER: Final = 0.1
"""Distances this much shorter than the usual one, as a part of it, are uneven: 10 %."""

_PLACE: Final = InstanceRow._fields.index("position")
_PLANE: Final = InstanceRow._fields.index("orientation")
_SIZE: Final = (InstanceRow._fields.index("rows"), InstanceRow._fields.index("columns"))


class Kept(Protocol):
    """Something that can be asked about the images that were kept."""

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query."""


def duplicates(kept: Kept) -> Iterator[Finding]:
    """Every image but the first, in the order of paths, of those with the same identifier (hard)."""
    for path, same in kept.query(
        "SELECT path, pixels = first FROM (SELECT path, pixels,"
        " row_number() OVER images AS number, first_value(pixels) OVER images AS first"
        " FROM kept WINDOW images AS (PARTITION BY instance ORDER BY path)) WHERE number > 1 ORDER BY path"
    ):
        detail = "the folder has this image already" if same else "another image has its identifier"
        yield Finding("unique.instance", path, detail)


def mixed_studies(kept: Kept) -> Iterator[Finding]:
    """Every image of a study in which there are several patients: nobody can say whose it is (hard)."""
    for path, people in kept.query(
        "SELECT path, people FROM kept JOIN (SELECT study, count(DISTINCT patient) AS people FROM kept"
        " GROUP BY study HAVING people > 1) USING (study) ORDER BY path"
    ):
        yield Finding("consistent.study", path, f"its study has {people} patients")


def same_pixels(kept: Kept) -> Iterator[Finding]:
    """Images whose stored pixels an image with another identifier has too."""
    for path, other in kept.query(
        "SELECT path, first FROM (SELECT path, first_value(path) OVER images AS first,"
        " instance <> first_value(instance) OVER images AS other FROM kept WHERE pixels <> ''"
        " WINDOW images AS (PARTITION BY pixels ORDER BY path)) WHERE other ORDER BY path"
    ):
        yield Finding("unique.pixels", path, f"the pixels of {other}")


def patients(kept: Kept) -> Iterator[Finding]:
    """Patients with two sexes or two dates of birth."""
    for patient, sexes, births in kept.query(
        "SELECT patient, count(DISTINCT sex) AS sexes, count(DISTINCT nullif(birth, '')) AS births"
        " FROM kept GROUP BY patient HAVING sexes > 1 OR births > 1 ORDER BY patient"
    ):
        what = [f"{sexes} sexes"] * (sexes > 1) + [f"{births} dates of birth"] * (births > 1)
        yield Finding("consistent.patient", patient, ", ".join(what))


def study_dates(kept: Kept) -> Iterator[Finding]:
    """Studies with several dates."""
    for study, days in kept.query(
        "SELECT study, count(DISTINCT day) AS days FROM kept GROUP BY study HAVING days > 1 ORDER BY study"
    ):
        yield Finding("consistent.dates", study, f"{days} dates")


def series(kept: Kept) -> Iterator[Finding]:
    """Series in several studies, of several modalities, or with several image sizes."""
    size = " || 'x' || ".join(f"json_extract(image, '$[{place}]')" for place in _SIZE)
    for one, studies, modalities, sizes in kept.query(
        "SELECT series, count(DISTINCT study) AS studies, count(DISTINCT modality) AS modalities,"  # noqa: S608
        f" count(DISTINCT {size}) AS sizes FROM kept WHERE series <> '' GROUP BY series"
        " HAVING studies > 1 OR modalities > 1 OR (sizes > 1 AND min(modality) IN ('CT', 'MR', 'PT'))"
        " ORDER BY series"
    ):
        what = {"studies": studies, "modalities": modalities, "image sizes": sizes}
        yield Finding("consistent.series", one, ", ".join(f"{n} {name}" for name, n in what.items() if n > 1))


def slices(kept: Kept) -> Iterator[Finding]:
    """Volumes whose slices, of one orientation, are not at equal distances, or lie on each other."""
    of_volumes = ", ".join(f"'{modality}'" for modality in sorted(VOLUMES))
    found = kept.query(
        f"SELECT series, json_extract(image, '$[{_PLACE}]'), json_extract(image, '$[{_PLANE}]') FROM kept"  # noqa: S608
        f" WHERE modality IN ({of_volumes}) AND series <> '' ORDER BY series"
    )
    for one, rows in groupby(found, key=lambda row: row[0]):
        planes: dict[tuple[float, ...], list[float]] = {}
        for _, place, plane in rows:
            if place and plane:
                normal = normal_of(json.loads(plane))
                planes.setdefault(tuple(round(x, 3) for x in normal), []).append(
                    sum(a * b for a, b in zip(normal, json.loads(place), strict=True))
                )
        details = [detail for places in planes.values() if (detail := uneven(places))]
        if details:
            yield Finding("consistent.slices", one, "; ".join(details))


def clinical(kept: Kept, facts: Iterable[ClinicalFact]) -> Iterator[Finding]:
    """People of whom there are images and no row of the table, or the reverse, or whose sex differs."""
    of_table = {fact.patient: fact for fact in facts}
    if not of_table:
        return
    seen: Mapping[str, str | None] = dict(
        kept.query(
            "SELECT patient, CASE WHEN count(DISTINCT sex) = 1 THEN min(sex) END FROM kept GROUP BY patient"
        )
    )
    for patient in sorted(seen.keys() | of_table.keys()):
        fact = of_table.get(patient)
        if fact is None:
            yield Finding("consistent.clinical", patient, "images, and no row of the table")
        elif patient not in seen:
            yield Finding("consistent.clinical", patient, "a row of the table, and no image")
        elif fact.sex and seen[patient] not in (None, "unknown", fact.sex) and fact.sex != "unknown":
            yield Finding("consistent.clinical", patient, "another sex in the table than in the images")


HARD: Final[tuple[tuple[Callable[[Kept], Iterator[Finding]], Literal["duplicate", "mixed_study"]], ...]] = (
    (mixed_studies, "mixed_study"),
    (duplicates, "duplicate"),
)
"""Those whose findings are files for the quarantine, and the reason there."""

SOFT: Final[tuple[Callable[[Kept], Iterator[Finding]], ...]] = (
    same_pixels, patients, study_dates, series, slices,
)  # fmt: skip
"""Those whose findings are reported."""


def normal_of(orientation: list[float]) -> tuple[float, float, float]:
    """Return the direction across a slice, from the directions of its rows and columns (PS3.3 C.7.6.2.1.1).

    Example:
        >>> normal_of([1, 0, 0, 0, 1, 0])
        (0, 0, 1)
    """
    a, b, c, d, e, f = orientation
    return b * f - c * e, c * d - a * f, a * e - b * d


def uneven(places: list[float]) -> str | None:
    """Say what is wrong with where a volume's slices lie along their normal, in mm; None where nothing is.

    The usual distance is the median one. Several images at one place are time points or echoes: their place
    counts once, but it has to be as often there as the others.

    Example:
        >>> uneven([0, 1, 2, 4, 5]), uneven([0, 1, 2, 3])
        ('1 gap of 4', None)
    """
    often: dict[float, int] = {}
    for place in places:
        often[round(place, 2)] = often.get(round(place, 2), 0) + 1
    order = sorted(often)
    if len(order) < 3:
        return None
    steps = [after - before for before, after in pairwise(order)]
    usual = sorted(steps)[len(steps) // 2]
    gaps = sum(step > GAP * usual for step in steps)
    short = sum(step < (1 - JITTER) * usual for step in steps)
    what = [f"{gaps} gap{'s' * (gaps > 1)} of {len(steps)}"] * (gaps > 0)
    what += [f"{short} of {len(steps)} distances too short"] * (short > 0)
    what += ["places that are there more often than others"] * (len(set(often.values())) > 1)
    return ", ".join(what) or None
