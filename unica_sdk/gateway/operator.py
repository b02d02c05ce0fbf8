"""What the hub's operator enters: sites, permits that a steward signed, apps. Each is audited first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unica_sdk.audit import AuditLog
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.app import App
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Operator:
    """The operator's hand on the store; a running gateway sees what was entered at once."""

    def __init__(self, store: Store, *, audit: AuditLog, steward_public_key: Ed25519PublicKey) -> None:
        self._store = store
        self._audit = audit
        self._steward = steward_public_key

    def enrol(self, enrolment: NodeEnrolment) -> None:
        """Enter a site, or its new names and keys."""
        detail = {"signing_key": enrolment.signing_key, "engine_key": enrolment.engine_key}
        self._record("site.enrolled", enrolment.site, **detail)
        self._store.enrol(enrolment)

    def add_permit(self, signed: SignedDocument) -> Permit:
        """Enter a permit.

        Raises:
            SignatureInvalid: the steward did not sign it.
            InvalidRequest: a newer one of its id is there, or one for somebody else.
        """
        permit = verify(signed, Permit, self._steward)
        self._record("permit.added", permit.id, holder=permit.holder, key=signed.key, digest=permit.digest())
        return self._store.add_permit(signed, steward_public_key=self._steward)

    def add_app(self, app: App, bundle: bytes) -> None:
        """Enter an app and its bundle.

        Raises:
            InvalidRequest: the bundle's digest is not the app's identity.
        """
        self._record("app.added", app.id, name=app.manifest.name, version=app.manifest.version)
        self._store.add_app(app, bundle)

    def _record(self, action: str, subject: str, **detail: str) -> None:
        self._audit.append(actor="operator", action=action, subject=subject, **detail)
