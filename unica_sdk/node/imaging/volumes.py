"""Volumes: the slices of each CT or MR series, sorted along their normal.

A slice's place is the projection of ImagePositionPatient on the normal, the cross product of the two
directions of ImageOrientationPatient (PS3.3 C.7.6.2.1.1), never its number or its file's name. A series is
refused, with the reason, where its slices differ in shape, pixel spacing, orientation or patient (`mixed`:
more than one stack, a localizer among them), where one has no position, where two lie at one place
(`duplicate_position`: echoes, phases) or where one is missing in between (`gap`: a distance of 1.5 times the
series' median, or more).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unica_sdk.node.imaging.admission import Reason
from unica_sdk.node.imaging.table import CaseTable, Texts

GAP = 1.5
"""Times the median distance of a series' slices, from which on a slice is missing."""

OVERLAP = 0.5
"""Times the median distance, below which two slices lie at one place."""

_ANGLE = 1e-3
"""Of a direction's cosines: what rounding in a header may make of one orientation."""

_SPACING = 1e-3
"""Of a pixel's size, relative."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Volumes:
    """Series of a table, and the rows of their slices.

    Attributes:
        order: (rows,) rows of the table, series after series, each from low to high along its normal.
        starts: (n + 1,) where each series begins in `order`.
        position: (rows,) in mm along the normal, in the order of `order`.
        reasons: (n,) why a series is no volume; empty where it is.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    position: NDArray[np.float64]
    reasons: Texts

    @property
    def slices(self) -> NDArray[np.intp]:
        """How many slices each series has."""
        return np.diff(self.starts)

    def kept(self, series: NDArray[np.intp]) -> Volumes:
        """Return some series only, in the order given."""
        places = np.concatenate(
            [np.arange(self.starts[one], self.starts[one + 1]) for one in series.tolist()]
            or [np.empty(0, np.intp)]
        )
        return Volumes(
            order=self.order[places],
            starts=np.concatenate(([0], np.cumsum(self.slices[series]))),
            position=self.position[places],
            reasons=self.reasons[series],
        )


def find_volumes(table: CaseTable, refused: Texts) -> Volumes:
    """Sort a table's slices into volumes.

    Args:
        table: slices of any number of series.
        refused: `admission.refusals` of it: a series with a slice that cannot be read has that reason.
    """
    if len(table) == 0:
        nothing = np.empty(0, np.intp)
        return Volumes(order=nothing, starts=np.zeros(1, np.intp), position=np.empty(0), reasons=refused)
    down, across = table.orientation[:, :3], table.orientation[:, 3:]
    place = np.sum(table.position * np.cross(down, across), axis=1)
    _, series = np.unique(table.series, return_inverse=True)
    # A series comes where its first slice did in the table: patients stay in order.
    first = np.full(series.max() + 1, len(table), np.intp)
    np.minimum.at(first, series, np.arange(len(table)))
    order = np.lexsort((place, first[series]))
    starts = np.flatnonzero(np.diff(first[series[order]], prepend=-1))
    found = Volumes(
        order=order,
        starts=np.append(starts, len(table)),
        position=place[order],
        reasons=np.full(len(starts), "", dtype=np.dtypes.StringDType()),
    )
    _judge(found, table, refused)
    return found


def _judge(found: Volumes, table: CaseTable, refused: Texts) -> None:
    starts = found.starts[:-1]
    owner = np.repeat(np.arange(len(starts)), found.slices)
    steps = np.diff(found.position)
    inside = np.diff(owner) == 0
    median = _medians(steps, owner[:-1], inside, found.slices)
    relative = np.divide(steps, median[owner[:-1]], out=np.ones_like(steps), where=median[owner[:-1]] > 0)
    rules: tuple[tuple[Reason, NDArray[np.intp]], ...] = (
        ("gap", owner[:-1][inside & (relative >= GAP)]),
        ("duplicate_position", owner[:-1][inside & ((relative < OVERLAP) | (median[owner[:-1]] <= 0))]),
        ("mixed", owner[_differs(found, table, owner)]),
        ("no_position", owner[~np.isfinite(found.position)]),
        ("single_slice", np.flatnonzero(found.slices == 1)),
    )
    for reason, series in rules:
        found.reasons[series] = reason
    unreadable = np.flatnonzero(refused[found.order] != "")
    found.reasons[owner[unreadable]] = refused[found.order][unreadable]


def _medians(
    steps: NDArray[np.float64],
    owner: NDArray[np.intp],
    inside: NDArray[np.bool_],
    slices: NDArray[np.intp],
) -> NDArray[np.float64]:
    """The (lower) median distance within each series; 0 where it has none."""
    steps, owner = steps[inside], owner[inside]
    number = slices - 1
    ends = np.cumsum(number)
    sorted_steps = np.append(steps[np.lexsort((steps, owner))], 0.0)
    middle = sorted_steps[np.where(number > 0, ends - number + (number - 1) // 2, -1)]
    median: NDArray[np.float64] = np.where(np.isfinite(middle), middle, 0.0)
    return median


def _differs(found: Volumes, table: CaseTable, owner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which slices, in order, are not like the first one of their series."""
    rows = found.order
    like = rows[found.starts[:-1]][owner]
    turned = np.abs(table.orientation[rows] - table.orientation[like]).max(axis=1) > _ANGLE
    unlike = turned | (table.rows[rows] != table.rows[like]) | (table.columns[rows] != table.columns[like])
    for spacing in (table.row_spacing, table.column_spacing):
        unlike |= np.abs(spacing[rows] - spacing[like]) > _SPACING * spacing[like]
    # Two people may have a series' UID in common; one of them is not what the other's images are of.
    for one in (table.patient, table.photometric, table.modality):
        unlike |= one[rows] != one[like]
    return np.asarray(unlike, dtype=np.bool_)
