"""The part of an ingest that touches files: scan, decode, copy, and a line in the ledger for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import time_ns
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import InvalidRequest
from unica_sdk.node.copies import Copied, CopyPool
from unica_sdk.node.deidentify import PROFILE
from unica_sdk.node.header import Header, HeaderScanner
from unica_sdk.node.imaging.filling import Filling
from unica_sdk.node.keys import SiteKey
from unica_sdk.node.ledger import Entry, Image, Ledger
from unica_sdk.node.pool import WorkerPool, size_for
from unica_sdk.node.rows import row_of
from unica_sdk.node.scan import Listed, Scanned, Skipped, Verdict
from unica_sdk.node.scanning import scan_all
from unica_sdk.node.store import Store

BATCHES_AHEAD = 2
"""Batches that are being copied while the next one is scanned."""

SETTLED_NS = 2_000_000_000
"""A file that was written so shortly before may change again within the same tick of its clock."""

Progress = Callable[[int, int], None]
"""Called with the number of files done so far and the number of all files."""


class Intake:
    """Takes files into a store and a ledger; use it in a `with` statement.

    Args:
        ledger: where each file gets its line, a batch at a time.
        store: where the de-identified copies go.
        key: the site's, and the file it is in, which the copying processes read themselves.
        key_file: that file.
        basis: what the ledger's lines hang on besides the files.
        filling: takes what was decoded at training resolution.
        size: how many processes decode and how many copy; each kind starts when there is work for it.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: Store,
        key: SiteKey,
        key_file: Path,
        basis: str,
        filling: Filling,
        size: int,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._key = key
        self._basis = basis
        self._filling = filling
        self._scanner = HeaderScanner()
        self._open = ExitStack()
        self._pixels = self._open.enter_context(WorkerPool(size=size))
        self._copies = self._open.enter_context(CopyPool(key_file=key_file, store=store, size=size))
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="unica-intake")

    def __enter__(self) -> Intake:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._open.close()

    def take(
        self,
        folder: Path,
        files: Sequence[Listed],
        *,
        workers: int | None,
        scheduler: str | None,
        progress: Progress,
        total: int,
    ) -> None:
        """Read files and record what became of each.

        Raises:
            DataError: the store or the ledger cannot be written.
            ConfigurationError, Unavailable: nothing can be read here, or on the cluster.
        """
        done = total - len(files)
        waiting: deque[list[Future[Entry]]] = deque()

        def settle() -> None:
            nonlocal done
            entries = []
            for future in waiting.popleft():
                entries.append(future.result())
                done += 1
                progress(done, total)
            # The copies first: a line in the ledger says that its copy is on the disk, and that nobody
            # need decode the file again.
            self._store.flush()
            self._filling.flush()
            self._ledger.record(entries, basis=self._basis)

        sizes = {file.path: file for file in files}
        for batch in scan_all(folder, files, workers=workers, scheduler=scheduler):
            waiting.append([self._threads.submit(self._entry, sizes[v.path], v) for v in batch])
            if len(waiting) > BATCHES_AHEAD:
                settle()
        while waiting:
            settle()

    def _entry(self, file: Listed, verdict: Verdict) -> Entry:
        if isinstance(verdict, Skipped):
            return _left_out(file, verdict)
        found = self._image(verdict)
        if isinstance(found, Skipped):
            return _left_out(file, found, sha256=verdict.fingerprint.sha256)
        whole = verdict.fingerprint
        return Entry(
            path=file.path,
            size=whole.size,
            modified=whole.modified if time_ns() - whole.modified > SETTLED_NS else -1,
            sha256=whole.sha256,
            findings=verdict.findings,
            image=found,
        )

    def _image(self, scanned: Scanned) -> Image | Skipped:
        decoded: Skipped | list[NDArray[np.float32]] = []
        if scanned.encoded:
            decoded = self._pixels.check(Path(scanned.path), shapes=self._filling.shapes)
        if isinstance(decoded, Skipped):
            return decoded
        content = f"{PROFILE}\0{scanned.fingerprint.sha256}"
        stamp = self._key.name("copy", content.encode())[:16]
        copied = self._copies.copy(scanned.path, scanned.fingerprint, stamp=stamp)
        if isinstance(copied, Skipped):
            return copied
        found = self._of_copy(copied, scanned)
        if isinstance(found, Image):
            self._filling.offer(found.row, decoded)
        return found

    def _of_copy(self, copied: Copied, scanned: Scanned) -> Image | Skipped:
        path = self._store.path(copied.copy)
        header = self._scanner.scan(path)
        if not isinstance(header, Header) or header.pixels is None:
            return Skipped(scanned.path, "deidentification", "its copy is no image")
        row = row_of(header, path="", sha256=copied.sha256)
        return Image(
            copy=copied.copy,
            copy_size=copied.size,
            birth=copied.birth,
            pixels=scanned.pixels,
            row=row,
            words=scanned.words,
        )


def _left_out(file: Listed, skipped: Skipped, *, sha256: str = "") -> Entry:
    return Entry(
        path=file.path,
        size=file.size,
        # A line that no file's time is equal to is read again next time.
        modified=-1 if skipped.passing or time_ns() - file.modified < SETTLED_NS else file.modified,
        sha256=sha256,
        reason=skipped.reason,
        detail=skipped.detail,
    )


def to_read(ledger: Ledger, store: Store, files: Sequence[Listed], *, basis: str) -> list[Listed]:
    """Return the files that the ledger does not know as they are, or whose copy is gone."""
    todo = {file.path: file for file in ledger.compare(files, basis=basis)}
    for file, copy, size in ledger.copies():
        if file.path not in todo and not store.there(copy, size):
            todo[file.path] = file
    return [todo[path] for path in sorted(todo)]


def processes_for(files: Sequence[Listed], workers: int | None) -> int:
    """Return how many processes decode, and how many copy."""
    if workers is not None and workers < 1:
        raise InvalidRequest("At least one worker has to do the work.", where="workers")
    return workers or size_for(len(files))
