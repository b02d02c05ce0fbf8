"""Answers of sites that need not be asked for again, as long as the site says that nothing changed.

An answer belongs to one index version and one policy of its site. It is given again only to whoever's budget
paid for it: another person's question must reach the site, which keeps budgets and an audit of its own.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.exchange import Answer, Hello
from unica_sdk.schemas.policy import SitePolicy

FRESH_SECONDS = 10.0
"""For how long a site's word holds that its index did not change: one heartbeat of a node.

So an answer is never given again later than this after an opt-out made a new version. A site that says
nothing for longer is asked, or is offline.
"""

MOST_ANSWERS = 2_000
"""The most answers kept of one site; the one that was not asked for longest goes first."""

_Key = tuple[str, bytes]


@dataclass(frozen=True)
class Basis:
    """What a site's answers rest on, as its last hello said; `turn` tells two spells of the same apart."""

    index_version: int
    policy: SitePolicy
    turn: int


@dataclass
class _Site:
    basis: Basis | None = None
    heard: float = float("-inf")
    turns: int = 0
    answers: OrderedDict[_Key, Answer] = field(default_factory=OrderedDict)
    left: dict[str, int] = field(default_factory=dict)


class AnswerMemory:
    """Remembers answers by site, payer and question; in memory alone, and safe in threads."""

    def __init__(
        self, *, fresh_seconds: float = FRESH_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._sites: dict[str, _Site] = {}

    def heard(self, site: str, hello: Hello) -> None:
        """Take a site's word on its index and policy; forget its answers where it is another one."""
        with self._lock:
            known = self._sites.setdefault(site, _Site())
            told = _told(hello)
            if told is None or known.basis is None or told != (known.basis.index_version, known.basis.policy):
                known.turns += 1
                known.basis = Basis(*told, turn=known.turns) if told else None
                known.answers.clear()
                known.left.clear()
            known.heard = self._clock()

    def recall(self, site: str, *, payer: str, question: bytes) -> tuple[Answer | None, Basis | None]:
        """Return the answer that still holds, if any, and what one that is asked for now must rest on."""
        with self._lock:
            known = self._sites.get(site)
            if known is None or self._clock() - known.heard > self._fresh_seconds:
                return None, known.basis if known else None
            answer = known.answers.get((payer, question))
            if answer is not None:
                known.answers.move_to_end((payer, question))
                answer = answer.model_copy(update={"left": known.left.get(payer)})
            return answer, known.basis

    def keep(self, site: str, answer: Answer, *, payer: str, question: bytes, basis: Basis | None) -> None:
        """Remember an answer if it rests on what the site said before it was asked, and still says."""
        with self._lock:
            known = self._sites.get(site)
            if known is None or known.basis is None:
                return
            version = _version(answer)
            if version is not None and version > known.basis.index_version:
                # The site is ahead of its own hello: what is remembered belongs to a version that is gone.
                known.basis = None
                known.answers.clear()
            if answer.left is not None:
                known.left[payer] = answer.left
            if basis is None or basis != known.basis or version != basis.index_version:
                return
            known.answers[(payer, question)] = answer
            known.answers.move_to_end((payer, question))
            if len(known.answers) > MOST_ANSWERS:
                known.answers.popitem(last=False)


def _told(hello: Hello) -> tuple[int, SitePolicy] | None:
    """Return the version and policy of a hello; None where it does not say them, or is not of one mind."""
    versions = {record.index_version for record in hello.datasets}
    if len(versions) != 1 or hello.policy is None:
        return None
    return versions.pop(), hello.policy


def _version(answer: Answer) -> int | None:
    """Return the version that all of an answer belongs to; None where it has no numbers, or of several."""
    counts = [answer.count, *(cell.count for cell in answer.cells)]
    versions = {one.index_version for one in counts if isinstance(one, Released | Suppressed)}
    return versions.pop() if len(versions) == 1 else None
