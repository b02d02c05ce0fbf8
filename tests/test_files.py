"""A file is whole or absent, whenever its writer was killed."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unica_sdk.errors import ConfigurationError
from unica_sdk.files import locked, write_new, write_private

KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from unica_sdk import files

    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    getattr(files, sys.argv[1])(Path(sys.argv[2]), b"the new content")
    """
)


def _killed_while_writing(function: str, path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, function, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    write_private(tmp_path / "registry.json", b"old")
    _killed_while_writing("write_private", tmp_path / "registry.json")
    assert (tmp_path / "registry.json").read_bytes() == b"old"


def test_a_key_whose_writer_was_killed_is_made_at_the_next_start(tmp_path: Path) -> None:
    _killed_while_writing("write_new", tmp_path / "site.key")
    assert not (tmp_path / "site.key").exists()
    assert write_new(tmp_path / "site.key", b"whole")
    assert (tmp_path / "site.key").read_bytes() == b"whole"


def test_of_many_writers_of_a_new_file_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda n: write_new(tmp_path / "key", b"%d" % n), range(32)))
    assert wrote.count(True) == 1
    assert (tmp_path / "key").read_bytes() == b"%d" % wrote.index(True)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "policy.toml", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "policy.toml", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_mode_does_not_depend_on_the_callers_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_private(tmp_path / "secret", b"")
        write_new(tmp_path / "open", b"", mode=0o644)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("secret", "open")] == [0o600, 0o644]


def test_a_lock_that_is_taken_says_so_where_asked(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock"),
        pytest.raises(ConfigurationError, match="already"),
        locked(tmp_path / "lock", taken="Held already."),
    ):
        pass
    with locked(tmp_path / "lock", taken="Held already."):
        pass


def test_a_lock_whose_file_was_taken_away_still_keeps_others_out(tmp_path: Path) -> None:
    """Whoever waited for it would else hold a file that nobody else ever looks at again."""
    lock, has_it, may_go = tmp_path / "lock", threading.Event(), threading.Event()

    def hold() -> None:
        with locked(lock):
            has_it.set()
            assert may_go.wait(60)

    with ThreadPoolExecutor(1) as pool:
        with locked(lock):
            held = pool.submit(hold)
            number = lock.stat().st_ino
            while not _somebody_waits_for(number):
                time.sleep(0.01)
            lock.unlink()
        assert has_it.wait(60)
        with pytest.raises(ConfigurationError, match="already"), locked(lock, taken="Held already."):
            pass
        may_go.set()
        held.result()


def _somebody_waits_for(inode: int) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{inode} " in line for line in lines)
