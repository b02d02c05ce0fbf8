"""The SYNTHETIC women of a site: who is drawn, what she has, and when she came."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

from unica_sdk.pilots.phantom.profiles import SiteProfile

Outcome = Literal["negative", "screen_detected", "interval_cancer"]

INTERVAL_SHARE = 0.15
"""Of the cancers, those that screening missed: smaller ones, in denser breasts."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One synthetic woman with one screening image.

    Attributes:
        number: 1 to the number of patients.
        patient_id: the site's own identifier, as it stands in the DICOM header and in clinical.csv.
        age: years at the study date.
        born: date of birth.
        screened: study date.
        laterality: the breast imaged.
        view: craniocaudal or mediolateral oblique.
        density: fibroglandular fraction, 0 to 1.
        outcome: a word of the shared vocabulary.
    """

    number: int
    patient_id: str
    age: int
    born: date
    screened: date
    laterality: Literal["L", "R"]
    view: Literal["CC", "MLO"]
    density: float
    outcome: Outcome

    @property
    def diagnosis(self) -> Literal["breast_cancer", "none"]:
        """The diagnosis that goes with the outcome, as a word of the shared vocabulary."""
        return "none" if self.outcome == "negative" else "breast_cancer"


def generator(profile: SiteProfile, seed: int, number: int) -> np.random.Generator:
    """Return the random numbers of one patient (from 1), or of the site's plan (0).

    Example:
        >>> from unica_sdk.pilots.phantom import PROFILES
        >>> a, b = (generator(PROFILES["gr"], 7, 1) for _ in range(2))
        >>> a.random() == b.random()
        True
    """
    return np.random.default_rng([seed, zlib.crc32(profile.site.encode()), number])


def people(profile: SiteProfile, *, patients: int, seed: int) -> tuple[Person, ...]:
    """Return a site's women, the same ones for the same arguments.

    The number of each outcome is exact rather than drawn, so that a small site has cancers too.

    Example:
        >>> from unica_sdk.pilots.phantom import PROFILES
        >>> some = people(PROFILES["gr"], patients=50, seed=1)
        >>> some[0].patient_id, sum(p.diagnosis == "breast_cancer" for p in some)
        ('SYN-GR-00001', 19)
    """
    rng = generator(profile, seed, 0)
    cancers = round(profile.cancers * patients)
    interval = round(INTERVAL_SHARE * cancers)
    outcomes: list[Outcome] = ["interval_cancer"] * interval
    outcomes += ["screen_detected"] * (cancers - interval)
    outcomes += ["negative"] * (patients - cancers)
    order = rng.permutation(patients)
    return tuple(_person(profile, seed, i + 1, outcomes[order[i]]) for i in range(patients))


def _person(profile: SiteProfile, seed: int, number: int, outcome: Outcome) -> Person:
    rng = generator(profile, seed, number)
    # Programmes invite women of 50 to 69; a few come earlier or stay longer.
    age = int(rng.integers(50, 70)) if rng.random() < 0.94 else int(rng.choice([47, 48, 49, 70, 71, 72]))
    screened = date(2022, 1, 10) + timedelta(days=int(rng.integers(0, 1400)))
    born = screened - timedelta(days=int(age * 365.25) + int(rng.integers(1, 364)))
    low, high = profile.density
    if outcome == "interval_cancer":
        low = (low + high) / 2
    return Person(
        number=number,
        patient_id=f"SYN-{profile.country}-{number:05d}",
        age=age,
        born=born,
        screened=screened,
        laterality="L" if rng.random() < 0.5 else "R",
        view="CC" if rng.random() < 0.5 else "MLO",
        density=float(rng.uniform(low, high)),
        outcome=outcome,
    )
