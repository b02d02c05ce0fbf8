"""Cases as torch tensors, a batch at a time.

    from unica_sdk.node.imaging.training import CaseImages

    images = CaseImages(open_cases(home, modality="MG", rows=512, columns=512), labels=labels)
    for batch, target in images.loader(batch_size=32, shuffle=True):
        ...

Of this package only this module needs torch, and only when a batch is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from unica_sdk.errors import InvalidRequest
from unica_sdk.node.imaging.reader import CaseReader

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

    Batch: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class CaseImages:
    """A torch map-style dataset whose batches are one read each.

    A batch is (n, 1, rows, columns) or (n, 1, slices, rows, columns) float32, with its labels where there are
    any. Workers of a `DataLoader` are seldom worth it: tensors would be copied between processes.

    Args:
        reader: the cases.
        labels: one for each case, in the reader's order; float32 in the batches.

    Raises:
        InvalidRequest: there are more or fewer labels than cases.
    """

    def __init__(self, reader: CaseReader, *, labels: ArrayLike | None = None) -> None:
        self.reader = reader
        self.labels = None if labels is None else np.asarray(labels, dtype=np.float32)
        if self.labels is not None and len(self.labels) != len(reader):
            raise InvalidRequest("Each case has one label.", where=f"{len(self.labels)} of {len(reader)}")

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, case: int) -> Batch:
        """Return one case, (1, rows, columns), with its label."""
        if not -len(self) <= case < len(self):
            raise IndexError(case)
        batch = self.__getitems__([case % len(self)])
        return (batch[0][0], batch[1][0]) if isinstance(batch, tuple) else batch[0]

    def __getitems__(self, cases: Sequence[int]) -> Batch:
        """Return a batch; torch's loader asks for all of one at once.

        Raises:
            DataError: a case cannot be read; it names the case.
        """
        import torch

        images = torch.from_numpy(self.reader.read(cases)).unsqueeze(1)
        if self.labels is None:
            return images
        return images, torch.from_numpy(self.labels[np.asarray(cases, dtype=np.intp)])

    def loader(self, *, batch_size: int, shuffle: bool = False, **options: Any) -> DataLoader[Any]:
        """Return a `torch.utils.data.DataLoader` that takes batches as they are."""
        from torch.utils.data import DataLoader

        return DataLoader(self, batch_size=batch_size, shuffle=shuffle, collate_fn=as_it_is, **options)  # type: ignore[arg-type]


def as_it_is(batch: Any) -> Any:
    """Collate nothing: what comes is a batch already."""
    return batch
