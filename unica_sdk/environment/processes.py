"""Finding and ending processes, also those whose parent is gone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

ENVIRONMENT = "UNICA_ENVIRONMENT"
"""The variable that every process of an environment inherits: the environment's id."""

PART = "UNICA_PART"
"""The variable that says which part of the environment a process belongs to."""


@dataclass(frozen=True)
class Stamp:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Stamp:
        """Return the stamp of a living process."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def read(cls, value: Any) -> Stamp | None:
        """Return the stamp in a status file's entry, or None where it names no process."""
        match value:
            case {"pid": int(pid), "created": int() | float() as created}:
                return cls(pid, created)
        return None

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 0.1
        except psutil.Error:
            return None
        return process if same else None


def marked(environment: str, *, part: str | None = None) -> Iterator[psutil.Process]:
    """Yield the processes that carry an environment's mark, and a part's where one is named."""
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except (psutil.Error, OSError):
            continue
        if variables.get(ENVIRONMENT) == environment and part in (None, variables.get(PART)):
            yield process


def families(processes: Iterable[psutil.Process]) -> dict[int, psutil.Process]:
    """Return the processes and all that descend from them, by number; never this one."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            members = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        found.update((member.pid, member) for member in members)
    found.pop(psutil.Process().pid, None)
    return {pid: process for pid, process in found.items() if _alive(process)}


def end(processes: Iterable[psutil.Process], *, grace: float) -> None:
    """Ask processes to end, and kill those that have not after `grace` seconds."""
    asked = list(processes)
    for process in asked:
        _signal(process, "terminate")
    deadline = time.monotonic() + grace
    while any(map(_alive, asked)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in filter(_alive, asked):
        _signal(process, "kill")
    deadline = time.monotonic() + 5
    while any(map(_alive, asked)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal(process: psutil.Process, what: str) -> None:
    """Signal a process that may have gone; psutil itself guards against a reused number."""
    try:
        getattr(process, what)()
    except psutil.NoSuchProcess:
        return
