"""The node's imaging path against its peers: one row for each figure, each a ratio measured in this run.

    python benchmarks/node.py [--json] [--data DIR] [--peers-python PEERS/bin/python]

What each row means, and how to install the peers that have an environment of their own: docs/benchmarks.md.
The files that are timed are synthetic and written to a temporary folder; pydicom's own files and DIR's are in
the rows that say so.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
from _collection import write_collection
from _counting import counting, counting_through_consent
from _deidentification import canaries, files_deidentified, headers_deidentified
from _harness import Contest, PeerProcess, Row, Spent, arguments, at_most, report, skipped, timed
from _imaging import images_in_batches, opening
from _ingest import every_file_accounted, ingest_as_a_whole
from _setting import Setting, bundled

from unica_sdk.node.header import Header, HeaderScanner
from unica_sdk.node.header_values import WANTED, Unconvertible, plain
from unica_sdk.node.manifest import fingerprint

KEYWORDS = tuple(WANTED.values())
HEADER_SHARE = 10
"""pydicom reads every tenth file in a turn: it would need a minute for all."""


def _pydicom_values(path: Path) -> list[Any]:
    """Read and convert the same elements as ours, asked for by keyword, as of every peer."""
    get = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(WANTED)).get
    return [get(keyword) for keyword in KEYWORDS]


def _ours(setting: Setting) -> Callable[[], Spent]:
    scanner = HeaderScanner()
    paths = [str(path) for path in setting.files]

    def scan() -> float:
        for path in paths:
            if not isinstance(scanner.scan(path), Header):
                raise SystemExit(f"not read: {path}")
        return len(paths)

    return lambda: timed(scan)


def headers_against_pydicom(setting: Setting) -> Iterator[Row]:
    """Headers with their values, against pydicom's reading of the same elements."""
    sample = setting.files[::HEADER_SHARE]

    def read() -> float:
        for path in sample:
            _pydicom_values(path)
        return len(sample)

    yield Contest(
        name="header scan against pydicom",
        unit="files/CPU-s",
        goal=20,
        ours=_ours(setting),
        peer=lambda: timed(read),
    ).row(repetitions=setting.repetitions)


def headers_against_fastdicom(setting: Setting) -> Iterator[Row]:
    """Headers with their values, against fastdicom's in Rust."""
    listing = setting.folder / "listing.txt"
    listing.write_text("\n".join(map(str, setting.files)))
    yield Contest(
        name="header scan against fastdicom",
        unit="files/CPU-s",
        goal=1.3,
        ours=_ours(setting),
        peer=lambda: setting.peers.spend("fastdicom_headers", listing=str(listing), keywords=list(KEYWORDS)),
    ).row(repetitions=setting.repetitions)


def hashing(setting: Setting) -> Iterator[Row]:
    """SHA-256 of files as small as a header and as large as a mammogram, against hashlib alone."""
    large = setting.folder / "large.bin"
    large.write_bytes(bytes(range(256)) * (1 << 18))
    for name, paths, unit in (
        ("hashing small files against hashlib", setting.files[:4000], "files/CPU-s"),
        ("hashing large files against hashlib", (large,) * 4, "files/CPU-s"),
    ):
        yield Contest(
            name=name,
            unit=unit,
            goal=round(1 / 1.2, 3),
            ours=lambda paths=paths: timed(lambda: sum(fingerprint(path).size > 0 for path in paths)),
            peer=lambda paths=paths: timed(lambda: sum(_digest(path) != "" for path in paths)),
        ).row(repetitions=setting.repetitions)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def agreement(setting: Setting) -> Iterator[Row]:
    """Files whose values differ from pydicom's, over all that our scanner accepts."""
    yield _agreement("values unlike pydicom's, its own files", bundled())
    name = "values unlike pydicom's, outside data"
    if outside := setting.outside():
        yield _agreement(name, outside)
    else:
        yield skipped(name, unit="files", goal="ours <= 0", reason=setting.without_data())
    yield _agreement("values unlike pydicom's, generated files", list(setting.files[:2000]))


def _agreement(name: str, paths: list[Path]) -> Row:
    scanner = HeaderScanner()
    headers = [(path, scanner.scan(path)) for path in paths]
    accepted = [(path, header) for path, header in headers if isinstance(header, Header)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unlike = sum(
            repr(_expected(path)) != repr(dict(sorted(header.values.items()))) for path, header in accepted
        )
    return at_most(name, ours=unlike, peer=len(accepted), limit=0, unit="files (peer: files compared)")


def _expected(path: Path) -> dict[str, Any]:
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(WANTED))
    found: dict[str, Any] = {}
    for tag, keyword in WANTED.items():
        try:
            if tag in dataset:
                found[keyword] = plain(dataset[tag].value)
        except (Unconvertible, ValueError, NotImplementedError):
            continue  # ours lists it as malformed
    return dict(sorted(found.items()))


ROWS: tuple[Callable[[Setting], Iterator[Row]], ...] = (
    headers_against_pydicom,
    headers_against_fastdicom,
    hashing,
    agreement,
    headers_deidentified,
    files_deidentified,
    canaries,
    every_file_accounted,
    ingest_as_a_whole,
    images_in_batches,
    opening,
    counting,
    counting_through_consent,
)


def main() -> int:
    """Measure all rows, or those of the functions whose name `--only` is part of."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--files", type=int, default=20_000, help="synthetic files to write and read")
    parser.add_argument("--instances", type=int, default=60_000_000, help="rows of the large index")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="unica-bench-") as name,
        PeerProcess(options.peers_python) as peers,
    ):
        folder = Path(name)
        setting = Setting(
            folder=folder,
            files=tuple(write_collection(folder / "collection", files=options.files)),
            data=options.data and Path(options.data),
            peers=peers,
            repetitions=options.repetitions,
            instances=options.instances,
        )
        rows = [row for measure in ROWS if options.only in measure.__name__ for row in measure(setting)]
    return report(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
