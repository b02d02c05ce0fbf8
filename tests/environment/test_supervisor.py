"""The supervisor over real processes: order, restarts, and nothing left behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from unica_sdk.environment import lifecycle, processes
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]


Start = Callable[[Layout], "subprocess.Popen[bytes]"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    return layout


@pytest.fixture
def start(layout: Layout) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(layout: Layout) -> subprocess.Popen[bytes]:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "tests.environment.toy", str(layout.state)],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], processes.ENVIRONMENT: layout.id},
        )
        started.append(supervisor)
        lifecycle.wait_until_running(layout, seconds=20, progress=lambda _: None)
        return supervisor

    yield start
    lifecycle.down(layout)
    for supervisor in started:
        supervisor.wait(20)


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def part(layout: Layout, name: str) -> dict[str, Any]:
    return next(entry for entry in lifecycle.status(layout)["parts"] if entry["name"] == name)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_parts_start_in_order_and_stop_with_all_descendants(layout: Layout, start: Start) -> None:
    supervisor = start(layout)
    assert float((layout.run / "store").read_text()) < float((layout.run / "worker").read_text())
    pids = [entry["pid"] for entry in lifecycle.status(layout)["parts"]]
    grandchild = int((layout.run / "grandchild").read_text())
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(20) == 0
    assert all(gone(pid) for pid in [*pids, grandchild])
    assert lifecycle.status(layout)["state"] == "stopped"


def test_a_dead_part_comes_back_without_its_leftovers(layout: Layout, start: Start) -> None:
    supervisor = start(layout)
    first, orphan = part(layout, "worker")["pid"], int((layout.run / "grandchild").read_text())
    os.kill(first, signal.SIGKILL)
    until(lambda: part(layout, "worker")["restarts"] == 1 and part(layout, "worker")["state"] == "running")
    assert part(layout, "worker")["pid"] != first
    assert part(layout, "worker")["last_exit"] == -signal.SIGKILL
    assert part(layout, "store")["restarts"] == 0
    until(lambda: gone(orphan))
    assert lifecycle.down(layout) == 4
    assert supervisor.wait(20) == 0


def test_nothing_is_left_after_the_supervisor_was_killed(layout: Layout, start: Start) -> None:
    supervisor = start(layout)
    pids = [entry["pid"] for entry in lifecycle.status(layout)["parts"]]
    pids.append(int((layout.run / "grandchild").read_text()))
    supervisor.kill()
    supervisor.wait()
    assert lifecycle.status(layout)["state"] == "stopped"
    assert set(pids) <= set(lifecycle.leftovers(layout))
    lifecycle.down(layout)
    assert all(gone(pid) for pid in pids)
    assert lifecycle.leftovers(layout) == {}


def test_a_folder_has_one_supervisor(layout: Layout, start: Start) -> None:
    start(layout)
    with pytest.raises(ConfigurationError, match="a supervisor already"):
        lifecycle.supervise(layout, [], variables={}, about={})


def test_down_ends_only_its_own_environment(
    layout: Layout, start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Layout(tmp_path_factory.mktemp("other"))
    other.create()
    start(layout)
    assert lifecycle.down(other) == 0
    assert lifecycle.status(layout)["state"] == "running"


def test_a_reused_process_number_is_not_mistaken_for_ours() -> None:
    own = processes.Stamp.of(os.getpid())
    assert own.process() is not None
    assert processes.Stamp(own.pid, own.created - 60).process() is None
