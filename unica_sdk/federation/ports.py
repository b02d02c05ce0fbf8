"""What the federation asks of its surroundings: a site's guard and data, and a place to report to.

Free of the engine, so that `node` and `gateway` may import it; they import nothing else of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.job import FailureCode, JobOrder, JobUpdate
from unica_sdk.schemas.signing import SignedDocument
from unica_sdk.schemas.ticket import Ticket

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Task = Literal["train", "evaluate"]
"""What a message asks of a site."""


class Refusal(Exception):  # noqa: N818 - a decision, not a fault
    """A site's guard said no; only the fixed code leaves the site, the detail is for its audit."""

    def __init__(self, code: FailureCode, detail: str = "") -> None:
        super().__init__(code.value)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A job that passed every check of a site."""

    ticket: Ticket
    snapshot: str
    parameters: Mapping[str, float | int | str]
    cases: Released
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The cases of one snapshot as an app gets them, row by row in the same order.

    Attributes:
        images: (n, rows, columns) float32 in [0, 1].
        labels: (n,) uint8, 1 where the case is positive.
        held_out: (n,) bool, True for cases never trained on; the split depends on the case alone.
        tested: how many people the held-out cases are of, as the site's policy lets it be said; None where
            the held-out people, or those of one class, are too few for any figure about them to leave.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    tested: Released | None = None


class Site(Protocol):
    """A node's own side of a job: its checks, its data, its audit."""

    @property
    def name(self) -> str:
        """The site's name."""
        ...

    def admit(
        self,
        *,
        task: Task,
        ticket: SignedDocument | None,
        app: str,
        manifest: AppManifest,
        parameters: Mapping[str, Any],
    ) -> Admission:
        """Check one message before any line of the app runs; `app` is the digest of the actual bytes.

        Raises:
            Refusal: with the code that the hub may know.
        """
        ...

    def approved(self, app: str) -> bool:
        """Whether the bundle with this digest may be unpacked here at all."""
        ...

    def cases(self, admission: Admission, manifest: AppManifest) -> Cases:
        """Return the admitted snapshot's cases, less those withdrawn since."""
        ...

    def record(self, action: str, subject: str, **detail: Any) -> None:
        """Write the site's audit; where that fails, raise and do nothing."""
        ...


class Engine(Protocol):
    """What the gateway needs of the engine."""

    def start(self, order: JobOrder, bundle: bytes) -> None:
        """Hand a job over; progress comes back through the reporting face."""
        ...

    def stop(self, job: str) -> None:
        """Stop a job and the code it runs at the sites; unknown jobs are ignored."""
        ...


class Reporter(Protocol):
    """Where the engine's server side reports; the answer says whether the job is still wanted."""

    def __call__(self, update: JobUpdate) -> bool:
        """Report one step; False asks to stop."""
        ...
