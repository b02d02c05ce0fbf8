"""The rows on de-identification against dicom-anonymizer: headers in memory, files to files, canaries.

The peer runs in this process: it is installed here for its table, and both sides apply one edition of it. It
is given its rules ready made, and leaves out what it cannot do: pseudonyms, dates that keep their distance,
descriptors, items of sequences, markers.

From file to file both sides read a file and write another, pixels included. Files that one of the two refuses
are left out; the row says how many of how many are in it. What the node's copying process does besides (its
name, a token, a digest) is timed for information, against the peer and a digest of what it wrote.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from _canaries import LEVELS, as_file, planted, retained, survivors
from _harness import Contest, Row, Spent, at_most, skipped, timed
from _setting import Setting, bundled
from dicomanonymizer import simpledicomanonymizer as peer
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from unica_sdk.node import copy_worker
from unica_sdk.node.deidentify import Engine
from unica_sdk.node.deidentify.encoding import encoded
from unica_sdk.node.deidentify.table import EDITION

GOAL = 3
HEADERS, SMALL_FILES = 200, 400
"""Generated files of a turn: pydicom would need a minute for all."""

_KEY = bytes(range(32))
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def headers_deidentified(setting: Setting) -> Iterator[Row]:
    """Headers of generated files in memory, freshly read for each side."""
    contents = [path.read_bytes() for path in setting.files[:HEADERS]]
    ours = Engine(_KEY).deidentify

    def side(work: Callable[[Dataset], Any]) -> Spent:
        datasets = [dcmread(io.BytesIO(content), stop_before_pixels=True) for content in contents]
        return timed(lambda: _each(work, datasets))

    yield Contest(
        name="de-identify headers in memory against dicom-anonymizer",
        unit="headers/CPU-s",
        goal=GOAL,
        ours=lambda: side(ours),
        peer=lambda: side(_anonymize),
    ).row(repetitions=setting.repetitions)


def files_deidentified(setting: Setting) -> Iterator[Row]:
    """Read, de-identify and write whole files; outside data also with a digest of what was written."""
    outside = setting.outside()
    by_size = sorted(outside, key=lambda path: path.stat().st_size, reverse=True)
    for name, paths, most in (
        ("generated files", setting.files[:SMALL_FILES], None),
        ("generated files of 512²", setting.images()[:SMALL_FILES], None),
        ("pydicom's own files", bundled(), None),
        ("outside data", outside, None),
        ("the largest image of outside data", by_size, 1),
    ):
        title, goal = f"de-identify file to file, {name}", f"ratio >= {GOAL}"
        if not paths:
            yield skipped(title, unit="files/CPU-s", goal=goal, reason=setting.without_data())
            continue
        with _Copying(setting.folder / "copying") as copying:
            taken = list(islice(filter(copying.takes, paths), most))
            size = f"{sum(path.stat().st_size for path in taken) / 1e6:.1f} MB with their pixels"
            contest = Contest(
                name=title,
                unit=f"files/CPU-s ({len(taken)} of {len(paths)} files, {size})",
                goal=GOAL,
                ours=partial(copying.turn, copying.ours, taken),
                peer=partial(copying.turn, copying.peer, taken),
            )
            yield contest.row(repetitions=setting.repetitions)
            if "outside" in name:
                yield replace(
                    contest,
                    name=f"{title}, with a digest",
                    goal=None,
                    ours=partial(copying.turn, copying.ours_with_digest, taken),
                    peer=partial(copying.turn, copying.peer_with_digest, taken),
                ).row(repetitions=setting.repetitions)


class _Copying:
    """Both ways from a file to a de-identified file, into a folder that is emptied between turns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = folder / "store"
        self._engine = Engine(_KEY)

    def __enter__(self) -> _Copying:
        self._store.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def ours(self, path: Path, number: int) -> bool:
        """Read, de-identify and write as the copying process does."""
        pieces = encoded(copy_worker.cleaned(self._engine, dcmread(path)))
        with self._target(number).open("wb") as file:
            file.writelines(pieces)
        return True

    def peer(self, path: Path, number: int) -> bool:
        """Let dicom-anonymizer do the same."""
        peer.anonymize_dicom_file(str(path), str(self._target(number)), base_rules_gen=_rules)
        return True

    def ours_with_digest(self, path: Path, number: int) -> bool:
        """Do the same, and hash what is written, as the copying process does."""
        digest = hashlib.sha256()
        with self._target(number).open("wb") as file:
            for piece in encoded(copy_worker.cleaned(self._engine, dcmread(path))):
                file.write(piece)
                digest.update(piece)
        return bool(digest.digest())

    def peer_with_digest(self, path: Path, number: int) -> bool:
        """Let dicom-anonymizer do it, and hash what it wrote."""
        self.peer(path, number)
        with self._target(number).open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").digest())

    def _target(self, number: int) -> Path:
        return self._store / f"{number:016x}.dcm"

    def takes(self, path: Path) -> bool:
        """Whether both sides take a file."""
        try:
            with _quiet():
                return self.ours(path, 0) and self.peer(path, 0)
        except Exception:
            return False  # the peer raises whatever pydicom does, and its own of what it does not know

    def turn(self, side: Callable[[Path, int], bool], paths: Sequence[Path]) -> Spent:
        """Take all files once."""
        shutil.rmtree(self._store)
        self._store.mkdir()
        with _quiet():
            return timed(lambda: sum(side(path, number) for number, path in enumerate(paths)))


def canaries(setting: Setting) -> Iterator[Row]:
    """Plants of every attribute of Table E.1-1 that are left, but for what the chosen options retain."""
    ours = Engine(_KEY).deidentify
    left, theirs, plants = 0, 0, 0
    with _quiet():
        for syntax in _SYNTAXES:
            for lawful in (True, False):
                content = as_file(planted(lawful=lawful), syntax)
                plants += len(survivors(dcmread(io.BytesIO(content))))
                left += _left(ours, content)
                theirs += _left(_anonymize, content)
    where = f"{plants:,} planted at {LEVELS + 1} levels in {len(_SYNTAXES)} syntaxes"
    listed = f"{len(retained())} attributes, listed in docs/de-identification.md"
    yield at_most(
        "canaries that survive, besides what the options retain",
        ours=left,
        peer=theirs,
        limit=0,
        unit=f"of {where} (peer: dicom-anonymizer; retained: {listed})",
    )


def _left(work: Callable[[Dataset], Any], content: bytes) -> int:
    dataset = dcmread(io.BytesIO(content))
    dataset = work(dataset) or dataset
    out = io.BytesIO()
    dcmwrite(out, dataset)
    found = survivors(dcmread(io.BytesIO(out.getvalue()), force=True))
    beside = {(level, word) for level, word in found if word not in retained()}
    # One more where a text is left in no attribute: in the preamble, the file meta, behind a sequence's end.
    return len(beside) or int(b"CANARY" in out.getvalue())


def _anonymize(dataset: Dataset) -> None:
    peer.anonymize_dataset(dataset, base_rules_gen=_rules)


@cache
def _rules() -> dict[Any, Any]:
    return dict(peer.initialize_actions(f"dicomfields_{EDITION}"))


def _each(work: Callable[[Dataset], Any], datasets: list[Dataset]) -> float:
    for dataset in datasets:
        work(dataset)
    return len(datasets)


@contextmanager
def _quiet() -> Iterator[None]:
    """Both sides warn of every oddity, and the peer prints."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
