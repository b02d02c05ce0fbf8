"""What was done to a header, in numbers: nothing in a report tells whose header it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType


class Done(IntEnum):
    """What can happen to an attribute that is not kept as it is."""

    REMOVED = 0
    EMPTIED = 1
    REPLACED = 2
    RENAMED = 3
    SHIFTED = 4
    CLEANED = 5
    PRIVATE = 6
    UNKNOWN = 7


@dataclass(frozen=True)
class Report:
    """How many attributes were treated how, sequence items included; those kept as they were are not counted.

    removed, emptied, replaced (by a dummy), renamed (pseudonym or UID), shifted (dates), cleaned (descriptors
    and patient characteristics), private and unknown (both removed).

    Example:
        >>> (Report({"removed": 2}) + Report({"removed": 1, "renamed": 4})).counts["removed"]
        3
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Report) -> Report:
        return Report(MappingProxyType(dict(Counter(self.counts) + Counter(other.counts))))

    @staticmethod
    def of(counts: list[int]) -> Report:
        """Return the report of counts in the order of `Done`."""
        return Report(MappingProxyType({done.name.lower(): counts[done] for done in Done if counts[done]}))
