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

from unica_sdk import assembly
from unica_sdk.environment import steward
from unica_sdk.environment.files import read_json, write_json
from unica_sdk.environment.layout import Layout
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument, sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
class DemonstrationDataset:
    """A dataset that each site has, and the folder it comes from."""

    name: str
    title: str
    description: str
    synthetic: bool
    provenance: str
    keywords: tuple[str, ...]
    condition: str = ""


MAMMOGRAMS = DemonstrationDataset(
    assembly.MAMMOGRAMS,
    "Screening mammography phantoms (synthetic)",
    "SYNTHETIC: mammograms drawn by a program, one a patient, 256 × 320 pixels at 16 bits. There is no "
    "person behind them; the share of cancers is far above that of a screening programme.",
    True,
    provenance=assembly.DRAWN,
    keywords=("breast screening", "synthetic"),
    condition="breast_cancer",
)
SAMPLES = DemonstrationDataset(
    "pydicom-samples",
    "Pydicom's sample files",
    "The real DICOM files that come with pydicom for its own tests, of many modalities and transfer "
    "syntaxes, some of them damaged on purpose.",
    False,
    provenance="Distributed with the Python package pydicom as test files, and copied from it unchanged.",
    keywords=("sample files", "test data"),
)


def set_up(layout: Layout, *, patients: int | None = None, say: Say) -> None:
    """Make whatever of the demonstration is not there yet.

    `patients` is how many synthetic women each site draws; without it a site keeps those it has.

    Raises:
        UnicaError: a step failed; the steps before it are kept, and the next call goes on from there.
    """
    steward_key = steward.make_key(layout.demonstration / "steward.key")
    homes = {site: assembly.open_home(layout.node(site), site) for site in assembly.SITES}
    _people(layout, say=say)
    for home in homes.values():
        _data(layout, home, patients=patients, say=say)
    _federation(layout, homes, steward_key, say=say)


def sign_ins(layout: Layout) -> dict[str, str]:
    """Return the generated passwords by name; empty before the first set-up."""
    return {str(name): str(password) for name, password in (read_json(layout.sign_ins) or {}).items()}


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


def _data(layout: Layout, home: NodeHome, *, patients: int | None, say: Say) -> None:
    """Draw the mammograms and ingest both datasets; what is drawn and published already is left as it is."""
    from unica_sdk.pilots.phantom import write_collection

    for one in (MAMMOGRAMS, SAMPLES):
        assembly.describe(
            home, one.name, provenance=one.provenance, keywords=one.keywords, condition=one.condition
        )
    done = layout.demonstration / f"{home.site}.json"
    known = read_json(done) or {}
    wanted = patients or known.get("patients") or PATIENTS
    if not known:
        say(f"Drawing {wanted} synthetic mammograms for {home.site} …")
    source = layout.source(home.site)
    collection = write_collection(source / MAMMOGRAMS.name, site=home.site, patients=wanted, seed=SEED)
    if (known.get("collection"), known.get("version")) == (collection.digest, _index_version(home)):
        return
    if known and collection.written:
        say(f"Drew the synthetic mammograms for {home.site} anew: what they are drawn by changed.")
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
    """Join the sites, enter the apps, sign and enter the permit."""
    from unica_sdk.environment import operator as operations
    from unica_sdk.gateway import keys

    keys.write_public_key(layout.gateway / "steward.pub", steward_key.public_key())
    ticket_key = keys.ensure_ticket_key(layout.gateway / "ticket.key")
    bundles = assembly.build_apps()
    apps = tuple(bundle.id for bundle in bundles)
    with operations.opened(layout) as (store, operator):
        for home in homes.values():
            assembly.join(
                home,
                store=store,
                operator=operator,
                steward=steward_key.public_key(),
                gateway=ticket_key.public_key(),
                apps=apps,
            )
        for built in assembly.enter_apps(store, operator, bundles):
            say(f"Built the app {built.manifest.name}: {built.id[:19]}…, approved at every site.")
        if not _permit_covers(store.permits(RESEARCHER), tuple(homes), apps):
            permit = assembly.demonstration_permit(
                name="demonstration-permit",
                holder=RESEARCHER,
                project=PROJECT,
                datasets=_datasets(tuple(homes)),
                apps=apps,
                days=PERMIT_DAYS,
            )
            signed = sign(permit, steward_key)
            operator.add_permit(signed)
            write_json(layout.demonstration / "permit.json", json.loads(signed.model_dump_json()))
            say(f"Signed a demonstration permit for {RESEARCHER!r}, valid {PERMIT_DAYS} days.")


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
