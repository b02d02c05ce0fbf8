"""The one gate for numbers derived from people: no number leaves the site by another way.

A true number n becomes y = max(n, threshold - 1) + e, where e is drawn from N(0, noise²) by HMAC-SHA-256 of
the site key over what was asked, the published version and the settings that shape y. It depends on nothing
else: not on records, project, user or permit. One person more or less moves y by one at most, so that the
noise covers the threshold too; and zero and every number below the threshold are one and the same by
construction.

y below threshold + 2 · noise is suppressed, the same whatever it is. Anything else is released, rounded, with
the interval that holds the true number 95 times in 100.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.policy import Decision, SitePolicy

RELEASED = "released"
BELOW_THRESHOLD = "below_threshold"
PUBLIC_TEXTS = {
    RELEASED: "A number of people with noise, rounded.",
    BELOW_THRESHOLD: "Too few people to tell.",
}

MARGIN = 2.0
"""Noises above the threshold where release begins: a smaller group passes in 3 of 100 draws, as any other."""

INTERVAL = NormalDist().inv_cdf(0.975)
"""Noises on either side of a released number that hold the true one 95 times in 100."""

BOUND = 2 * MARGIN
"""Noises above the threshold that a suppressed number stays below 97 times in 100."""

WORD_NOISE = 3.0
"""How many times a count's noise lies on the question whether enough people have a word: one person has many
words, and nine of them together then move no more than one count."""

WORD_MARGIN = 4.0
"""Of these noises above the threshold, where a word is named: one of few people is in 3 of 100,000 draws."""

_STANDARD = NormalDist()
_BITS = 53


def release_limit(policy: SitePolicy) -> float:
    """Return the least y that is released.

    Example:
        >>> release_limit(SitePolicy(threshold=10, noise=10))
        30.0
    """
    return policy.threshold + MARGIN * policy.noise


def half_width(policy: SitePolicy) -> float:
    """Return how far a released number's interval reaches on either side."""
    return INTERVAL * policy.noise + policy.rounding / 2


def suppressed_below(policy: SitePolicy) -> int:
    """Return the bound that a suppressed answer names; it is the same for every number.

    Example:
        >>> suppressed_below(SitePolicy(threshold=10, noise=10))
        50
    """
    return math.ceil(policy.threshold + BOUND * policy.noise)


def asked_of(question: bytes, *, policy: SitePolicy) -> bytes:
    """Return what was asked together with the settings that shape the answer.

    Were noise the same under two settings, the two answers to one question would tell the true number. So it
    is another question after a change of the threshold or the noise, with noise and a price of its own.
    """
    return canonical_json([policy.threshold, policy.noise]) + b"\0" + question


def decide(n: int, *, policy: SitePolicy, key: SiteKey, question: bytes, index_version: int) -> Decision:
    """Decide whether a number of people is released.

    The public text is fixed; the true number stands in the text for the site's audit and nowhere else.

    Example:
        >>> given = {"policy": SitePolicy(), "key": SiteKey(bytes(32)), "index_version": 1}
        >>> decision = decide(9, question=b"everyone", **given)
        >>> decision.code, decision.public_text
        ('below_threshold', 'Too few people to tell.')
    """
    y = _with_noise(n, policy=policy, key=key, question=question, index_version=index_version)
    limit = release_limit(policy)
    allow = y >= limit
    code = RELEASED if allow else BELOW_THRESHOLD
    return Decision(
        allow=allow,
        code=code,
        public_text=PUBLIC_TEXTS[code],
        audit_text=f"{n} people, {y:.1f} with noise, released from {limit:g}",
    )


def named(people: int, *, policy: SitePolicy, key: SiteKey, question: bytes, index_version: int) -> bool:
    """Decide whether so many people have a word that it may be named: a rare device can name a person.

    Example:
        >>> given = {"policy": SitePolicy(), "key": SiteKey(bytes(32)), "question": b"a maker"}
        >>> named(3, index_version=1, **given), named(400, index_version=1, **given)
        (False, True)
    """
    wide = policy.model_copy(update={"noise": policy.noise * WORD_NOISE})
    y = _with_noise(people, policy=wide, key=key, question=question, index_version=index_version)
    return y >= wide.threshold + WORD_MARGIN * wide.noise


def protect(
    n: int, *, policy: SitePolicy, site: str, key: SiteKey, question: bytes, index_version: int
) -> Released | Suppressed:
    """Return a number of people as it may leave the site.

    The answer depends on the arguments alone, so that asking twice teaches nothing. Where two numbers are
    different ones, their questions have to be.

    Args:
        n: The true number of people.
        policy: The site's policy as it stands now.
        site: The site's name.
        key: The site's key.
        question: The canonical bytes of what was asked.
        index_version: The version of the index the number was counted in.

    Example:
        >>> given = {"policy": SitePolicy(), "site": "gr", "key": SiteKey(bytes(32)), "index_version": 1}
        >>> answer = protect(430, question=b"everyone", **given)
        >>> answer.n % 5, answer.low < 430 < answer.high
        (0, True)
        >>> protect(0, question=b"everyone", **given) == protect(9, question=b"everyone", **given)
        True
    """
    y = _with_noise(n, policy=policy, key=key, question=question, index_version=index_version)
    if y < release_limit(policy):
        return Suppressed(site=site, below=suppressed_below(policy), index_version=index_version)
    rounded = policy.rounding * math.floor(y / policy.rounding + 0.5)
    reach = half_width(policy)
    return Released(
        site=site,
        n=rounded,
        low=max(0, math.floor(rounded - reach)),
        high=math.ceil(rounded + reach),
        index_version=index_version,
    )


def _with_noise(n: int, *, policy: SitePolicy, key: SiteKey, question: bytes, index_version: int) -> float:
    # The version in front, as decimal digits: no question can be taken for another one's of another version.
    drawn = key.digest("noise", b"%d\0" % index_version + asked_of(question, policy=policy))
    uniform = ((int.from_bytes(drawn[:8]) >> (64 - _BITS)) + 0.5) / 2**_BITS
    return max(n, policy.threshold - 1) + policy.noise * _STANDARD.inv_cdf(uniform)
