"""The budget of questions: never exceeded, whatever happens in what order; a question asked again is free."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from unica_sdk.errors import AuditBroken, DataError
from unica_sdk.node.budget import DAY, Asked, Budget
from unica_sdk.schemas.policy import SitePolicy

POLICY = SitePolicy(noise=4, site_budget=12, person_budget=7, budget_days=3)


def _ask(budget: Budget, question: bytes, *, payer: str | None = "asker:a", version: int = 1, cost: int = 1):
    asked = Asked(question=question, version=version, cost=cost)
    return budget.charge(asked, payer=payer, policy=POLICY)


def test_a_question_costs_once_for_its_payer_and_the_site(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    assert _ask(budget, b"q").left == 6
    assert _ask(budget, b"q").left == 6
    assert _ask(budget, b"p", cost=3).left == 3
    # Somebody else pays for herself what the site has told already, and the site pays nothing.
    assert _ask(budget, b"q", payer="asker:b").left == 6
    assert _ask(budget, b"records", payer=None, cost=2).left == 6
    assert _ask(budget, b"r", payer="asker:c", cost=4).left == 2


def test_what_is_too_dear_takes_nothing_and_is_not_recorded(tmp_path: Path) -> None:
    budget, written = Budget(tmp_path), []

    def ask(question: bytes, cost: int):
        asked = Asked(question=question, version=1, cost=cost)
        return budget.charge(asked, payer="asker:a", policy=POLICY, record=lambda: written.append(question))

    assert ask(b"cheap", 6).allowed
    refused = ask(b"dear", 2)
    assert (refused.allowed, refused.left, written) == (False, 1, [b"cheap"])
    assert ask(b"small", 1).allowed
    assert ask(b"cheap", 6).allowed


def test_what_an_answer_tells_in_passing_is_free(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    breakdown = Asked(question=b"breakdown", version=1, cost=2, tells=(b"total", b"cell"))
    assert budget.charge(breakdown, payer="asker:a", policy=POLICY).left == 5
    assert _ask(budget, b"cell").left == _ask(budget, b"total").left == 5
    assert _ask(budget, b"cell", payer="asker:b").left == 6
    assert _ask(budget, b"cell", version=2).left == 4


def test_a_new_version_gives_nothing_back_and_time_does(tmp_path: Path) -> None:
    now = 1_000_000.0
    budget = Budget(tmp_path, clock=lambda: now)
    for version in range(7):
        assert _ask(budget, b"q", version=version).allowed
    assert not _ask(budget, b"q", version=8).allowed
    now += 2.9 * DAY
    assert not _ask(budget, b"q", version=8).allowed
    now += 0.2 * DAY
    assert _ask(budget, b"q", version=8).left == 6
    # The last version's question was paid for a period ago, and still is the same question.
    assert _ask(budget, b"q", version=8).left == 6


def test_a_clock_that_is_put_back_gives_nothing_back(tmp_path: Path) -> None:
    now = 1_000_000.0
    budget = Budget(tmp_path, clock=lambda: now)
    _ask(budget, b"q", cost=7)
    now -= 100 * DAY
    assert not _ask(budget, b"p").allowed


def test_a_change_of_what_shapes_numbers_makes_other_questions(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    asked = Asked(question=b"q", version=1)
    for change in ({}, {"threshold": 11}, {"noise": 5.0}):
        changed = SitePolicy.model_validate({**POLICY.model_dump(), **change})
        left = budget.charge(asked, payer="asker:a", policy=changed).left
    assert left == 4
    same = SitePolicy.model_validate({**POLICY.model_dump(), "rounding": 1, "minimum_cases": 99})
    assert budget.charge(asked, payer="asker:a", policy=same).left == 4


def test_without_an_audit_nothing_is_taken(tmp_path: Path) -> None:
    budget = Budget(tmp_path)

    def broken() -> None:
        raise AuditBroken("no")

    with pytest.raises(AuditBroken):
        budget.charge(Asked(question=b"q", version=1), payer="asker:a", policy=POLICY, record=broken)
    assert _ask(budget, b"p").left == 6


def test_the_file_is_its_owners_and_one_that_is_gone_or_broken_stops_everything(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    _ask(budget, b"q")
    files = sorted(path for path in tmp_path.iterdir() if path.name.startswith("budget.sqlite"))
    assert len(files) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    budget.close()
    kept = budget.path.read_bytes()
    assert b"asker:a" in kept
    budget.path.write_bytes(b"nonsense" * 100)
    with pytest.raises(DataError):
        _ask(budget, b"q")
    budget.path.unlink()
    with pytest.raises(DataError, match="gone"):
        _ask(budget, b"q")
    budget.path.write_bytes(kept)
    assert _ask(budget, b"q").left == 6


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_file_that_cannot_be_written_gives_no_answer(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    _ask(budget, b"q")
    budget.path.chmod(0o400)
    with pytest.raises(DataError):
        _ask(budget, b"p")


def test_a_disk_that_is_full_gives_no_answer(tmp_path: Path) -> None:
    budget = Budget(tmp_path)
    _ask(budget, b"q")
    with sqlite3.connect(budget.path) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON asked BEGIN SELECT raise(ABORT, 'full'); END"
        )
    connection.close()
    with pytest.raises(DataError, match="nothing is answered"):
        _ask(budget, b"p")
    assert _ask(budget, b"q").left == 6


ASK = """
import sys
from pathlib import Path
from unica_sdk.node.budget import Asked, Budget
from unica_sdk.schemas.policy import SitePolicy
policy = SitePolicy(noise=8, site_budget=60, person_budget=40)
budget, who = Budget(Path(sys.argv[1])), sys.argv[2]
for n in range(60):
    if budget.charge(Asked(question=f"{who} {n}".encode(), version=1), payer=who, policy=policy).allowed:
        print(n, flush=True)
"""


def _asking(folder: Path, who: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", ASK, str(folder), who], stdout=subprocess.PIPE)


def test_processes_at_once_cannot_spend_more_than_there_is(tmp_path: Path) -> None:
    with _asking(tmp_path, "asker:a") as one, _asking(tmp_path, "asker:b") as other:
        told = [len(process.communicate()[0].split()) for process in (one, other)]
    assert sum(told) == 60
    assert max(told) <= 40


def test_threads_at_once_cannot_spend_more_than_there_is(tmp_path: Path) -> None:
    policy = SitePolicy(noise=5, site_budget=25, person_budget=10)
    told: dict[str, int] = defaultdict(int)
    together = threading.Lock()

    def ask(who: str) -> None:
        budget = Budget(tmp_path)
        for n in range(12):
            asked = Asked(question=f"{who} {n}".encode(), version=1)
            if budget.charge(asked, payer=who, policy=policy).allowed:
                with together:
                    told[who] += 1

    threads = [threading.Thread(target=ask, args=(f"asker:{n % 4}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Two threads of each asked the same questions: the second one got them for nothing, or not at all.
    with sqlite3.connect(tmp_path / "budget.sqlite") as connection:
        spent = dict(connection.execute("SELECT who, sum(cost) FROM asked GROUP BY who").fetchall())
    connection.close()
    assert spent["site"] == 25
    assert all(cost <= 10 for who, cost in spent.items() if who != "site")


def test_whoever_was_killed_has_paid_for_everything_that_was_answered(tmp_path: Path) -> None:
    with _asking(tmp_path, "asker:a") as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(5)]
        process.kill()
        told += [int(line) for line in process.stdout.read().split()]
    with sqlite3.connect(tmp_path / "budget.sqlite") as connection:
        (paid,) = connection.execute("SELECT count(*) FROM asked WHERE who = 'site'").fetchone()
    connection.close()
    assert len(told) <= paid <= len(told) + 1
    assert _ask(Budget(tmp_path), b"after", payer=None, cost=0).allowed


class Interleaved(RuleBasedStateMachine):
    """Any order of questions, askers, versions, days and restarts, against a book that is kept by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_000_000.0
        self.version = 1
        self.paid: list[tuple[float, str, int]] = []
        self.known: dict[tuple[str, bytes, int], float] = {}
        self.restart()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def restart(self) -> None:
        if hasattr(self, "budget"):
            self.budget.close()
        self.budget = Budget(Path(self.folder.name), clock=lambda: self.now)

    @rule(days=st.floats(0.01, 2))
    def wait(self, days: float) -> None:
        self.now += days * DAY

    @rule()
    def publish(self) -> None:
        self.version += 1

    @rule(
        who=st.sampled_from(["asker:a", "asker:b", "permit:p", None]),
        number=st.integers(0, 9),
        cost=st.integers(1, 4),
        back=st.integers(0, 1),
    )
    def ask(self, who: str | None, number: int, cost: int, back: int) -> None:
        # One question has one price; and an agent that lags may still answer on the version before.
        question, version = b"%d costs %d" % (number, cost), max(1, self.version - back)
        purses = [name for name in ("site", who) if name]
        new = [name for name in purses if (name, question, version) not in self.known]
        left = {name: self._limit(name) - self._spent(name) for name in purses}
        charge = self.budget.charge(
            Asked(question=question, version=version, cost=cost), payer=who, policy=POLICY
        )
        assert charge.allowed is all(cost <= left[name] for name in new)
        if charge.allowed and new:
            since = self.now - POLICY.budget_days * DAY
            # What is over a period old, and of an older version, is forgotten: it would be paid for anew.
            self.known = {k: at for k, at in self.known.items() if at > since or k[2] >= version}
            for name in new:
                self.paid.append((self.now, name, cost))
                self.known[name, question, version] = self.now
                left[name] -= cost
        assert charge.left == min(left.values())

    def _limit(self, name: str) -> int:
        return POLICY.site_budget if name == "site" else POLICY.person_budget

    def _spent(self, name: str) -> int:
        since = self.now - POLICY.budget_days * DAY
        return sum(cost for at, who, cost in self.paid if who == name and at > since)

    @invariant()
    def never_more_than_there_is(self) -> None:
        for name in {who for _, who, _ in self.paid}:
            assert self._spent(name) <= self._limit(name)


Interleaved.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestInterleaved = Interleaved.TestCase
