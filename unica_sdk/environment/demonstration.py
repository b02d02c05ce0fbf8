"""The demonstration: three sites with SYNTHETIC mammograms, people to sign in as, a steward and a permit.

Every step looks first whether its work is done, so that setting up again is quick and changes nothing.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from unica_sdk.environment import steward
from unica_sdk.environment.files import read_json, write_json
from unica_sdk.environment.layout import Layout
from unica_sdk.schemas.app import App
from unica_sdk.schemas.permit import OutputKind, Permit, Purpose
from unica_sdk.schemas.signing import SignedDocument, sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from unica_sdk.gateway.operator import Operator
    from unica_sdk.gateway.store import Store
    from unica_sdk.node.home import NodeHome

Say = Callable[[str], None]

PATIENTS = 800
"""Synthetic women at each site, unless the first start says otherwise."""

SEED = 2026
RESEARCHER = "researcher"
PEOPLE = {RESEARCHER: "researchers", "manager": "managers"}
"""Who can sign in, and the group each is in."""

PROJECT = "demonstration"
PERMIT_DAYS = 365
RENEW_DAYS = 30


@dataclass(frozen=True)
class DemonstrationSite:
    """A site of the demonstration; the name of its phantom profile is the site's."""

    site: str
    name: str
    country: str


SITES = (
    DemonstrationSite("gr", "Demonstration site Greece (synthetic)", "GR"),
    DemonstrationSite("lt", "Demonstration site Lithuania (synthetic)", "LT"),
    DemonstrationSite("pt", "Demonstration site Portugal (synthetic)", "PT"),
)


@dataclass(frozen=True)
class DemonstrationDataset:
    """A dataset that each site has, and the folder it comes from."""

    name: str
    title: str
    description: str
    synthetic: bool


MAMMOGRAMS = DemonstrationDataset(
    "mammograms",
    "Screening mammography phantoms (synthetic)",
    "SYNTHETIC: mammograms drawn by a program, one a patient, 256 × 320 pixels at 16 bits. There is no "
    "person behind them; the share of cancers is far above that of a screening programme.",
    True,
)
SAMPLES = DemonstrationDataset(
    "pydicom-samples",
    "Pydicom's sample files",
    "The real DICOM files that come with pydicom for its own tests, of many modalities and transfer "
    "syntaxes, some of them damaged on purpose.",
    False,
)


def set_up(layout: Layout, *, patients: int | None = None, say: Say) -> None:
    """Make whatever of the demonstration is not there yet.

    `patients` is how many synthetic women each site draws; without it a site keeps those it has.

    Raises:
        UnicaError: a step failed; the steps before it are kept, and the next call goes on from there.
    """
    steward_key = steward.make_key(layout.demonstration / "steward.key")
    homes = {place.site: _home(layout, place) for place in SITES}
    _people(layout, say=say)
    for place in SITES:
        _data(layout, homes[place.site], place, patients=patients, say=say)
    _federation(layout, homes, steward_key, say=say)


def sign_ins(layout: Layout) -> dict[str, str]:
    """Return the generated passwords by name; empty before the first set-up."""
    return {str(name): str(password) for name, password in (read_json(layout.sign_ins) or {}).items()}


def _home(layout: Layout, place: DemonstrationSite) -> NodeHome:
    from unica_sdk.node.home import NodeHome

    folder = layout.node(place.site)
    if (folder / "node.toml").exists():
        return NodeHome.open(folder)
    return NodeHome.create(folder, site=place.site, name=place.name, country=place.country)


def _people(layout: Layout, *, say: Say) -> None:
    from hub_config.registry import Registry

    registry = Registry(layout.hub / "registry.json")
    passwords = sign_ins(layout)
    for name, group in PEOPLE.items():
        account = registry.active(name)
        if account is not None and name in passwords:
            continue
        passwords[name] = secrets.token_urlsafe(15)
        # the file first: a registry with a password nobody knows would lock everybody out
        write_json(layout.sign_ins, passwords)
        registry.add(name, password=passwords[name], groups=[group])
        say(f"Made the sign-in {name!r} ({group}).")


def _data(
    layout: Layout, home: NodeHome, place: DemonstrationSite, *, patients: int | None, say: Say
) -> None:
    """Draw the mammograms and ingest both datasets; what is drawn and published already is left as it is."""
    from unica_sdk.pilots.phantom import write_collection

    done = layout.demonstration / f"{place.site}.json"
    known = read_json(done) or {}
    wanted = patients or known.get("patients") or PATIENTS
    if not known:
        say(f"Drawing {wanted} synthetic mammograms for {place.name} …")
    source = layout.source(place.site)
    collection = write_collection(source / MAMMOGRAMS.name, site=place.site, patients=wanted, seed=SEED)
    if (known.get("collection"), known.get("version")) == (collection.digest, _index_version(home)):
        return
    samples = source / SAMPLES.name
    if not samples.exists():
        _copy_samples(samples)
    _index(home, MAMMOGRAMS, collection.dicom, collection.clinical, say=say)
    _index(home, SAMPLES, samples, None, say=say)
    write_json(done, {"patients": wanted, "collection": collection.digest, "version": _index_version(home)})


def _index_version(home: NodeHome) -> str:
    current = home.index_folder / "CURRENT"
    return current.read_text().strip() if current.exists() else ""


def _copy_samples(folder: Path) -> None:
    """Copy pydicom's files aside, and give the folder its name when it is whole."""
    import pydicom.data

    bundled = Path(pydicom.data.__file__).parent / "test_files"
    aside = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(bundled, aside)
    aside.rename(folder)


def _index(
    home: NodeHome, dataset: DemonstrationDataset, folder: Path, clinical: Path | None, *, say: Say
) -> None:
    from unica_sdk.node.ingest import ingest

    report = ingest(
        home,
        folder,
        dataset=dataset.name,
        title=dataset.title,
        description=dataset.description,
        synthetic=dataset.synthetic,
        clinical=clinical,
    )
    skipped = f", {len(report.skipped)} files skipped" if report.skipped else ""
    name = f"{home.site}/{dataset.name}"
    say(f"Ingested {name}: {report.indexed} images of {report.patients} patients{skipped}.")


def _federation(
    layout: Layout, homes: dict[str, NodeHome], steward_key: Ed25519PrivateKey, *, say: Say
) -> None:
    """Enrol the sites, pin the keys, build and approve the apps, sign and enter the permit."""
    from unica_sdk.environment import operator as operations
    from unica_sdk.federation.bundle import build
    from unica_sdk.gateway import keys
    from unica_sdk.pilots.catalogue import bundled_apps

    keys.write_public_key(layout.gateway / "steward.pub", steward_key.public_key())
    ticket_key = keys.ensure_ticket_key(layout.gateway / "ticket.key")
    public = [key.public_key().public_bytes_raw() for key in (steward_key, ticket_key)]
    bundles = [build(folder) for folder in bundled_apps().values()]
    with operations.opened(layout) as (store, operator):
        for home in homes.values():
            _enrol(store, operator, home)
            _pin(home, *public)
            for built in bundles:
                if built.id not in home.policy().approved_apps:
                    home.approve(built.id)
        for built in bundles:
            if built.id not in {app.id for app in store.apps()}:
                operator.add_app(App(id=built.id, manifest=built.manifest), built.content)
                say(f"Built the app {built.manifest.name}: {built.id[:19]}…, approved at every site.")
        apps = tuple(built.id for built in bundles)
        if not _permit_covers(store.permits(RESEARCHER), tuple(homes), apps):
            _sign_permit(layout, operator, tuple(homes), apps, steward_key, say=say)


def _enrol(store: Store, operator: Operator, home: NodeHome) -> None:
    enrolment, known = home.enrolment(), store.sites()
    if home.site not in known or known[home.site].enrolment != enrolment:
        operator.enrol(enrolment)


def _pin(home: NodeHome, steward_public: bytes, gateway_public: bytes) -> None:
    for whose, key in (("steward", steward_public), ("gateway", gateway_public)):
        path = home.folder / f"{whose}.pub"
        if not path.exists() or path.read_text().strip() != key.hex():
            home.pin(steward_public, gateway_public)
            return


def _datasets(sites: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{site}/{dataset.name}" for site in sites for dataset in (MAMMOGRAMS, SAMPLES))


def _permit_covers(held: tuple[SignedDocument, ...], sites: tuple[str, ...], apps: tuple[str, ...]) -> bool:
    """Whether the researcher has a permit for all of the demonstration that is not about to end."""
    permits = [Permit.model_validate_json(signed.payload) for signed in held]
    soon = datetime.now(UTC) + timedelta(days=RENEW_DAYS)
    return any(
        set(_datasets(sites)) <= set(permit.datasets)
        and set(apps) <= set(permit.apps)
        and permit.expires > soon
        for permit in permits
    )


def _sign_permit(
    layout: Layout,
    operator: Operator,
    sites: tuple[str, ...],
    apps: tuple[str, ...],
    steward_key: Ed25519PrivateKey,
    *,
    say: Say,
) -> None:
    now = datetime.now(UTC)
    signed = sign(
        Permit(
            id="demonstration-permit",
            holder=RESEARCHER,
            project=PROJECT,
            title="Demonstration on synthetic mammograms",
            purpose=Purpose.SCIENTIFIC_RESEARCH,
            legal_basis="None needed: synthetic data and public sample files",
            datasets=_datasets(sites),
            apps=apps,
            outputs=(OutputKind.METRICS,),
            conditions=("Demonstration only.",),
            demonstration=True,
            issued=now - timedelta(seconds=1),
            expires=now + timedelta(days=PERMIT_DAYS),
        ),
        steward_key,
    )
    operator.add_permit(signed)
    write_json(layout.demonstration / "permit.json", json.loads(signed.model_dump_json()))
    say(f"Signed a demonstration permit for {RESEARCHER!r}, valid {PERMIT_DAYS} days.")
