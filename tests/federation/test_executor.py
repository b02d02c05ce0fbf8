"""The child process of a message: what it may answer, and that it always ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from federation import HERE, wait_for
from world import markers

from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.ports import Cases
from unica_sdk.federation.site import wire
from unica_sdk.federation.site.executor import ForkExecutor
from unica_sdk.federation.site.work import Abandoned, AppFault, Work
from unica_sdk.schemas.job import FailureCode


def cases() -> Cases:
    random = np.random.default_rng(1)
    return Cases(
        images=random.random((40, 8, 8), dtype=np.float32),
        labels=np.arange(40, dtype=np.uint8) % 2,
        held_out=np.arange(40) % 4 == 0,
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ForkExecutor]]:
    """One warm process for all tests here; its environment is that of its start."""
    home = tmp_path_factory.mktemp("executor")
    folder = home / "markers"
    folder.mkdir()
    before = os.environ.get("UNICA_TEST_MARKERS")
    os.environ["UNICA_TEST_MARKERS"] = str(folder)
    executor = ForkExecutor(home / "apps")
    executor.warm()
    yield folder, executor
    if before is None:
        del os.environ["UNICA_TEST_MARKERS"]


@pytest.fixture
def work(app: Bundle) -> Callable[..., Work]:
    """Makes a piece of work."""

    def make(behaviour: str = "well", **changed: Any) -> Work:
        given: dict[str, Any] = {
            "task": "train",
            "bundle": app,
            "arrays": None,
            "parameters": {"rate": 0.5, "behaviour": behaviour},
            "round": 1,
            "seed": 7,
            "cases": cases(),
            "seconds": 60.0,
        }
        return Work(**(given | changed))

    return make


Shared = tuple[Path, ForkExecutor]


def always() -> bool:
    return True


def test_a_child_trains_and_evaluates(shared: Shared, work: Callable[..., Work]) -> None:
    _, execute = shared
    trained = execute(work(), wanted=always)
    assert trained.arrays is not None and trained.arrays["shift"].shape == (3,)
    assert set(trained.metrics) == {"loss"}
    judged = execute(work(task="evaluate", arrays=trained.arrays), wanted=always)
    assert judged.scores is not None and judged.scores.shape == (10,)


def test_the_seed_is_the_same_in_every_child(shared: Shared, work: Callable[..., Work]) -> None:
    _, execute = shared
    first, second = (execute(work(), wanted=always).arrays for _ in range(2))
    assert first is not None and second is not None
    assert np.array_equal(first["shift"], second["shift"])


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("raise", FailureCode.APP_FAILED),
        ("exit", FailureCode.APP_FAILED),
        ("die", FailureCode.APP_CRASHED),
    ],
)
def test_a_child_that_fails_says_one_word(
    shared: Shared, work: Callable[..., Work], behaviour: str, code: FailureCode
) -> None:
    with pytest.raises(AppFault) as fault:
        shared[1](work(behaviour), wanted=always)
    assert fault.value.code is code
    assert "4711" not in str(fault.value) + fault.value.detail


def test_a_child_whose_time_is_up_is_ended(shared: Shared, work: Callable[..., Work]) -> None:
    folder, execute = shared
    with pytest.raises(AppFault) as fault:
        execute(work("sleep", seconds=3.0), wanted=always)
    assert fault.value.code is FailureCode.APP_TIMEOUT
    assert_gone(folder)


def test_a_child_nobody_waits_for_is_ended(shared: Shared, work: Callable[..., Work]) -> None:
    folder, execute = shared
    with pytest.raises(Abandoned):
        execute(work("sleep"), wanted=lambda: not markers(folder, "asleep"))
    assert_gone(folder)


def test_the_app_finds_no_ticket_and_no_permit(shared: Shared, work: Callable[..., Work]) -> None:
    head, _ = wire.unpack(wire.pack_work(work(), Path("apps")))
    assert set(head) == {
        *("task", "folder", "app", "entry", "manifest", "parameters", "round", "seed", "seconds", "model")
    }


def test_what_a_child_says_is_not_believed() -> None:
    for said in (b"", b"\x80\x04.", wire.pack({"failure": "alice"}, {}), wire.pack({"metrics": 3}, {})):
        with pytest.raises(AppFault) as fault:
            wire.unpack_outcome(said)
        assert fault.value.code is FailureCode.REPLY_INVALID


def test_a_killed_node_takes_its_child_along(tmp_path: Path, app: Bundle, marked: Path) -> None:
    (tmp_path / "app.fab").write_bytes(app.content)
    node = subprocess.Popen(
        [sys.executable, str(HERE / "executing_process.py"), str(tmp_path)],
        env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
    )
    try:
        wait_for(lambda: bool(markers(marked, "asleep")), why="the app to run")
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait(10)
    assert_gone(marked)


def assert_gone(folder: Path) -> None:
    """Every app that fell asleep is gone for good; then forget them."""
    asleep = markers(folder, "asleep")
    assert asleep
    for name in asleep:
        number = int(name.rpartition("-")[2])
        wait_for(lambda n=number: not alive(n), why=f"process {number} to end")
        (folder / name).unlink()


def alive(number: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected does not."""
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
