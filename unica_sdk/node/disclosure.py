"""The one gate for numbers derived from people: no count leaves the site by another way.

What is protected here: a single number, against being small and against being exact. Zero looks like any
other small number. Differences between several answers are limited by rounding alone: noise with a budget
comes with its own policy settings, and is keyed on what `protect` already asks for.
"""

from __future__ import annotations

from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import Released, Suppressed
from unica_sdk.schemas.policy import Decision, SitePolicy

RELEASED = "released"
BELOW_THRESHOLD = "below_threshold"


def decide(n: int, *, policy: SitePolicy) -> Decision:
    """Decide whether a number of people may leave.

    The public text never depends on the number; the true number stands in the text for the site's audit.

    Example:
        >>> decide(9, policy=SitePolicy(threshold=10)).code
        'below_threshold'
    """
    if n < policy.threshold:
        return Decision(
            allow=False,
            code=BELOW_THRESHOLD,
            public_text="Fewer people than the site's threshold.",
            audit_text=f"{n} of at least {policy.threshold}",
        )
    return Decision(
        allow=True,
        code=RELEASED,
        public_text="A rounded number of people.",
        audit_text=f"{n} in steps of {policy.rounding}",
    )


def protect(
    n: int, *, policy: SitePolicy, site: str, key: SiteKey, question: bytes, index_version: int
) -> Released | Suppressed:
    """Return a number of people as it may leave the site.

    Below the threshold, zero included: `Suppressed`, the same for each such number. Otherwise a multiple of
    the policy's rounding with the interval of all numbers that would have given this answer, so that it holds
    the true one. The answer depends on the arguments alone: asking twice teaches nothing.

    Args:
        n: The true number of people.
        policy: The site's policy as it stands now.
        site: The site's name.
        key: The site's key.
        question: The canonical bytes of what was asked. Together with `key` and `index_version` this is what
            noise may depend on, and nothing else may; plain rounding needs none of them.
        index_version: The published version the number was counted in.

    Example:
        >>> given = {"policy": SitePolicy(), "site": "gr", "key": SiteKey(bytes(32)), "index_version": 1}
        >>> answer = protect(43, question=b"everyone", **given)
        >>> (answer.n, answer.low, answer.high)
        (45, 43, 47)
        >>> protect(0, question=b"everyone", **given) == protect(9, question=b"everyone", **given)
        True
    """
    if not decide(n, policy=policy).allow:
        return Suppressed(site=site, below=policy.threshold, index_version=index_version)
    step = policy.rounding
    rounded = (n + step // 2) // step * step
    low = max(rounded - step // 2, policy.threshold)
    high = rounded - step // 2 + step - 1
    return Released(site=site, n=rounded, low=low, high=high, index_version=index_version)
