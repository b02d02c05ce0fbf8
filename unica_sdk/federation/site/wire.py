"""Work and outcomes over a pipe: JSON heads and raw bytes, so that nothing of a child is ever unpickled."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.ports import Cases
from unica_sdk.federation.site.work import AppFault, Arrays, Outcome, Work
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.job import FailureCode

KINDS = frozenset("?bBhHiIlLqQefd")
"""The array types that may cross: booleans, integers and floats; no objects, no structures."""

MAXIMUM_ARRAYS = 10_000
MAXIMUM_BYTES = 2 * 1024**3
MAXIMUM_HEAD = 16 * 1024**2

Receive = Callable[[int], bytes]
"""Gives the next frame of at most so many bytes."""


def frames(head: Mapping[str, Any], arrays: Arrays) -> Iterator[bytes]:
    """Yield one message: its head with the arrays' names, types and shapes, then each array's bytes."""
    # Not ascontiguousarray: it turns a number without dimensions into a row of one.
    solid = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    described = [[name, value.dtype.str, list(value.shape)] for name, value in solid.items()]
    yield json.dumps({"head": dict(head), "arrays": described}).encode()
    for value in solid.values():
        yield value.tobytes()


def assemble(receive: Receive) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the head and the arrays of one message.

    Raises:
        ValueError: it is not such a message, or larger than one may be.
    """
    try:
        whole = json.loads(receive(MAXIMUM_HEAD))
        head, described = dict(whole["head"]), list(whole["arrays"])
        if len(described) > MAXIMUM_ARRAYS:
            raise ValueError("too many arrays")
        arrays: dict[str, NDArray[Any]] = {}
        left = MAXIMUM_BYTES
        for name, kind, shape in described:
            dtype, sizes = np.dtype(str(kind)), tuple(int(size) for size in shape)
            expected = dtype.itemsize * math.prod(sizes)
            if dtype.char not in KINDS or min(sizes, default=0) < 0 or expected > left:
                raise ValueError("an array of a kind or size that may not cross")
            left -= expected
            raw = receive(max(expected, 1))
            arrays[str(name)] = np.frombuffer(raw, dtype=dtype).reshape(sizes).copy()
    except (KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ValueError("not a message of arrays") from err
    return head, arrays


def work_frames(work: Work, folder: Path) -> Iterator[bytes]:
    """Yield a piece of work, with the folder its app was unpacked in."""
    head = {
        "task": work.task,
        "folder": str(folder),
        "app": work.bundle.id,
        "entry": work.bundle.entry,
        "manifest": work.bundle.manifest.model_dump(mode="json"),
        "parameters": dict(work.parameters),
        "round": work.round,
        "seed": work.seed,
        "seconds": work.seconds,
        "model": work.arrays is not None,
    }
    cases: Arrays = {
        "images": work.cases.images,
        "labels": work.cases.labels,
        "held_out": work.cases.held_out,
    }
    return frames(head, _prefixed("model", work.arrays or {}) | _prefixed("cases", cases))


def receive_work(receive: Receive) -> tuple[Work, Path]:
    """Return the piece of work that came and the folder of its app."""
    head, arrays = assemble(receive)
    bundle = Bundle(
        id=head["app"],
        content=b"",
        manifest=AppManifest.model_validate(head["manifest"]),
        entry=head["entry"],
    )
    work = Work(
        task=head["task"],
        bundle=bundle,
        arrays=_under("model", arrays) if head["model"] else None,
        parameters=head["parameters"],
        round=head["round"],
        seed=head["seed"],
        cases=Cases(**_under("cases", arrays)),
        seconds=head["seconds"],
    )
    return work, Path(head["folder"])


def outcome_frames(outcome: Outcome | FailureCode) -> Iterator[bytes]:
    """Yield what the app answered, or the one word of why it did not."""
    if isinstance(outcome, FailureCode):
        return frames({"failure": outcome.value}, {})
    head = {"metrics": dict(outcome.metrics), "model": outcome.arrays is not None}
    scores = {} if outcome.scores is None else {"scores": outcome.scores}
    return frames(head, _prefixed("model", outcome.arrays or {}) | scores)


def receive_outcome(receive: Receive) -> Outcome:
    """Return what the app answered; its sender is not trusted.

    Raises:
        AppFault: the child says that the app failed, or what it says is not an outcome.
    """
    try:
        head, arrays = assemble(receive)
        if "failure" in head:
            raise AppFault(FailureCode(head["failure"]))
        return Outcome(
            arrays=_under("model", arrays) if head["model"] else None,
            scores=arrays.get("scores"),
            metrics={str(name): float(value) for name, value in dict(head["metrics"]).items()},
        )
    except (ValueError, KeyError, TypeError) as err:
        raise AppFault(FailureCode.REPLY_INVALID, "the child did not answer in the form agreed") from err


def _prefixed(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": value for name, value in arrays.items()}


def _under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(f"{prefix}."): v for k, v in arrays.items() if k.startswith(f"{prefix}.")}
