"""A few worker processes that read DICOM, replaced when a file kills one.

Two kinds: `WorkerPool` decodes pixels and holds no secret; `CopyPool` (`copies`) holds the site key and
decodes nothing, so that no codec ever runs beside the key.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import ConfigurationError
from unica_sdk.node.scan import Skipped
from unica_sdk.node.worker import FRAME, READY

REQUEST_SECONDS = 120.0
"""The longest that one file may take."""

START_SECONDS = 120.0
"""The longest that a worker may take to load its codecs on a busy machine."""

_FILES_PER_WORKER = 128
"""Starting a process costs as much as reading more than a hundred small files."""

MAX_REPLY = 2**28
"""Bytes of a reply: the largest mammograms have 30 million pixels."""

_DECODED = frozenset(("|u1", "|i1", "<u2", "<i2", "<f4"))
"""What `decode` may answer with."""


def size_for(files: int) -> int:
    """Return how many processes are worth starting for so many files.

    Example:
        >>> size_for(3)
        1
    """
    return max(1, min(4, os.cpu_count() or 1, files // _FILES_PER_WORKER))


@dataclass(frozen=True)
class Failed:
    """A file whose image could not be prepared, and why."""

    path: str
    detail: str


class WorkerPool:
    """Worker processes behind threads that wait for them; use it in a `with` statement.

    Args:
        size: How many processes; by default one per core, four at most. See `size_for`.
        seconds: How long one file may take before its worker is killed.

    Example:
        >>> import tempfile
        >>> note = Path(tempfile.mkdtemp()) / "note.txt"
        >>> _ = note.write_text("not an image")
        >>> with WorkerPool(size=1) as pool:
        ...     pool.check(note).reason
        'undecodable'
    """

    def __init__(self, *, size: int | None = None, seconds: float = REQUEST_SECONDS) -> None:
        self._size = size or min(4, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="unica-dicom")
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(self._size):
            self._idle.put(Worker(seconds))

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._size):
            self._idle.get().close()

    def check(
        self, path: Path, *, shapes: Sequence[tuple[int, int]] = ()
    ) -> Skipped | list[NDArray[np.float32]]:
        """Decode a file's first frame, once; return why it cannot be, or the image at each shape.

        There are no images where the file's modality is not one whose case is an image, or it is not grey;
        see `prepare` for what they are. May be called from several threads.
        """
        header, payload = self._ask({"do": "check", "path": str(path), "shapes": shapes})
        if header["kind"] == "good":
            return _images(payload, shapes) if header["images"] == len(shapes) else []
        if header["kind"] == "skipped":
            return Skipped(**header["fields"])
        return Skipped(str(path), "undecodable", str(header["detail"]), passing=True)

    def prepare(
        self,
        paths: Iterable[Path],
        *,
        rows: int,
        columns: int,
        window: tuple[float, float] | None = None,
    ) -> Iterator[NDArray[np.float32] | Failed]:
        """Yield each file's image as (rows, columns) float32, or why there is none, in order.

        `window` is a centre and a width in modality units; without one, percentiles set the scale.
        """
        request = {"do": "prepare", "rows": rows, "columns": columns, "window": window}
        return self._threads.map(lambda path: self._prepare(path, request), paths)

    def decode(self, paths: Iterable[Path]) -> Iterator[NDArray[np.generic] | Failed]:
        """Yield each file's modality values as (rows, columns), or why there are none, in order.

        At most 16-bit integers where the modality LUT changes nothing, float32 where it does.
        """
        return self._threads.map(self._decode, paths)

    def _prepare(self, path: Path, request: dict[str, Any]) -> NDArray[np.float32] | Failed:
        rows, columns = request["rows"], request["columns"]
        header, payload = self._ask({**request, "path": str(path)})
        if header["kind"] != "image" or len(payload) != rows * columns * 4:
            return Failed(str(path), str(header.get("detail", "a reply of the wrong size")))
        return np.frombuffer(payload, dtype=np.float32).reshape(rows, columns)

    def _decode(self, path: Path) -> NDArray[np.generic] | Failed:
        header, payload = self._ask({"do": "decode", "path": str(path)})
        shape, kind = header.get("shape", ()), header.get("dtype")
        if header["kind"] != "values" or kind not in _DECODED or len(shape) != 2:
            return Failed(str(path), str(header.get("detail", "a reply of the wrong kind")))
        if len(payload) != np.dtype(kind).itemsize * shape[0] * shape[1]:
            return Failed(str(path), "a reply of the wrong size")
        return np.frombuffer(payload, dtype=kind).reshape(shape)

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        worker = self._idle.get()
        try:
            return worker.ask(request)
        finally:
            self._idle.put(worker)


def _images(payload: bytes, shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.float32]]:
    """Return the images of a reply; none where it is of the wrong size."""
    sizes = [rows * columns for rows, columns in shapes]
    if len(payload) != sum(sizes) * 4:
        return []
    values = np.split(np.frombuffer(payload, np.float32), np.cumsum(sizes)[:-1]) if sizes else []
    return [image.reshape(shape) for image, shape in zip(values, shapes, strict=True)]


class Worker:
    """One process, started at its first request and again after it died.

    Args:
        seconds: How long one request may take before the process is killed.
        module: What it runs; it answers requests as `worker.serve` does.
    """

    def __init__(self, seconds: float, *, module: str = "unica_sdk.node.worker") -> None:
        self._seconds = seconds
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a request: a header, and the bytes after it.

        Raises:
            ConfigurationError: the process does not start, whatever the request.
        """
        try:
            process = self._process or self._start()
            assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            return _reply(process, time.monotonic() + self._seconds)
        except TimeoutError:
            self.close()
            return {"kind": "failed", "detail": f"took longer than {self._seconds:g} s"}, b""
        except (EOFError, OSError, ValueError):
            self.close()
            return {"kind": "failed", "detail": "the reading process died"}, b""

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        # Leaving the context closes the pipes and waits for the process.
        with process:
            pass

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603 - one of our own modules
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A codec's complaints may quote a file; the reply's fixed reason is what is kept.
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            header, _ = _reply(self._process, time.monotonic() + START_SECONDS)
        except (OSError, EOFError, ValueError) as err:
            self.close()
            # Not the file's fault: to skip them all for this would empty the index.
            raise ConfigurationError(
                "The process that reads images does not start.",
                where=self._module,
                hint=f"Run `python -m {self._module} </dev/null` to see why.",
            ) from err
        if header != READY:
            raise ConfigurationError("The process that reads images is of another version.")
        return self._process


def _environment() -> dict[str, str]:
    """What a worker needs to find its code, and none of the node's secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LC_ALL") if name in os.environ}
    # A worker is one of several already: its numeric libraries stay on one core each.
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def _reply(process: subprocess.Popen[bytes], deadline: float) -> tuple[dict[str, Any], bytes]:
    """Return one framed reply: its header, and the bytes after it."""
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    output = process.stdout.fileno()
    head, body = FRAME.unpack(_read(output, FRAME.size, deadline))
    if head > MAX_REPLY or body > MAX_REPLY:
        raise EOFError("a reply beyond all bounds")
    header: dict[str, Any] = json.loads(_read(output, head, deadline))
    return header, _read(output, body, deadline)


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    """Return exactly `size` bytes.

    Raises:
        TimeoutError: they did not come in time.
        EOFError: the process closed its end before.
    """
    parts: list[bytes] = []
    while size > 0:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        part = os.read(descriptor, size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
