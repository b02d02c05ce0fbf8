"""Batches of cases as float32 arrays of one shape: what the xarray backend and the torch dataset stand on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unica_sdk.errors import DataError, InvalidRequest, NotFound
from unica_sdk.node.imaging.admission import at_offset, refusals
from unica_sdk.node.imaging.cache import Found, PreparedCache
from unica_sdk.node.imaging.decoding import Decoding
from unica_sdk.node.imaging.frames import read_frames, to_float
from unica_sdk.node.imaging.memory import Recycled
from unica_sdk.node.imaging.preparation import IMAGES, VOLUMES, Preparation, prepare_values
from unica_sdk.node.imaging.storage import CacheFolder
from unica_sdk.node.imaging.table import KEY_BYTES, CaseTable, Texts
from unica_sdk.node.imaging.volumes import Volumes, find_volumes
from unica_sdk.node.pool import Failed

Progress = Callable[[int, int], None]
"""Called with the number of cases prepared so far and the number of all that had to be."""

_ATTEMPTS = 5
"""How often a batch is prepared that others take out of the cache before it is read."""


@dataclass(frozen=True)
class Failure:
    """A case that cannot be read or prepared, and why; the detail is for the site's operator alone."""

    case: str
    detail: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Cases:
    """What the cases of a reader are, row by row.

    Attributes:
        names, patients: (n,) pseudonyms of images or series, and of their patients.
        rows: (n,) each case's first row in the table.
        table: of all images.
        volumes: the slices of each case; None where a case is one image.
        refused: how many cases were left out, by `admission.Reason`.
    """

    names: Texts
    patients: Texts
    rows: NDArray[np.intp]
    table: CaseTable
    volumes: Volumes | None
    refused: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(n, 2) or (n, 3): the shape of each case as it was acquired."""
        plane = (self.table.rows[self.rows], self.table.columns[self.rows])
        slices = () if self.volumes is None else (self.volumes.slices,)
        return np.stack((*slices, *plane), axis=1).astype(np.intp)

    def members(self, case: int) -> NDArray[np.intp]:
        """Return the rows of one case: its image, or its slices from low to high."""
        if self.volumes is None:
            return self.rows[case : case + 1]
        return self.volumes.order[self.volumes.starts[case] : self.volumes.starts[case + 1]]

    def keys(self) -> NDArray[np.void]:
        """Return 16 bytes for each case that stand for the content of its files; see `CaseTable.keys`."""
        if self.volumes is None:
            return self.table.keys(self.rows)
        slices = self.table.keys(self.volumes.order)
        starts = self.volumes.starts
        digests = [
            hashlib.blake2b(slices[first:end].tobytes(), digest_size=KEY_BYTES).digest()
            for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        return np.frombuffer(b"".join(digests), slices.dtype)

    def select(self, cases: NDArray[np.intp]) -> Cases:
        """Return some cases, in the order given."""
        return Cases(
            names=self.names[cases],
            patients=self.patients[cases],
            rows=self.rows[cases],
            table=self.table,
            volumes=None if self.volumes is None else self.volumes.kept(cases),
            refused=self.refused,
        )


def find_cases(table: CaseTable, *, volumes: bool | None = None) -> Cases:
    """Return the cases of a table: images of MG, DX and CR, or volumes of CT and MR.

    Args:
        table: images, of one kind.
        volumes: True for the slices of each series as a volume, False for each file as an image, whatever
            the modality; by default what the modality says.

    Raises:
        InvalidRequest: images and volumes are mixed, and `volumes` does not say which is meant.
    """
    modalities = set(np.unique(table.modality).tolist())
    reasons = refusals(table)
    if volumes is None:
        if modalities & set(VOLUMES) and modalities & set(IMAGES):
            raise InvalidRequest(
                "Images and volumes do not go into one array.",
                where=", ".join(sorted(modalities)),
                hint="Choose one with modality=.",
            )
        volumes = bool(modalities & set(VOLUMES))
        known = VOLUMES if volumes else IMAGES
        foreign = np.logical_and.reduce([table.modality != one for one in known])
        reasons[foreign & (reasons == "")] = "modality"
    if not volumes:
        good = np.flatnonzero(reasons == "")
        return Cases(
            names=table.instance[good],
            patients=table.patient[good],
            rows=good,
            table=table,
            volumes=None,
            refused=_counted(reasons),
        )
    found = find_volumes(table, reasons)
    kept = found.kept(np.flatnonzero(found.reasons == ""))
    first = kept.order[kept.starts[:-1]]
    return Cases(
        names=table.series[first],
        patients=table.patient[first],
        rows=first,
        table=table,
        volumes=kept,
        refused=_counted(found.reasons),
    )


class CaseReader:
    """Cases of one shape, read in batches; safe to use from several threads, and to send to another process.

    Without a preparation: modality values at the resolution of acquisition, which must be the same for all.
    With one: values in [0, 1] at training resolution, from the cache, into which a case comes when it is
    first read or by `prepare`.

    Args:
        cases: from `find_cases`.
        preparation: shape and scale; None for values as acquired.
        cache: where prepared cases are kept; needed with a preparation.

    Raises:
        InvalidRequest: shapes differ without a preparation, or its shape does not fit.
    """

    def __init__(
        self, cases: Cases, *, preparation: Preparation | None = None, cache: CacheFolder | None = None
    ) -> None:
        self.cases = cases
        self.preparation = preparation
        self.shape = _shape(cases, preparation)
        self._cache = None if preparation is None else _cache(cache, preparation)
        self._direct = at_offset(cases.table)
        self._decoding = Decoding()
        self._memory = Recycled()
        self._keys: NDArray[np.void] | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_keys": None}

    def close(self) -> None:
        """End the worker processes, if any were started."""
        self._decoding.close()

    def read(self, cases: ArrayLike) -> NDArray[np.float32]:
        """Return a batch, (len(cases), *shape) float32, in memory of its own.

        Raises:
            DataError: a case cannot be read; it names the first such case.
        """
        chosen = np.asarray(cases, dtype=np.intp)
        out = cast(NDArray[np.float32], self._memory.empty((len(chosen), *self.shape), np.float32))
        if self._cache is None:
            self._read_native(chosen, out)
        else:
            self._found(self._cache, chosen).read(out)
        return out

    def read_levels(self, cases: ArrayLike) -> NDArray[np.uint16]:
        """Return a prepared batch as the cache keeps it, (len(cases), *shape) uint16: 0…65535 for 0…1.

        Raises:
            DataError: as for `read`. InvalidRequest: there is no preparation.
        """
        if self._cache is None:
            raise InvalidRequest("Only prepared cases have levels.", hint="Give rows= and columns=.")
        chosen = np.asarray(cases, dtype=np.intp)
        out = cast(NDArray[np.uint16], self._memory.empty((len(chosen), *self.shape), np.uint16))
        self._found(self._cache, chosen).read_levels(out)
        return out

    def prepare(self, *, progress: Progress | None = None) -> tuple[Failure, ...]:
        """Prepare all cases that the cache has not yet; return those that cannot be.

        Raises:
            DataError: the cache cannot be written.
        """
        if self._cache is None:
            return ()
        return self._prepare(self._cache, self.missing(), progress)

    def missing(self) -> NDArray[np.intp]:
        """Return which cases the cache has not yet; none without a preparation.

        Raises:
            DataError: the cache cannot be read.
        """
        if self._cache is None:
            return np.empty(0, np.intp)
        return np.flatnonzero(self._cache.find(self._all_keys()).missing)

    def without(self, failures: Sequence[Failure]) -> CaseReader:
        """Return a reader of the other cases."""
        names = {failure.case for failure in failures}
        kept = [place for place, name in enumerate(self.cases.names.tolist()) if name not in names]
        return self.select(np.array(kept, dtype=np.intp))

    def select(self, cases: ArrayLike) -> CaseReader:
        """Return a reader of some cases, in the order given."""
        folder = None if self._cache is None else self._cache.folder
        chosen = self.cases.select(np.asarray(cases, dtype=np.intp))
        return CaseReader(chosen, preparation=self.preparation, cache=folder)

    # --- as acquired ----------------------------------------------------------------------------------

    def _read_native(self, chosen: NDArray[np.intp], out: NDArray[np.float32]) -> None:
        if self.cases.volumes is None:
            rows = self.cases.rows[chosen]
        else:
            rows = np.concatenate([self.cases.members(case) for case in chosen.tolist()] or [chosen])
        self._read_rows(rows, out.reshape(len(rows), *self.shape[-2:]))

    def _read_rows(self, rows: NDArray[np.intp], planes: NDArray[np.float32]) -> None:
        direct = self._direct[rows]
        if direct.all():
            read_frames(self.cases.table, rows, planes)
            return
        for place in np.flatnonzero(direct).tolist():
            read_frames(self.cases.table, rows[place : place + 1], planes[place : place + 1])
        others = np.flatnonzero(~direct)
        paths = [str(path) for path in self.cases.table.path[rows[others]].tolist()]
        for place, values in zip(others.tolist(), self._decoding.values(paths), strict=True):
            name = str(self.cases.table.instance[rows[place]])
            if isinstance(values, Failed):
                raise DataError(f"An image cannot be decoded: {values.detail}.", where=name)
            if values.shape != planes[place].shape:
                raise DataError("An image has another shape than its header says.", where=name)
            to_float(values, planes[place], 1, 0)

    # --- at training resolution -----------------------------------------------------------------------

    def _all_keys(self) -> NDArray[np.void]:
        if self._keys is None:
            self._keys = self.cases.keys()
        return self._keys

    def _found(self, cache: PreparedCache, chosen: NDArray[np.intp]) -> Found:
        """Return a batch's cases, all of them, in files that stay as they are while it is read."""
        keys = self._all_keys()[chosen]
        for _ in range(_ATTEMPTS):
            found = cache.find(keys)
            if not found.missing.any():
                return found
            failures = self._prepare(cache, np.unique(chosen[found.missing]), None)
            if failures:
                raise DataError(
                    f"A case cannot be prepared: {failures[0].detail}.",
                    where=failures[0].case,
                    hint="`CaseReader.prepare` lists all of them, `without` leaves them out.",
                )
        raise DataError(
            "Prepared images are taken away as fast as they are kept.", where=str(cache.folder.path)
        )

    def _prepare(
        self, cache: PreparedCache, todo: NDArray[np.intp], progress: Progress | None
    ) -> tuple[Failure, ...]:
        failures: list[Failure] = []

        def good() -> Iterator[tuple[bytes, NDArray[np.float32]]]:
            for done, (case, result) in enumerate(self._prepared(todo), 1):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    yield self._all_keys()[case].tobytes(), result
                if progress is not None:
                    progress(done, len(todo))

        if len(todo):
            cache.add(good(), expected=len(todo))
        return tuple(failures)

    def _prepared(self, todo: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32] | Failure]]:
        preparation = cast(Preparation, self.preparation)
        if self.cases.volumes is not None:
            for case in todo.tolist():
                yield case, self._prepared_volume(case, preparation)
            return
        paths = [str(path) for path in self.cases.table.path[self.cases.rows[todo]].tolist()]
        for case, result in zip(todo.tolist(), self._decoding.prepared(paths, preparation), strict=True):
            name = str(self.cases.names[case])
            yield case, Failure(name, result.detail) if isinstance(result, Failed) else result

    def _prepared_volume(self, case: int, preparation: Preparation) -> NDArray[np.float32] | Failure:
        rows = self.cases.members(case)
        values = np.empty(tuple(self.cases.sizes[case]), np.float32)
        try:
            self._read_rows(rows, values)
        except DataError as err:
            return Failure(str(self.cases.names[case]), f"{err.message} [{err.where}]")
        inverted = self.cases.table.photometric[rows[0]] == "MONOCHROME1"
        return prepare_values(values, preparation, inverted=inverted)


def _counted(reasons: Texts) -> dict[str, int]:
    return dict(sorted(Counter(str(reason) for reason in reasons[reasons != ""].tolist()).items()))


def _cache(folder: CacheFolder | None, preparation: Preparation) -> PreparedCache:
    if folder is None:
        raise InvalidRequest("Prepared cases need a place on disk.", hint="Give cache_folder=.")
    return PreparedCache(folder, preparation)


def _shape(cases: Cases, preparation: Preparation | None) -> tuple[int, ...]:
    if len(cases) == 0:
        why = ", ".join(f"{number} {reason}" for reason, number in cases.refused.items())
        raise NotFound("No case can be read as an array.", where=why or "no images")
    dimensions = 2 if cases.volumes is None else 3
    if preparation is not None:
        if len(preparation.shape) != dimensions:
            raise InvalidRequest(
                "slices= is for volumes, and volumes need it.", where=f"{dimensions} dimensions"
            )
        return preparation.shape
    shapes = np.unique(cases.sizes, axis=0)
    if len(shapes) > 1:
        raise InvalidRequest(
            f"The cases have {len(shapes)} shapes, from {tuple(shapes[0].tolist())}"
            f" to {tuple(shapes[-1].tolist())}.",
            hint="Give rows= and columns= (and slices= for volumes), or choose cases of one shape.",
        )
    return tuple(shapes[0].tolist())
