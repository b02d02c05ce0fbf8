"""The cases of a frozen cohort as an app gets them: images at its resolution, labels, the held-out split."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unica_sdk.federation.ports import Cases
from unica_sdk.node.cohort import FrozenList
from unica_sdk.node.files import locked
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import PATIENTS, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.node.pool import Failed, WorkerPool, size_for
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.contract import canonical_json, sha256

HELD_OUT_OF_256 = 64
"""A quarter of the patients is never trained on."""

_LABELLED = {
    "outcome": "outcome IS NOT NULL",
    "diagnosis": "diagnosis IS NOT NULL",
}
_POSITIVE = {
    "outcome": "list_contains($positive::VARCHAR[], outcome)",
    "diagnosis": "list_contains($positive::VARCHAR[], diagnosis)",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image of a frozen cohort: whose it is, where its file is, and its label."""

    patient: str
    path: str
    positive: bool


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Cases ready for an app, the people they belong to, and how many files could not be read any more."""

    cases: Cases
    patients: int
    unreadable: int


def cases_of(index: Index, frozen: FrozenList, manifest: AppManifest) -> list[Case]:
    """Return the images of a frozen cohort that the app can take, in a fixed order.

    That is: of the app's modality, one frame, grey, in the datasets the cohort was frozen from, of patients
    whose label the clinical table knows. A patient without a label is left out, never taken as negative.
    """
    field = manifest.label.field
    found = index.rows(
        "SELECT patient, path, " + _POSITIVE[field] + f" FROM instance JOIN ({PATIENTS}) AS people"  # noqa: S608
        " USING (patient) WHERE dataset IN (SELECT unnest($datasets::VARCHAR[]))"
        " AND patient IN (SELECT unnest($patients::VARCHAR[]))"
        " AND modality = $modality AND frames = 1 AND samples = 1 AND " + _LABELLED[field] + ""
        " QUALIFY row_number() OVER (PARTITION BY instance ORDER BY dataset, path) = 1"
        " ORDER BY patient, instance",
        {
            "datasets": list(frozen.datasets),
            "patients": list(frozen.patients),
            "modality": manifest.image.modality,
            "positive": list(manifest.label.positive),
        },
    )
    return [Case(patient=patient, path=path, positive=positive) for patient, path, positive in found]


def held_out(key: SiteKey, patient: str) -> bool:
    """Whether a patient is kept for evaluation: decided by the patient alone, in every job the same."""
    return key.digest("held-out", patient.encode())[0] < HELD_OUT_OF_256


def prepare_cases(home: NodeHome, index: Index, frozen: FrozenList, manifest: AppManifest) -> Prepared:
    """Return the cases at the app's resolution, from the cache where they were prepared before.

    The cache hangs on the snapshot, the index's content and the manifest's image and label: any change of
    these prepares them anew, and older ones of the same snapshot are removed.
    """
    place = home.cache_folder / frozen.id.removeprefix("hmac:")[:32]
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    ready = place / _cache_name(index, manifest)
    with locked(place / ".lock"):
        if not ready.exists():
            prepared = _prepare(home, cases_of(index, frozen, manifest), manifest)
            if prepared.unreadable == 0:
                _keep(ready, prepared)
            return prepared
        return _load(ready)


def _cache_name(index: Index, manifest: AppManifest) -> str:
    meaning = [index.content, manifest.image.model_dump(), manifest.label.model_dump(mode="json")]
    digest = sha256(canonical_json(meaning)).removeprefix("sha256:")
    shape = f"{manifest.image.rows}x{manifest.image.columns}"
    return f"{manifest.image.modality}-{shape}-{manifest.label.field}-{digest[:32]}"


def _prepare(home: NodeHome, cases: list[Case], manifest: AppManifest) -> Prepared:
    key = home.site_key()
    rows, columns = manifest.image.rows, manifest.image.columns
    images = np.empty((len(cases), rows, columns), dtype=np.float32)
    good: list[Case] = []
    with WorkerPool(size=size_for(len(cases))) as pool:
        results = pool.prepare((Path(case.path) for case in cases), rows=rows, columns=columns)
        for case, result in zip(cases, results, strict=True):
            if not isinstance(result, Failed):
                images[len(good)] = result
                good.append(case)
    return Prepared(
        cases=Cases(
            images=images[: len(good)],
            labels=np.array([case.positive for case in good], dtype=np.uint8),
            held_out=np.array([held_out(key, case.patient) for case in good], dtype=np.bool_),
        ),
        patients=len({case.patient for case in good}),
        unreadable=len(cases) - len(good),
    )


def _keep(ready: Path, prepared: Prepared) -> None:
    """Write the arrays aside and rename their folder, so that a cache is there as a whole or not at all."""
    for old in ready.parent.iterdir():
        if old.is_dir() and (old.name.startswith(".") or _same_but_data(old.name, ready.name)):
            shutil.rmtree(old)
    aside = Path(tempfile.mkdtemp(prefix=".", dir=ready.parent))
    _save(aside / "images.npy", prepared.cases.images)
    _save(aside / "labels.npy", prepared.cases.labels)
    _save(aside / "held_out.npy", prepared.cases.held_out)
    _save(aside / "patients.npy", np.array(prepared.patients))
    aside.replace(ready)


def _same_but_data(one: str, other: str) -> bool:
    return one.rsplit("-", 1)[0] == other.rsplit("-", 1)[0]


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        np.save(file, array, allow_pickle=False)


def _load(ready: Path) -> Prepared:
    cases = Cases(
        images=np.load(ready / "images.npy", allow_pickle=False),
        labels=np.load(ready / "labels.npy", allow_pickle=False),
        held_out=np.load(ready / "held_out.npy", allow_pickle=False),
    )
    return Prepared(cases=cases, patients=int(np.load(ready / "patients.npy")), unreadable=0)
