"""The site's budget of questions: what was asked lately and who paid, so that noise is not averaged away.

Every distinct question on a version has its own noise, so each one asked tells a little more about the same
people. It is therefore paid for when it is first asked, by whoever asks and by the site as a whole; asked
again it has the same answer and costs nothing. What was paid comes back when the period of the policy has
passed; no new version and no opt-out gives anything back sooner.

    asked    who paid (`site`, `permit:…`, `asker:…`), a digest of the question, the version, the cost, when

`budget.sqlite` (0600) is written before an answer is given. Where it cannot be written there is no answer,
and where it is gone there is none either: without it nobody knows what was told.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unica_sdk.errors import DataError
from unica_sdk.files import locked, write_private
from unica_sdk.node.disclosure import asked_of
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.policy import SitePolicy

FILE = "budget.sqlite"
MADE = ".budget.made"
"""Says that there was a budget: where it is gone, nobody may take that for nothing having been asked."""

SITE = "site"
DAY = 24 * 3600.0

_SCHEMA = """
CREATE TABLE asked (
    who TEXT NOT NULL,
    question BLOB NOT NULL,
    version INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (who, question, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX asked_when ON asked (who, at);
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question on one version, and what it costs.

    The cost is at least the sum of squares by which one person can move its numbers, the noise being that of
    one count. `tells` are further questions that its answer answers too: whoever has one has the others.
    """

    question: bytes
    version: int
    cost: int = 1
    tells: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Charge:
    """Whether a question may be answered, and how much whoever asked may still ask in this period."""

    allowed: bool
    left: int


RECORD_COST = 6
"""What a dataset's record costs: 1 for its people, 1 for its studies, and 4 for the words of one person, up
to 36 of them (fields of clinical data included), each with `disclosure.WORD_NOISE` times the noise of a
count."""


def asked_by_records(datasets: Sequence[str], version: int) -> Asked:
    """Return what it is to publish records of these datasets, as measured on a version.

    Example:
        >>> asked_by_records(["mammograms"], 7).cost
        6
    """
    question = canonical_json(["records", *sorted(datasets)])
    return Asked(question=question, version=version, cost=RECORD_COST * len(datasets))


class Budget:
    """A site's budget; several processes and threads may use it at once.

    Args:
        folder: The node's folder.
        clock: Seconds since 1970.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened[1].close()
                self._opened = None

    @property
    def path(self) -> Path:
        """The file; it is not there before the first question."""
        return self.folder / FILE

    def charge(
        self,
        asked: Asked,
        *,
        payer: str | None,
        policy: SitePolicy,
        record: Callable[[], object] = lambda: None,
    ) -> Charge:
        """Take the price of a question, unless it was asked before, from its payer and from the site.

        Args:
            asked: The question.
            payer: Who pays besides the site: `permit:…` or `asker:…`; None where the site itself asks.
            policy: The site's policy as it stands now.
            record: Writes the audit of an allowed question. If it raises, nothing is taken. The answer may
                be given after `charge` returned, and not before.

        Raises:
            DataError: the budget cannot be read or written, so there is no answer.
        """
        digests = [_digest(question, policy) for question in (asked.question, *asked.tells)]
        purses = {SITE: policy.site_budget}
        if payer is not None:
            purses[payer] = policy.person_budget
        with self._writing() as connection:
            now = self._clock()
            since = now - policy.budget_days * DAY
            spent = {who: _spent(connection, who, since) for who in purses}
            new = [who for who in purses if not _known(connection, who, digests[0], asked.version)]
            allowed = all(spent[who] + asked.cost <= purses[who] for who in new)
            if allowed:
                record()
            if allowed and new:
                connection.execute("DELETE FROM asked WHERE at <= ? AND version < ?", (since, asked.version))
                for who in new:
                    _add(connection, who, digests, asked, now)
                    spent[who] += asked.cost
        return Charge(allowed=allowed, left=max(0, min(purses[who] - spent[who] for who in purses)))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that alone may write; what it wrote is on disk afterwards, or nothing of it."""
        try:
            with self._lock:
                connection = self._connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as err:
            raise DataError(
                "The budget of questions cannot be used, so nothing is answered.",
                where=str(self.path),
                hint=str(err),
            ) from err

    def _connection(self) -> sqlite3.Connection:
        """Return the connection to the file that is there now; it stays open, as opening one is dear."""
        self._make()
        there = self.path.stat().st_ino
        if self._opened is not None and self._opened[0] != there:
            self._opened[1].close()
            self._opened = None
        if self._opened is None:
            connection = sqlite3.connect(
                f"file:{self.path}?mode=rw",
                uri=True,
                timeout=30,
                isolation_level=None,
                check_same_thread=False,
            )
            # A commit is one write at the end of a file beside it, flushed to disk.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._opened = there, connection
        return self._opened[1]

    def _make(self) -> None:
        """Make the file where there never was one: aside, and put into place as a whole."""
        if self.path.exists():
            return
        with locked(self.folder / ".budget.lock"):
            if self.path.exists():
                return
            if (self.folder / MADE).exists():
                raise DataError(
                    "The budget of questions is gone, so nothing is answered.",
                    where=str(self.path),
                    hint=f"Put back the newest copy of it; without one, wait a period and remove {MADE}.",
                )
            aside = self.folder / f".{FILE}.partial"
            aside.unlink(missing_ok=True)
            os.close(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(aside, isolation_level=None)
            try:
                connection.executescript(f"PRAGMA synchronous = EXTRA; {_SCHEMA}")
            finally:
                connection.close()
            aside.replace(self.path)
            write_private(self.folder / MADE, b"")


def _digest(question: bytes, policy: SitePolicy) -> bytes:
    return hashlib.sha256(asked_of(question, policy=policy)).digest()


def _spent(connection: sqlite3.Connection, who: str, since: float) -> int:
    (cost,) = connection.execute(
        "SELECT coalesce(sum(cost), 0) FROM asked WHERE who = ? AND at > ?", (who, since)
    ).fetchone()
    return int(cost)


def _known(connection: sqlite3.Connection, who: str, digest: bytes, version: int) -> bool:
    there = connection.execute(
        "SELECT 1 FROM asked WHERE who = ? AND question = ? AND version = ?", (who, digest, version)
    ).fetchone()
    return there is not None


def _add(connection: sqlite3.Connection, who: str, digests: list[bytes], asked: Asked, now: float) -> None:
    first, *others = digests
    rows = [(who, first, asked.version, asked.cost, now)]
    rows += [(who, other, asked.version, 0, now) for other in others]
    connection.executemany("INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?, ?)", rows)
