"""The bytes of one compressed image, read by somebody who walks its markers and decodes nothing."""

from __future__ import annotations

from typing import Final

from unica_sdk.errors import DataError

STEPS: Final = 1 << 21
"""Markers, boxes and fragments that are looked at in one file: a few seconds' work."""


class Steps:
    """How far the walk through one file may still go."""

    __slots__ = ("left",)

    def __init__(self, left: int = STEPS) -> None:
        self.left = left

    def take(self) -> None:
        """Go one step.

        Raises:
            DataError: there were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise unreadable("They have too many parts.")


class Codestream:
    """A piece of a buffer, with what was found in it so far that its image does not need.

    Attributes:
        data: what it is a piece of.
        start, end: where in it.
        texts: places from and to which nothing is needed, in order.
        steps: how far the walk may still go.
    """

    __slots__ = ("data", "end", "start", "steps", "texts")

    def __init__(
        self, data: bytes, start: int, end: int, steps: Steps, texts: list[tuple[int, int]] | None = None
    ) -> None:
        self.data = data
        self.start = start
        self.end = end
        self.steps = steps
        self.texts: list[tuple[int, int]] = [] if texts is None else texts

    def part(self, start: int, end: int) -> Codestream:
        """Return a piece of this one; what is noted of it is noted here."""
        return Codestream(self.data, start, end, self.steps, self.texts)

    def number(self, place: int, size: int) -> int:
        """Return the big-endian number of so many bytes at a place.

        Raises:
            DataError: the codestream ends before.
        """
        if place + size > self.end:
            raise unreadable("They end in the middle of a part.")
        return int.from_bytes(self.data[place : place + size], "big")

    def behind(self, place: int, length: int, *, least: int) -> int:
        """Return the place behind a part, which must have a length that can be.

        Raises:
            DataError: it is shorter than such a part can be, or longer than what is there.
        """
        if length < least or place + length > self.end:
            raise unreadable("A part of them has a length that cannot be.")
        return place + length

    def blank(self, start: int, end: int) -> None:
        """Note that nothing between two places is needed."""
        if start < end:
            self.texts.append((start, end))


def unreadable(hint: str) -> DataError:
    """Return the one refusal of compressed pixels; its words never quote the file."""
    return DataError("The compressed pixels cannot be searched for text.", hint=hint)
