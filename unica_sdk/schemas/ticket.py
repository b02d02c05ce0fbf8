"""Tickets: the gateway's signed word to a site that this job is the one that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from unica_sdk.schemas.contract import Digest, Keyed, Moment, Name, canonical_json, sha256
from unica_sdk.schemas.signing import Signable, SignedDocument


def parameters_digest(parameters: Mapping[str, Any]) -> str:
    """Return the digest of a job's parameters as a ticket holds it.

    Example:
        >>> parameters_digest({"epochs": 1}) == parameters_digest({"epochs": 2})
        False
    """
    return sha256(canonical_json(dict(parameters)))


class Ticket(Signable):
    """One job, one app, one set of parameters, one frozen cohort, one permit, until it expires.

    `cohort` names each site's own snapshot. The permit travels along as the steward signed it, so that a site
    checks it for itself against the key it pinned.
    """

    KIND: ClassVar[str] = "ticket"

    job: Name
    holder: str
    app: Digest
    parameters: Digest
    cohort: dict[Name, Keyed]
    permit: SignedDocument
    rounds: int = Field(ge=1, le=1000)
    issued: Moment
    expires: Moment
