"""Two ways to run an app's code: a forked process for each message, or a thread where nothing is isolated."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from unica_sdk.federation import bundle
from unica_sdk.federation.packing import MAXIMUM_BYTES
from unica_sdk.federation.site import child, wire
from unica_sdk.federation.site.work import Abandoned, AppFault, Outcome, Work, call, load
from unica_sdk.schemas.job import FailureCode

CHECK_SECONDS = 1.0
"""How often it is looked whether the answer is still wanted, and whether the time is up."""


class ForkExecutor:
    """A fresh process for every message, forked from a warm one that never ran app code.

    The warm process is started on first use or by `warm`; it imports `preload` so that a child need not.
    Modules named there that are not installed are left out.
    """

    def __init__(self, apps: Path, *, preload: Iterable[str] = ()) -> None:
        self._apps = apps
        self._preload = ["numpy", "flwr.clientapp", child.__name__, *preload]
        self._context = get_context("forkserver")

    def warm(self) -> None:
        """Start the warm process; call it once, early."""
        self._context.set_forkserver_preload(self._preload)
        first = self._context.Process(target=os.getpid)
        first.start()
        first.join()

    def __call__(self, work: Work, *, wanted: Callable[[], bool]) -> Outcome:
        """Run the app on one piece of work in a child; see `Executor`."""
        folder = bundle.unpack(work.bundle, self._apps)
        here, there = self._context.Pipe()
        process: ForkServerProcess = self._context.Process(target=child.main, args=(there,), daemon=True)
        process.start()
        there.close()
        with contextlib.closing(here), _Guard(process, work.seconds, wanted) as guard:
            try:
                here.send_bytes(wire.pack_work(work, folder))
                return wire.unpack_outcome(here.recv_bytes(MAXIMUM_BYTES))
            except (EOFError, OSError) as err:
                raise guard.verdict() from err


class _Guard:
    """Ends a child when its time is up or nobody wants its answer, and always when the block ends."""

    def __init__(self, process: BaseProcess, seconds: float, wanted: Callable[[], bool]) -> None:
        self._process, self._seconds, self._wanted = process, seconds, wanted
        self._done = threading.Event()
        self._verdict: AppFault | Abandoned = AppFault(FailureCode.APP_CRASHED, "the child process died")
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Guard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._kill()
        self._process.join(5)
        self._thread.join()

    def verdict(self) -> AppFault | Abandoned:
        """Return why the pipe closed."""
        return self._verdict

    def _watch(self) -> None:
        end = time.monotonic() + self._seconds
        while not self._done.wait(min(CHECK_SECONDS, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                self._verdict = AppFault(FailureCode.APP_TIMEOUT, f"{self._seconds:.0f} s were used up")
            elif not self._wanted():
                self._verdict = Abandoned()
            else:
                continue
            self._kill()
            return

    def _kill(self) -> None:
        # The group is the child's own from its first line on; before that there is only the process.
        if self._process.pid is None or self._process.exitcode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()


class ThreadExecutor:
    """A thread of this process, one message at a time: for LocalNetwork, where nothing is isolated.

    One at a time, because apps seed generators that all threads share. A thread cannot be ended: one whose
    time is up is left behind and its answer dropped.
    """

    def __init__(self, apps: Callable[[], Path]) -> None:
        self._apps = apps
        self._turn = threading.Lock()
        self._loaded: dict[str, Any] = {}

    def __call__(self, work: Work, *, wanted: Callable[[], bool]) -> Outcome:
        """Run the app on one piece of work in a thread; see `Executor`."""
        with self._turn:
            if not wanted():
                raise Abandoned
            answer: Future[Outcome] = Future()
            threading.Thread(target=self._answer, args=(work, answer), daemon=True, name="unica-app").start()
            end = time.monotonic() + work.seconds
            while True:
                try:
                    return answer.result(min(CHECK_SECONDS, max(0.001, end - time.monotonic())))
                except TimeoutError as err:
                    if answer.done():
                        continue
                    if time.monotonic() >= end:
                        raise AppFault(FailureCode.APP_TIMEOUT, f"{work.seconds:.0f} s were used up") from err
                    if not wanted():
                        raise Abandoned from err

    def _answer(self, work: Work, answer: Future[Outcome]) -> None:
        try:
            answer.set_result(call(self._app(work), work))
        except AppFault as fault:
            answer.set_exception(fault)
        except BaseException as error:
            raised = AppFault(FailureCode.APP_FAILED, f"{type(error).__name__}: {error}")
            raised.__cause__ = error
            answer.set_exception(raised)

    def _app(self, work: Work) -> Any:
        if work.bundle.id not in self._loaded:
            folder = bundle.unpack(work.bundle, self._apps())
            self._loaded[work.bundle.id] = load(folder, work.bundle.entry)
        return self._loaded[work.bundle.id]
