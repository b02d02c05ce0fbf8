"""The audit: one entry per action, each chained to the one before by SHA-256."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from unica_sdk.schemas.contract import Contract, Moment

GENESIS = "sha256:" + "0" * 64
"""The head of an empty chain."""


class AuditEntry(Contract):
    """Who did what to what, and the digest of the entry before."""

    sequence: int = Field(ge=1)
    at: Moment
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] = Field(default_factory=dict)
    previous: str
