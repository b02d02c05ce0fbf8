"""A small convolutional network for one finding somewhere on a mammogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW = 7
"""Side, in pixels, of the neighbourhood that a pixel is compared with: about the width of a mass."""

AIR = 0.15
"""Below this brightness a pixel is taken for air around the breast."""

RIM = 7
"""Side of the neighbourhood that must be breast all over for a pixel to count: the skin line does not."""


def local_contrast(images: Tensor) -> Tensor:
    """Return how much each pixel of the breast stands out from those around it, in units of the spread.

    Vendors differ in brightness, curve and contrast, and the breast's own shape outshines any mass; what is
    left after this differs less between sites.

    Args:
        images: (n, 1, rows, columns) in 0..1, air dark.

    Returns:
        (n, 1, rows, columns), 0 in air and at the skin line.
    """
    tissue = (images > AIR).float()
    # Whole-number sums of zeros and ones are exact, so that equality is safe.
    breast = (_sum(tissue, RIM) == _sum(torch.ones_like(tissue[:1]), RIM)).float()
    around = _sum(images * breast, WINDOW) / (_sum(breast, WINDOW) + 0.05)
    contrast = (images - around) * breast
    # The mean deviation, not the standard one: a mass should hardly count in what it is measured by.
    spread = contrast.abs().sum((2, 3), keepdim=True) / (breast.sum((2, 3), keepdim=True) + 1)
    return contrast / (1.3 * spread + 0.01)


class Network(nn.Module):
    """Three convolutions with GroupNorm and the strongest response anywhere; 6,161 weights.

    GroupNorm keeps no running statistics, so that an average of sites' weights is a whole model. The maximum
    over the image makes the answer one about the most suspicious place, wherever it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding=2),
            nn.GroupNorm(4, 8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 1)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return one logit for each image of `local_contrast`: (n, 1, rows, columns) → (n,)."""
        found: Tensor = self.head(self.body(contrast).amax((2, 3)))
        return found.squeeze(1)


def fresh(seed: int) -> Network:
    """Return a network whose weights depend on the seed alone, so that all sites start alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def _sum(planes: Tensor, side: int) -> Tensor:
    """Return the sum over the square of that side around each pixel, cut off at the image's edge."""
    # Two products with band matrices: a fifth of the time of pooling on one core.
    rows, columns = planes.shape[-2:]
    return _band(rows, side) @ planes @ _band(columns, side)


def _band(size: int, side: int) -> Tensor:
    place = torch.arange(size)
    return ((place[:, None] - place[None]).abs() <= side // 2).float()
