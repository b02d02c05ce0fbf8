"""One process that starts the parts in order, starts them again when they die, and ends them all.

Runs as a daemon of its own. It is the subreaper of everything it starts, so that whatever a part leaves
behind becomes its own child and ends with it.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from unica_sdk.environment import processes
from unica_sdk.environment.files import write_json

TICK = 0.2
"""Seconds between two looks at the children."""

HOUSEKEEPING = 5.0
"""Seconds between two rounds of reaping orphans and asking running parts whether they answer."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before a dead part is started again: doubled each time, back to the first after `STEADY`."""

STEADY = 60.0
STOP_SECONDS = 8.0
"""How long a part has to end once it is asked to, before it is killed."""

LOG_BYTES = 10_000_000
CANNOT_START = 127
PR_SET_CHILD_SUBREAPER = 36


class PartState(StrEnum):
    """How a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    NOT_ANSWERING = "not_answering"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One child process of the environment.

    Attributes:
        name: what people call it.
        command: never holds a secret.
        environment: added to what all parts get.
        ready: whether it answers, given when it was started (seconds since the epoch); asked often, so it
            returns within about a second and never raises.
        after: the parts that must answer before this one is started for the first time.
        address: where it answers, for people.
        stop_signal: what asks it to end.
        patience: seconds it may take to answer before it is started again.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[float], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    address: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    patience: float = 90.0


@dataclass
class _Child:
    """What the supervisor knows about one part."""

    part: Part
    state: PartState = PartState.WAITING
    process: subprocess.Popen[bytes] | None = None
    created: float = 0.0
    started: float = 0.0
    started_at: float = 0.0
    since: str = ""
    restarts: int = 0
    wait: float = FIRST_WAIT
    again: float = 0.0
    last_exit: int | None = None

    def report(self) -> dict[str, Any]:
        """Return what the status file says about this part."""
        return {
            "name": self.part.name,
            "state": self.state.value,
            "pid": self.process.pid if self.process else None,
            "created": self.created if self.process else None,
            "since": self.since,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "address": self.part.address,
        }


class Supervisor:
    """Starts, watches, restarts and ends a set of parts.

    Args:
        parts: in any order; their `after` decides.
        environment: the id that every process is marked with.
        variables: what every part's process environment starts from.
        log: where a part's output goes.
        status: the file that says how everything stands.
        about: what else the status file says.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        environment: str,
        variables: Mapping[str, str],
        log: Callable[[str], Path],
        status: Path,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._children = {part.name: _Child(part) for part in parts}
        self._environment = environment
        self._variables = dict(variables)
        self._log = log
        self._status = status
        self._about = dict(about or {})
        self._stopping = False
        self._written: dict[str, Any] = {}

    def run(self) -> None:
        """Supervise until a SIGTERM or SIGINT, then end every descendant and return."""
        _become_subreaper()
        # a shell's `&` leaves SIGINT ignored, and children would inherit that; a handler is reset on exec
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        looked = 0.0
        try:
            while not self._stopping:
                for child in self._children.values():
                    self._step(child)
                if time.monotonic() - looked > HOUSEKEEPING:
                    self._look_after()
                    looked = time.monotonic()
                self._report()
                time.sleep(TICK)
        finally:
            self._stop()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _step(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None and (code := child.process.poll()) is not None:
            self._died(child, now, exit_code=code)
        elif child.state is PartState.WAITING:
            if all(self._children[name].state is PartState.RUNNING for name in child.part.after):
                self._start(child)
        elif child.state is PartState.RESTARTING:
            if now >= child.again:
                self._start(child)
        elif child.state is PartState.STARTING:
            if child.part.ready(child.started_at):
                self._enter(child, PartState.RUNNING)
            elif now - child.started > child.part.patience:
                self._kill(child)

    def _start(self, child: _Child) -> None:
        part = child.part
        log = self._log(part.name)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        variables = {
            **self._variables,
            **part.environment,
            processes.ENVIRONMENT: self._environment,
            processes.PART: part.name,
        }
        child.started, child.started_at = time.monotonic(), time.time()
        with log.open("ab") as output:
            try:
                child.process = subprocess.Popen(
                    part.command,
                    env=variables,
                    cwd=self._status.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as err:
                output.write(f"{part.command[0]} cannot be started: {err}\n".encode())
                self._died(child, child.started, exit_code=CANNOT_START)
                return
        child.created = processes.Stamp.of(child.process.pid).created
        self._enter(child, PartState.STARTING)

    def _died(self, child: _Child, now: float, *, exit_code: int) -> None:
        child.last_exit = exit_code
        child.process = None
        self._enter(child, PartState.RESTARTING)
        self._report()
        # what it left behind may hold its port
        processes.end(processes.marked(self._environment, part=child.part.name), grace=2)
        if now - child.started > STEADY:
            child.wait = FIRST_WAIT
        child.again = now + child.wait
        child.wait = min(2 * child.wait, LONGEST_WAIT)
        child.restarts += 1

    def _kill(self, child: _Child) -> None:
        if child.process is not None:
            os.killpg(child.process.pid, signal.SIGKILL)

    def _enter(self, child: _Child, state: PartState) -> None:
        if child.state is not state:
            child.state = state
            child.since = datetime.now(UTC).isoformat(timespec="seconds")

    def _look_after(self) -> None:
        """Reap orphans that became our children, and ask the running parts whether they answer."""
        own = {child.process.pid for child in self._children.values() if child.process}
        _reap(own)
        for child in self._children.values():
            if child.state in (PartState.RUNNING, PartState.NOT_ANSWERING):
                answers = child.part.ready(child.started_at)
                self._enter(child, PartState.RUNNING if answers else PartState.NOT_ANSWERING)

    def _report(self) -> None:
        stamp = processes.Stamp.of(os.getpid())
        status = {
            **self._about,
            "environment": self._environment,
            "supervisor": {"pid": stamp.pid, "created": stamp.created},
            "parts": [child.report() for child in self._children.values()],
        }
        if status != self._written:
            write_json(self._status, status)
            self._written = status

    def _stop(self) -> None:
        """End the parts, each once those that need it are gone, and then whatever is left."""
        left = {name: child for name, child in self._children.items() if child.process is not None}
        asked: dict[str, float] = {}
        while left:
            needed = {name for child in left.values() for name in child.part.after}
            for name, child in list(left.items()):
                if child.process is None or child.process.poll() is not None:
                    child.process = None
                    self._enter(child, PartState.STOPPED)
                    del left[name]
                elif name not in asked and name not in needed:
                    child.process.send_signal(child.part.stop_signal)
                    asked[name] = time.monotonic()
                elif time.monotonic() - asked.get(name, math.inf) > STOP_SECONDS:
                    self._kill(child)
            self._report()
            time.sleep(0.05)
        rest = processes.families([psutil.Process()])
        rest.update(processes.families(processes.marked(self._environment)))
        processes.end(rest.values(), grace=2)
        _reap(set())
        self._status.unlink(missing_ok=True)


def _reap(own: set[int]) -> None:
    """Collect the exit codes of orphans that became our children; `own` are waited for elsewhere."""
    for process in psutil.Process().children():
        if process.pid not in own and process.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(process.pid, os.WNOHANG)


def _become_subreaper() -> None:
    """Become the parent of orphaned descendants (Linux, prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
