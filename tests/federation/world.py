"""A small world for the federation's tests: a steward, a gateway's signature, sites over synthetic arrays.

`ArraySite` is a real `Site`: it checks the ticket against the gateway's key, the permit against the
steward's, and its own list of approved apps, and it writes a real audit. Only its cases are made up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unica_sdk.audit import AuditLog
from unica_sdk.errors import InvalidRequest, PermitProblem, SignatureInvalid
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.ports import Admission, Cases, Refusal, Task
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.job import FailureCode, JobOrder
from unica_sdk.schemas.permit import Permit, Purpose
from unica_sdk.schemas.signing import SignedDocument, sign, verify
from unica_sdk.schemas.ticket import Ticket, parameters_digest

APPS = Path(__file__).parent / "apps"
SITES = ("gr", "lt", "pt")


def snapshot_of(site: str) -> str:
    """The frozen cohort's identity at one site."""
    return "hmac:" + hashlib.sha256(site.encode()).hexdigest()


@dataclass
class Authority:
    """The steward's and the gateway's keys, and what they sign."""

    steward: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    gateway: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    jobs: int = 0

    def order(
        self,
        app: Bundle,
        *,
        sites: Mapping[str, str],
        rounds: int = 2,
        quorum: int = 2,
        deadline: float = 120,
        ticket_app: str | None = None,
        signer: Ed25519PrivateKey | None = None,
        **parameters: Any,
    ) -> JobOrder:
        """A job's order, with a ticket signed by the gateway unless another signer is given."""
        self.jobs += 1
        now = datetime.now(UTC)
        filled = app.manifest.fill(parameters)
        permit = Permit(
            id="permit-1",
            holder="alice",
            project="test",
            title="Test",
            purpose=Purpose.SCIENTIFIC_RESEARCH,
            legal_basis="synthetic data",
            datasets=tuple(f"{site}/test" for site in SITES),
            apps=(app.id,),
            issued=now - timedelta(minutes=1),
            expires=now + timedelta(hours=1),
        )
        ticket = Ticket(
            job=f"job-{self.jobs}",
            holder="alice",
            app=ticket_app or app.id,
            parameters=parameters_digest(filled),
            cohort={site: snapshot_of(site) for site in sites},
            permit=sign(permit, self.steward),
            rounds=rounds,
            issued=now,
            expires=now + timedelta(hours=1),
        )
        return JobOrder(
            job=ticket.job,
            app=app.id,
            manifest=app.manifest,
            parameters=filled,
            ticket=sign(ticket, signer or self.gateway),
            sites=dict(sites),
            rounds=rounds,
            quorum=quorum,
            deadline=deadline,
            seed=7,
        )


class ArraySite:
    """A site over synthetic arrays: positives are brighter; sites differ in contrast."""

    def __init__(
        self,
        name: str,
        *,
        home: Path,
        gateway: Ed25519PublicKey,
        steward: Ed25519PublicKey,
        approved: frozenset[str],
        seconds: float = 30.0,
        cases: int = 120,
    ) -> None:
        self._name, self._gateway, self._steward = name, gateway, steward
        self._approved, self._seconds, self._n = approved, seconds, cases
        self.audit = AuditLog(home / name / "audit.jsonl")

    @property
    def name(self) -> str:
        """The site's name."""
        return self._name

    def approved(self, app: str) -> bool:
        """Whether this site approved the bundle."""
        return app in self._approved

    def admit(
        self,
        *,
        task: Task,
        ticket: SignedDocument | None,
        app: str,
        manifest: AppManifest,
        parameters: Mapping[str, Any],
    ) -> Admission:
        """Check the ticket, the permit in it, and the parameters."""
        try:
            admission = self._checked(ticket, app, manifest, parameters)
        except Refusal as refusal:
            self.record("job.refused", app, code=refusal.code.value)
            raise
        self.record("job.admitted", admission.ticket.job, task=task)
        return admission

    def _checked(
        self,
        signed: SignedDocument | None,
        app: str,
        manifest: AppManifest,
        parameters: Mapping[str, Any],
    ) -> Admission:
        if signed is None:
            raise Refusal(FailureCode.NO_TICKET)
        try:
            ticket = verify(signed, Ticket, self._gateway)
        except SignatureInvalid as err:
            raise Refusal(FailureCode.TICKET_INVALID) from err
        now = datetime.now(UTC)
        if ticket.expires <= now:
            raise Refusal(FailureCode.TICKET_EXPIRED)
        if ticket.app != app or self._name not in ticket.cohort:
            raise Refusal(FailureCode.TICKET_INVALID)
        try:
            permit = verify(ticket.permit, Permit, self._steward)
            permit.require(holder=ticket.holder, now=now, dataset=f"{self._name}/test", app=app)
        except (SignatureInvalid, PermitProblem) as err:
            raise Refusal(FailureCode.PERMIT_INVALID) from err
        if ticket.parameters != parameters_digest(parameters):
            raise Refusal(FailureCode.PARAMETERS_INVALID)
        try:
            filled = manifest.fill(parameters)
        except InvalidRequest as err:
            raise Refusal(FailureCode.PARAMETERS_INVALID) from err
        if ticket.cohort[self._name] != snapshot_of(self._name):
            raise Refusal(FailureCode.COHORT_UNKNOWN)
        if self._n < manifest.minimum_cases:
            raise Refusal(FailureCode.TOO_FEW_CASES)
        number = Released(site=self._name, n=self._n, low=self._n - 2, high=self._n + 2, index_version=1)
        return Admission(
            ticket=ticket,
            snapshot=ticket.cohort[self._name],
            parameters=filled,
            cases=number,
            seconds=self._seconds if filled["behaviour"] == "sleep" else 120.0,
        )

    def cases(self, admission: Admission, manifest: AppManifest) -> Cases:
        """Synthetic images: noise around a brightness that depends on the label and the site."""
        seed = int.from_bytes(hashlib.sha256(self._name.encode()).digest()[:4], "big")
        random = np.random.default_rng(seed)
        labels = (random.random(self._n) < 0.4).astype(np.uint8)
        level = 0.4 + 0.2 * labels + random.normal(0, 0.12, self._n)
        noise = random.normal(0, 0.05, (self._n, manifest.image.rows, manifest.image.columns))
        images = np.clip(level[:, None, None] + noise, 0, 1).astype(np.float32)
        return Cases(images=images, labels=labels, held_out=random.random(self._n) < 0.25)

    def record(self, action: str, subject: str, **detail: Any) -> None:
        """Write the site's audit."""
        self.audit.append(actor="site", action=action, subject=subject, **detail)

    def actions(self) -> list[str]:
        """What the audit says, in order."""
        return [entry.action for entry in self.audit.entries()]


def save_authority(authority: Authority, path: Path, approved: frozenset[str], seconds: float) -> None:
    """Write what a site process needs to check what the authority signs."""
    path.write_text(
        json.dumps(
            {
                "gateway": authority.gateway.public_key().public_bytes_raw().hex(),
                "steward": authority.steward.public_key().public_bytes_raw().hex(),
                "approved": sorted(approved),
                "seconds": seconds,
            }
        )
    )


def site_from(path: Path, name: str, home: Path) -> ArraySite:
    """The site that a process runs, from what `save_authority` wrote."""
    told = json.loads(path.read_text())
    return ArraySite(
        name,
        home=home,
        gateway=Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["gateway"])),
        steward=Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["steward"])),
        approved=frozenset(told["approved"]),
        seconds=told["seconds"],
    )


def markers(folder: Path, kind: str = "imported") -> list[str]:
    """The traces that the app's code left."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(kind))
