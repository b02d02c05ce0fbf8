"""Training on one site's cases, and scoring."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SHIFT = 4
"""The most pixels an image is moved by, each way."""

FINAL_RATE = 0.02
"""The learning rate at the end of a round, as a fraction of that at its start."""


class Adam:
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019).

    torch's own loads its compiler when it is made: 1.4 s for each message, more than the training itself.
    """

    def __init__(self, model: nn.Module, *, decay: float = 1e-4) -> None:
        self._weights = [p for p in model.parameters() if p.requires_grad]
        self._mean = [torch.zeros_like(p) for p in self._weights]
        self._square = [torch.zeros_like(p) for p in self._weights]
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def step(self, loss: Tensor, *, rate: float) -> None:
        """Move the weights against the gradient of `loss`."""
        self._steps += 1
        gradients = torch.autograd.grad(loss, self._weights)
        correction = math.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        for weight, gradient, mean, square in zip(
            self._weights, gradients, self._mean, self._square, strict=True
        ):
            mean.lerp_(gradient, 0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            weight.mul_(1 - rate * self._decay)
            weight.addcdiv_(mean, square.sqrt().add_(1e-8), value=-rate * correction)


def fit(
    model: nn.Module,
    contrast: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> float:
    """Train a model in place and return the mean loss.

    Args:
        model: gives (n,) logits.
        contrast: (n, 1, rows, columns), as the model takes them.
        labels: (n,) of 0 and 1, float.
        epochs: passes over the cases.
        learning_rate: at the start; it falls along a cosine to a fiftieth.
        batch_size: cases of a step; the last ones of a pass may be fewer.
        seed: of the order of cases and of their flips and shifts.
    """
    chance = torch.Generator().manual_seed(seed)
    optimiser = Adam(model)
    steps, done, total = epochs * math.ceil(len(labels) / batch_size), 0, 0.0
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=chance)
        for start in range(0, len(labels), batch_size):
            batch = order[start : start + batch_size]
            logits = model(varied(contrast[batch], chance))
            loss = functional.binary_cross_entropy_with_logits(logits, labels[batch])
            fall = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done / steps))
            optimiser.step(loss, rate=learning_rate * fall)
            total += loss.item() * len(batch)
            done += 1
    return total / (epochs * len(labels))


def varied(images: Tensor, chance: torch.Generator) -> Tensor:
    """Return a batch flipped and moved by chance: vendors mirror differently, and breasts are two."""
    flips = [axis for axis in (2, 3) if torch.rand((), generator=chance) < 0.5]
    rows, columns = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=chance).tolist()
    return images.flip(flips).roll((rows, columns), (2, 3))


@torch.no_grad()
def scores(model: nn.Module, contrast: Tensor) -> Tensor:
    """Return a score in 0..1 for each image: (n, 1, rows, columns) → (n,)."""
    model.eval()
    parts = [contrast[start : start + 64] for start in range(0, len(contrast), 64)]
    return torch.cat([torch.zeros(0), *(torch.sigmoid(model(part)) for part in parts)])
