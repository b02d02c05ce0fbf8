"""Questions to the sites and their answers: who is online, who was asked what, who answered."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from unica_sdk.errors import InvalidRequest, NotFound, Unavailable
from unica_sdk.gateway.bell import Bell
from unica_sdk.schemas.cohort import CountAnswer, Released, Suppressed
from unica_sdk.schemas.exchange import Answer, BreakdownQuestion, FreezeQuestion, Question

MAX_OPEN = 1024
"""The most questions open at once; beyond that, people are asked to come back."""

MAX_VALUE = 64
"""The most letters of one value of a breakdown's cell."""


@dataclass
class _Open:
    site: str
    question: Question
    batch: str
    sent: float = field(default=float("-inf"))
    answer: Answer | None = None


class Switchboard:
    """Keeps every open question until its site answered or its asker stopped waiting.

    A question that was handed out and not answered is handed out again after `resend_seconds`, so that a node
    that reconnects finds it; sites answer the same question the same way. Of several polls of one site only
    the newest gets questions: an older one belongs to a connection that is gone.
    """

    def __init__(
        self,
        bell: Bell,
        *,
        presence_seconds: float = 25.0,
        resend_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bell = bell
        self._presence = presence_seconds
        self._resend = resend_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._unanswered: dict[str, dict[str, _Open]] = {}
        self._seen: dict[str, tuple[float, datetime]] = {}
        self._polls: dict[str, int] = {}

    def see(self, site: str) -> None:
        """Note that a site was heard of just now."""
        self._seen[site] = (self._clock(), datetime.now(UTC))

    def online(self, site: str) -> bool:
        """Whether the site was heard of lately."""
        seen = self._seen.get(site)
        return seen is not None and self._clock() - seen[0] <= self._presence

    def last_seen(self, site: str) -> datetime | None:
        """When the site was last heard of by this process."""
        seen = self._seen.get(site)
        return seen[1] if seen else None

    async def ask(self, questions: Mapping[str, Question], *, seconds: float) -> dict[str, Answer]:
        """Put one question to each site and return the answers that came in time, by site.

        Raises:
            Unavailable: too many questions are open.
        """
        found: dict[str, Answer] = {}
        async with aclosing(self.answers(questions, seconds=seconds, every=seconds)) as coming:
            async for some in coming:
                found |= some
        return found

    async def answers(
        self, questions: Mapping[str, Question], *, seconds: float, every: float
    ) -> AsyncGenerator[dict[str, Answer]]:
        """Put one question to each site and yield the answers by site as they come, until time is up.

        Where none comes for `every` seconds, an empty one is yielded. Close it to stop asking: what the sites
        say afterwards finds no question.

        Raises:
            Unavailable: too many questions are open.
        """
        asked = self._opened(questions)
        waiting = {entry.site: entry for entry in asked}
        end = time.monotonic() + seconds

        async def came() -> dict[str, Answer]:
            return {site: entry.answer for site, entry in waiting.items() if entry.answer}

        try:
            self._bell.ring(*(f"site:{entry.site}" for entry in asked))
            while waiting and (left := end - time.monotonic()) > 0 and not self._bell.closed:
                some = await self._bell.until(f"batch:{asked[0].batch}", came, seconds=min(every, left))
                for site in some:
                    del waiting[site]
                yield some
        finally:
            with self._lock:
                for entry in asked:
                    del self._open[entry.question.id]
                    self._settled(entry)

    def _opened(self, questions: Mapping[str, Question]) -> list[_Open]:
        batch = secrets.token_hex(8)
        asked = [_Open(site=site, question=question, batch=batch) for site, question in questions.items()]
        with self._lock:
            if len(self._open) + len(asked) > MAX_OPEN:
                raise Unavailable("Too many questions are being asked.", hint="Try again in a minute.")
            for entry in asked:
                self._open[entry.question.id] = entry
                self._unanswered.setdefault(entry.site, {})[entry.question.id] = entry
        return asked

    def _settled(self, entry: _Open) -> None:
        of_site = self._unanswered.get(entry.site, {})
        of_site.pop(entry.question.id, None)
        if not of_site:
            self._unanswered.pop(entry.site, None)

    async def take(self, site: str, *, wait: float) -> tuple[Question, ...]:
        """Return the questions open for a site, waiting up to `wait` seconds for the first one."""
        self.see(site)
        with self._lock:
            mine = self._polls[site] = self._polls.get(site, 0) + 1
        self._bell.ring(f"site:{site}")
        taken: tuple[Question, ...] = ()

        async def ready() -> bool:
            nonlocal taken
            if self._polls[site] != mine:
                return True
            taken = self._hand_out(site)
            return bool(taken)

        # Whatever opens a question rings; only what was lost on the way must be looked for without.
        await self._bell.until(f"site:{site}", ready, seconds=wait, every=self._resend)
        return taken

    def _hand_out(self, site: str) -> tuple[Question, ...]:
        now = self._clock()
        with self._lock:
            due = [
                entry for entry in self._unanswered.get(site, {}).values() if now - entry.sent >= self._resend
            ]
            for entry in due:
                entry.sent = now
        return tuple(entry.question for entry in due)

    def accept(self, site: str, answer: Answer) -> None:
        """Take a site's answer to a question that is open for this very site.

        Raises:
            InvalidRequest: the answer speaks of another site, or does not fit the question.
            NotFound: no such question is open for the site: late, answered, or never asked of it.
        """
        self.see(site)
        _check_answer(site, answer)
        with self._lock:
            entry = self._open.get(answer.question)
            if entry is None or entry.site != site or entry.answer is not None:
                raise NotFound("No such question is open for this site.", where="question")
            _check_fits(answer, entry.question)
            entry.answer = answer
            self._settled(entry)
        self._bell.ring(f"batch:{entry.batch}")


def check_count(count: CountAnswer, site: str, *, where: str) -> None:
    """Return if a site speaks for itself, in a number that can be.

    Raises:
        InvalidRequest: another site's number, or an interval that does not hold it.
    """
    if count.site != site:
        raise InvalidRequest("A site answers for itself only.", where=where)
    if isinstance(count, Released) and not count.low <= count.n <= count.high:
        raise InvalidRequest("The interval does not hold the number.", where=where)


def _check_answer(site: str, answer: Answer) -> None:
    check_count(answer.count, site, where="count")
    if answer.snapshot is not None:
        check_count(answer.snapshot.cases, site, where="snapshot.cases")
        if answer.snapshot.site != site or not isinstance(answer.snapshot.cases, Released):
            raise InvalidRequest("The snapshot is not this site's, or has no cases.", where="snapshot")
    for cell in answer.cells:
        check_count(cell.count, site, where="cells")


def _check_fits(answer: Answer, question: Question) -> None:
    """Return if an answer is one to this kind of question."""
    if answer.snapshot is not None and not isinstance(question, FreezeQuestion):
        raise InvalidRequest("A count has no snapshot.", where="snapshot")
    if not answer.cells:
        return
    if not isinstance(question, BreakdownQuestion):
        raise InvalidRequest("Only a breakdown has cells.", where="cells")
    if not isinstance(answer.count, Released | Suppressed):
        raise InvalidRequest("Without a number of the whole there are no cells.", where="cells")
    values = {cell.values for cell in answer.cells}
    if len(values) != len(answer.cells):
        raise InvalidRequest("A cell is given twice.", where="cells")
    if any(len(value) != len(question.by) or max(map(len, value)) > MAX_VALUE for value in values):
        raise InvalidRequest("A cell does not have one short value for each facet.", where="cells")
