"""The server side of every job: rounds of training and evaluation, and how a job ends.

It is ours for every app; a bundle only names a strategy. It runs on the engine's grid in a process of its own
(`hub.coordinator`) and, unchanged, on the in-process grid (`federation.grid`).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from unica_sdk.errors import InvalidRequest
from unica_sdk.federation import records
from unica_sdk.federation.hub.collect import DeadlinePassed, Patience, Roster, collect
from unica_sdk.federation.packing import Arrays
from unica_sdk.federation.ports import Reporter, Task
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.job import (
    Failure,
    FailureCode,
    JobOrder,
    JobState,
    JobUpdate,
    Participant,
    ParticipantState,
)
from unica_sdk.schemas.metrics import Metrics, RoundMetrics, ScoreHistogram

log = logging.getLogger(__name__)

DECISIONS = frozenset(
    {
        FailureCode.NO_TICKET,
        FailureCode.TICKET_INVALID,
        FailureCode.TICKET_EXPIRED,
        FailureCode.PERMIT_INVALID,
        FailureCode.APP_NOT_APPROVED,
        FailureCode.PARAMETERS_INVALID,
        FailureCode.COHORT_UNKNOWN,
        FailureCode.TOO_FEW_CASES,
        FailureCode.AUDIT_UNAVAILABLE,
    }
)
"""The codes by which a site's own guard says no: the site is then refused, not dropped."""

WEIGHT = "num-examples"
"""The engine's name for a reply's weight in the average."""

ABSENCES = frozenset({FailureCode.SITE_OFFLINE, FailureCode.SITE_TIMEOUT})


class Unwanted(Exception):  # noqa: N818 - a state of the job
    """Nobody wants this job any more: it was cancelled."""


class _Ended(Exception):  # noqa: N818 - how a job that cannot go on leaves the rounds
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code.value)
        self.failure = failure


@dataclass
class _Seat:
    """One site in the running job."""

    site: str
    node: int | None = None
    state: ParticipantState = ParticipantState.INVITED
    rounds: int = 0
    cases: Released | None = None
    consent: Literal["applied"] | None = None
    failure: Failure | None = None

    def shown(self) -> Participant:
        return Participant(
            site=self.site,
            state=self.state,
            rounds=self.rounds,
            cases=self.cases,
            consent=self.consent,
            failure=self.failure,
        )


@dataclass
class _Model:
    """Where the rounds stand: the averaged arrays and what the last evaluation said."""

    arrays: Arrays | None = None
    histograms: dict[str, tuple[ScoreHistogram, int]] = field(default_factory=dict)


def run_job(
    order: JobOrder,
    *,
    grid: Grid,
    roster: Roster,
    report: Reporter,
    patience: Patience | None = None,
) -> None:
    """Run one job to its end and report every step; returns when it ended, however it ended.

    A site that refuses, fails, leaves or stays silent is dropped and the job goes on: `degraded`, or `failed`
    below the quorum. A job that is no longer wanted (`report` said so) is left without another word.
    """
    job = _Job(order, grid=grid, roster=roster, report=report, patience=patience or Patience())
    try:
        job.run()
    except Unwanted:
        log.info("job %s is no longer wanted", order.job)
    except Exception:
        log.exception("job %s: the server side failed", order.job)
        report(
            JobUpdate(
                text="The engine failed.",
                state=JobState.FAILED,
                participants=job.participants(),
                failure=Failure(code=FailureCode.ENGINE),
            )
        )
        raise


class _Job:
    def __init__(
        self, order: JobOrder, *, grid: Grid, roster: Roster, report: Reporter, patience: Patience
    ) -> None:
        self._order, self._grid, self._roster = order, grid, roster
        self._report, self._patience = report, patience
        self._seats = {site: _Seat(site) for site in sorted(order.sites)}
        self._end = time.monotonic() + order.deadline
        self._average = FedAvg(weighted_by_key=WEIGHT)

    def participants(self) -> tuple[Participant, ...]:
        return tuple(seat.shown() for seat in self._seats.values())

    def run(self) -> None:
        model = _Model()
        try:
            self._gather()
            for number in range(1, self._order.rounds + 1):
                self._round(number, model)
        except _Ended as ended:
            self._fail(ended.failure)
        except DeadlinePassed:
            self._fail(Failure(code=FailureCode.DEADLINE))
        else:
            self._complete(model)

    # ------------------------------------------------------------------------------------- the parts of a job

    def _gather(self) -> None:
        """Seat the sites that are connected; wait a little for those that are not."""
        self._say(f"Calling {_sites(self._seats)}.", state=JobState.RUNNING)
        arrival = min(self._end, time.monotonic() + self._patience.arrival)
        while True:
            for site, node in self._roster().items():
                if site in self._seats and self._seats[site].node is None:
                    self._seats[site].node = node
                    self._seats[site].state = ParticipantState.TAKING_PART
            absent = [seat for seat in self._seats.values() if seat.node is None]
            if not absent or time.monotonic() > arrival:
                break
            time.sleep(0.25)
        for seat in absent:
            self._lose(seat.site, FailureCode.SITE_OFFLINE)
        self._require_quorum()

    def _round(self, number: int, model: _Model) -> None:
        last = number == self._order.rounds
        active = self._active()
        self._say(f"Round {number} of {self._order.rounds}: {_sites(active)} train.")
        trained = self._agreeing(self._exchange("train", number, model.arrays))
        model.arrays = self._averaged(number, trained)
        self._say(
            f"Round {number} of {self._order.rounds}: {_sites(self._active())} evaluate.",
            state=JobState.EVALUATING if last else None,
        )
        judged = self._exchange("evaluate", number, model.arrays)
        model.histograms = {
            site: (reply.about.tested.histogram, reply.about.people.n)
            for site, reply in judged.items()
            if reply.about.tested is not None
        }
        for site in judged:
            self._seats[site].rounds = number
        pooled = _pooled(model.histograms).pooled
        figures = RoundMetrics(
            round=number,
            loss=_mean_loss(trained),
            auc=pooled.auc if pooled else None,
            sites={
                site: {**trained[site].about.metrics, **reply.about.metrics} for site, reply in judged.items()
            },
        )
        self._say(f"Round {number} of {self._order.rounds} is done.", round_metrics=figures)

    def _exchange(self, task: Task, number: int, arrays: Arrays | None) -> dict[str, records.Reply]:
        """Send one task to every active site and return the replies that hold; whoever has none is lost."""
        nodes = {seat.site: seat.node for seat in self._active().values() if seat.node is not None}
        left = max(1.0, self._end - time.monotonic())
        messages = [
            records.instruct(self._order, task=task, number=number, arrays=arrays, node=node, seconds=left)
            for node in nodes.values()
        ]
        numbers = list(self._grid.push_messages(messages))
        pending: dict[str, str] = {}
        for site, identity in zip(nodes, numbers, strict=True):
            if identity:
                pending[identity] = site
            else:
                self._lose(site, FailureCode.SITE_OFFLINE)
        replies: dict[str, records.Reply] = {}
        for site, answer in collect(
            self._grid, pending, nodes=nodes, roster=self._roster, patience=self._patience, end=self._end
        ):
            reply = self._accept(site, answer, task)
            if reply is not None:
                replies[site] = reply
        self._require_quorum()
        return replies

    def _accept(self, site: str, answer: Message | FailureCode, task: Task) -> records.Reply | None:
        if isinstance(answer, FailureCode):
            self._lose(site, answer)
            return None
        try:
            reply = records.read_reply(answer, task=task, site=site, manifest=self._order.manifest)
        except records.ReplyInvalid as err:
            log.warning("job %s: %s: %s", self._order.job, site, err)
            self._lose(site, FailureCode.REPLY_INVALID)
            return None
        self._seats[site].cases = reply.about.cases
        self._seats[site].consent = reply.about.consent
        return reply

    def _agreeing(self, replies: dict[str, records.Reply]) -> dict[str, records.Reply]:
        """Return the replies whose arrays are numbers, of the names and shapes most agree on; drop others."""
        shapes = {site: _shape(reply.arrays) for site, reply in replies.items()}
        known = Counter(shape for shape in shapes.values() if shape is not None)
        agreed = known.most_common(1)[0][0] if known else None
        for site, shape in shapes.items():
            if shape is None or shape != agreed:
                self._lose(site, FailureCode.REPLY_INVALID)
                del replies[site]
        self._require_quorum()
        return replies

    def _averaged(self, number: int, replies: dict[str, records.Reply]) -> Arrays:
        """Return the weighted mean of the sites' arrays, by the engine's FedAvg."""
        messages = []
        for site in sorted(replies):
            arrays = ArrayRecord({name: Array(value) for name, value in replies[site].arrays.items()})
            size = MetricRecord({WEIGHT: replies[site].about.weight})
            content = RecordDict({"arrays": arrays, "size": size})
            messages.append(Message(content, dst_node_id=1, message_type="train"))
        mean, _ = self._average.aggregate_train(number, messages)
        if mean is None:
            raise _Ended(Failure(code=FailureCode.ENGINE))
        return {name: array.numpy() for name, array in mean.items()}

    # --------------------------------------------------------------------------------------- how a job ends

    def _complete(self, model: _Model) -> None:
        lost = [seat.failure for seat in self._seats.values() if seat.failure is not None]
        for seat in self._active().values():
            seat.state = ParticipantState.COMPLETED
        state = JobState.DEGRADED if lost else JobState.COMPLETED
        named = ", ".join(f.site for f in lost if f.site)
        text = f"The job ended without {named}." if lost else "The job is complete."
        self._say(text, state=state, metrics=_pooled(model.histograms), failure=lost[0] if lost else None)

    def _fail(self, failure: Failure) -> None:
        where = f" at {failure.site}" if failure.site else ""
        self._say(f"The job failed{where}: {failure.code.value}.", state=JobState.FAILED, failure=failure)

    def _lose(self, site: str, code: FailureCode) -> None:
        seat = self._seats[site]
        seat.state = ParticipantState.REFUSED if code in DECISIONS else ParticipantState.DROPPED
        seat.failure = Failure(code=code, site=site)
        self._say(f"{site} is no longer part of the job: {code.value}.", site=site, failure=seat.failure)

    def _require_quorum(self) -> None:
        if len(self._active()) >= self._order.quorum:
            return
        lost = [seat.failure for seat in self._seats.values() if seat.failure is not None]
        codes = {failure.code for failure in lost}
        # One reason that all sites of the job share is the job's reason; otherwise the job lacks sites.
        if len(lost) == len(self._seats) and len(codes) == 1 and not codes & ABSENCES:
            raise _Ended(lost[0])
        raise _Ended(Failure(code=FailureCode.BELOW_QUORUM, site=lost[-1].site if lost else None))

    def _active(self) -> dict[str, _Seat]:
        return {s: seat for s, seat in self._seats.items() if seat.state is ParticipantState.TAKING_PART}

    def _say(
        self,
        text: str,
        *,
        state: JobState | None = None,
        site: str | None = None,
        failure: Failure | None = None,
        round_metrics: RoundMetrics | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        update = JobUpdate(
            text=text,
            state=state,
            participants=self.participants(),
            round=round_metrics,
            metrics=metrics,
            failure=failure,
            site=site,
        )
        if not self._report(update) and not (state is not None and state.final):
            raise Unwanted


def _pooled(histograms: dict[str, tuple[ScoreHistogram, int]]) -> Metrics:
    """Return the figures of all sites together and of each; none where a class is missing."""
    from unica_sdk.evaluation import pooled_metrics

    try:
        return pooled_metrics(histograms)
    except InvalidRequest as err:
        log.warning("no figures: %s", err)
        return Metrics(pooled=None, sites={})


def _mean_loss(replies: dict[str, records.Reply]) -> float | None:
    """Return the weighted mean of the metric named `loss`, where sites report one."""
    abouts = [reply.about for reply in replies.values()]
    found = [(about.metrics["loss"], about.weight) for about in abouts if "loss" in about.metrics]
    total = sum(weight for _, weight in found)
    return sum(loss * weight for loss, weight in found) / total if found else None


def _shape(arrays: Arrays) -> tuple[tuple[str, tuple[int, ...]], ...] | None:
    """Return the names and shapes of arrays, or None where there are none or one is not all numbers."""
    if not arrays or not all(np.isfinite(value).all() for value in arrays.values()):
        return None
    return tuple((name, value.shape) for name, value in arrays.items())


def _sites(sites: Iterable[str]) -> str:
    return ", ".join(sites) or "no site"
