"""Jobs: what a researcher asks, what happens, and how it ends."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CountAnswer
from unica_sdk.schemas.contract import Contract, Digest, Keyed, Moment, Name, canonical_json
from unica_sdk.schemas.metrics import Metrics, RoundMetrics
from unica_sdk.schemas.signing import SignedDocument


class JobState(StrEnum):
    """Where a job stands. `degraded` finished without some site, which is named."""

    SUBMITTED = "submitted"
    CHECKING = "checking"
    QUEUED = "queued"
    RUNNING = "running"
    EVALUATING = "evaluating"
    COMPLETED = "completed"
    DEGRADED = "degraded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in _FINAL

    @property
    def has_result(self) -> bool:
        """Whether the job ended with metrics."""
        return self in (JobState.COMPLETED, JobState.DEGRADED)


_FINAL = frozenset(
    {JobState.COMPLETED, JobState.DEGRADED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
)


class ParticipantState(StrEnum):
    """How a site stands in a job."""

    INVITED = "invited"
    TAKING_PART = "taking_part"
    COMPLETED = "completed"
    DROPPED = "dropped"
    REFUSED = "refused"


class FailureCode(StrEnum):
    """Why a site or a job failed; the text for people is in `FAILURE_HINTS`."""

    NO_TICKET = "no_ticket"
    TICKET_INVALID = "ticket_invalid"
    TICKET_EXPIRED = "ticket_expired"
    PERMIT_INVALID = "permit_invalid"
    APP_NOT_APPROVED = "app_not_approved"
    PARAMETERS_INVALID = "parameters_invalid"
    COHORT_UNKNOWN = "cohort_unknown"
    TOO_FEW_CASES = "too_few_cases"
    APP_CRASHED = "app_crashed"
    APP_FAILED = "app_failed"
    APP_TIMEOUT = "app_timeout"
    REPLY_INVALID = "reply_invalid"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    SITE_OFFLINE = "site_offline"
    SITE_TIMEOUT = "site_timeout"
    BELOW_QUORUM = "below_quorum"
    DEADLINE = "deadline"
    ENGINE = "engine"


FAILURE_HINTS: dict[FailureCode, str] = {
    FailureCode.NO_TICKET: "The job reached the site without a ticket; submit it through the gateway.",
    FailureCode.TICKET_INVALID: "The ticket is not the gateway's, or is for another job, app or site.",
    FailureCode.TICKET_EXPIRED: "The ticket ran out; submit the job again.",
    FailureCode.PERMIT_INVALID: "The site does not accept the permit; ask the data steward.",
    FailureCode.APP_NOT_APPROVED: "The site has not approved this app; ask its data steward to review it.",
    FailureCode.PARAMETERS_INVALID: "The parameters are not those of the ticket or are out of bounds.",
    FailureCode.COHORT_UNKNOWN: "The site does not know this frozen cohort; freeze it again.",
    FailureCode.TOO_FEW_CASES: "The site has fewer cases than it requires; widen the cohort.",
    FailureCode.APP_CRASHED: "The app's process died at the site; try fewer epochs or a smaller model.",
    FailureCode.APP_FAILED: "The app raised an error at the site; try it on LocalNetwork to see the message.",
    FailureCode.APP_TIMEOUT: "The app used up its time at the site; reduce the work of a round.",
    FailureCode.REPLY_INVALID: "The app answered something its manifest does not declare.",
    FailureCode.AUDIT_UNAVAILABLE: "The site could not write its audit, so it did nothing; tell them.",
    FailureCode.SITE_OFFLINE: "The site was not connected; see net.nodes, and submit again when it is back.",
    FailureCode.SITE_TIMEOUT: "The site did not answer in time; it may be busy or gone.",
    FailureCode.BELOW_QUORUM: "Fewer sites than the quorum were left; wait for them or lower the quorum.",
    FailureCode.DEADLINE: "The job's deadline passed; allow more time or fewer rounds.",
    FailureCode.ENGINE: "The engine failed; tell the hub's operator, with the job's number.",
}


class Failure(Contract):
    """Why something failed: a fixed code, where, and what to do."""

    code: FailureCode
    site: Name | None = None

    @property
    def hint(self) -> str:
        """What to do about it."""
        return FAILURE_HINTS[self.code]


class Participant(Contract):
    """One site in a job. `cases` passed that site's disclosure decision.

    `consent` says that the site left out whoever had withdrawn when it began its part. How many these were,
    if any, only the site's own auditor learns.
    """

    site: Name
    state: ParticipantState
    rounds: int = 0
    cases: CountAnswer | None = None
    consent: Literal["applied"] | None = None
    failure: Failure | None = None


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(parameters)
    except ValueError as err:
        raise ValueError("a parameter cannot be written as JSON in UTF-8") from err
    return parameters


class JobRequest(Contract):
    """What a researcher submits. `deadline` is seconds from the start of the job."""

    app: Digest
    cohort: Keyed
    permit: Name
    parameters: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(default_factory=dict)
    rounds: int = Field(default=3, ge=1, le=1000)
    quorum: int = Field(default=2, ge=1, le=1000)
    deadline: float = Field(default=900, ge=10, le=7 * 24 * 3600)
    seed: int = Field(default=0, ge=0, lt=2**31)


class JobEvent(Contract):
    """One thing that happened in a job, in order."""

    sequence: int
    at: Moment
    text: str
    state: JobState | None = None
    site: Name | None = None
    failure: Failure | None = None
    round: RoundMetrics | None = None


class Job(Contract):
    """A job as its holder sees it."""

    id: Name
    holder: str
    app: Digest
    app_name: str
    cohort: Keyed
    permit: Name
    project: Name
    rounds: int
    quorum: int
    deadline: float
    state: JobState
    participants: tuple[Participant, ...]
    history: tuple[RoundMetrics, ...] = ()
    metrics: Metrics | None = None
    failure: Failure | None = None
    created: Moment
    finished: Moment | None = None


class JobOrder(Contract):
    """What the engine's server side needs to run a job: handed over by the gateway, never by a bundle.

    `sites` maps each taking-part site to the public key its engine connection signs with, as text.
    """

    job: Name
    app: Digest
    manifest: AppManifest
    parameters: dict[str, Any]
    ticket: SignedDocument
    sites: dict[Name, str]
    rounds: int
    quorum: int
    deadline: float
    seed: int


class JobUpdate(Contract):
    """What the engine's server side reports to the gateway while a job runs."""

    text: str
    state: JobState | None = None
    participants: tuple[Participant, ...] | None = None
    round: RoundMetrics | None = None
    metrics: Metrics | None = None
    failure: Failure | None = None
    site: Name | None = None
