"""The base of every contract: frozen, closed, with one canonical form."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A short machine name: a site, a project, an app."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A SHA-256 of bytes, in the form `sha256:<64 hex digits>`."""

Keyed = Annotated[str, StringConstraints(pattern=r"^hmac:[0-9a-f]{64}$")]
"""An HMAC-SHA-256 that only its key holder can recompute, or a hash over such, as `hmac:<64 hex digits>`."""

Moment = AwareDatetime
"""A point in time; a naive datetime is refused."""


def sorted_unique(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values sorted and without repeats, so that equal sets have equal bytes.

    Example:
        >>> sorted_unique(("b", "a", "b"))
        ('a', 'b')
    """
    return tuple(sorted(set(values)))


Names = Annotated[tuple[str, ...], AfterValidator(sorted_unique)]
"""A set of words in canonical order."""


def canonical_json(value: Any) -> bytes:
    """Return the one JSON encoding that is hashed and signed: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot say.

    Example:
        >>> canonical_json({"b": 1, "a": [True, None]})
        b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256(data: bytes) -> str:
    """Return the digest of bytes as contracts write it.

    Example:
        >>> sha256(b"")[:19]
        'sha256:e3b0c44298fc'
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Contract(BaseModel):
    """A frozen model that refuses unknown fields and knows its canonical bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> bytes:
        """Return the canonical JSON bytes of this document."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """Return the SHA-256 of the canonical bytes."""
        return sha256(self.canonical())
