"""What is on disk of prepared cases: right values for every reader, whoever adds, prunes or dies."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from imaging_files import write_image

from unica_sdk.errors import DataError
from unica_sdk.node.imaging.cache import LEVELS, Found, PreparedCache
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.storage import ABOUT, CacheFolder
from unica_sdk.node.imaging.table import CaseTable

SHAPE = Preparation(rows=2, columns=3)
OTHER = Preparation(rows=2, columns=3, window=(0.0, 1.0))
THREE = 3 * 2 * 3 * 2
"""Bytes of three cases, so that a few cases make several files."""


def _key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _keys(*numbers: int) -> np.ndarray:
    return np.frombuffer(b"".join(map(_key, numbers)), "V16")


def _cases(*numbers: int) -> list[tuple[bytes, np.ndarray]]:
    return [(_key(number), np.full(SHAPE.shape, number / LEVELS, np.float32)) for number in numbers]


def _cache(folder: Path, preparation: Preparation = SHAPE, *, limit: int | None = None) -> PreparedCache:
    return PreparedCache(CacheFolder(folder, limit), preparation, segment_bytes=THREE)


def _values(found: Found) -> list[int]:
    """The numbers that the cases were made of; every pixel of a case must say the same."""
    out = np.empty((len(found.place), *SHAPE.shape), np.uint16)
    found.read_levels(out)
    floats = np.empty(out.shape, np.float32)
    found.read(floats)
    np.testing.assert_allclose(floats * LEVELS, out, rtol=1e-6)
    assert (out == out[:, :1, :1]).all()
    return out[:, 0, 0].tolist()


def _there(folder: Path, preparation: Preparation = SHAPE) -> list[int]:
    """Everything that somebody who comes now finds, each case with its own value."""
    cache = _cache(folder, preparation)
    numbers = sorted(int.from_bytes(key.tobytes(), "big") for key in cache.all_keys())
    assert _values(cache.find(_keys(*numbers))) == numbers
    return numbers


NUMBERS = st.lists(st.integers(1, 40), max_size=7)


class Model(RuleBasedStateMachine):
    """The cache against a plain set: additions, prunings, fresh readers and old ones, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.caches = [_cache(self.folder), _cache(self.folder)]
        self.there: set[int] = set()
        self.held: list[tuple[list[int], Found]] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(numbers=NUMBERS, by=st.integers(0, 1))
    def add(self, numbers: list[int], by: int) -> None:
        assert self.caches[by].add(_cases(*numbers)) == len(set(numbers) - self.there)
        self.there |= set(numbers)

    @rule(numbers=NUMBERS, by=st.integers(0, 1))
    def prune(self, numbers: list[int], by: int) -> None:
        assert self.caches[by].drop(_keys(*numbers)) == len(set(numbers) & self.there)
        self.there -= set(numbers)

    @rule(by=st.integers(0, 1))
    def reopen(self, by: int) -> None:
        self.caches[by] = _cache(self.folder)

    @rule()
    def empty(self) -> None:
        CacheFolder(self.folder).clear()
        self.there = set()

    @rule(numbers=NUMBERS, by=st.integers(0, 1))
    def hold(self, numbers: list[int], by: int) -> None:
        wanted = sorted(set(numbers) & self.there)
        found = self.caches[by].find(_keys(*wanted))
        assert not found.missing.any()
        self.held.append((wanted, found))

    @invariant()
    def whoever_comes_finds_what_is_there(self) -> None:
        assert _there(self.folder) == sorted(self.there)

    @invariant()
    def whoever_has_some_open_reads_them_still(self) -> None:
        for wanted, found in self.held:
            assert _values(found) == wanted


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestModel = Model.TestCase


def test_several_threads_may_fill_and_prune_a_cache(tmp_path: Path) -> None:
    def fill(first: int) -> None:
        _cache(tmp_path).add(_cases(*range(first, first + 30)))
        _cache(tmp_path).drop(_keys(first))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, (1, 41, 81, 121)))
    assert _there(tmp_path) == [n for first in (1, 41, 81, 121) for n in range(first + 1, first + 30)]


def test_cases_without_a_key_are_overwritten_and_others_may_not_look(tmp_path: Path) -> None:
    _cache(tmp_path).add(_cases(1))
    (file,) = tmp_path.glob("*/*.cases")
    with file.open("ab") as opened:
        opened.write(b"killed in the middle of a case")
    _cache(tmp_path).add(_cases(2))
    assert _there(tmp_path) == [1, 2]
    assert list(tmp_path.glob("*/*.cases")) == [file]
    assert (file.stat().st_mode | file.parent.stat().st_mode) & 0o077 == 0


def test_a_key_without_its_case_is_none(tmp_path: Path) -> None:
    """What a disk might make of a power cut; to map what is not there would end the process."""
    _cache(tmp_path).add(_cases(1, 2, 3))
    (file,) = tmp_path.glob("*/*.cases")
    os.truncate(file, file.stat().st_size - 5)
    assert _there(tmp_path) == [1, 2]
    os.truncate(file, 20)
    assert _there(tmp_path) == []
    file.write_bytes(b"something else" * 1000)
    _cache(tmp_path).add(_cases(3))
    assert _there(tmp_path) == [3]


def test_preparations_do_not_share_a_cache(tmp_path: Path) -> None:
    _cache(tmp_path).add(_cases(1))
    assert _cache(tmp_path, OTHER).find(_keys(1)).missing.all()


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be kept"):
        _cache(tmp_path / "file").add(_cases(1))


# --- killed ------------------------------------------------------------------------------------------

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


def _die_at(at: int, work: list[object]) -> bool:
    """Do some work in a process that ends at its n-th change of the disk; say whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = at

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES and (event != "open" or arguments[2] & os.O_WRONLY):  # type: ignore[operator]
            left -= 1
            if left == 0:
                os._exit(9)

    try:
        sys.addaudithook(hook)
        for step in work:
            step()  # type: ignore[operator]
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_anywhere_in_a_pruning_it_loses_nothing_and_the_next_ends_it(tmp_path: Path) -> None:
    whole, gone = list(range(1, 12)), [2, 4, 5, 6, 10]
    left = [number for number in whole if number not in gone]
    _cache(tmp_path / "0").add(_cases(*whole))
    at = 0
    died = True
    while died:
        at += 1
        place = shutil.copytree(tmp_path / "0", tmp_path / str(at))
        died = _die_at(at, [lambda place=place: _cache(place).drop(_keys(*gone))])
        after = set(_there(place))
        assert set(left) <= after <= set(whole)
        _cache(place).drop(_keys(*gone))
        assert _there(place) == left
        CacheFolder(place).keep_within()
        assert list(place.rglob("*.partial")) == []
        assert CacheFolder(place).size() < 1.5 * CacheFolder(tmp_path / "0").size()
    assert at > 6


def test_killed_anywhere_in_an_addition_it_has_right_values_and_takes_the_rest(tmp_path: Path) -> None:
    at = 0
    died = True
    while died:
        at += 1
        place = tmp_path / str(at)
        add = [lambda place=place, n=n: _cache(place).add(_cases(*range(n, n + 4))) for n in (1, 5, 9)]
        died = _die_at(at, list(add))
        assert set(_there(place)) <= set(range(1, 13))
        for step in add:
            step()
        assert _there(place) == list(range(1, 13))
    assert at > 6


# --- readers elsewhere -------------------------------------------------------------------------------

READER = """
import sys
import numpy as np
from pathlib import Path
from unica_sdk.node.imaging.cache import PreparedCache
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.storage import CacheFolder

cache = PreparedCache(CacheFolder(Path(sys.argv[1])), Preparation(rows=2, columns=3))
keys = np.frombuffer(b"".join(n.to_bytes(16, "big") for n in range(1, 21)), "V16")
found = cache.find(keys)
out = np.empty((20, 2, 3), np.uint16)
for line in sys.stdin:
    if line == "anew\\n":
        cache.all_keys()  # looks at the disk again
        found = cache.find(keys)
    found.read_levels(out) if not found.missing.any() else None
    there = np.flatnonzero(~found.missing)
    print(*(int(found.frames[found.segment[n]][found.place[n]][1, 2]) for n in there), flush=True)
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds twenty cases open and says, at each line, what their values are."""
    _cache(tmp_path).add(_cases(*range(1, 21)))
    command = [sys.executable, "-c", READER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def _says(reader: subprocess.Popen[str], word: str) -> list[int]:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(f"{word}\n")
    reader.stdin.flush()
    return [int(number) for number in reader.stdout.readline().split()]


def test_a_reader_in_another_process_never_sees_another_case(
    reader: subprocess.Popen[str], tmp_path: Path
) -> None:
    everything, odd = list(range(1, 21)), list(range(1, 21, 2))
    assert _says(reader, "read") == everything
    _cache(tmp_path).drop(_keys(*odd))
    _cache(tmp_path).add(_cases(*range(21, 40)))
    assert _says(reader, "read") == everything
    assert _says(reader, "anew") == [number for number in everything if number not in odd]
    _cache(tmp_path).add(_cases(*odd))
    assert _says(reader, "anew") == everything
    CacheFolder(tmp_path).clear()
    _cache(tmp_path).add(_cases(*range(41, 61)))
    assert _says(reader, "read") == everything
    assert _says(reader, "anew") == []


def test_batches_are_right_while_their_cases_are_taken_out_all_the_time(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    paths = [
        write_image(tmp_path / f"{n}.dcm", dice.integers(0, 999, (8, 8)).astype(np.uint16), number=n + 1)
        for n in range(9)
    ]
    table = CaseTable.from_files(paths)
    cases = open_cases(table, rows=4, columns=4, cache_folder=tmp_path / "cache")
    expected = cases.read(np.arange(9)).copy()
    stop = threading.Event()

    def prune() -> None:
        turn = np.random.default_rng(4)
        own = PreparedCache(CacheFolder(tmp_path / "cache"), Preparation(rows=4, columns=4))
        while not stop.is_set():
            own.drop(turn.choice(cases.cases.keys(), 4, replace=False))

    with ThreadPoolExecutor(1) as threads:
        pruning = threads.submit(prune)
        try:
            for turn in range(12):
                fresh = open_cases(table, rows=4, columns=4, cache_folder=tmp_path / "cache")
                chosen = np.random.default_rng(turn).permutation(9)
                for one in (cases, fresh):
                    np.testing.assert_array_equal(one.read(chosen), expected[chosen])
                fresh.close()
        finally:
            stop.set()
            cases.close()
        pruning.result()


# --- how much of the disk ----------------------------------------------------------------------------


def _used_at(folder: Path, preparation: Preparation, second: int) -> None:
    os.utime(CacheFolder(folder).of(preparation) / ABOUT, (second, second))


def test_what_was_used_longest_ago_makes_room_and_is_read_on(tmp_path: Path) -> None:
    third = Preparation(rows=2, columns=3, window=(0.0, 2.0))
    for preparation, second in ((SHAPE, 1000), (OTHER, 2000)):
        _cache(tmp_path, preparation).add(_cases(*range(1, 5)))
        _used_at(tmp_path, preparation, second)
    each = CacheFolder(tmp_path).size() // 2
    # Whoever reads it, uses it.
    held = _cache(tmp_path).find(_keys(1, 2, 3, 4))
    _cache(tmp_path, third, limit=2 * each).add(_cases(*range(1, 5)), expected=4)
    assert _there(tmp_path, OTHER) == []
    assert _there(tmp_path, third) == [1, 2, 3, 4]
    _used_at(tmp_path, SHAPE, 3000)
    CacheFolder(tmp_path, each).keep_within()
    assert (_there(tmp_path), _there(tmp_path, third)) == ([], [1, 2, 3, 4])
    assert _values(held) == [1, 2, 3, 4]


def test_a_job_is_not_stopped_by_the_bound_but_others_are_not_kept_beside_it(tmp_path: Path) -> None:
    _cache(tmp_path, OTHER).add(_cases(1))
    big = _cache(tmp_path, limit=1)
    big.add(_cases(*range(1, 9)), expected=8)
    assert _values(big.find(_keys(*range(1, 9)))) == list(range(1, 9))
    assert _there(tmp_path, OTHER) == []
    assert CacheFolder(tmp_path, 1).room() == 0
    CacheFolder(tmp_path, 1).keep_within()
    assert CacheFolder(tmp_path).size() == 0


def test_what_no_preparation_of_today_knows_is_swept(tmp_path: Path) -> None:
    _cache(tmp_path).add(_cases(1))
    volumes = Preparation(rows=2, columns=3, slices=4, window=(40.0, 400.0))
    PreparedCache(CacheFolder(tmp_path), volumes).add([(_key(1), np.zeros(volumes.shape, np.float32))])
    for name, content in (
        ("older", '{"rows": 2, "columns": 3, "slices": null, "window": null}'),
        ("odd", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / ABOUT).write_text(content)
    (tmp_path / "empty").mkdir()
    found = CacheFolder(tmp_path).sweep()
    assert set(found) == {SHAPE, volumes}
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 2
    assert _there(tmp_path) == [1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a file system of its own, which only root may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_on_a_full_disk_what_is_there_stays_and_what_must_go_goes(small_disk: Path) -> None:
    big = Preparation(rows=128, columns=128)

    def cases(*numbers: int) -> list[tuple[bytes, np.ndarray]]:
        return [(_key(n), np.full(big.shape, n / LEVELS, np.float32)) for n in numbers]

    cache = PreparedCache(CacheFolder(small_disk / "cache"), big)
    cache.add(cases(*range(1, 11)))
    with pytest.raises(DataError, match="No space"):
        cache.add(cases(*range(11, 61)))
    fresh = PreparedCache(CacheFolder(small_disk / "cache"), big)
    assert len(fresh.all_keys()) == 10
    assert os.statvfs(small_disk).f_bavail > 0
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
        while True:
            file.write(bytes(4096))
    assert cache.drop(_keys(3)) == 1
    fresh = PreparedCache(CacheFolder(small_disk / "cache"), big)
    assert fresh.find(_keys(3)).missing.all()
    filler.unlink()
    cache.add(cases(1, 2))
    out = np.empty((2, *big.shape), np.uint16)
    cache.find(_keys(2, 1)).read_levels(out)
    assert out[:, 5, 7].tolist() == [2, 1]
