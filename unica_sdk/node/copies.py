"""De-identified copies, written by processes that hold the site key and may die of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.node.manifest import Fingerprint
from unica_sdk.node.pool import REQUEST_SECONDS, Worker
from unica_sdk.node.scan import Skipped
from unica_sdk.node.store import Store

MODULE = "unica_sdk.node.copy_worker"


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A copy in the store: its name there, its size and SHA-256, and a token of the date of birth."""

    copy: str
    size: int
    sha256: str
    birth: str


class CopyPool:
    """Processes that de-identify files into a store; use it in a `with` statement.

    Args:
        key_file: the site key, which the processes read themselves.
        store: where the copies go.
        size: how many processes.
        seconds: how long one file may take before its process is killed.
    """

    def __init__(self, *, key_file: Path, store: Store, size: int, seconds: float = REQUEST_SECONDS) -> None:
        self._fixed = {"key_file": str(key_file), "store": str(store.folder)}
        self._store = store
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        self._size = size
        for _ in range(size):
            self._idle.put(Worker(seconds, module=MODULE))

    def __enter__(self) -> CopyPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(self._size):
            self._idle.get().close()

    def copy(self, path: str, scanned: Fingerprint, *, stamp: str) -> Copied | Skipped:
        """De-identify one file into the store. May be called from several threads.

        Args:
            path: the hospital's file, which is only read.
            scanned: what it was when its header was looked at; another file is not copied.
            stamp: a name of its content, 16 hex digits.

        Raises:
            DataError: the store cannot be written.
            ConfigurationError: the processes cannot work here, whatever the file.
        """
        request = {**self._fixed, "path": path, "size": scanned.size, "modified": scanned.modified}
        worker = self._idle.get()
        try:
            header, _ = worker.ask({**request, "stamp": stamp})
        finally:
            self._idle.put(worker)
        if header["kind"] == "copied":
            self._store.path(header["copy"])
            return Copied(**{name: header[name] for name in ("copy", "size", "sha256", "birth")})
        if header["kind"] == "skipped":
            return Skipped(**header["fields"])
        if header["kind"] == "stopped":
            raise DataError(
                "The de-identified copies cannot be written; the version before stays.",
                where=str(self._store.folder),
                hint=f"{header['detail']}: make room, then run the ingest again; it goes on from here.",
            )
        if header["kind"] == "misconfigured":
            raise ConfigurationError(header["detail"], where=MODULE, hint=header["hint"])
        return Skipped(path, "deidentification", str(header["detail"]), passing=True)
