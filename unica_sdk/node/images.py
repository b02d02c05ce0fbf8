"""The cases of a frozen cohort as an app gets them: images at its resolution, labels, the held-out split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unica_sdk.federation.ports import Cases
from unica_sdk.node.admitted import AdmittedIndex
from unica_sdk.node.cohort import FrozenList, people_of
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.opening import image_cache
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.reader import CaseReader, find_cases
from unica_sdk.node.imaging.reader import Cases as FoundCases
from unica_sdk.node.imaging.storage import CacheFolder
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.index import PATIENTS
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.app import AppManifest

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
    """One image of a frozen cohort: its pseudonym and its patient's, where its file is, and its label."""

    instance: str
    patient: str
    path: str
    positive: bool


@dataclass(frozen=True, kw_only=True)
class People:
    """True numbers of people behind prepared cases: all of them, and the held-out ones of each class."""

    all: int
    tested_positive: int
    tested_negative: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Cases ready for an app and the people they belong to.

    `unreadable` files could not be read any more, `withheld` people of the cohort do not allow it any more.
    """

    cases: Cases
    people: People
    unreadable: int
    withheld: int


def cases_of(key: SiteKey, index: AdmittedIndex, frozen: FrozenList, manifest: AppManifest) -> list[Case]:
    """Return the images of a frozen cohort that the app can take, in a fixed order.

    That is: of the app's modality, one frame, grey, in the datasets the cohort was frozen from, of patients
    whose label the clinical table knows. A patient without a label is left out, never taken as negative.
    """
    return _cases_of(index, frozen, manifest, people_of(key, index, frozen))


def _cases_of(
    index: AdmittedIndex, frozen: FrozenList, manifest: AppManifest, people: Sequence[str]
) -> list[Case]:
    field = manifest.label.field
    found = index.rows(
        "SELECT instance, patient, path, " + _POSITIVE[field] + f" FROM instance JOIN ({PATIENTS}) AS people"  # noqa: S608
        " USING (patient) WHERE dataset IN (SELECT unnest($datasets::VARCHAR[]))"
        " AND patient IN (SELECT unnest($patients::VARCHAR[]))"
        " AND modality = $modality AND frames = 1 AND samples = 1 AND " + _LABELLED[field] + ""
        " QUALIFY row_number() OVER (PARTITION BY instance ORDER BY dataset, path) = 1"
        " ORDER BY patient, instance",
        {
            "datasets": list(frozen.datasets),
            "patients": list(people),
            "modality": manifest.image.modality,
            "positive": list(manifest.label.positive),
        },
    )
    return [
        Case(instance=instance, patient=patient, path=path, positive=positive)
        for instance, patient, path, positive in found
    ]


def held_out(key: SiteKey, patient: str) -> bool:
    """Whether a patient is kept for evaluation: decided by the patient alone, in every job the same."""
    return key.digest("held-out", patient.encode())[0] < HELD_OUT_OF_256


def prepare_cases(
    home: NodeHome, index: AdmittedIndex, frozen: FrozenList, manifest: AppManifest
) -> Prepared:
    """Return the cases at the app's resolution, from the node's cache where they were prepared before.

    A file that cannot be read is left out and counted; the next job tries it again.

    Raises:
        DataError: the index cannot be read, or the cache not be written.
    """
    key = home.site_key()
    people = people_of(key, index, frozen)
    labels = {case.instance: case.positive for case in _cases_of(index, frozen, manifest, people)}
    table = CaseTable.from_index(
        index, modality=manifest.image.modality, datasets=frozen.datasets, patients=people
    )
    labelled = np.array([instance in labels for instance in table.instance.tolist()], dtype=np.bool_)
    found = find_cases(table.select(labelled), volumes=False)
    preparation = Preparation(rows=manifest.image.rows, columns=manifest.image.columns)
    images, found = _images(found, preparation, image_cache(home))
    patients = found.patients.tolist()
    cases = Cases(
        images=images,
        labels=np.array([labels[instance] for instance in found.names.tolist()], dtype=np.uint8),
        held_out=np.array([held_out(key, patient) for patient in patients], dtype=np.bool_),
    )
    return Prepared(
        cases=cases,
        people=_people(patients, cases),
        unreadable=len(labels) - len(found),
        withheld=index.withheld(people, frozen.datasets),
    )


def _people(patients: Sequence[str], cases: Cases) -> People:
    told = list(zip(patients, cases.labels.tolist(), cases.held_out.tolist(), strict=True))
    positive = {patient for patient, label, _ in told if label}
    tested = {patient for patient, _, is_held_out in told if is_held_out}
    return People(
        all=len(set(patients)),
        tested_positive=len(tested & positive),
        tested_negative=len(tested - positive),
    )


def _images(
    found: FoundCases, preparation: Preparation, cache: CacheFolder
) -> tuple[NDArray[np.float32], FoundCases]:
    """Return the images that can be prepared, and which they are."""
    if len(found) == 0:
        return np.empty((0, *preparation.shape), np.float32), found
    reader = CaseReader(found, preparation=preparation, cache=cache)
    try:
        failed = {failure.case for failure in reader.prepare()}
        good = np.array([name not in failed for name in found.names.tolist()], dtype=np.bool_)
        places = np.flatnonzero(good)
        return reader.read(places), found.select(places)
    finally:
        reader.close()
