"""Jobs in the client: watch them, wait for them, read their result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from unica_sdk.client.display import Shown, Table, figure
from unica_sdk.client.listings import Listing
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import InvalidRequest, JobFailed, Unavailable
from unica_sdk.schemas.job import Failure, Job, JobEvent, JobState, Participant
from unica_sdk.schemas.metrics import Estimate, Metrics, MetricSet, RoundMetrics

RECONNECT_SECONDS = 60.0
"""How long a watch tries to reach a gateway that went away, before it says so."""

_POLL_SECONDS = 15.0


class JobHandle(Shown):
    """One job: its last known state is shown, and every method asks anew."""

    def __init__(self, job: Job, gateway: Gateway) -> None:
        self._job = job
        self._gateway = gateway

    @property
    def id(self) -> str:
        """The job's number."""
        return self._job.id

    @property
    def state(self) -> JobState:
        """Where the job stands now."""
        return self.refresh().state

    @property
    def last_known(self) -> Job:
        """The job as it was last seen, without asking."""
        return self._job

    def refresh(self) -> Job:
        """Ask for the job as it stands now."""
        self._job = self._gateway.get(f"/v1/jobs/{self.id}", Job)
        return self._job

    def events(self, *, timeout: float | None = None) -> Iterator[JobEvent]:
        """Yield what happens, from the start until the job ends; reconnects where the gateway goes away.

        `timeout` is in seconds; without it the job's own end is waited for.

        Raises:
            Unavailable: the gateway stayed away for a minute, or the time is over.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        after = 0
        while True:
            left = until - time.monotonic() if until is not None else _POLL_SECONDS
            if left <= 0:
                raise Unavailable(
                    f"The job is still {self.refresh().state.value}.",
                    where=f"job {self.id}",
                    hint="Ask again later, or .cancel() it.",
                )
            for event in self._poll(after, wait=min(left, _POLL_SECONDS)):
                after = event.sequence
                yield event
                if event.state is not None and event.state.final:
                    return

    def _poll(self, after: int, *, wait: float) -> list[JobEvent]:
        """Return the events after a number, trying for a minute where the gateway is away."""
        lost_since = time.monotonic()
        while True:
            try:
                path = f"/v1/jobs/{self.id}/events"
                return self._gateway.get(path, list[JobEvent], after=after, wait=wait)
            except Unavailable:
                if time.monotonic() - lost_since > RECONNECT_SECONDS:
                    raise
                time.sleep(1)

    def watch(self, *, console: Any = None) -> JobHandle:
        """Print what happens until the job ends, then return the job.

        `console` is a rich console; by default one on the standard output.
        """
        from rich.console import Console

        # As a stream of lines: a notebook would set each line in a frame of its own otherwise.
        out = console or Console(force_jupyter=False, soft_wrap=True)
        started = self._job.created
        for event in self.events():
            out.print(_event_line(event, started), highlight=False, markup=False)
        self.refresh()
        return self

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the job to end and return its result.

        `timeout` is in seconds; by default the job's own deadline and a little more.

        Raises:
            JobFailed: the job ended without a result; the error names code, site and hint.
            Unavailable: the time is over and the job still runs.
        """
        for _ in self.events(timeout=timeout if timeout is not None else self._job.deadline + 60):
            pass
        job = self.refresh()
        if not job.state.has_result:
            raise _job_error(job)
        return Result(job)

    def cancel(self) -> JobHandle:
        """Stop the job and the code it runs at the sites."""
        self._job = self._gateway.post(f"/v1/jobs/{self.id}/cancel", Job)
        return self

    def _table(self) -> Table:
        job = self._job
        return Table(
            title=f"Job {job.id} · {job.app_name} · {job.state.value}",
            columns=("site", "state", "rounds", "note"),
            rows=tuple(_participant_row(p) for p in job.participants),
            empty="No site takes part.",
            note=_failure_words(job.failure) if job.failure else f"{job.rounds} rounds, permit {job.permit}.",
        )


class Jobs(Listing[JobHandle]):
    """Your jobs."""

    noun = "job"

    def _name(self, item: JobHandle) -> str:
        return item.id

    def _table(self) -> Table:
        jobs = [handle.last_known for handle in self]
        return Table(
            title="Jobs",
            columns=("job", "app", "state", "sites", "rounds", "pooled AUC", "created"),
            rows=tuple(
                (
                    j.id,
                    j.app_name,
                    j.state.value,
                    len(j.participants),
                    j.rounds,
                    _pooled_words(j),
                    f"{j.created:%Y-%m-%d %H:%M}",
                )
                for j in jobs
            ),
            empty="You have submitted no job yet.",
        )


class Result(Shown):
    """A job that ended with metrics: pooled over the sites, and per site."""

    def __init__(self, job: Job) -> None:
        if job.metrics is None:
            raise InvalidRequest("The job has no metrics.", where=f"job {job.id}")
        self.job = job
        self.metrics: Metrics = job.metrics

    @property
    def pooled(self) -> MetricSet | None:
        """The figures over all sites together; None where they are undefined."""
        return self.metrics.pooled

    @property
    def sites(self) -> dict[str, MetricSet]:
        """The figures of each site."""
        return dict(self.metrics.sites)

    @property
    def history(self) -> tuple[RoundMetrics, ...]:
        """What was known after each round."""
        return self.job.history

    @property
    def participants(self) -> tuple[Participant, ...]:
        """How each site took part: late and dropped ones are named."""
        return self.job.participants

    def _table(self) -> Table:
        rows = [(site, *_figure_row(figures.auc)) for site, figures in sorted(self.sites.items())]
        if self.pooled is not None:
            rows.append(("all sites", *_figure_row(self.pooled.auc)))
        return Table(
            title=f"Job {self.job.id}: {self.job.state.value} after {len(self.history)} rounds",
            columns=("site", "AUC (95 % interval)", "n", "method"),
            rows=tuple(rows),
            empty="No figure is defined for this job.",
            note=_result_note(self.job),
        )


def _figure_row(estimate: Estimate) -> tuple[str, int, str]:
    return figure(estimate.value, estimate.low, estimate.high), estimate.n, estimate.method


def _result_note(job: Job) -> str:
    missing = [p for p in job.participants if p.failure is not None]
    words = "; ".join(f"without {p.site}: {_failure_words(p.failure)}" for p in missing if p.failure)
    source = "Source: score histograms of the sites' held-out cases, summed; n as released by the sites."
    return f"{words} {source}" if words else source


def _pooled_words(job: Job) -> str | None:
    if job.metrics is None or job.metrics.pooled is None:
        return None
    auc = job.metrics.pooled.auc
    return figure(auc.value, auc.low, auc.high)


def _participant_row(participant: Participant) -> tuple[str, str, int, str]:
    applied = "withdrawals applied" if participant.consent else ""
    note = _failure_words(participant.failure) if participant.failure else applied
    return participant.site, participant.state.value.replace("_", " "), participant.rounds, note


def _failure_words(failure: Failure) -> str:
    where = f" at {failure.site}" if failure.site else ""
    return f"{failure.code.value}{where}: {failure.hint}"


def _job_error(job: Job) -> JobFailed:
    where = f"job {job.id}"
    if job.failure is None:
        return JobFailed(f"The job was {job.state.value}.", where=where)
    at = f" at {job.failure.site}" if job.failure.site else ""
    sites = "; ".join(_failure_words(p.failure) for p in job.participants if p.failure)
    message = f"The job {job.state.value}: {job.failure.code.value}{at}." + (
        f" Sites: {sites}" if sites else ""
    )
    return JobFailed(message, where=where, hint=job.failure.hint)


def _event_line(event: JobEvent, started: datetime) -> str:
    seconds = max(0.0, (event.at - started).total_seconds())
    words = event.text
    if event.round is not None:
        loss = f" · loss {event.round.loss:.3f}" if event.round.loss is not None else ""
        auc = event.round.auc
        words += loss + (f" · AUC {figure(auc.value, auc.low, auc.high)}" if auc else "")
    if event.failure is not None:
        words += f" · {_failure_words(event.failure)}"
    return f"{seconds:6.1f} s  {words}"
