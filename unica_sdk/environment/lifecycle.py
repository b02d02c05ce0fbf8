"""Starting and ending the supervisor of a state folder, whatever happened to the last one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unica_sdk.environment import processes
from unica_sdk.environment.files import read_json
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.supervisor import Part, PartState, Supervisor
from unica_sdk.errors import ConfigurationError, Unavailable

STOP_GRACE = 40.0
"""Seconds the supervisor has to end its parts in order before it is ended itself."""


def supervise(
    layout: Layout, parts: Sequence[Part], *, variables: Mapping[str, str], about: Mapping[str, Any]
) -> None:
    """Be the supervisor of a state folder until told to stop.

    Raises:
        ConfigurationError: it has one already.
    """
    with _lock(layout.run / "supervisor.lock", wait=False):
        Supervisor(
            parts,
            environment=layout.id,
            variables=variables,
            log=layout.log,
            status=layout.status,
            about=about,
        ).run()


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Keep other `unica up` and `unica down` of the same state folder waiting."""
    with _lock(layout.run / "operation.lock", wait=True):
        yield


def supervised(layout: Layout) -> bool:
    """Whether a supervisor of this state folder lives."""
    lock = layout.run / "supervisor.lock"
    if not lock.exists():
        return False
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def status(layout: Layout) -> dict[str, Any]:
    """Return how the environment stands, in the form of `unica status --json`.

    `state` is `stopped`, `starting`, `running`, or `degraded` where some part does not answer.
    """
    known = read_json(layout.status) if supervised(layout) else None
    if known is None:
        return {"environment": layout.id, "state_folder": str(layout.state), "state": "stopped", "parts": []}
    states = {part["state"] for part in known["parts"]}
    if states == {PartState.RUNNING.value}:
        overall = "running"
    elif states & {PartState.RESTARTING.value, PartState.NOT_ANSWERING.value}:
        overall = "degraded"
    else:
        overall = "starting"
    return {**known, "state_folder": str(layout.state), "state": overall}


def start(layout: Layout, *, variables: Mapping[str, str]) -> None:
    """Start the supervisor as a daemon: a session of its own, nothing of this terminal kept."""
    layout.status.unlink(missing_ok=True)
    with layout.log("supervisor").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "unica_sdk.environment.daemon", str(layout.state)],
            env={**variables, processes.ENVIRONMENT: layout.id, processes.PART: "supervisor"},
            cwd=layout.state,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=True,
        )


def wait_until_running(
    layout: Layout, *, seconds: float, progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Return the status once every part answers.

    Raises:
        Unavailable: the supervisor ended, or a part did not answer in time; the message names it.
    """
    deadline = time.monotonic() + seconds
    seen = False
    while True:
        now = status(layout)
        seen = seen or now["state"] != "stopped"
        progress(now)
        if now["state"] == "running":
            return now
        late = time.monotonic() > deadline
        if late or (seen and now["state"] == "stopped"):
            silent = [part["name"] for part in now["parts"] if part["state"] != PartState.RUNNING.value]
            logs = [str(layout.log(name)) for name in silent or ["supervisor"]]
            raise Unavailable(
                f"Not every part answered within {seconds:.0f} s: {', '.join(silent)}."
                if silent
                else "The supervisor ended while the parts were starting.",
                where=", ".join(logs),
                hint="The end of these logs says why; `unica doctor` checks the machine.",
            )
        time.sleep(0.1)


def down(layout: Layout) -> int:
    """End everything that belongs to this state folder; return how many processes that were.

    The supervisor ends its parts in order. What is left after that, because something was killed, is found by
    its mark or by the record in the status file.
    """
    before = leftovers(layout)
    supervisor = _recorded(layout, "supervisor")
    if supervisor:
        processes.end(supervisor, grace=STOP_GRACE)
    for _ in range(5):
        left = leftovers(layout)
        if not left:
            break
        processes.end(left.values(), grace=3)
    left = leftovers(layout)
    if left:
        raise Unavailable(
            f"{len(left)} processes could not be ended: {', '.join(map(str, sorted(left)))}.",
            hint="Run `unica down` as the user that started them, or as root.",
        )
    for name in (layout.status, layout.gateway_socket, layout.engine_socket):
        name.unlink(missing_ok=True)
    return len(before)


def leftovers(layout: Layout) -> dict[int, Any]:
    """Return every living process of this environment, with its descendants, by number."""
    found = processes.families(processes.marked(layout.id))
    found.update(processes.families(_recorded(layout, "supervisor") + _recorded(layout, "parts")))
    return found


def _recorded(layout: Layout, what: str) -> list[Any]:
    known = read_json(layout.status) or {}
    entries = known.get(what)
    stamps = [processes.Stamp.read(entry) for entry in (entries if isinstance(entries, list) else [entries])]
    return [process for stamp in stamps if stamp and (process := stamp.process())]


@contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as err:
            raise ConfigurationError("This state folder has a supervisor already.", where=str(path)) from err
        yield
    finally:
        os.close(descriptor)
