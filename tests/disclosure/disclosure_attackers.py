"""Attackers who want one bit of one person: whether she is among those who match.

A transcript is what a site answered to a list of questions, through its real gate, in a world where she is
(bit 1) or is not (bit 0). An attacker sees transcripts and guesses bits. The best of them knows the gate: it
weighs each answer by how likely it is in either world, whatever the number of the others may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unica_sdk.node.disclosure import protect, release_limit
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.policy import SitePolicy

SUPPRESSED = -1
"""How a suppressed answer is written in a transcript; released ones are their numbers."""

Transcripts = NDArray[np.int64]
"""One row for each repetition, one column for each answer."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Repetitions of one attack: the bits, and what was answered with the person in question and without."""

    policy: SitePolicy
    others: int
    bits: NDArray[np.int64]
    with_her: Transcripts
    without: Transcripts


def asked(n: int, questions: Sequence[tuple[bytes, int]], *, policy: SitePolicy, key: SiteKey) -> list[int]:
    """Return what a site says of a number under each of these questions and versions."""
    answers = (
        protect(n, policy=policy, site="gr", key=key, question=question, index_version=version)
        for question, version in questions
    )
    return [answer.n if isinstance(answer, Released) else SUPPRESSED for answer in answers]


def trial(
    policy: SitePolicy,
    *,
    others: int,
    with_her: Sequence[tuple[bytes, int]],
    without: Sequence[tuple[bytes, int]],
    repetitions: int,
    seed: int,
) -> Trial:
    """Ask these questions in as many worlds, each with a key of its own, in half of which she matches.

    Trials of one seed have the same worlds: the same keys, and the same bits.
    """
    rng = np.random.default_rng(seed)
    bits = rng.permutation(np.arange(repetitions) % 2)
    keys = [SiteKey(rng.bytes(32)) for _ in range(repetitions)]

    def answers(questions: Sequence[tuple[bytes, int]], extra: NDArray[np.int64]) -> Transcripts:
        rows = [
            asked(others + int(more), questions, policy=policy, key=key)
            for more, key in zip(extra, keys, strict=True)
        ]
        return np.array(rows, dtype=np.int64).reshape(repetitions, len(questions))

    nobody = np.zeros_like(bits)
    return Trial(
        policy=policy,
        others=others,
        bits=bits,
        with_her=answers(with_her, bits),
        without=answers(without, nobody),
    )


def right(guesses: NDArray[np.bool_], bits: NDArray[np.int64]) -> float:
    """Return how many of the guesses are right."""
    return float(np.mean(guesses == bits.astype(bool)))


def sampling_error(repetitions: int) -> float:
    """Return three standard errors of a rate near one half."""
    return 3 * 0.5 / math.sqrt(repetitions)


# -- what attackers do with transcripts


def by_averages(found: Trial) -> NDArray[np.bool_]:
    """Guess by the difference of the means; a suppressed answer counts as the limit of release."""
    instead = release_limit(found.policy)
    means = [
        np.where(side == SUPPRESSED, instead, side).mean(axis=1) for side in (found.with_her, found.without)
    ]
    return np.asarray(means[0] - means[1] > 0.5)


def by_equality(found: Trial) -> NDArray[np.bool_]:
    """Guess that she matches where answers with and without her differ more often than is usual."""
    differ = (found.with_her != found.without).mean(axis=1)
    return np.asarray(differ > np.median(differ))


def by_release(found: Trial) -> NDArray[np.bool_]:
    """Guess by nothing but which answers were released."""
    released = [(side != SUPPRESSED).sum(axis=1) for side in (found.with_her, found.without)]
    ties = np.random.default_rng(0).random(len(found.bits)) - 0.5
    return np.asarray(released[0] - released[1] + ties > 0)


def by_likelihood(*found: Trial, guessed: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """Guess by the likelihood of everything that was answered in one world, over one or several trials.

    Args:
        found: The trials; in each of them the number of the others is another one, and unknown.
        guessed: What it may be, all alike; by default anything within six noises of the true one.
    """
    return np.asarray(sum(evidence(one, guessed=guessed) for one in found) > 0)


def evidence(found: Trial, *, guessed: Sequence[int] | None = None) -> NDArray[np.float64]:
    """Return the log of how much likelier each transcript is where she matches."""
    far = round(6 * found.policy.noise)
    near = guessed or range(max(0, found.others - far), found.others + far + 1)
    one, other = (_likelihood(found, bit=bit, guessed=near) for bit in (1, 0))
    return one - other


def _likelihood(found: Trial, *, bit: int, guessed: Sequence[int]) -> NDArray[np.float64]:
    outcomes = sorted({SUPPRESSED, *np.unique(found.with_her), *np.unique(found.without)})
    with_her = _counted(found.with_her, outcomes) @ _table(found.policy, outcomes, guessed, bit).T
    without = _counted(found.without, outcomes) @ _table(found.policy, outcomes, guessed, 0).T
    return _log_sum(with_her + without)


def _counted(side: Transcripts, outcomes: Sequence[int]) -> NDArray[np.float64]:
    return np.stack([(side == outcome).sum(axis=1) for outcome in outcomes], axis=1).astype(np.float64)


def _table(
    policy: SitePolicy, outcomes: Sequence[int], guessed: Sequence[int], bit: int
) -> NDArray[np.float64]:
    return np.array([[log_chance(policy, n + bit, int(outcome)) for outcome in outcomes] for n in guessed])


@cache
def log_chance(policy: SitePolicy, n: int, outcome: int) -> float:
    """Return the log probability of an answer where n match: the gate is no secret, the key is."""
    noise = NormalDist(max(n, policy.threshold - 1), policy.noise)
    limit, half = release_limit(policy), policy.rounding / 2
    if outcome == SUPPRESSED:
        chance = noise.cdf(limit)
    else:
        chance = noise.cdf(outcome + half) - noise.cdf(max(limit, outcome - half))
    return math.log(max(chance, 1e-300))


def _log_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    most = values.max(axis=1)
    return np.asarray(most + np.log(np.exp(values - most[:, None]).sum(axis=1)))


Attack = Callable[[Trial], NDArray[np.bool_]]
