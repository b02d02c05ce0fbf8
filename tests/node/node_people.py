"""The people a node of these tests deals with, and what they sign."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unica_sdk.node import cohort
from unica_sdk.node.about import About
from unica_sdk.node.disclosure import protect
from unica_sdk.node.home import NodeHome
from unica_sdk.schemas.cohort import CohortQuery, Released, Suppressed
from unica_sdk.schemas.permit import Permit, Purpose
from unica_sdk.schemas.signing import SignedDocument, sign

APP = "sha256:" + "a" * 64
PATIENTS = 88
ABOUT = About(
    keywords=("screening",),
    contact="data@hospital.example",
    provenance="Drawn by a program: no person is behind any image.",
    collection_method="patient_based",
)
"""What the site says of its data; without it no record is published."""


def fixed_key(folder: Path) -> None:
    """Give a node that is about to be made a known site key: its noise is the same in every run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.key").write_bytes(bytes(range(32)))
    (folder / "site.key").chmod(0o600)


def told(
    home: NodeHome, n: int, query: CohortQuery | None = None, *, version: int = 1, **scope: Any
) -> Released | Suppressed:
    """Return what a node says where this many people match."""
    about = cohort.question_about(query or CohortQuery(), **scope)
    return told_of(home, n, about, version=version)


def told_of(home: NodeHome, n: int, about: bytes, *, version: int = 1) -> Released | Suppressed:
    """Return what a node says of a number that is asked for in these bytes."""
    return protect(
        n,
        policy=home.policy(),
        site=home.site,
        key=home.site_key(),
        question=about,
        index_version=version,
    )


@dataclass(frozen=True)
class People:
    """The steward, the gateway, and somebody who is neither."""

    steward: Ed25519PrivateKey
    gateway: Ed25519PrivateKey
    stranger: Ed25519PrivateKey

    def permit(self, signer: Ed25519PrivateKey | None = None, **changes: Any) -> SignedDocument:
        now = datetime.now(UTC)
        fields = {
            "id": "permit-1",
            "holder": "alice",
            "project": "screening",
            "title": "Screening",
            "purpose": Purpose.SCIENTIFIC_RESEARCH,
            "legal_basis": "demonstration",
            "datasets": ("gr/screening",),
            "apps": (APP,),
            "demonstration": True,
            "issued": now - timedelta(days=1),
            "expires": now + timedelta(days=1),
            **changes,
        }
        return sign(Permit.model_validate(fields), signer or self.steward)
