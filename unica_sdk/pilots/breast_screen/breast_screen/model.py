"""A small convolutional network for one finding somewhere on a mammogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 7
"""Side, in pixels, of the neighbourhood that a pixel is compared with: about the width of a mass."""

AIR = 0.15
"""Below this brightness a pixel is taken for air around the breast."""


def local_contrast(images: Tensor) -> Tensor:
    """Return how much each pixel of the breast stands out from those around it, in units of the spread.

    Vendors differ in brightness, curve and contrast, and the breast's own shape outshines any mass; what is
    left after this differs less between sites.

    Args:
        images: (n, 1, rows, columns) in 0..1, air dark.

    Returns:
        (n, 1, rows, columns), 0 in air and at the skin line.
    """
    breast = (images > AIR).float()
    breast = -functional.max_pool2d(-breast, 5, 1, 2)  # less the skin line, which would outshine all else
    around = _mean(images * breast) / (_mean(breast) + 1e-3)
    contrast = (images - around) * breast
    spread = (contrast.square().sum((2, 3), keepdim=True) / (breast.sum((2, 3), keepdim=True) + 1)).sqrt()
    return contrast / (spread + 0.01)


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


def _mean(planes: Tensor) -> Tensor:
    # Two passes of one dimension: a seventh of the work of one square.
    half = WINDOW // 2
    rows = functional.avg_pool2d(planes, (WINDOW, 1), 1, (half, 0))
    return functional.avg_pool2d(rows, (1, WINDOW), 1, (0, half))
