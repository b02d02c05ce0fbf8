"""The coordinator: takes server tasks, runs each in a process of ours, and enrols sites' keys."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from unica_sdk.errors import ConfigurationError, Unavailable
from unica_sdk.federation import adapter
from unica_sdk.federation.hub import superlink as engine_process
from unica_sdk.federation.hub import task
from unica_sdk.federation.hub.link import GatewayLink
from unica_sdk.schemas.job import Failure, FailureCode, JobState, JobUpdate

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
IDLE_POLL_SECONDS = 1.0
HOT_SECONDS = 60.0
ENROL_SECONDS = 2.0


def run_coordinator(
    *, superlink: str, engine: Path, gateway: str, gateway_secret: Path, stop: threading.Event
) -> None:
    """Coordinate until `stop` is set; the engine and the gateway may come and go meanwhile.

    Args:
        superlink: host and port of the engine.
        engine: the engine's folder, for its certificate and its secret.
        gateway: the engine face of the gateway, `unix:///path` or `http://127.0.0.1:port`.
        gateway_secret: a file with the engine face's secret, as text.
        stop: set it from another thread or a signal handler.

    Raises:
        ConfigurationError: a secret is missing, or the engine does not accept it.
    """
    hub = _hub(superlink, engine, gateway, gateway_secret)
    said = ""
    with _Coordinator(hub) as coordinator:
        while not stop.is_set():
            try:
                pause, problem = coordinator.step(), ""
            except Unavailable as err:
                pause, problem = IDLE_POLL_SECONDS, str(err)
            if problem != said:
                # Said once: a gateway that is down for a night must not fill the log.
                log.info("waiting: %s", problem) if problem else log.info("going on")
                said = problem
            stop.wait(pause)


class _Coordinator:
    def __init__(self, hub: task.Hub) -> None:
        self._hub = hub
        self._queue = adapter.TaskQueue(hub.superlink, hub.certificate, hub.secret)
        self._gateway = GatewayLink(hub.gateway, hub.gateway_secret)
        self._context = get_context("forkserver")
        self._children: dict[int, BaseProcess] = {}
        self._known: set[bytes] = set()
        self._hot = self._enrolled = -HOT_SECONDS
        self._swept = False

    def __enter__(self) -> _Coordinator:
        self._context.set_forkserver_preload([task.__name__])
        first = self._context.Process(target=os.getpid)
        first.start()
        first.join()
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.join(5)
        self._queue.close()

    def step(self) -> float:
        """Do what there is to do and return after how many seconds to look again."""
        now = time.monotonic()
        if not self._swept:
            self._sweep()
        self._reap()
        if now - self._enrolled > ENROL_SECONDS:
            self._enrol()
            self._enrolled = now
        try:
            claim = self._queue.take()
        except adapter.EngineRefused as err:
            raise ConfigurationError(
                "The engine does not accept the coordinator's secret.",
                where=self._hub.superlink,
                hint="Another engine may be listening there: see `unica status`.",
            ) from err
        if claim is not None:
            child = self._context.Process(target=task.run_task, args=(self._hub, claim.token), daemon=True)
            child.start()
            self._children[claim.run] = child
            self._hot = now
        return POLL_SECONDS if self._children or now - self._hot < HOT_SECONDS else IDLE_POLL_SECONDS

    def _enrol(self) -> None:
        """Register the enrolled sites' keys with the engine; the engine admits no other site."""
        for node in self._gateway.nodes():
            try:
                key = adapter.engine_key(node.engine_key)
            except ValueError:
                log.warning("%s is enrolled with an unusable engine key", node.site)
                continue
            if key not in self._known:
                with self._control() as control:
                    control.register(key, node.site)
                self._known.add(key)

    def _reap(self) -> None:
        for run, child in list(self._children.items()):
            if child.exitcode is None:
                continue
            del self._children[run]
            if child.exitcode != 0:
                log.error("the process of run %s ended with %s", run, child.exitcode)
                self._abandon({run})

    def _sweep(self) -> None:
        """End what an earlier coordinator left behind: those runs have nobody any more."""
        with self._control() as control:
            left = {run.id for run in control.runs() if run.begun and not run.finished}
        self._abandon(left)
        self._swept = True

    def _abandon(self, runs: set[int]) -> None:
        with self._control() as control:
            for run in control.runs():
                if run.id in runs:
                    if run.job:
                        self._gateway.report(run.job, _engine_failed())
                    control.stop(run.id)

    @contextmanager
    def _control(self) -> Iterator[adapter.Control]:
        with adapter.Control(self._hub.superlink, self._hub.certificate) as control:
            yield control


def _engine_failed() -> JobUpdate:
    return JobUpdate(
        text="The engine failed.", state=JobState.FAILED, failure=Failure(code=FailureCode.ENGINE)
    )


def _hub(superlink: str, engine: Path, gateway: str, gateway_secret: Path) -> task.Hub:
    try:
        return task.Hub(
            superlink=superlink,
            certificate=(engine / engine_process.CERTIFICATE).read_bytes(),
            secret=(engine / engine_process.SECRET).read_bytes(),
            gateway=gateway,
            gateway_secret=gateway_secret.read_text().strip(),
        )
    except OSError as err:
        raise ConfigurationError(
            "The coordinator cannot read its secrets.",
            where=str(err.filename),
            hint="Start the engine and the gateway first; both make theirs.",
        ) from err
