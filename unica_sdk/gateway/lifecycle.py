"""How a job changes: pure rules, so that no face, engine or thread can break them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.job import (
    Failure,
    FailureCode,
    Job,
    JobEvent,
    JobState,
    JobUpdate,
    Participant,
)
from unica_sdk.schemas.metrics import RoundMetrics

_WORKING = frozenset({JobState.RUNNING, JobState.EVALUATING})
_ENDS = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
_RESULTS = frozenset({JobState.COMPLETED, JobState.DEGRADED})

NEXT: dict[JobState, frozenset[JobState]] = {
    JobState.SUBMITTED: frozenset({JobState.CHECKING}) | _ENDS,
    JobState.CHECKING: frozenset({JobState.QUEUED}) | _ENDS,
    JobState.QUEUED: _WORKING | _RESULTS | _ENDS,
    JobState.RUNNING: _WORKING | _RESULTS | _ENDS,
    JobState.EVALUATING: _WORKING | _RESULTS | _ENDS,
}
"""What may follow a state; a final state is followed by nothing. Rounds alternate running and evaluating."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A job as it becomes, and the event that says so; the store gives the event its number."""

    job: Job
    event: JobEvent


def step(job: Job, update: JobUpdate, *, now: datetime) -> Step | None:
    """Return the job after an update, or None where the job is over and nothing more may change.

    Raises:
        InvalidRequest: a transition that does not exist, a site that takes no part, a result without metrics.

    Example:
        >>> JobState.COMPLETED in NEXT[JobState.SUBMITTED]
        False
    """
    if job.state.final:
        return None
    state = _next_state(job.state, update.state)
    _check_sites(job, update)
    metrics = update.metrics or job.metrics
    if state.has_result and metrics is None:
        raise InvalidRequest(f"A job cannot be {state} without metrics.", where="metrics")
    failure = job.failure
    if state is JobState.FAILED:
        failure = update.failure or Failure(code=FailureCode.ENGINE, site=update.site)
    elif state is JobState.DEGRADED:
        failure = update.failure
    changed = job.model_copy(
        update={
            "state": state,
            "participants": _merged_participants(job.participants, update.participants or ()),
            "history": _merged_history(job.history, update.round),
            "metrics": metrics,
            "failure": failure,
            "finished": now if state.final else None,
        }
    )
    event = JobEvent(
        sequence=0,
        at=now,
        text=update.text,
        state=state if state != job.state else None,
        site=update.site,
        failure=failure if state is JobState.FAILED else update.failure,
        round=update.round,
    )
    return Step(job=changed, event=event)


def _next_state(current: JobState, wanted: JobState | None) -> JobState:
    if wanted is None or wanted == current:
        return current
    if wanted not in NEXT[current]:
        raise InvalidRequest(f"A job that is {current} cannot become {wanted}.", where="state")
    return wanted


def _check_sites(job: Job, update: JobUpdate) -> None:
    named = {participant.site for participant in update.participants or ()}
    if update.site:
        named.add(update.site)
    if update.round:
        named.update(update.round.sites)
    if update.metrics:
        named.update(update.metrics.sites)
    foreign = sorted(named - {participant.site for participant in job.participants})
    if foreign:
        raise InvalidRequest(f"No part of this job: {', '.join(foreign)}.", where="site")


def _merged_participants(
    current: tuple[Participant, ...], changed: tuple[Participant, ...]
) -> tuple[Participant, ...]:
    by_site = {participant.site: participant for participant in current}
    for participant in changed:
        # A site that left before it trained has no number of its own yet: the frozen one still holds.
        cases = participant.cases or by_site[participant.site].cases
        by_site[participant.site] = participant.model_copy(update={"cases": cases})
    return tuple(by_site[site] for site in sorted(by_site))


def _merged_history(
    history: tuple[RoundMetrics, ...], latest: RoundMetrics | None
) -> tuple[RoundMetrics, ...]:
    if latest is None:
        return history
    by_round = {entry.round: entry for entry in (*history, latest)}
    return tuple(by_round[number] for number in sorted(by_round))


def declared_only(figures: RoundMetrics, manifest: AppManifest) -> tuple[RoundMetrics, tuple[str, ...]]:
    """Return a round's figures as the app declared them, within bounds, and the names of what was dropped.

    The sites checked the same before they sent it; the hub does not take their word.
    """
    kept: dict[str, dict[str, float]] = {}
    dropped: set[str] = set()
    for site, values in figures.sites.items():
        kept[site] = {}
        for name, value in values.items():
            bound = manifest.metrics.get(name)
            if bound is not None and bound.low <= value <= bound.high:
                kept[site][name] = value
            else:
                dropped.add(f"{site}.{name}")
    return figures.model_copy(update={"sites": kept}), tuple(sorted(dropped))
