"""What a policy costs and gives: how far off its numbers are, and how well a person's bit can be guessed.

Nothing here looks at data. The formulas are those of normal noise; tests/disclosure compares them with what
comes out of the gate.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist

from unica_sdk.node.disclosure import half_width, release_limit, suppressed_below
from unica_sdk.schemas.policy import SitePolicy

_REACH = 6
"""Noises on either side beyond which as good as nothing is drawn."""

_STANDARD = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Utility:
    """What to expect of a count, in people.

    Attributes:
        n: How many match over all sites.
        sites: Over how many sites they are spread evenly.
        suppressed: The probability that one site's number is suppressed.
        error: The expected distance of the true total from the middle between its lower and upper bound.
        width: The expected distance from the lower bound to the upper one.
    """

    n: int
    sites: int
    suppressed: float
    error: float
    width: float


def expected(n: int, policy: SitePolicy, *, sites: int = 1) -> Utility:
    """Return what to expect of a count of `n` people over some sites with the same policy.

    Example:
        >>> found = expected(300, SitePolicy())
        >>> round(found.error, 1), round(found.width), round(found.suppressed, 3)
        (7.9, 46, 0.0)
    """
    drawn = NormalDist(max(n / sites, policy.threshold - 1), policy.noise)
    ranges = _ranges(drawn, policy)
    # Twice the middle of a range is a whole number.
    middles: dict[int, float] = defaultdict(float)
    for (low, high), chance in ranges.items():
        middles[low + high] += chance
    total = {0: 1.0}
    for _ in range(sites):
        total = _summed(total, middles)
    return Utility(
        n=n,
        sites=sites,
        suppressed=drawn.cdf(release_limit(policy)),
        error=sum(chance * abs(twice / 2 - n) for twice, chance in total.items()),
        width=sites * sum(chance * (high - low) for (low, high), chance in ranges.items()),
    )


def guess(
    policy: SitePolicy, *, questions: int | None = None, periods: float = 1, informed: bool = False
) -> float:
    """Return how often the best guess of one person's bit is right, 0.5 being a coin's.

    Whoever asks Q questions in every period, half of them with the person and half without, has the mean of
    Q · periods / 2 differences of variance 2 · noise²: Φ(√(Q · periods) / (4 · noise)). Whoever knows exactly
    how many all the others are needs no question without the person: Φ(√(Q · periods) / (2 · noise)).

    Args:
        policy: The site's policy.
        questions: Q; by default all of the site's budget.
        periods: Over how many periods of the budget, the data staying the same.
        informed: Whether everybody else is known.

    Example:
        >>> round(guess(SitePolicy()), 3), round(guess(SitePolicy(), informed=True), 3)
        (0.599, 0.691)
    """
    asked = (policy.site_budget if questions is None else questions) * periods
    return _STANDARD.cdf(math.sqrt(asked) / ((2 if informed else 4) * policy.noise))


def _ranges(drawn: NormalDist, policy: SitePolicy) -> dict[tuple[int, int], float]:
    """Return every range that one site may answer, with its probability."""
    limit, step, reach = release_limit(policy), policy.rounding, half_width(policy)
    found: dict[tuple[int, int], float] = defaultdict(float)
    found[0, suppressed_below(policy) - 1] = drawn.cdf(limit)
    first, last = (math.floor((drawn.mean + side * _REACH * drawn.stdev) / step) for side in (-1, 1))
    for place in range(max(first, math.floor(limit / step)), last + 1):
        low, high = max(limit, (place - 0.5) * step), (place + 0.5) * step
        if low < high:
            bounds = max(0, math.floor(place * step - reach)), math.ceil(place * step + reach)
            found[bounds] += drawn.cdf(high) - drawn.cdf(low)
    return found


def _summed(one: dict[int, float], other: dict[int, float]) -> dict[int, float]:
    """Return the distribution of the sum of two independent numbers."""
    found: dict[int, float] = defaultdict(float)
    for value, chance in one.items():
        for more, its_chance in other.items():
            found[value + more] += chance * its_chance
    return found
