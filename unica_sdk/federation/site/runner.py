"""The site's runner: every check before a line of an app runs, and every check before a reply leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from unica_sdk.errors import AuditBroken, DataError
from unica_sdk.federation import bundle as bundles
from unica_sdk.federation import records
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.packing import Arrays
from unica_sdk.federation.ports import Admission, Cases, Refusal, Site, Task
from unica_sdk.federation.site.work import Abandoned, AppFault, Executor, Outcome, Work
from unica_sdk.schemas.contract import sha256
from unica_sdk.schemas.job import FailureCode
from unica_sdk.schemas.metrics import ScoreHistogram

log = logging.getLogger(__name__)

TASKS: dict[str, Task] = {"train": "train", "evaluate": "evaluate"}


class SiteRunner:
    """Takes one message at a time through: approval of the bundle's actual bytes, its manifest, the site's
    admission of the ticket, the cases, the app in its executor, the checks on the answer.

    Any step that says no ends in a reply that holds a fixed code and nothing of the app's.
    """

    def __init__(self, site: Site, execute: Executor) -> None:
        self._site, self._execute = site, execute

    def handle(self, message: Message, *, bundle: bytes, wanted: Callable[[], bool]) -> Message:
        """Return the reply to one message; `bundle` is what the engine says the app is.

        Raises:
            Abandoned: nobody wants the reply any more.
        """
        try:
            return self._answer(message, bundle, wanted)
        except Refusal as refusal:
            code, detail = refusal.code, refusal.detail
        except AuditBroken as err:
            code, detail = FailureCode.AUDIT_UNAVAILABLE, str(err)
        except Abandoned:
            raise
        except Exception as err:
            # A fault of the site's own: the node goes on, and the hub learns no more than that.
            log.exception("%s could not do its part", self._site.name)
            code, detail = FailureCode.ENGINE, type(err).__name__
        log.warning("%s answers %s: %s", self._site.name, code.value, detail)
        return records.failed(message, code)

    def _answer(self, message: Message, content: bytes, wanted: Callable[[], bool]) -> Message:
        digest = sha256(content)
        if not self._site.approved(digest):
            self._site.record("job.refused", digest, code=FailureCode.APP_NOT_APPROVED.value)
            raise Refusal(FailureCode.APP_NOT_APPROVED, digest)
        try:
            app = bundles.read(content)
        except DataError as err:
            raise Refusal(FailureCode.APP_NOT_APPROVED, err.message) from err
        task = TASKS.get(message.metadata.message_type)
        if task is None:
            raise Refusal(FailureCode.TICKET_INVALID, "a ticket covers training and evaluation only")
        asked = records.read_instruction(message)
        admission = self._site.admit(
            task=task, ticket=asked.ticket, app=digest, manifest=app.manifest, parameters=asked.parameters
        )
        if not 1 <= asked.round <= admission.ticket.rounds:
            raise Refusal(FailureCode.TICKET_INVALID, "a round beyond those of the ticket")
        if task == "evaluate" and asked.arrays is None:
            raise Refusal(FailureCode.PARAMETERS_INVALID, "an evaluation without a model")
        cases = self._site.cases(admission, app.manifest)
        work = _work(task, app, asked, admission, cases)
        try:
            outcome = self._execute(work, wanted=wanted)
            return self._checked(message, work, admission, outcome)
        except AppFault as fault:
            self._site.record("job.failed", admission.ticket.job, task=task, code=fault.code.value)
            if fault.__cause__ is not None:
                log.error("%s: the app failed", self._site.name, exc_info=fault.__cause__)
            raise Refusal(fault.code, fault.detail) from fault

    def _checked(self, message: Message, work: Work, admission: Admission, outcome: Outcome) -> Message:
        metrics = records.declared(work.bundle.manifest, outcome.metrics)
        dropped = sorted(set(outcome.metrics) - set(metrics))
        arrays: Arrays | None = None
        histogram: ScoreHistogram | None = None
        if work.task == "train":
            arrays, number = check_arrays(outcome.arrays, work.arrays), admission.cases.n
        else:
            histogram = check_scores(outcome.scores, work.cases)
            number = int(work.cases.held_out.sum())
        about = records.About(
            cases=admission.cases,
            weight=max(10, round(number, -1)),
            metrics=metrics,
            histogram=histogram,
            # What `Site.cases` promises: its cases are those of the snapshot less those withdrawn since.
            consent="applied",
        )
        self._site.record(
            "job.answered", admission.ticket.job, task=work.task, round=work.round, dropped_metrics=dropped
        )
        return records.reply(message, about, arrays)


def check_arrays(arrays: Arrays | None, given: Arrays | None) -> Arrays:
    """Return a training's arrays: finite numbers, of the names and shapes that were given.

    Raises:
        AppFault: they are not.
    """
    if not arrays:
        raise AppFault(FailureCode.REPLY_INVALID, "a training answers with arrays")
    for name, value in arrays.items():
        if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
            raise AppFault(FailureCode.REPLY_INVALID, f"{name} holds something that is not a number")
    if given is not None and _shapes(arrays) != _shapes(given):
        raise AppFault(FailureCode.REPLY_INVALID, "the arrays are not those that were sent")
    return arrays


def check_scores(scores: NDArray[Any] | None, cases: Cases) -> ScoreHistogram:
    """Return the histogram of an evaluation's scores, with the labels that only the site's own side sees.

    Raises:
        AppFault: not one number in 0..1 for each held-out case.
    """
    from unica_sdk.evaluation import histogram_of

    held_out = cases.labels[cases.held_out]
    if scores is None or scores.dtype.kind != "f" or scores.shape != held_out.shape:
        raise AppFault(FailureCode.REPLY_INVALID, "one score for each held-out case was expected")
    if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise AppFault(FailureCode.REPLY_INVALID, "a score lies outside of 0..1")
    return histogram_of(scores, held_out)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in arrays.items()}


def _work(task: Task, app: Bundle, asked: records.Instruction, admission: Admission, cases: Cases) -> Work:
    return Work(
        task=task,
        bundle=app,
        arrays=asked.arrays,
        parameters=admission.parameters,
        round=asked.round,
        seed=asked.seed,
        cases=cases,
        seconds=admission.seconds,
    )
