"""The cache after an ingest: what nobody may read any more goes, and what is still missing comes.

Out go the cases that no version of the index refers to that is kept (`index.KEPT_VERSIONS`), and those of
people who do not consent now; then, where the cache is beyond its bound, whole preparations. A job that was
started before reads on what it has open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import DataError
from unica_sdk.node.admitted import AdmittedIndex
from unica_sdk.node.consent import Consent, ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.admission import compressed
from unica_sdk.node.imaging.cache import PreparedCache
from unica_sdk.node.imaging.opening import image_cache
from unica_sdk.node.imaging.preparation import IMAGES, VOLUMES, Preparation
from unica_sdk.node.imaging.reader import CaseReader, Cases, Progress, find_cases
from unica_sdk.node.imaging.segments import KEY
from unica_sdk.node.imaging.storage import SPARE, CacheFolder, readable
from unica_sdk.node.imaging.table import KEY_DIGITS, CaseTable
from unica_sdk.node.index_tables import SCHEMA
from unica_sdk.node.syntaxes import UNCOMPRESSED

_PEOPLE = 500
"""Whose series are put together at a time."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What an ingest did for the cache; an image counts at each resolution.

    Attributes:
        prepared: Images and volumes that came into the cache.
        left: Compressed ones that the first job has to decode.
        why: What stood in the way, for the site's operator.
    """

    prepared: int = 0
    left: int = 0
    why: str = ""

    def __add__(self, other: Filled) -> Filled:
        return Filled(
            prepared=self.prepared + other.prepared,
            left=self.left + other.left,
            why=self.why or other.why,
        )


def tend(home: NodeHome, *, dataset: str, preparations: Sequence[Preparation], progress: Progress) -> Filled:
    """Prune a node's cache, keep it within its bound, and prepare what an ingest of a dataset left out.

    That is: compressed images that were in the node before they were wanted at this resolution, or whose
    cache was emptied since, and compressed volumes, whose slices an ingest only sees one by one.

    Args:
        home: the node; the caller holds the ingest's lock.
        dataset: the one that was ingested.
        preparations: what is to be in the cache.
        progress: called only where something is missing.

    Raises:
        DataError: what has to go cannot be removed, or the index or the registry cannot be read.
        ConfigurationError: node.toml cannot be read.
    """
    cache = image_cache(home)
    consent = ConsentRegistry.of(home).state()
    prune(home, cache, consent)
    cache.keep_within()
    total = Filled()
    for cases, preparation in _wanted(home, consent, dataset, preparations):
        total += _prepare(cases, preparation, cache, progress)
    return total


def prune(home: NodeHome, cache: CacheFolder, consent: Consent) -> int:
    """Take out the cases that no kept version of the index has of people who consent; return how many.

    Raises:
        DataError: the cache cannot be read or written, or a version not be read.
    """
    caches = [PreparedCache(cache, preparation) for preparation in cache.sweep()]
    held = [one.all_keys() for one in caches]
    if not any(map(len, held)):
        return 0
    flat = [keys for one, keys in zip(caches, held, strict=True) if one.preparation.slices is None]
    images = np.unique(np.concatenate([np.empty(0, KEY), *flat]))
    volumes = any(one.preparation.slices and len(keys) for one, keys in zip(caches, held, strict=True))
    kept = [np.empty(0, KEY)]
    for index in AdmittedIndex.kept(home.index_folder):
        if not _of_today(index):
            continue
        index.apply(consent)
        if len(images):
            kept.append(_images_in(index, images))
        if volumes:
            kept += _volumes_in(index)
    alive = np.concatenate(kept)
    return sum(one.drop(keys[~np.isin(keys, alive)]) for one, keys in zip(caches, held, strict=True))


def _of_today(index: AdmittedIndex) -> bool:
    """Whether a version has today's tables: nobody opens one of others any more."""
    if "tables" not in {name for name, *_ in index.rows("DESCRIBE meta")}:
        return False
    return index.rows("SELECT tables FROM meta") == [(SCHEMA,)]


def _images_in(index: AdmittedIndex, keys: NDArray[np.void]) -> NDArray[np.void]:
    """Return which of these keys are of an image of the index."""
    found = index.rows(
        f"SELECT DISTINCT left(sha256, {KEY_DIGITS}) FROM instance"  # noqa: S608 - our own number
        f" WHERE left(sha256, {KEY_DIGITS}) IN (SELECT unnest($keys::VARCHAR[]))",
        {"keys": [key.tobytes().hex() for key in keys]},
    )
    return np.frombuffer(b"".join(bytes.fromhex(digits) for (digits,) in found), KEY)


def _volumes_in(index: AdmittedIndex) -> Iterator[NDArray[np.void]]:
    """Yield the keys of the index's volumes, in all datasets together and in each by itself."""
    datasets = [info.name for info in index.datasets()]
    choices = [None, *([name] for name in datasets if len(datasets) > 1)]
    people = iter(index.rows("SELECT DISTINCT patient FROM instance"))
    while some := [patient for (patient,) in islice(people, _PEOPLE)]:
        for choice in choices:
            table = CaseTable.from_index(index, datasets=choice, patients=some)
            yield find_cases(table, volumes=True).keys()


def _wanted(
    home: NodeHome, consent: Consent, dataset: str, preparations: Sequence[Preparation]
) -> Iterator[tuple[Cases, Preparation]]:
    """Yield the compressed cases of a dataset that are to be in the cache."""
    for modality in (*IMAGES, *VOLUMES):
        volumes = modality in VOLUMES
        some = [one for one in preparations if (one.slices is not None) is volumes]
        cases = _compressed(home, consent, dataset, modality, volumes=volumes) if some else None
        if cases is not None and len(cases):
            yield from ((cases, preparation) for preparation in some)


def _compressed(
    home: NodeHome, consent: Consent, dataset: str, modality: str, *, volumes: bool
) -> Cases | None:
    with AdmittedIndex.open(home.index_folder) as index:
        index.apply(consent)
        ((some,),) = index.rows(
            "SELECT count(*) FROM instance WHERE dataset = $dataset AND modality = $modality"
            " AND transfer_syntax NOT IN (SELECT unnest($plain::VARCHAR[]))",
            {"dataset": dataset, "modality": modality, "plain": list(UNCOMPRESSED)},
        )
        if not some:
            return None
        table = CaseTable.from_index(index, modality=modality, datasets=[dataset])
    encoded = compressed(table)
    if volumes:
        encoded = np.isin(_numbers(table), _numbers(table)[encoded])
    return find_cases(table.select(encoded), volumes=volumes)


def _numbers(table: CaseTable) -> NDArray[np.intp]:
    """Return a number for the series of each image."""
    return np.unique(table.series, return_inverse=True)[1]


def _prepare(cases: Cases, preparation: Preparation, cache: CacheFolder, progress: Progress) -> Filled:
    reader = CaseReader(cases, preparation=preparation, cache=cache)
    todo = reader.missing()
    if not len(todo):
        return Filled()
    with readable(cache.path):
        fits = todo[: cache.room() // (int(np.prod(preparation.shape)) * 2)]
    why = "" if len(fits) == len(todo) else _no_room(cache)
    if len(fits):
        some = reader.select(fits)
        try:
            failures = some.prepare(progress=progress)
            why = failures[0].detail if failures and not why else why
        except DataError as err:
            # The cache's, not the images': the ingest is done, and a job does without.
            why = str(err)
        finally:
            some.close()
    left = len(reader.missing())
    return Filled(prepared=len(todo) - left, left=left, why=why)


def _no_room(cache: CacheFolder) -> str:
    limit = 0 if cache.limit is None else cache.limit >> 30
    return f"no room: cache_gib = {limit} in node.toml, and {SPARE >> 30} GiB of the disk stay free"
