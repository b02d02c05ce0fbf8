"""Work and outcomes over a pipe: packed arrays in one frame, so that nothing of a child is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.packing import Arrays, pack, unpack
from unica_sdk.federation.ports import Cases
from unica_sdk.federation.site.work import AppFault, Outcome, Work
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.job import FailureCode


def pack_work(work: Work, folder: Path) -> bytes:
    """Return a piece of work, with the folder its app was unpacked in."""
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
    held = work.cases
    cases: Arrays = {"images": held.images, "labels": held.labels, "held_out": held.held_out}
    return pack(head, _prefixed("model", work.arrays or {}) | _prefixed("cases", cases))


def unpack_work(content: bytes) -> tuple[Work, Path]:
    """Return a piece of work and the folder of its app."""
    head, arrays = unpack(content)
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


def pack_outcome(outcome: Outcome | FailureCode) -> bytes:
    """Return what the app answered, or the one word of why it did not."""
    if isinstance(outcome, FailureCode):
        return pack({"failure": outcome.value}, {})
    head = {"metrics": dict(outcome.metrics), "model": outcome.arrays is not None}
    scores = {} if outcome.scores is None else {"scores": outcome.scores}
    return pack(head, _prefixed("model", outcome.arrays or {}) | scores)


def unpack_outcome(content: bytes) -> Outcome:
    """Return what the app answered; its sender is not trusted.

    Raises:
        AppFault: the child says that the app failed, or what it says is not an outcome.
    """
    try:
        head, arrays = unpack(content)
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
