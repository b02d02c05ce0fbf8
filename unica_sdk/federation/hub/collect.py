"""Waiting for the sites of one exchange: who answered, who left, who is too late."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from unica_sdk.federation import records
from unica_sdk.schemas.job import FailureCode

POLL_SECONDS = 0.1
SLOWEST_POLL_SECONDS = 0.5
ROSTER_SECONDS = 1.0

Roster = Callable[[], Mapping[str, int]]
"""The sites that are connected now, with their node numbers; one that reconnected is another one."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a connected site that is silent is waited for, once others have answered.

    A site that left is noticed by its heartbeat within 20 s, whatever stands here. This is for one that is
    there and says nothing: it gets `factor` times what the slowest other one took, and never less than
    `floor` seconds, since sites differ in size. `arrival` is how long a job waits at its start for sites
    that are not there.
    """

    floor: float = 60.0
    factor: float = 10.0
    arrival: float = 10.0


class DeadlinePassed(Exception):  # noqa: N818 - a state of the job
    """The job's time is up."""


def collect(
    grid: Grid,
    pending: Mapping[str, str],
    *,
    nodes: Mapping[str, int],
    roster: Roster,
    patience: Patience,
    end: float,
) -> Iterator[tuple[str, Message | FailureCode]]:
    """Yield each site's message as it comes, or why there is none; `pending` maps message numbers to sites.

    Raises:
        DeadlinePassed: `end`, on the monotonic clock, is over.
    """
    waiting = dict(pending)
    start = looked = time.monotonic()
    late, pause = math.inf, POLL_SECONDS
    while waiting:
        for message in grid.pull_messages(list(waiting)):
            site = waiting.pop(message.metadata.reply_to_message_id, None)
            now = time.monotonic()
            if site is not None and message.has_error():
                yield site, records.failure_of(message)
            elif site is not None:
                late = now + max(patience.floor, patience.factor * (now - start))
                yield site, message
        now = time.monotonic()
        if now - looked >= ROSTER_SECONDS:
            looked = now
            for number in _gone(waiting, nodes, roster()):
                yield waiting.pop(number), FailureCode.SITE_OFFLINE
        if now > late:
            yield from ((site, FailureCode.SITE_TIMEOUT) for site in waiting.values())
            return
        if now > end:
            raise DeadlinePassed
        if waiting:
            time.sleep(pause)
            # A long training is asked for less often: on a small machine every poll is taken from it.
            pause = min(SLOWEST_POLL_SECONDS, pause * 1.1)


def _gone(waiting: Mapping[str, str], nodes: Mapping[str, int], here: Mapping[str, int]) -> list[str]:
    """Return the messages whose sites are not connected any more, or not as the same node."""
    return [number for number, site in waiting.items() if here.get(site) != nodes[site]]
