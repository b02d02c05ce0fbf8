"""A SYNTHETIC mammogram: X-rays through breast-like tissue onto a vendor's detector.

Attenuation follows Beer and Lambert, with linear coefficients of fat, fibroglandular tissue and carcinoma
near those at 20 keV (Johns & Yaffe, Phys Med Biol 32 (1987) 675–695). Tissue is power-law noise with exponent
3, as measured in mammograms (Burgess, Jacobson & Judy, Med Phys 28 (2001) 419–437). Then scatter, photon
noise, the detector's blur, the logarithm and a processing curve. It has no anatomy beyond that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unica_sdk.pilots.phantom.people import Person
from unica_sdk.pilots.phantom.profiles import SiteProfile

ROWS, COLUMNS = 320, 256
"""An image's size: 256 × 320 pixels, upright as mammograms are."""

SPACING = 0.75
"""Millimetres per pixel: the field is 192 × 240 mm."""

PAD = 32
"""Columns added on both sides before filtering, so that the chest wall does not wrap round."""

FAT, GLAND, CARCINOMA = 0.456, 0.802, 0.844
"""Linear attenuation in 1/cm at 20 keV."""

FILL = 0.45
"""The most of the depth that fibroglandular tissue fills: a pixel sees all layers, and most are fat."""

LESION_RADIUS = {"screen_detected": (9.0, 16.0), "interval_cancer": (7.0, 12.0)}
"""A lesion's radius in mm: larger than most that screening finds, so that few cases can teach it."""

Plane: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every image of one site shares: coordinates in mm and the filters in the frequency domain."""

    x: Plane
    y: Plane
    texture: Plane
    scatter: Plane
    detector: Plane

    @classmethod
    def of(cls, profile: SiteProfile) -> Bench:
        """Prepare the arrays for one site's machine."""
        rows = np.fft.fftfreq(ROWS)[:, None]
        padded = rows**2 + np.fft.rfftfreq(COLUMNS + 2 * PAD)[None] ** 2
        plain = np.sqrt(rows**2 + np.fft.rfftfreq(COLUMNS)[None] ** 2)
        plain[0, 0] = np.inf  # no mean: the texture has none
        s = profile.scatter
        return cls(
            x=((np.arange(COLUMNS, dtype=np.float32) + 0.5) * SPACING)[None],
            y=((np.arange(ROWS, dtype=np.float32) + 0.5 - ROWS / 2) * SPACING)[:, None],
            texture=(plain**-1.5).astype(np.float32),
            scatter=((1 - s) + s * _gaussian(padded, 18.0)).astype(np.float32),
            detector=_gaussian(padded, profile.blur).astype(np.float32),
        )


def mammogram(rng: np.random.Generator, bench: Bench, profile: SiteProfile, person: Person) -> Image:
    """Return one synthetic mammogram as its vendor stores it.

    Returns:
        (320, 256) uint16 pixels with the compressed thickness in mm.
    """
    thickness = float(rng.uniform(4.0, 6.0))
    reach, half = rng.uniform(105, 155), rng.uniform(82, 108)
    radius2 = (bench.x / reach) ** 2 + (bench.y / half) ** 2
    depth = (thickness * np.sqrt(np.clip(1 - radius2**2, 0, 1))).astype(np.float32)
    gland = _tissue(rng, bench, person, radius2)
    path = (FAT + FILL * (GLAND - FAT) * gland) * depth
    if person.outcome != "negative":
        path += _lesion(rng, bench, person, radius2, depth)
    signal = _expose(rng, bench, profile, path * np.float32(profile.beam))
    return Image(pixels=_store(signal, profile, person), thickness=round(10 * thickness))


@dataclass(frozen=True, kw_only=True)
class Image:
    """Pixels (320, 256) uint16, and the compressed thickness in mm."""

    pixels: NDArray[np.uint16]
    thickness: int


def _tissue(rng: np.random.Generator, bench: Bench, person: Person, radius2: Plane) -> Plane:
    """Return the fibroglandular fraction of each pixel, 0 to 1, with the pectoral muscle in oblique views."""
    white = rng.standard_normal((2, *bench.texture.shape), dtype=np.float32)
    noise = np.fft.irfft2((white[0] + 1j * white[1]) * bench.texture, s=(ROWS, COLUMNS))
    noise = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    gland = 1 / (1 + np.exp(2 * (np.float32(0.8 - 1.8 * person.density) - noise)))
    gland *= np.exp(-((radius2 / 0.81) ** 2))
    if person.view == "MLO":
        width, height = rng.uniform(35, 65), rng.uniform(90, 150)
        inside = 1 - bench.x / np.float32(width) - (bench.y + ROWS * SPACING / 2) / np.float32(height)
        muscle = 1 / (1 + np.exp(np.clip(-inside * 25, -30, 30)))
        gland = gland + (np.float32(0.9) - gland) * muscle
    return np.asarray(gland, dtype=np.float32)


def _lesion(rng: np.random.Generator, bench: Bench, person: Person, radius2: Plane, depth: Plane) -> Plane:
    """Return what a mass with an uneven edge adds to the path: its chord, in place of fat."""
    row, column = 0, 0
    for _ in range(200):  # the breast covers over a third of the box, so a place is found
        row, column = int(rng.integers(60, 260)), int(rng.integers(24, 190))
        if radius2[row, column] < 0.6:
            break
    dx, dy = bench.x - bench.x[0, column], bench.y - bench.y[row, 0]
    angle = np.arctan2(dy, dx)
    edge = np.float32(1) + sum(
        np.float32(rng.uniform(0.02, 0.09)) * np.cos(angle * lobes + np.float32(rng.uniform(0, 6.3)))
        for lobes in (2, 3, 5, 8, 13)
    )
    size = np.float32(rng.uniform(*LESION_RADIUS[person.outcome])) * edge
    chord = 0.2 * np.sqrt(np.clip(size**2 - dx**2 - dy**2, 0, None))  # mm of radius → cm of both halves
    return np.asarray((CARCINOMA - FAT) * np.minimum(chord, depth), dtype=np.float32)


def _expose(rng: np.random.Generator, bench: Bench, profile: SiteProfile, path: Plane) -> Plane:
    """Return minus the logarithm of what the detector reads, air being 0."""
    light = _filter(np.exp(-path), bench.scatter)
    # Hundreds of photons a pixel: the normal distribution stands for Poisson's at a fifth of the time.
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * np.sqrt(np.maximum(light, 1e-6) / np.float32(profile.photons))
    return -np.log(np.clip(_filter(light, bench.detector), 1e-4, None))


def _store(signal: Plane, profile: SiteProfile, person: Person) -> NDArray[np.uint16]:
    """Return the stored values: processing curve, bit depth, photometric interpretation, orientation."""
    top = 2**profile.bits - 1
    curve = np.clip(signal / 5, 0, 1) ** np.float32(profile.gamma)
    values = np.rint(curve * np.float32(0.9 * top)).astype(np.uint16)
    if profile.photometric == "MONOCHROME1":
        values = np.uint16(top) - values
    # A right breast has its chest wall on the right, unless the vendor mirrors.
    mirrored = (person.laterality == "R") != profile.mirrored
    return np.ascontiguousarray(values[:, ::-1] if mirrored else values)


def _gaussian(squared_frequency: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return np.exp(-2 * (np.pi * sigma / SPACING) ** 2 * squared_frequency)


def _filter(plane: Plane, response: Plane) -> Plane:
    padded = np.pad(plane, ((0, 0), (PAD, PAD)), mode="edge")
    spectrum = np.fft.rfft2(padded)
    spectrum *= response
    out: Plane = np.fft.irfft2(spectrum, s=padded.shape)[:, PAD:-PAD].astype(np.float32, copy=False)
    return out
