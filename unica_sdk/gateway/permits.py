"""Permits at the gateway: each use verifies the steward's signature again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from unica_sdk.errors import PermitProblem, SignatureInvalid
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.permit import Permit, PermitSummary
from unica_sdk.schemas.signing import SignedDocument, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_log = logging.getLogger(__name__)


class PermitBook:
    """The permits of each person, as the steward signed them."""

    def __init__(
        self, store: Store, *, steward_public_key: Ed25519PublicKey, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._steward = steward_public_key
        self._clock = clock

    def of(self, holder: str) -> tuple[PermitSummary, ...]:
        """Return somebody's permits, expired ones included; one that no longer verifies is not shown."""
        now = self._clock()
        found = []
        for signed in self._store.permits(holder):
            try:
                permit = verify(signed, Permit, self._steward)
            except SignatureInvalid as err:
                _log.warning("A stored permit does not verify: %s", err)
                continue
            active = permit.holder == holder and permit.issued <= now < permit.expires
            found.append(PermitSummary(permit=permit, key=signed.key, active=active))
        return tuple(found)

    def held(self, permit_id: str, *, holder: str) -> tuple[Permit, SignedDocument]:
        """Return a permit that this person holds and that is valid now.

        Raises:
            PermitProblem: this person has no such permit, or it is not valid now.
            SignatureInvalid: the stored permit does not verify.
        """
        for signed in self._store.permits(holder):
            permit = verify(signed, Permit, self._steward)
            if permit.id == permit_id:
                permit.require(holder=holder, now=self._clock())
                return permit, signed
        raise PermitProblem(
            "You hold no such permit.", where=f"permit {permit_id}", hint="See net.permits for yours."
        )

    def counted_under(self, permit_id: str | None, *, holder: str) -> tuple[Permit, SignedDocument] | None:
        """Return the permit whose budget a count uses: the one that is named, else the only one active.

        None where no permit is named and none or several are active: then the budget is the person's own.

        Raises:
            PermitProblem: the one that is named is not this person's, or not valid now.
            SignatureInvalid: the one that is named does not verify.
        """
        if permit_id is not None:
            return self.held(permit_id, holder=holder)
        active = [summary.permit.id for summary in self.of(holder) if summary.active]
        return self.held(active[0], holder=holder) if len(active) == 1 else None

    def covered_sites(self, permit: Permit) -> frozenset[str]:
        """Return the sites of which the permit covers at least one dataset that is there now."""
        return frozenset(r.site for r in self._store.records() if r.id in permit.datasets)
