"""The site's runner: every check before a line of an app runs, and every check before a reply leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
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

log = logging.getLogger(__name__)

TASKS: dict[str, Task] = {"train": "train", "evaluate": "evaluate"}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a message asks of this site, as it was read: of an approved app, and not yet admitted."""

    task: Task
    app: Bundle
    instruction: records.Instruction


class _Recorded(Refusal):
    """A refusal that stands in the site's audit already."""


class SiteRunner:
    """Takes one message at a time through: approval of the bundle's actual bytes, its manifest, the site's
    admission of the ticket, the cases, the app in its executor, the checks on the answer.

    Any step that says no ends in a reply that holds a fixed code and nothing of the app's. Each message ends
    in one entry of the site's audit: `answer`, `refuse` (a decision) or `fail` (a fault), next to `admit` and
    `cases`, which the site itself writes on the way.
    """

    def __init__(self, site: Site, execute: Executor) -> None:
        self._site, self._execute = site, execute

    def handle(self, message: Message, *, bundle: bytes, wanted: Callable[[], bool]) -> Message:
        """Return the reply to one message; `bundle` is what the engine says the app is.

        Raises:
            Abandoned: nobody wants the reply any more.
        """
        # Before a ticket was admitted, no job is known: the entry is about the app's bytes.
        subject = digest = sha256(bundle)
        try:
            asked = self._read(message, bundle, digest)
            admission = self._admit(asked)
            subject = admission.ticket.job
            return self._answer(message, asked, admission, wanted)
        except Abandoned:
            raise
        except Exception as error:
            code = self._denied(subject, message.metadata.message_type, error)
        return records.failed(message, code)

    def _read(self, message: Message, content: bytes, digest: str) -> _Asked:
        if not self._site.approved(digest):
            raise Refusal(FailureCode.APP_NOT_APPROVED)
        try:
            app = bundles.read(content)
        except DataError as err:
            raise Refusal(FailureCode.APP_NOT_APPROVED, err.message) from err
        task = TASKS.get(message.metadata.message_type)
        if task is None:
            raise Refusal(FailureCode.TICKET_INVALID, "a ticket covers training and evaluation only")
        return _Asked(task=task, app=app, instruction=records.read_instruction(message))

    def _admit(self, asked: _Asked) -> Admission:
        try:
            return self._site.admit(
                task=asked.task,
                ticket=asked.instruction.ticket,
                app=asked.app.id,
                manifest=asked.app.manifest,
                parameters=asked.instruction.parameters,
            )
        except Refusal as refusal:
            raise _Recorded(refusal.code, refusal.detail) from refusal

    def _answer(
        self, message: Message, asked: _Asked, admission: Admission, wanted: Callable[[], bool]
    ) -> Message:
        if not 1 <= asked.instruction.round <= admission.ticket.rounds:
            raise Refusal(FailureCode.TICKET_INVALID, "a round beyond those of the ticket")
        if asked.task == "evaluate" and asked.instruction.arrays is None:
            raise Refusal(FailureCode.PARAMETERS_INVALID, "an evaluation without a model")
        cases = self._site.cases(admission, asked.app.manifest)
        if asked.task == "evaluate" and cases.tested is None:
            raise Refusal(FailureCode.TOO_FEW_CASES, "too few held-out people for a figure")
        work = _work(asked, admission, cases)
        outcome = self._execute(work, wanted=wanted)
        return self._checked(message, work, admission, outcome)

    def _checked(self, message: Message, work: Work, admission: Admission, outcome: Outcome) -> Message:
        metrics = records.declared(work.bundle.manifest, outcome.metrics)
        dropped = sorted(set(outcome.metrics) - set(metrics))
        arrays: Arrays | None = None
        tested: records.Tested | None = None
        if work.task == "train":
            arrays = check_arrays(outcome.arrays, work.arrays)
        else:
            tested = check_scores(outcome.scores, work.cases)
        about = records.About(
            cases=admission.cases,
            metrics=metrics,
            tested=tested,
            # What `Site.cases` promises: its cases are those of the snapshot less those withdrawn since.
            consent="applied",
        )
        self._site.record(
            "answer", admission.ticket.job, task=work.task, round=work.round, dropped_metrics=dropped
        )
        return records.reply(message, about, arrays)

    def _denied(self, subject: str, kind: str, error: Exception) -> FailureCode:
        """Write down why there is no answer, unless the site has, and return what the hub may know of it."""
        action, code, detail = _reason(error)
        cause = error.__cause__ if isinstance(error, AppFault) else error
        if action == "fail" and cause is not None:
            log.error("%s could not do its part", self._site.name, exc_info=cause)
        try:
            if not isinstance(error, _Recorded):
                self._site.record(action, subject, task=kind, code=code.value, detail=detail)
        except AuditBroken as err:
            code, detail = FailureCode.AUDIT_UNAVAILABLE, str(err)
        told = error.detail if isinstance(error, AppFault) else detail
        log.warning("%s answers %s: %s", self._site.name, code.value, told)
        return code


def _reason(error: Exception) -> tuple[str, FailureCode, str]:
    """Return the audit's word for an error, the code that leaves the site, and the audit's detail.

    What an app said of its fault is for the site's log alone.
    """
    match error:
        case Refusal():
            return "refuse", error.code, error.detail
        case AuditBroken():
            return "refuse", FailureCode.AUDIT_UNAVAILABLE, str(error)
        case AppFault():
            return "fail", error.code, ""
        case _:
            return "fail", FailureCode.ENGINE, type(error).__name__


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


def check_scores(scores: NDArray[Any] | None, cases: Cases) -> records.Tested:
    """Return the histogram of an evaluation's scores, with the labels that only the site's own side sees.

    Raises:
        AppFault: not one number in 0..1 for each held-out case.
        Refusal: the held-out people are too few for any figure about them.
    """
    from unica_sdk.evaluation import histogram_of

    if cases.tested is None:
        raise Refusal(FailureCode.TOO_FEW_CASES, "too few held-out people for a figure")
    held_out = cases.labels[cases.held_out]
    if scores is None or scores.dtype.kind != "f" or scores.shape != held_out.shape:
        raise AppFault(FailureCode.REPLY_INVALID, "one score for each held-out case was expected")
    if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise AppFault(FailureCode.REPLY_INVALID, "a score lies outside of 0..1")
    return records.Tested(people=cases.tested, images=len(held_out), histogram=histogram_of(scores, held_out))


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in arrays.items()}


def _work(asked: _Asked, admission: Admission, cases: Cases) -> Work:
    told = asked.instruction
    return Work(
        task=asked.task,
        bundle=asked.app,
        arrays=told.arrays,
        parameters=admission.parameters,
        round=told.round,
        seed=told.seed,
        cases=cases,
        seconds=admission.seconds,
    )
