"""The rows on a whole ingest: that no file is lost, and what it costs beside reading the files."""

from __future__ import annotations

import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from _harness import Row, at_most, for_information, skipped
from _setting import Setting, bundled

from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import IngestReport, ingest

T = TypeVar("T")

SMALL_FILES = 4000
"""Generated files of the ingest that is timed."""


def every_file_accounted(setting: Setting) -> Iterator[Row]:
    """Files that an ingest neither indexed nor put into quarantine with a reason."""
    for name, paths in (("pydicom's own files", bundled()), ("outside data", setting.outside())):
        title = f"files lost by an ingest, {name}"
        if not paths:
            yield skipped(title, unit="files", goal="ours <= 0", reason=setting.without_data())
            continue
        source = _copied(paths, setting.folder / "everything")
        home, report = _ingested(setting, source)
        lost = set(map(str, source.iterdir())) - {file.path for file in report.skipped if file.reason}
        with Index.open(home.index_folder) as index:
            ((indexed,),) = index.rows("SELECT count(*) FROM instance")
        reasons = Counter(file.reason for file in report.skipped)
        why = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        yield at_most(
            title,
            ours=abs(len(lost) - indexed),
            peer=len(paths),
            limit=0,
            unit=f"files (peer: all files; {indexed} indexed; in quarantine: {why or 'none'})",
        )
        shutil.rmtree(source)
        shutil.rmtree(home.folder)


def ingest_as_a_whole(setting: Setting) -> Iterator[Row]:
    """An ingest from nothing to a published version, beside a plain read of the same files."""
    small = _copied(setting.files[:SMALL_FILES], setting.folder / "small")
    large = _copied(setting.images(), setting.folder / "large")
    for name, source in (("generated files of 4 KiB", small), ("generated images of 512²", large)):
        paths = sorted(source.iterdir())
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        plain, _ = _seconds(lambda paths=paths: [path.read_bytes() for path in paths])
        before = time.perf_counter()
        cpu, (home, report) = _seconds(lambda source=source: _ingested(setting, source))
        wall = time.perf_counter() - before
        if report.indexed != len(paths):
            raise SystemExit("a generated file was not indexed")
        shutil.rmtree(home.folder)
        of = f"ingest of {len(paths):,} {name}"
        yield for_information(f"{of}, files", ours=round(len(paths) / cpu, 1), unit="files/CPU-s")
        yield for_information(f"{of}, by the clock", ours=round(len(paths) / wall, 1), unit="files/s")
        yield for_information(
            f"{of}, bytes of source",
            ours=round(megabytes / cpu, 2),
            peer=round(megabytes / max(plain, 1e-6), 2),
            unit="MB/CPU-s (peer: reading the files)",
        )
        shutil.rmtree(source)


def _ingested(setting: Setting, source: Path) -> tuple[NodeHome, IngestReport]:
    folder = setting.folder / f"node-of-{source.name}"
    home = NodeHome.create(folder, site="bench", name="Benchmark", country="GR")
    report = ingest(
        home, source, dataset="bench", title="Benchmark", description="Benchmark.", synthetic=False
    )
    return home, report


def _copied(paths: Sequence[Path], folder: Path) -> Path:
    """Copy files into a folder under names of their own: an ingest must not find what is beside them."""
    folder.mkdir()
    for number, path in enumerate(paths):
        shutil.copyfile(path, folder / f"{number:05d}-{path.name}")
    return folder


def _seconds(action: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU time of this process and of those that it started and waited for, and the result."""
    before = _spent()
    result = action()
    return _spent() - before, result


def _spent() -> float:
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in each)
