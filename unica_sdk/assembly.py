"""Putting a demonstration network together: what the embedded environment and LocalNetwork have in common.

Runs on a machine that holds all zones at once, with synthetic data. May see every zone's own side, since it
does the first work of operator, steward and site. Must never be imported by a zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from unica_sdk.schemas.app import App
from unica_sdk.schemas.contract import sorted_unique
from unica_sdk.schemas.permit import OutputKind, Permit, Purpose

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from unica_sdk.federation.bundle import Bundle
    from unica_sdk.gateway.operator import Operator
    from unica_sdk.gateway.store import Store
    from unica_sdk.node.home import NodeHome

SITES = ("gr", "lt", "pt")
"""The demonstration's sites: Greece, Lithuania, Portugal; each has a phantom profile of its name."""

MAMMOGRAMS = "mammograms"
"""The dataset of synthetic mammograms that every site of a demonstration has."""


CONTACT = "nobody@unica.example"
"""Whom to ask about demonstration data: a reserved name (RFC 2606), at which there is nobody."""

DRAWN = "Drawn by the program unica_sdk.pilots.phantom: no person is behind any image. SYNTHETIC."
"""Where the demonstration's mammograms come from."""


def open_home(folder: Path, site: str) -> NodeHome:
    """Return the site's node, making its folder and keys where there are none."""
    from unica_sdk.node.home import NodeHome
    from unica_sdk.pilots.phantom.profiles import PROFILES

    if (folder / "node.toml").exists():
        return NodeHome.open(folder)
    profile = PROFILES[site]
    return NodeHome.create(folder, site=site, name=profile.title, country=profile.country)


def describe(
    home: NodeHome, dataset: str, *, provenance: str, keywords: Iterable[str], condition: str
) -> None:
    """Write what people say of a dataset of the demonstration, for its record."""
    from unica_sdk.node import about

    about.say(home, None, about.About(contact=CONTACT))
    about.say(
        home,
        dataset,
        about.About(
            keywords=tuple(keywords),
            provenance=provenance,
            collection_method="patient_based" if condition else "only_image",
            condition=condition,
        ),
    )


def build_apps() -> list[Bundle]:
    """Return the bundles of the apps that come with UNICA."""
    from unica_sdk.federation.bundle import build
    from unica_sdk.pilots.catalogue import bundled_apps

    return [build(folder) for folder in bundled_apps().values()]


def join(
    home: NodeHome,
    *,
    store: Store,
    operator: Operator,
    steward: Ed25519PublicKey,
    gateway: Ed25519PublicKey,
    apps: Iterable[str],
) -> None:
    """Enrol a site at the hub, pin the hub's keys at the site, approve the apps; what is done stays."""
    enrolment, known = home.enrolment(), store.sites()
    if home.site not in known or known[home.site].enrolment != enrolment:
        operator.enrol(enrolment)
    keys = {"steward": steward.public_bytes_raw(), "gateway": gateway.public_bytes_raw()}
    if any(_pinned(home.folder / f"{whose}.pub") != key for whose, key in keys.items()):
        home.pin(keys["steward"], keys["gateway"])
    for app in set(apps) - set(home.policy().approved_apps):
        home.approve(app)


def enter_apps(store: Store, operator: Operator, bundles: Sequence[Bundle]) -> list[Bundle]:
    """Enter the apps that the hub does not have yet, and return those."""
    known = {app.id for app in store.apps()}
    new = [bundle for bundle in bundles if bundle.id not in known]
    for bundle in new:
        operator.add_app(App(id=bundle.id, manifest=bundle.manifest), bundle.content)
    return new


def demonstration_permit(
    *, name: str, holder: str, project: str, datasets: Iterable[str], apps: Iterable[str], days: int
) -> Permit:
    """Return a permit for a demonstration, to be signed: metrics only, from now on."""
    now = datetime.now(UTC)
    return Permit(
        id=name,
        holder=holder,
        project=project,
        title="Demonstration on synthetic mammograms",
        purpose=Purpose.SCIENTIFIC_RESEARCH,
        legal_basis="None needed: synthetic data and public sample files",
        datasets=sorted_unique(tuple(datasets)),
        apps=sorted_unique(tuple(apps)),
        outputs=(OutputKind.METRICS,),
        conditions=("Demonstration only.",),
        demonstration=True,
        issued=now - timedelta(seconds=1),
        expires=now + timedelta(days=days),
    )


def _pinned(path: Path) -> bytes | None:
    return bytes.fromhex(path.read_text().strip()) if path.exists() else None
