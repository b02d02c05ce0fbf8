"""From a node's index, or a table, to a reader of cases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from unica_sdk.errors import InvalidRequest
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.preparation import Preparation, Window
from unica_sdk.node.imaging.reader import CaseReader, find_cases
from unica_sdk.node.imaging.storage import CacheFolder
from unica_sdk.node.imaging.table import CaseTable


def image_cache(home: NodeHome) -> CacheFolder:
    """Return where a node keeps its prepared cases, and how much of the disk they may take.

    Raises:
        ConfigurationError: node.toml, which says that, cannot be read.
    """
    return CacheFolder(home.cache_folder / "images", limit=home.images().cache_gib << 30)


def open_cases(
    source: CaseTable | NodeHome | str | os.PathLike[str],
    *,
    modality: str | None = None,
    datasets: Sequence[str] | None = None,
    patients: Sequence[str] | None = None,
    volumes: bool | None = None,
    rows: int | None = None,
    columns: int | None = None,
    slices: int | None = None,
    window: Window | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
) -> CaseReader:
    """Return a reader of cases.

    Args:
        source: a node's home (or its folder), whose index says what there is and whose registry, who allows
            it; or a table.
        modality: of the cases; needed where the source has images and volumes.
        datasets: only these, by name. Not for a table.
        patients: only these, by pseudonym. Not for a table.
        volumes: False to read slices of CT and MR as images.
        rows: of the training resolution; none for the one of acquisition.
        columns: as `rows`.
        slices: as `rows`, for volumes.
        window: centre and width in modality units for 0…1, instead of percentiles.
        cache_folder: of prepared cases; a node's own by default.

    Raises:
        InvalidRequest: the cases do not fit into one array, or half a shape was given.
        NotFound: there is no such case, or no index.
        DataError: the index cannot be read.
        ConfigurationError: there is no such node, or its node.toml cannot be read.
    """
    cache: CacheFolder | None
    if isinstance(source, CaseTable):
        if datasets is not None or patients is not None:
            raise InvalidRequest("A table has no datasets to choose from.", hint="Use `CaseTable.select`.")
        table = source if modality is None else source.select(source.modality == modality)
        cache = None
    else:
        home = source if isinstance(source, NodeHome) else NodeHome.open(Path(source))
        with open_admitted(home) as index:
            table = CaseTable.from_index(index, modality=modality, datasets=datasets, patients=patients)
        cache = image_cache(home)
    return CaseReader(
        find_cases(table, volumes=volumes),
        preparation=_preparation(rows, columns, slices, window),
        cache=cache if cache_folder is None else CacheFolder(Path(cache_folder)),
    )


def _preparation(
    rows: int | None, columns: int | None, slices: int | None, window: Window | None
) -> Preparation | None:
    if rows is not None and columns is not None:
        return Preparation(rows=rows, columns=columns, slices=slices, window=window)
    if any(one is not None for one in (rows, columns, slices, window)):
        raise InvalidRequest(
            "A training resolution is rows and columns.", hint="A window is applied together with them."
        )
    return None
