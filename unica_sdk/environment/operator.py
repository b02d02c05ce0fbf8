"""The operator's commands on one state folder: enter a site or a permit, verify the audits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from unica_sdk.audit import AuditLog
from unica_sdk.environment import service_user, steward
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import AuditBroken, ConfigurationError, DataError
from unica_sdk.gateway import keys
from unica_sdk.gateway.operator import Operator
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.audit import GENESIS, AuditEntry
from unica_sdk.schemas.catalogue import NodeEnrolment
from unica_sdk.schemas.exchange import Welcome


def database_url(layout: Layout) -> str:
    """Return the SQLAlchemy URL of the gateway's store."""
    return f"sqlite:///{layout.gateway / 'gateway.sqlite'}"


def hub_audit(layout: Layout) -> AuditLog:
    """Return the hub's audit."""
    return AuditLog(layout.gateway / "audit.jsonl")


@contextmanager
def opened(layout: Layout) -> Iterator[tuple[Store, Operator]]:
    """Open the gateway's store and the operator's hand on it.

    Raises:
        ConfigurationError: there is no environment in this folder.
    """
    steward_key = layout.gateway / "steward.pub"
    if not steward_key.exists():
        raise ConfigurationError(
            "There is no hub in this state folder.", where=str(layout.state), hint="Run `unica up` once."
        )
    store = Store.open(database_url(layout))
    try:
        public = keys.read_public_key(steward_key)
        yield store, Operator(store, audit=hub_audit(layout), steward_public_key=public)
    finally:
        store.close()


def enrol(layout: Layout, file: Path) -> str:
    """Enter a site from what `unica node init` printed; return what its operator does next.

    Raises:
        DataError: the file holds something else.
    """
    try:
        enrolment = NodeEnrolment.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as err:
        raise DataError("This is not what `unica node init` printed.", where=str(file)) from err
    service_user.become_owner(layout)
    with opened(layout) as (_, operator):
        operator.enrol(enrolment)
        pinned = {
            "steward": keys.read_public_key(layout.gateway / "steward.pub"),
            "gateway": keys.read_ticket_key(layout.gateway / "ticket.key").public_key(),
        }
    options = " ".join(f"--{whose} {key.public_bytes_raw().hex()}" for whose, key in pinned.items())
    return f"Enrolled {enrolment.site}. At the site: unica node trust --home FOLDER {options}"


def add_permit(layout: Layout, file: Path) -> str:
    """Enter a signed permit, and return what was entered.

    Raises:
        SignatureInvalid: the steward whom the hub knows did not sign it.
    """
    signed = steward.read_signed(file)
    service_user.become_owner(layout)
    with opened(layout) as (_, operator):
        permit = operator.add_permit(signed)
    return f"Entered the permit {permit.id} of {permit.holder}, valid until {permit.expires:%Y-%m-%d}."


def verify_audits(layout: Layout) -> Iterator[str]:
    """Verify every chain, and that hub and nodes remember each other's heads; yield a line for each.

    Raises:
        AuditBroken: a chain does not hold, or one side's audit lacks what it told the other.
    """
    service_user.become_owner(layout)
    with opened(layout) as (store, _):
        told_by_site = {
            name: (row.audit_head, row.audit_length) for name, row in store.sites().items() if row.audit_head
        }
    entries = list(hub_audit(layout).entries())
    yield f"gateway: {len(entries)} entries, chained"
    for folder in sorted((layout.state / "nodes").iterdir()):
        own = list(AuditLog(folder / "audit.jsonl").entries())
        yield f"{folder.name}: {len(own)} entries, chained"
        head, length = told_by_site.get(folder.name, (GENESIS, 0))
        _require(own, head, length, whose=f"the audit of {folder.name}", told="the hub")
        memory = folder / "hub-audit.json"
        if memory.exists():
            known = Welcome.model_validate_json(memory.read_bytes())
            _require(entries, known.audit_head, known.audit_length, whose="the hub's audit", told=folder.name)
            yield f"{folder.name} and gateway agree about each other"


def _require(
    entries: list[AuditEntry], head: str | None, length: int | None, *, whose: str, told: str
) -> None:
    """Check that a chain still has, at a length, the head that the other side was told."""
    number = length or 0
    found = GENESIS if number == 0 else entries[number - 1].digest() if number <= len(entries) else None
    if found != (head or GENESIS):
        raise AuditBroken(
            f"Entry {number} is not the one that {told} was told: {whose} was rewritten or cut.",
            hint="Keep both files and tell the security officer.",
        )
