"""The audit finds every change, at the entry where it was made."""

import json
import multiprocessing
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.audit import AuditLog
from unica_sdk.errors import AuditBroken
from unica_sdk.schemas.audit import GENESIS


def _filled(path: Path, entries: int) -> AuditLog:
    log = AuditLog(path)
    for number in range(entries):
        log.append(actor="alice", action="count", subject=f"query-{number}", n=number)
    return log


def test_an_empty_log_has_the_genesis_head(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    assert log.head() == (GENESIS, 0)
    assert log.verify() == 0


def test_entries_are_chained_and_counted(tmp_path: Path) -> None:
    log = _filled(tmp_path / "audit.jsonl", 5)
    entries = list(log.entries())
    assert [e.sequence for e in entries] == [1, 2, 3, 4, 5]
    assert log.head() == (entries[-1].digest(), 5)


@given(data=st.data(), field=st.sampled_from(["actor", "action", "subject", "at", "detail"]))
def test_a_changed_field_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, field: str
) -> None:
    log = _filled(tmp_path_factory.mktemp("audit") / "audit.jsonl", 6)
    lines = log.path.read_text().splitlines()
    victim = data.draw(st.integers(0, 4))
    entry = json.loads(lines[victim])
    entry[field] = {"n": 99} if field == "detail" else "2020-01-01T00:00:00Z" if field == "at" else "mallory"
    lines[victim] = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(AuditBroken, match=f"Entry {victim + 2} "):
        log.verify()


@pytest.mark.parametrize("victim", range(4))
def test_a_removed_entry_is_found(tmp_path: Path, victim: int) -> None:
    log = _filled(tmp_path / "audit.jsonl", 5)
    lines = log.path.read_text().splitlines(keepends=True)
    del lines[victim]
    log.path.write_text("".join(lines))
    with pytest.raises(AuditBroken, match=f"Entry {victim + 1} "):
        log.verify()


def test_what_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(AuditBroken, match="nothing was done"):
        AuditLog(tmp_path / "audit.jsonl").append(actor="a", action="b", subject="c")


def test_a_long_entry_is_still_the_last_one(tmp_path: Path) -> None:
    log = _filled(tmp_path / "audit.jsonl", 1)
    long = log.append(actor="alice", action="count", subject="x" * 20_000)
    assert log.head() == (long.digest(), 2)
    assert log.append(actor="alice", action="count", subject="next").previous == long.digest()


@pytest.mark.parametrize("torn", [b"{", b'{"action":"count","actor":"al', b"x" * 9000])
def test_a_line_torn_by_a_crash_is_passed_over_then_removed_and_told(tmp_path: Path, torn: bytes) -> None:
    log = _filled(tmp_path / "audit.jsonl", 3)
    head = log.head()
    with log.path.open("ab") as file:
        file.write(torn)
    assert log.head() == head
    assert log.verify() == 3
    log.append(actor="alice", action="count", subject="after")
    entries = list(log.entries())
    assert [e.action for e in entries[3:]] == ["audit.torn_line_removed", "count"]
    assert entries[3].detail == {"bytes": len(torn)}


def _append_on_a_full_disk(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises(AuditBroken, match="nothing was done"):
        AuditLog(path).append(actor="alice", action="count", subject="too long for what is left")


def test_a_full_disk_refuses_and_is_forgotten_when_there_is_room_again(tmp_path: Path) -> None:
    log = _filled(tmp_path / "audit.jsonl", 2)
    child = multiprocessing.get_context("fork").Process(target=_append_on_a_full_disk, args=(log.path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert log.verify() == 2
    assert log.append(actor="alice", action="count", subject="again").sequence == 3


def _append_many(path: Path) -> None:
    log = AuditLog(path)
    for _ in range(20):
        log.append(actor="worker", action="count", subject="query")


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert AuditLog(path).verify() == 60
