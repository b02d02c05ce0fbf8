"""The engine in one process: whole jobs, with every check of a site and of the hub."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from world import SITES, ArraySite, Authority, markers

from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.grid import LocalEngine
from unica_sdk.schemas.job import FailureCode, JobOrder, JobState, JobUpdate, ParticipantState

HERE = dict.fromkeys(SITES, "")

Sites = Callable[..., dict[str, ArraySite]]


@dataclass
class Said:
    """What was reported of one job."""

    updates: list[JobUpdate] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, job: str, update: JobUpdate) -> bool:
        self.updates.append(update)
        if update.state and update.state.final:
            self.ended.set()
        return True

    @property
    def last(self) -> JobUpdate:
        assert self.ended.wait(60)
        return self.updates[-1]

    def everything(self) -> str:
        return "".join(update.model_dump_json() for update in self.updates)


def run(sites: dict[str, ArraySite], order: JobOrder, app: Bundle) -> Said:
    """Run one job to its end."""
    said = Said()
    engine = LocalEngine(sites, said)
    try:
        engine.start(order, app.content)
        assert said.ended.wait(60)
    finally:
        engine.close()
    return said


@pytest.fixture
def job(marked: Path, sites: Sites, authority: Authority, app: Bundle) -> Callable[..., Said]:
    """Runs one job over the three sites."""

    def go(*, approving: tuple[str, ...] = SITES, cases: int = 120, **order: Any) -> Said:
        return run(sites(approving, cases), authority.order(app, sites=HERE, **order), app)

    return go


def test_a_job_completes_with_metrics_of_every_round(job: Callable[..., Said]) -> None:
    said = job(rounds=3)
    assert said.last.state is JobState.COMPLETED
    assert said.last.failure is None
    assert [p.state for p in said.last.participants or ()] == [ParticipantState.COMPLETED] * 3
    rounds = [update.round for update in said.updates if update.round]
    assert [r.round for r in rounds] == [1, 2, 3]
    assert all(r.loss is not None and r.auc is not None and set(r.sites) == set(SITES) for r in rounds)
    assert rounds[-1].loss < rounds[0].loss
    assert said.last.metrics and said.last.metrics.pooled
    assert said.last.metrics.pooled.auc.value > 0.6
    assert set(said.last.metrics.sites) == set(SITES)


def test_a_job_gives_the_same_figures_again(job: Callable[..., Said]) -> None:
    assert job().last.metrics == job().last.metrics


def test_the_states_come_in_order(job: Callable[..., Said]) -> None:
    states = [update.state for update in job().updates if update.state]
    assert states == [JobState.RUNNING, JobState.EVALUATING, JobState.COMPLETED]


def test_case_numbers_are_the_sites_protected_ones(job: Callable[..., Said]) -> None:
    for participant in job().last.participants or ():
        assert participant.cases is not None
        assert (participant.cases.low, participant.cases.high) == (118, 122)
        assert participant.rounds == 2


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("raise", FailureCode.APP_FAILED),
        ("exit", FailureCode.APP_FAILED),
        ("sleep", FailureCode.APP_TIMEOUT),
        ("nan", FailureCode.REPLY_INVALID),
        ("shape", FailureCode.REPLY_INVALID),
        ("scores", FailureCode.REPLY_INVALID),
    ],
)
def test_a_misbehaving_app_ends_in_a_code_and_none_of_its_words(
    job: Callable[..., Said], behaviour: str, code: FailureCode
) -> None:
    said = job(behaviour=behaviour)
    assert said.last.state is JobState.FAILED
    assert said.last.failure and said.last.failure.code is code and said.last.failure.site in SITES
    assert "4711" not in said.everything()


def test_what_the_manifest_does_not_declare_is_dropped(job: Callable[..., Said]) -> None:
    said = job(behaviour="secret_metric")
    assert said.last.state is JobState.COMPLETED
    assert "4711" not in said.everything()


def test_an_unapproved_app_runs_no_line_and_is_refused_by_name(
    job: Callable[..., Said], marked: Path
) -> None:
    said = job(approving=())
    assert markers(marked) == []
    assert said.last.failure and said.last.failure.code is FailureCode.APP_NOT_APPROVED
    assert said.last.failure.site in SITES and said.last.failure.hint
    assert [p.state for p in said.last.participants or ()] == [ParticipantState.REFUSED] * 3


def test_one_refusing_site_leaves_the_job_degraded_and_is_named(job: Callable[..., Said]) -> None:
    said = job(approving=("gr", "pt"))
    assert said.last.state is JobState.DEGRADED
    assert said.last.failure and said.last.failure.site == "lt"
    assert said.last.metrics and set(said.last.metrics.sites) == {"gr", "pt"}
    states = {p.site: p.state for p in said.last.participants or ()}
    assert states["lt"] is ParticipantState.REFUSED
    assert states["gr"] is ParticipantState.COMPLETED


def test_below_the_quorum_the_job_fails(job: Callable[..., Said]) -> None:
    said = job(approving=("gr", "pt"), quorum=3)
    assert said.last.state is JobState.FAILED
    assert said.last.metrics is None


def test_a_site_that_is_not_there_is_offline(
    marked: Path, sites: Sites, authority: Authority, app: Bundle
) -> None:
    two = {name: site for name, site in sites().items() if name != "lt"}
    said = run(two, authority.order(app, sites=HERE), app)
    assert said.last.state is JobState.DEGRADED
    assert said.last.failure and said.last.failure.code is FailureCode.SITE_OFFLINE


@pytest.mark.parametrize("forged", ["signer", "app"])
def test_a_forged_ticket_runs_no_line(
    marked: Path, sites: Sites, authority: Authority, app: Bundle, forged: str
) -> None:
    order = (
        authority.order(app, sites=HERE, signer=authority.steward)
        if forged == "signer"
        else authority.order(app, sites=HERE, ticket_app="sha256:" + "0" * 64)
    )
    said = run(sites(), order, app)
    assert markers(marked) == []
    assert said.last.failure and said.last.failure.code is FailureCode.TICKET_INVALID


def test_parameters_other_than_the_tickets_run_no_line(
    marked: Path, sites: Sites, authority: Authority, app: Bundle
) -> None:
    order = authority.order(app, sites=HERE)
    order = order.model_copy(update={"parameters": order.parameters | {"rate": 0.9}})
    said = run(sites(), order, app)
    assert markers(marked) == []
    assert said.last.failure and said.last.failure.code is FailureCode.PARAMETERS_INVALID


def test_more_rounds_than_the_tickets_are_refused(
    marked: Path, sites: Sites, authority: Authority, app: Bundle
) -> None:
    order = authority.order(app, sites=HERE, rounds=1).model_copy(update={"rounds": 2})
    said = run(sites(), order, app)
    assert said.last.failure and said.last.failure.code is FailureCode.TICKET_INVALID


def test_too_few_cases_are_told_without_a_number(job: Callable[..., Said], marked: Path) -> None:
    said = job(cases=15)
    assert markers(marked) == []
    assert said.last.failure and said.last.failure.code is FailureCode.TOO_FEW_CASES
    assert all(participant.cases is None for participant in said.last.participants or ())


def test_a_stopped_job_says_no_more(marked: Path, sites: Sites, authority: Authority, app: Bundle) -> None:
    said, begun = Said(), threading.Event()

    def report(job: str, update: JobUpdate) -> bool:
        begun.set()
        return said(job, update)

    engine = LocalEngine(sites(), report)
    order = authority.order(app, sites=HERE, rounds=1000)
    engine.start(order, app.content)
    assert begun.wait(60)
    engine.stop(order.job)
    engine.stop("a job nobody knows")
    engine.close(seconds=60)
    assert not any(thread.name == f"unica-job-{order.job}" for thread in threading.enumerate())
    assert not said.ended.is_set()


def test_a_job_nobody_wants_ends(marked: Path, sites: Sites, authority: Authority, app: Bundle) -> None:
    told: list[JobUpdate] = []
    engine = LocalEngine(sites(), lambda job, update: bool(told.append(update)))
    engine.start(authority.order(app, sites=HERE), app.content)
    engine.close(seconds=60)
    assert len(told) == 1


def test_the_deadline_ends_a_job(job: Callable[..., Said]) -> None:
    said = job(behaviour="gate", deadline=1.0)
    assert said.last.state is JobState.FAILED
    assert said.last.failure and said.last.failure.code is FailureCode.DEADLINE


def test_jobs_side_by_side_do_not_mix(marked: Path, sites: Sites, authority: Authority, app: Bundle) -> None:
    here = sites()
    orders = [authority.order(app, sites=HERE, rate=rate) for rate in (0.1, 0.9, 0.1)]
    with ThreadPoolExecutor() as pool:
        ended = [s.last for s in pool.map(lambda order: run(here, order, app), orders)]
    assert ended[0].metrics == ended[2].metrics != ended[1].metrics


def test_every_site_wrote_what_it_did(marked: Path, sites: Sites, authority: Authority, app: Bundle) -> None:
    here = sites(("gr", "pt"))
    run(here, authority.order(app, sites=HERE, rounds=1), app)
    assert here["gr"].actions() == ["job.admitted", "job.answered"] * 2
    assert here["lt"].actions() == ["job.refused"]
