"""Arrays and a JSON head as one run of bytes: over pipes and in messages, read without trusting the sender.

One run of bytes is also one object of the engine's: a message whose arrays were the engine's own records
would take two requests for every array of a model, at the hub and at every site.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""A model's parameters, or other arrays, by name and in order."""

KINDS = frozenset("?bBhHiIlLqQefd")
"""The array types that may be sent: booleans, integers and floats; no objects, no structures."""

MAXIMUM_ARRAYS = 10_000
MAXIMUM_HEAD = 16 * 1024**2
MAXIMUM_BYTES = 2 * 1024**3
_LENGTH = 8


def pack(head: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Return a head and arrays as bytes.

    Raises:
        ValueError: an array of a kind that may not be sent.

    Example:
        >>> head, arrays = unpack(pack({"round": 1}, {"w": np.zeros((2, 3), np.float32)}))
        >>> head, arrays["w"].shape
        ({'round': 1}, (2, 3))
    """
    solid = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    for name, value in solid.items():
        if value.dtype.char not in KINDS:
            raise ValueError(f"{name} is of a kind that may not be sent")
    described = [[name, value.dtype.str, list(value.shape)] for name, value in solid.items()]
    front = json.dumps({"head": dict(head), "arrays": described}).encode()
    return b"".join([len(front).to_bytes(_LENGTH, "little"), front, *(v.tobytes() for v in solid.values())])


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head and the arrays; the arrays are copies.

    Raises:
        ValueError: the bytes are not what `pack` makes.
    """
    size = int.from_bytes(content[:_LENGTH], "little")
    if not 0 < size <= min(MAXIMUM_HEAD, len(content) - _LENGTH):
        raise ValueError("not packed arrays")
    try:
        front = json.loads(content[_LENGTH : _LENGTH + size])
        head, described = dict(front["head"]), list(front["arrays"])
        if len(described) > MAXIMUM_ARRAYS:
            raise ValueError("too many arrays")
        arrays: dict[str, NDArray[Any]] = {}
        place = _LENGTH + size
        for name, kind, shape in described:
            dtype, sizes = np.dtype(str(kind)), tuple(int(length) for length in shape)
            if dtype.char not in KINDS or min(sizes, default=0) < 0:
                raise ValueError("an array of a kind that may not be sent")
            count = math.prod(sizes)
            value = (
                np.frombuffer(content, dtype=dtype, count=count, offset=place)
                if count
                else np.empty(0, dtype)
            )
            arrays[str(name)] = value.reshape(sizes).copy()
            place += value.nbytes
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as err:
        raise ValueError("not packed arrays") from err
    if place != len(content):
        raise ValueError("more or less than the arrays that were announced")
    return head, arrays
