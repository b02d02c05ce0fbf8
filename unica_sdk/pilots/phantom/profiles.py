"""How the three demonstration sites differ: machine, exposure, processing and population. All SYNTHETIC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SiteProfile:
    """One site's imaginary mammography unit and the women it screens.

    Attributes:
        site: the site's name, as elsewhere in UNICA.
        country: ISO 3166 code, upper case.
        title: what people call the site.
        manufacturer: an invented vendor, said to be synthetic.
        model: an invented model name.
        kvp: tube voltage in kV, for the header.
        target: anode material, for the header.
        filter: filter material, for the header.
        beam: factor on all attenuation coefficients: a softer beam (> 1) has more contrast.
        photons: photons per pixel in air; noise goes with its square root.
        scatter: fraction of the signal that is scattered.
        blur: standard deviation of the detector's point spread, in mm.
        gamma: exponent of the vendor's processing curve; below 1 it lifts dark tissue.
        bits: bits stored.
        photometric: MONOCHROME2 (dense is bright) or MONOCHROME1 (dense is dark, as stored).
        mirrored: whether the vendor stores images mirrored left to right.
        cancers: fraction of patients with a cancer, far above a real programme's 0.6 %.
        density: range of the fibroglandular fraction.
    """

    site: str
    country: str
    title: str
    manufacturer: str
    model: str
    kvp: int
    target: str
    filter: str
    beam: float
    photons: float
    scatter: float
    blur: float
    gamma: float
    bits: int
    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    mirrored: bool
    cancers: float
    density: tuple[float, float]


PROFILES: Mapping[str, SiteProfile] = MappingProxyType(
    {
        "gr": SiteProfile(
            site="gr",
            country="GR",
            title="Synthetic screening site, Greece",
            manufacturer="SYNTHETIC VENDOR A",
            model="Phantom 100",
            kvp=29,
            target="TUNGSTEN",
            filter="RHODIUM",
            beam=1.0,
            photons=4000,
            scatter=0.15,
            blur=0.8,
            gamma=1.0,
            bits=14,
            photometric="MONOCHROME2",
            mirrored=False,
            cancers=0.38,
            density=(0.10, 0.50),
        ),
        "lt": SiteProfile(
            site="lt",
            country="LT",
            title="Synthetic screening site, Lithuania",
            manufacturer="SYNTHETIC VENDOR B",
            model="Phantom 200",
            kvp=32,
            target="MOLYBDENUM",
            filter="MOLYBDENUM",
            beam=0.85,
            photons=1500,
            scatter=0.30,
            blur=1.8,
            gamma=0.7,
            bits=12,
            photometric="MONOCHROME1",
            mirrored=True,
            cancers=0.36,
            density=(0.15, 0.60),
        ),
        "pt": SiteProfile(
            site="pt",
            country="PT",
            title="Synthetic screening site, Portugal",
            manufacturer="SYNTHETIC VENDOR C",
            model="Phantom 300",
            kvp=27,
            target="TUNGSTEN",
            filter="SILVER",
            beam=1.15,
            photons=8000,
            scatter=0.10,
            blur=0.5,
            gamma=1.3,
            bits=16,
            photometric="MONOCHROME2",
            mirrored=False,
            cancers=0.40,
            density=(0.10, 0.45),
        ),
    }
)
"""The demonstration sites by name."""
