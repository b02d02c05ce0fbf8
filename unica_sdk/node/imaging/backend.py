"""xarray's engine "unica": `xr.open_dataset(home, engine="unica", modality="MG")`.

One variable, `image`, of dimensions case, y, x or case, z, y, x; nothing is read before it is asked for, and
`chunks="auto"` or `.chunk(case=100)` gives dask arrays. Along `case` lie pseudonyms, of images or of series.

    xr.open_dataset(home, engine="unica", modality="CT")                               as acquired
    xr.open_dataset(home, engine="unica", modality="MG", rows=512, columns=512)        at training resolution

For training use `training.CaseImages`, not dask: a shuffled batch is one read of each image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.preparation import PERCENTILES
from unica_sdk.node.imaging.reader import CaseReader
from unica_sdk.node.imaging.table import Texts

_MM = {"units": "mm"}


class UnicaBackend(BackendEntrypoint):
    """Cases of a node as an `xarray.Dataset`; the parameters are those of `open_cases`."""

    description = "Cancer images of a UNICA node, as cases"
    open_dataset_parameters = (
        "filename_or_obj",
        "drop_variables",
        "modality",
        "datasets",
        "patients",
        "volumes",
        "rows",
        "columns",
        "slices",
        "window",
        "cache_folder",
    )

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Open cases; see `open_cases` for the options and errors."""
        dataset = as_dataset(open_cases(filename_or_obj, **options))
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        for name in set(dropped).intersection(dataset.variables):
            del dataset[name]  # in place: a copy would forget how to close
        return dataset


def as_dataset(reader: CaseReader) -> xr.Dataset:
    """Return a reader's cases as a dataset; closing it ends the reader's worker processes."""
    dims = ("case", "y", "x") if len(reader.shape) == 2 else ("case", "z", "y", "x")
    array = CaseArray(reader)
    # Every case lies by itself: chunks of any number of them are as good.
    encoding = {"preferred_chunks": {"case": 1}}
    image = xr.Variable(dims, indexing.LazilyIndexedArray(array), attrs=_meaning(reader), encoding=encoding)
    dataset = xr.Dataset({"image": image}, coords=_coordinates(reader), attrs=_attributes(reader))
    dataset.set_close(reader.close)
    return dataset


class CaseArray(BackendArray):
    """The lazily read array behind `image`."""

    def __init__(self, reader: CaseReader) -> None:
        self.reader = reader
        self.shape = (len(reader), *reader.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Return what an indexer names, as numpy."""
        if not isinstance(key, indexing.VectorizedIndexer):
            return self._read(key.tuple)
        # For an outer key, xarray's adapter would read in ascending order and copy the batch into its own.
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        cases = np.arange(self.shape[0])[key[0]]
        batch = self.reader.read(np.atleast_1d(cases))
        # From the last axis to the first, for a number takes its axis away.
        for axis in range(len(key) - 1, 0, -1):
            batch = batch[(slice(None),) * axis + (key[axis],)]
        return batch if cases.ndim else batch[0]


def _coordinates(reader: CaseReader) -> dict[str, Any]:
    cases = reader.cases
    table, first = cases.table, cases.rows
    shrunk = cases.sizes[:, -2:] / np.array(reader.shape[-2:])
    found: dict[str, Any] = {
        "case": ("case", _fixed(cases.names), {"long_name": "pseudonym"}),
        "patient": ("case", _fixed(cases.patients), {"long_name": "patient's pseudonym"}),
        "row_spacing": ("case", table.row_spacing[first] * shrunk[:, 0], _MM),
        "column_spacing": ("case", table.column_spacing[first] * shrunk[:, 1], _MM),
        "inverted": (
            "case",
            table.photometric[first] == "MONOCHROME1",
            {"long_name": "low values are shown bright (MONOCHROME1)"},
        ),
    }
    if cases.volumes is not None:
        along = {**_MM, "long_name": "position along the normal of the slices"}
        found["z_position"] = (("case", "z"), _z_positions(reader), along)
    return found


def _fixed(texts: Texts) -> NDArray[np.str_]:
    """Text as xarray keeps it in an index."""
    return texts.astype(f"U{max(1, int(np.strings.str_len(texts).max()))}")


def _z_positions(reader: CaseReader) -> NDArray[np.float64]:
    """The middle of each slice, or of each of the layers that slices were averaged into."""
    volumes = reader.cases.volumes
    assert volumes is not None  # noqa: S101 - the caller asked
    layers = reader.shape[0]
    if reader.preparation is None:
        return volumes.position.reshape(-1, layers)
    low, high = volumes.position[volumes.starts[:-1]], volumes.position[volumes.starts[1:] - 1]
    thickness = (high - low) / (volumes.slices - 1)
    middles = (np.arange(layers) + 0.5) / layers
    bottom, height = low - thickness / 2, thickness * volumes.slices
    return np.asarray(bottom[:, None] + height[:, None] * middles)


def _meaning(reader: CaseReader) -> dict[str, Any]:
    preparation = reader.preparation
    if preparation is None:
        ct = set(np.unique(reader.cases.table.modality[reader.cases.rows]).tolist()) == {"CT"}
        return {"units": "HU" if ct else "1", "long_name": "modality values, as acquired"}
    scale = f"percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g} of each case"
    if preparation.window is not None:
        scale = f"window with centre {preparation.window[0]:g} and width {preparation.window[1]:g}"
    return {
        "units": "1",
        "long_name": "values at training resolution",
        "scaled_by": scale,
        "valid_range": [0.0, 1.0],
    }


def _attributes(reader: CaseReader) -> dict[str, Any]:
    refused = "; ".join(f"{number} {reason}" for reason, number in reader.cases.refused.items())
    return {"refused": refused} if refused else {}
