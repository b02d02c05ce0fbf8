"""The rows on counts: people who match a query, in the index alone and as consent leaves it."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
from _harness import Row, at_most, for_information, skipped, timed
from _setting import Setting

from unica_sdk.node import cohort
from unica_sdk.node.admitted import AdmittedViews
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index, _finish
from unica_sdk.node.index_tables import TABLES
from unica_sdk.schemas.cohort import AgeRange, CohortQuery

PATIENTS = 1_000_000
"""Of the count in the index alone, and through consent."""

PEOPLE_OF_LARGE = 100_000
"""Of the count beside very many images."""

MAX_GIB = 2
"""Free disk that sixty million images ask for."""

WITHDRAWN = 1000
"""People who withdrew: nine of ten everything, the tenth one of the two datasets that have them."""

QUERY = CohortQuery(
    modality=("MG",), diagnosis=("breast_cancer",), sex=("female",), age=AgeRange(low=50, high=69)
)

_DATASETS = """
INSERT INTO dataset SELECT unnest(['bench', 'other']), 'Benchmark', 'Synthetic.', true, true
"""
_IMAGES = """
INSERT INTO instance BY NAME SELECT 'bench' AS dataset, '/' AS folder, {patient} AS patient,
    i::VARCHAR AS instance, CASE WHEN i % 3 = 0 THEN 'MG' ELSE 'CT' END AS modality, 'breast' AS body_part,
    'vendor ' || ({person} % 5) AS manufacturer, 512 AS rows, 512 AS columns, 4096 + i % 512 AS pixel_offset,
    524288 AS pixel_length
FROM range(?) AS r(i)
"""
_IN_ANOTHER = """
INSERT INTO instance SELECT * REPLACE ('other' AS dataset, instance || '.2' AS instance)
FROM instance WHERE patient IN (SELECT unnest(?::VARCHAR[]))
"""
_FACTS = """
INSERT INTO clinical BY NAME SELECT 'bench' AS dataset, '/' AS folder, {patient} AS patient,
    CASE WHEN i % 10 < 7 THEN 'female' ELSE 'male' END AS sex, (30 + i % 60)::INTEGER AS age,
    CASE WHEN i % 7 = 0 THEN 'breast_cancer' ELSE 'none' END AS diagnosis,
    CASE WHEN i % 7 = 0 THEN 'screen_detected' ELSE 'negative' END AS outcome
FROM range(?) AS r(i)
"""
_OTHER_NAMES = """
UPDATE {table} SET patient = given.name
FROM (SELECT unnest(?::VARCHAR[]) AS name, unnest(?::VARCHAR[]) AS old) AS given WHERE patient = given.old
"""
_NAME = "printf('%032x', {person} * 2654435761)"


def counting(setting: Setting) -> Iterator[Row]:
    """People who match four criteria; beside it, the scan of all images."""
    many, fewer = min(PATIENTS, setting.instances), min(PEOPLE_OF_LARGE, setting.instances)
    for patients, instances, limit in ((many, 0, 30.0), (fewer, setting.instances, 10.0)):
        name = f"count over {patients:,} patients" + (f" and {instances:,} instances" if instances else "")
        needed = MAX_GIB * instances / 60e6
        if shutil.disk_usage(setting.folder).free < needed * 2**30:
            goal = f"ours <= {limit:g}"
            yield skipped(name, unit="CPU-ms", goal=goal, reason=f"less than {needed:.0f} GiB free")
            continue
        folder = setting.folder / f"index-{patients}"
        folder.mkdir()
        _write_index(folder, patients=patients, instances=instances or patients)
        with Index.open(folder) as index:
            ours = _checked(lambda: cohort.count(index, QUERY), patients, setting.repetitions)
            scan = "SELECT count(DISTINCT patient) FROM instance WHERE modality = 'MG'"
            peer = _milliseconds(lambda: index.rows(scan), 1) if instances else None  # noqa: B023
        shutil.rmtree(folder)
        unit = "CPU-ms (peer: scanning the instances)" if instances else "CPU-ms"
        yield at_most(name, ours=ours, limit=limit, unit=unit, peer=peer)


def counting_through_consent(setting: Setting) -> Iterator[Row]:
    """The same count as an agent makes it: it looks whether consent changed, then counts who is admitted."""
    home = NodeHome.create(setting.folder / "consenting", site="bench", name="Benchmark", country="GR")
    registry = ConsentRegistry.of(home)
    patients = min(PATIENTS, setting.instances)
    people = [f"HOSP{number:06d}" for number in range(min(WITHDRAWN, patients // 2))]
    names = [registry.pseudonym(one) for one in people]
    _write_index(home.index_folder, patients=patients, instances=patients, first=names)
    in_part = people[::10]
    registry.withdraw(in_part, dataset="other")
    registry.withdraw(set(people) - set(in_part))
    views = AdmittedViews(home)

    def count() -> int:
        with views.open() as index:
            return cohort.count(index, QUERY)

    with Index.open(home.index_folder) as index:
        alone = _checked(lambda: cohort.count(index, QUERY), patients, setting.repetitions)
    yield at_most(
        f"count over {patients:,} patients through consent, {len(people):,} of whom withdrew",
        ours=_checked(count, patients, setting.repetitions),
        peer=alone,
        limit=30,
        unit="CPU-ms (peer: without consent)",
    )
    opened = AdmittedViews(home)
    yield for_information(
        "opening the view after a withdrawal", ours=_milliseconds(lambda: _opened(opened), 1), unit="CPU-ms"
    )
    shutil.rmtree(home.folder)


def _opened(views: AdmittedViews) -> bool:
    with views.open():
        return True


def _checked(count: Callable[[], int], patients: int, repetitions: int) -> float:
    if not 0 < count() < patients:
        raise SystemExit("the generated people do not spread over the criteria")
    return _milliseconds(count, repetitions)


def _milliseconds(action: Callable[[], Any], repetitions: int) -> float:
    spent = [timed(lambda: float(bool(action()))) for _ in range(repetitions)]
    return round(statistics.median(one.seconds for one in spent) * 1000, 3)


def _write_index(folder: Path, *, patients: int, instances: int, first: list[str] | None = None) -> None:
    """Write a published version: images and facts by range(), all else as every version gets it.

    `first` are names of the first people, who have images in two datasets.
    """
    each = max(1, instances // patients)
    person = f"(i // {each})"
    with duckdb.connect(folder / "v0001.duckdb", config={"threads": 2}) as connection:
        connection.execute(TABLES)
        connection.execute(_DATASETS)
        patient = _NAME.format(person=person)
        connection.execute(_IMAGES.format(patient=patient, person=person), [instances])
        connection.execute(_FACTS.format(patient=_NAME.format(person="i")), [patients])
        if first:
            _name_first(connection, first)
        _finish(connection, version=1, content="sha256:0")
    (folder / "CURRENT").write_text("v0001.duckdb\n")


def _name_first(connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
    old = [f"{number * 2654435761:032x}" for number in range(len(names))]
    for table in ("instance", "clinical"):
        connection.execute(_OTHER_NAMES.format(table=table), [names, old])
    connection.execute(_IN_ANOTHER, [names])
