"""Finding and counting: how long a researcher waits for the catalogue and for the sites' answers.

    python benchmarks/catalogue.py [--json] [--only search|counts|many] [--repetitions 5]

Everything is real but where a name says otherwise: the gateway is its own process and is asked over its unix
socket by the client; the 12 nodes are agents with homes and small synthetic indexes, in threads of three
processes of this machine. Each question is another one, so that none is answered from memory. Other work on
the machine only adds to a time, so each figure is the best of the repetitions; the load is in the unit.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count as numbers
from pathlib import Path

from _harness import Row, arguments, at_most, report
from _network import TOKEN, Measured, fill, running

from unica_sdk.client.cohorts import Cohort
from unica_sdk.gateway.search import CatalogueSearch
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.search import DatasetSearch
from unica_sdk.schemas.vocabulary import VERSION

RECORDS, SITES = 10_000, 60
SEARCHES = 200
NODES, SIMULATED = 12, 100
COUNTS = 60
DEADLINE = 10.0
"""Seconds that a gateway waits for the slowest site."""

FIRST_ANSWER = """
import unica_sdk, sys, time
begin = time.perf_counter()
with unica_sdk.connect(sys.argv[1], token=sys.argv[2]) as net:
    repr(net.catalogue.search("mammograms"))
print(time.perf_counter() - begin)
"""


@dataclass
class Setting:
    """What the rows are measured on; `age` makes each question another one."""

    folder: Path
    repetitions: int
    _ages: Iterator[int] = field(default_factory=numbers)

    def cohort(self, network: Measured, sites: Sequence[str]) -> Cohort:
        """Return a cohort that nobody asked for before."""
        number = next(self._ages)
        ages = (number % 60, 61 + number // 60)
        return network.client.cohort(modality="MG", age=ages, sites=list(sites))


def search(setting: Setting) -> Iterator[Row]:
    """10,000 records: the first answer, and those after it."""
    records = _records()
    store = Store.open(f"sqlite:///{setting.folder}/catalogue.sqlite")
    fill(store, records)
    first = [
        _seconds(lambda: CatalogueSearch(store).find(DatasetSearch(text="mammograms")))
        for _ in range(setting.repetitions)
    ]
    store.close()
    yield at_most(
        f"search: index of {RECORDS:,} records made anew, first answer",
        ours=_best(first),
        limit=1,
        unit=_unit("s"),
    )
    with running(setting.folder / "search", records=records) as network:
        later = [_first_answer(network) for _ in range(setting.repetitions)]
        yield at_most(
            "search: a client's first answer after import", ours=_best(later), limit=1, unit=_unit("s")
        )
        searches = [_searches(network, seed) for seed in range(setting.repetitions)]
        for share in (50, 95):
            times = [1000 * _share(some, share) for some in searches]
            yield at_most(
                f"search: {RECORDS:,} records, p{share}", ours=_best(times), limit=20, unit=_unit("ms")
            )


def counts(setting: Setting) -> Iterator[Row]:
    """12 real nodes: all of them awake, and one asleep."""
    with running(setting.folder / "counts", real=NODES) as network:
        _count_all(setting, network, network.real, times=10)
        awake = [_count_all(setting, network, network.real, times=COUNTS) for _ in range(setting.repetitions)]
        for share, limit in ((50, 100), (95, 250)):
            times = [1000 * _share(some, share) for some in awake]
            yield at_most(
                f"count at {NODES} nodes, p{share}", ours=_best(times), limit=limit, unit=_unit("ms")
            )
        plain = _best([1000 * _share(some, 95) for some in awake])
        asleep = []
        for _ in range(setting.repetitions):
            with network.asleep("last node"):
                asleep.append(_count_others(setting, network, times=COUNTS // 2))
            _count_all(setting, network, network.real, times=2)  # it is awake again
        times = [1000 * _share(some, 95) for some in asleep]
        name = f"count at {NODES} nodes, one asleep: the others, p95 (peer: all awake)"
        yield at_most(name, ours=_best(times), limit=250, unit=_unit("ms"), peer=plain)
        with network.asleep("last node"):
            whole = _seconds(lambda: _with_one_offline(setting, network))
        name = "count, one asleep: offline at the deadline"
        yield at_most(name, ours=round(whole, 3), limit=DEADLINE + 0.5, unit=_unit("s"))


def many(setting: Setting) -> Iterator[Row]:
    """100 simulated nodes: the first time a question is asked, and again."""
    with running(setting.folder / "many", simulated=SIMULATED) as network:
        _count_all(setting, network, network.simulated, times=5)
        asked = [
            _count_all(setting, network, network.simulated, times=20) for _ in range(setting.repetitions)
        ]
        times = [1000 * _share(some, 50) for some in asked]
        name = f"count at {SIMULATED} simulated nodes, p50"
        yield at_most(name, ours=_best(times), limit=1000, unit=_unit("ms"))
        cohort = setting.cohort(network, network.simulated)
        cohort.count(stream=False)
        again = [_seconds(lambda: cohort.count(stream=_heard)) for _ in range(5 * setting.repetitions)]
        name = f"count at {SIMULATED} simulated nodes, asked again, p50"
        yield at_most(name, ours=round(1000 * _share(again, 50), 1), limit=100, unit=_unit("ms"))


def _records() -> dict[str, list[DatasetRecord]]:
    """Draw a catalogue: each record has a title, sixty words of description and its own keywords."""
    drawn = random.Random(1)  # noqa: S311 - of invented words
    words = [f"word{number}" for number in range(20_000)]
    found: dict[str, list[DatasetRecord]] = {f"c{number:02}": [] for number in range(SITES)}
    for number in range(RECORDS):
        site = f"c{number % SITES:02}"
        people = Released(site=site, n=800, low=780, high=820, index_version=1)
        found[site].append(
            DatasetRecord(
                id=f"{site}/dataset-{number:05}",
                site=site,
                title="Screening mammograms " + " ".join(drawn.choices(words, k=4)),
                description=" ".join(drawn.choices(words, k=60)) + " (SYNTHETIC)",
                keywords=tuple(drawn.choices(words[:500], k=6)),
                country=drawn.choice(["GR", "LT", "PT", "SI", "PL"]),
                synthetic=True,
                patients=people,
                studies=people,
                modalities=tuple(drawn.sample(["MG", "CT", "MR", "DX"], 2)),
                body_parts=("breast",),
                manufacturers=(drawn.choice(["acme", "bolt", "zeta"]),),
                conditions=("breast_cancer",),
                sexes=("female",),
                ages=None,
                tier=drawn.randint(1, 3),
                vocabulary=VERSION,
                index_version=1,
                issued=datetime.now(UTC),
            )
        )
    return found


def _searches(network: Measured, seed: int) -> list[float]:
    """Search as a person does who types and ticks; each answer is a page with all facets."""
    drawn = random.Random(seed)  # noqa: S311 - of invented words
    times = []
    for _ in range(SEARCHES):
        text = drawn.choice(["", "m", "mammo", "screening", "wo", "c1", f"word{drawn.randint(0, 20_000)}"])
        modality = drawn.choice([None, "MG", ["CT", "MR"]])
        tier, country = drawn.choice([None, 2, (1, 3)]), drawn.choice([None, "GR", ["LT", "PL"]])
        found = network.client.catalogue.search(text, modality=modality, tier=tier, country=country)
        times.append(_seconds(lambda found=found: len(found)))  # type: ignore[misc]
    return times


def _first_answer(network: Measured) -> float:
    command = [sys.executable, "-c", FIRST_ANSWER, network.address, TOKEN]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603


def _count_all(setting: Setting, network: Measured, sites: Sequence[str], *, times: int) -> list[float]:
    """Count as a notebook does, and check that every site answered."""
    spent = []
    for _ in range(times):
        cohort = setting.cohort(network, sites)
        begin = time.perf_counter()
        count = cohort.count(stream=_heard)
        spent.append(time.perf_counter() - begin)
        if not all(isinstance(answer, Released | Suppressed) for answer in count.answers):
            raise SystemExit(f"a site did not answer: {count}")
    return spent


def _count_others(setting: Setting, network: Measured, *, times: int) -> list[float]:
    """Count until all but one site have answered, then leave."""
    spent = []
    for _ in range(times):
        cohort = setting.cohort(network, network.real)
        begin = time.perf_counter()
        with closing(cohort.answers()) as answers:
            for _ in range(NODES - 1):
                if next(answers).site == network.real[-1]:
                    raise SystemExit("the site that sleeps has answered")
            spent.append(time.perf_counter() - begin)
    return spent


def _with_one_offline(setting: Setting, network: Measured) -> None:
    count = setting.cohort(network, network.real).count(stream=_heard)
    if [answer.site for answer in count.answers if answer.status == "offline"] != [network.real[-1]]:
        raise SystemExit(f"one site should be offline: {count}")


def _heard(count: object) -> None:
    """Take what is known so far, as a notebook that shows it only after a while."""


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _share(times: Sequence[float], share: int) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]


def _best(times: Sequence[float]) -> float:
    return round(min(times), 3)


def _unit(unit: str) -> str:
    return f"{unit} (load {os.getloadavg()[0]:.1f})"


ROWS: tuple[Callable[[Setting], Iterator[Row]], ...] = (search, counts, many)


def main() -> int:
    """Measure all rows, or those of the functions whose name `--only` is part of."""
    options = arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory(prefix="unica-bench-") as name:
        setting = Setting(folder=Path(name), repetitions=options.repetitions)
        rows = []
        for measure in ROWS:
            if options.only in measure.__name__:
                (setting.folder / measure.__name__).mkdir()
                rows += measure(setting)
    return report(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
