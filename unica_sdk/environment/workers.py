"""A process of a few threads that ends when it is told to, or when one of them ends by itself."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

_log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""How long the threads have to return once they are told to stop."""


def run_until_stopped(workers: dict[str, Callable[[threading.Event], None]]) -> int:
    """Run each worker in a thread of its own until SIGTERM or SIGINT, and return the exit code.

    A worker that returns or raises before it was told to stop ends the process with code 1: whoever
    supervises it starts it again.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        # no lock is taken here: the main thread may hold it
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    stop, failed = threading.Event(), threading.Event()
    threads = [
        threading.Thread(target=_run, args=(name, worker, stop, failed), name=name, daemon=True)
        for name, worker in workers.items()
    ]
    for thread in threads:
        thread.start()
    while not asked and all(thread.is_alive() for thread in threads):
        time.sleep(0.2)
    stop.set()
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return 0 if asked and not failed.is_set() else 1


def _run(
    name: str,
    worker: Callable[[threading.Event], None],
    stop: threading.Event,
    failed: threading.Event,
) -> None:
    try:
        worker(stop)
    except Exception:
        # the end of this thread's stack: the process ends with code 1, and the log says why
        _log.exception("%s ended", name)
        failed.set()
