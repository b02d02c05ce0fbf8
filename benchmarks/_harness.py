"""How every benchmark of the project measures and reports: ratios, in one run, per CPU-second.

Ours and the peer's take turns, repetition by repetition, in one run on one machine, and what is compared is
the time their process spent on the CPU (`time.process_time`). A noisy neighbour then falls on both alike. The
figures in themselves say little, the ratios much: a row's goal is a bound on its ratio, or on ours where
there is no peer to divide by.

    contest = Contest("headers", unit="files/CPU-s", goal=20, ours=scan_all, peer=pydicom_all)
    report([contest.row(repetitions=5)], as_json=False)

`ours` and `peer` do their work once and return how many units they did. A peer in another virtual environment
is a task of `PeerProcess`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

PEERS = Path(__file__).with_name("_peers.py")
NO_GOAL = "none: for information"


class Absent(Exception):  # noqa: N818 - a reason to skip, not a failure
    """A peer or its data are not here; the text is the reason that the row shows."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a report. `met` is None where the row has no goal, or was skipped: `skipped` says why."""

    name: str
    ours: float | None
    peer: float | None
    ratio: float | None
    unit: str
    goal: str
    met: bool | None
    skipped: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the row for machines; `skipped` only where it was."""
        row = asdict(self)
        if not self.skipped:
            del row["skipped"]
        return row


@dataclass(frozen=True)
class Spent:
    """What one repetition did, and the CPU time it took."""

    work: float
    seconds: float

    @property
    def rate(self) -> float:
        """Units of work for each CPU-second."""
        return self.work / max(self.seconds, 1e-9)


def timed(action: Callable[[], float]) -> Spent:
    """Run an action that returns how much it did, and time this process's CPU."""
    begin = time.process_time()
    work = action()
    return Spent(work, time.process_time() - begin)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Ours against a peer: rates, more is better; the goal is the least ratio of the two, if there is one."""

    name: str
    unit: str
    goal: float | None
    ours: Callable[[], Spent]
    peer: Callable[[], Spent]

    def row(self, *, repetitions: int) -> Row:
        """Measure in turns and return the medians; the ratio is the median of the pairs' ratios."""
        goal = NO_GOAL if self.goal is None else f"ratio >= {self.goal:g}"
        try:
            self.peer()  # one warm-up each: caches, imports, tables
            self.ours()
            pairs = [_pair(self.ours, self.peer, swap=turn % 2 == 1) for turn in range(repetitions)]
        except Absent as absent:
            return skipped(self.name, unit=self.unit, goal=goal, reason=str(absent))
        ratio = statistics.median(ours.rate / peer.rate for ours, peer in pairs)
        return Row(
            name=self.name,
            ours=round(statistics.median(ours.rate for ours, _ in pairs), 3),
            peer=round(statistics.median(peer.rate for _, peer in pairs), 3),
            ratio=round(ratio, 3),
            unit=self.unit,
            goal=goal,
            met=None if self.goal is None else ratio >= self.goal,
        )


def _pair(ours: Callable[[], Spent], peer: Callable[[], Spent], *, swap: bool) -> tuple[Spent, Spent]:
    if swap:
        second = peer()
        return ours(), second
    return ours(), peer()


def at_most(name: str, *, ours: float, limit: float, unit: str, peer: float | None = None) -> Row:
    """Return a row whose goal is an upper bound on our own figure; `peer` is only shown beside it."""
    return Row(
        name=name, ours=ours, peer=peer, ratio=None, unit=unit, goal=f"ours <= {limit:g}", met=ours <= limit
    )


def for_information(name: str, *, ours: float, unit: str, peer: float | None = None) -> Row:
    """Return a row without a goal; the ratio is that of ours to the peer's, where there is one."""
    ratio = None if peer is None else round(ours / peer, 3)
    return Row(name=name, ours=ours, peer=peer, ratio=ratio, unit=unit, goal=NO_GOAL, met=None)


def skipped(name: str, *, unit: str, goal: str, reason: str) -> Row:
    """Return a row that was not measured."""
    return Row(name=name, ours=None, peer=None, ratio=None, unit=unit, goal=goal, met=None, skipped=reason)


class PeerProcess(AbstractContextManager["PeerProcess"]):
    """The peers' own virtual environment: one process, asked by lines of JSON.

    Args:
        python: that environment's interpreter; None where the caller has none.
    """

    def __init__(self, python: str | None) -> None:
        self._python = python
        self._process: subprocess.Popen[str] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)  # closes its standard input, at whose end it ends

    def spend(self, task: str, **arguments: Any) -> Spent:
        """Let the peer do a task of `_peers.py` once.

        Raises:
            Absent: there is no such environment, or the peer is not installed in it.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise Absent("the peers' process ended")
        answer = json.loads(line)
        if "absent" in answer:
            raise Absent(answer["absent"])
        return Spent(answer["work"], answer["seconds"])

    def _started(self) -> subprocess.Popen[str]:
        if self._python is None:
            raise Absent("no --peers-python given")
        if self._process is None:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the caller's own interpreter
                    [self._python, str(PEERS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                )
            except OSError as err:
                raise Absent(f"--peers-python does not start: {err.strerror}") from err
        return self._process


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share; a benchmark adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("UNICA_BENCH_DATA"),
        help="a folder of outside data (or UNICA_BENCH_DATA); rows without it say so",
    )
    parser.add_argument("--peers-python", help="the interpreter of the peers' own virtual environment")
    parser.add_argument("--repetitions", type=int, default=5, help="turns of each contest")
    parser.add_argument("--only", default="", help="measure only the functions whose name holds this")
    return parser


def report(rows: Sequence[Row], *, as_json: bool) -> int:
    """Print the rows; return 1 if a goal was missed, 0 otherwise (a skipped row misses none)."""
    if as_json:
        sys.stdout.write(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    else:
        sys.stdout.write("".join(_line(row) + "\n" for row in rows))
    return int(any(row.met is False for row in rows))


def _line(row: Row) -> str:
    if row.skipped:
        return f"skipped  {row.name}: {row.skipped}"
    verdict = {True: "met   ", False: "MISSED", None: "shown "}[row.met]
    figures = f"ours {row.ours:,.6g}" + ("" if row.peer is None else f", peer {row.peer:,.6g}")
    ratio = "" if row.ratio is None else f", ratio {row.ratio:.3g}"
    return f"{verdict}   {row.name}: {figures} {row.unit}{ratio} (goal: {row.goal})"
