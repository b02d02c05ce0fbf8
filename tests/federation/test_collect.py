"""Waiting for sites: who is late, who left, and that it always ends. Time is moved by hand."""

from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from unica_sdk.federation import adapter, records
from unica_sdk.federation.hub import collect as module
from unica_sdk.federation.hub.collect import DeadlinePassed, Patience, collect
from unica_sdk.schemas.job import FailureCode

NODES = {"gr": 1, "lt": 2, "pt": 3}


class Clock:
    """A clock that runs while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ScriptedGrid(Grid):
    """An engine in which each message is answered at a given time, or never."""

    def __init__(self, clock: Clock, answers: dict[str, float], failing: frozenset[str]) -> None:
        self._clock, self._due, self._failing = clock, dict(answers), failing
        adapter.identify()

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        ready = [m for m in message_ids if self._due.get(m, float("inf")) <= self._clock.now - 1000]
        return [self._reply(self._due.pop(m) and m) for m in ready]

    def _reply(self, number: Any) -> Message:
        asked = adapter.stamp(Message(RecordDict({"c": ConfigRecord({"a": 1})}), 1, "train"), number)
        if number in self._failing:
            return records.failed(asked, FailureCode.APP_FAILED)
        return Message(RecordDict(), reply_to=asked)

    def set_run(self, run: Any) -> None: ...
    @property
    def run(self) -> Any: ...
    def create_message(self, *args: Any, **more: Any) -> Any: ...
    def get_node_ids(self) -> Any: ...
    def get_nodes(self) -> Any: ...
    def push_messages(self, messages: Any) -> Any: ...
    def send_and_receive(self, messages: Any, *, timeout: Any = None) -> Any: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def outcome(
    clock: Clock,
    answers: dict[str, float],
    *,
    failing: frozenset[str] = frozenset(),
    leaving: dict[str, float] | None = None,
    patience: Patience | None = None,
    end: float = 10_000.0,
) -> dict[str, str]:
    """What became of each site, and leave the clock where it ended."""

    def roster() -> dict[str, int]:
        gone = {s for s, at in (leaving or {}).items() if clock.now - 1000 >= at}
        return {site: node for site, node in NODES.items() if site not in gone}

    found = collect(
        ScriptedGrid(clock, answers, failing),
        {site: site for site in NODES},
        nodes=NODES,
        roster=roster,
        patience=patience or Patience(),
        end=clock.now + end,
    )
    return {site: a.value if isinstance(a, FailureCode) else "answered" for site, a in found}


def test_all_answer(clock: Clock) -> None:
    assert set(outcome(clock, {"gr": 1, "lt": 2, "pt": 3}).values()) == {"answered"}


def test_a_site_that_leaves_is_noticed_at_once(clock: Clock) -> None:
    assert outcome(clock, {"gr": 1, "lt": 2}, leaving={"pt": 5})["pt"] == "site_offline"
    assert clock.now < 1008


def test_a_site_that_is_there_and_silent_is_given_up_in_proportion(clock: Clock) -> None:
    assert outcome(clock, {"gr": 1, "lt": 2})["pt"] == "site_timeout"
    assert 1060 < clock.now < 1064


def test_a_site_with_much_more_data_is_waited_for(clock: Clock) -> None:
    assert set(outcome(clock, {"gr": 30, "lt": 31, "pt": 300}).values()) == {"answered"}


def test_a_refusal_hurries_nobody(clock: Clock) -> None:
    answers = {"gr": 0.5, "lt": 400, "pt": 401}
    assert outcome(clock, answers, failing=frozenset(["gr"])) == {
        "gr": "app_failed",
        "lt": "answered",
        "pt": "answered",
    }


def test_all_leave(clock: Clock) -> None:
    leaving = dict.fromkeys(NODES, 3.0)
    assert set(outcome(clock, {}, leaving=leaving).values()) == {"site_offline"}


def test_the_deadline_ends_it_where_nobody_answers(clock: Clock) -> None:
    with pytest.raises(DeadlinePassed):
        outcome(clock, {}, end=30)
    assert clock.now < 1032
