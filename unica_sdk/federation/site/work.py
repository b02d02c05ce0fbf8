"""One piece of work for an app, what comes of it, and the call between the two; engine-free in its data."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unica_sdk.federation.app import offered
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.packing import Arrays
from unica_sdk.federation.ports import Cases, Task
from unica_sdk.schemas.job import FailureCode

if TYPE_CHECKING:
    from flwr.app import Message


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an app is asked: a task, the arrays to start from (None: from the seed), cases and `seconds`."""

    task: Task
    bundle: Bundle
    arrays: Arrays | None
    parameters: Mapping[str, float | int | str]
    round: int
    seed: int
    cases: Cases
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an app answered, unchecked: arrays of a training, scores of an evaluation, numbers by name."""

    arrays: Arrays | None = None
    scores: NDArray[Any] | None = None
    metrics: Mapping[str, float]


class AppFault(Exception):  # noqa: N818 - told to the site, not to a programmer
    """The app did not answer; the code may leave the site, the detail is for its own log."""

    def __init__(self, code: FailureCode, detail: str = "") -> None:
        super().__init__(code.value)
        self.code = code
        self.detail = detail


class Abandoned(Exception):  # noqa: N818 - nobody waits for an answer any more
    """The job was stopped, or the node is going down, while the app ran."""


class Executor(Protocol):
    """Runs an app's code on one piece of work."""

    def __call__(self, work: Work, *, wanted: Callable[[], bool]) -> Outcome:
        """Return what the app answered.

        Raises:
            AppFault: it raised, died, ran out of time or answered nonsense.
            Abandoned: `wanted` said no.
        """
        ...


def load(folder: Path, entry: str) -> Any:
    """Import an unpacked bundle's client side (`module:attribute`) afresh and return it.

    Modules of another bundle with the same package name are forgotten first.
    """
    module, _, attribute = entry.partition(":")
    top = module.partition(".")[0]
    for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return getattr(importlib.import_module(module), attribute)
    finally:
        sys.path.remove(str(folder))


def call(app: Any, work: Work) -> Outcome:
    """Call an app's client side as the engine would, on a message that holds neither ticket nor permit."""
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

    from unica_sdk.federation import adapter

    adapter.identify()
    job = ConfigRecord(
        {"parameters": json.dumps(dict(work.parameters)), "round": work.round, "seed": work.seed}
    )
    content = RecordDict({"job": job})
    if work.arrays is not None:
        content["arrays"] = ArrayRecord({name: Array(value) for name, value in work.arrays.items()})
    message = adapter.stamp(Message(content, dst_node_id=1, message_type=work.task), "message")
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    with offered(work.cases):
        reply: Message = app(message, context)
    return _outcome(reply, work.task)


def _outcome(reply: Message, task: Task) -> Outcome:
    if reply.has_error():
        raise AppFault(FailureCode.APP_FAILED, str(reply.error.reason))
    arrays = reply.content.array_records
    numbers = {
        name: float(value)
        for name, value in reply.content.metric_records.get("metrics", {}).items()
        if isinstance(value, int | float)
    }
    if task == "train":
        if "arrays" not in arrays:
            raise AppFault(FailureCode.REPLY_INVALID, "a training answers with an ArrayRecord named 'arrays'")
        return Outcome(arrays={k: v.numpy() for k, v in arrays["arrays"].items()}, metrics=numbers)
    if len(arrays.get("scores", {})) != 1:
        raise AppFault(FailureCode.REPLY_INVALID, "an evaluation answers with one array of 'scores'")
    (scores,) = arrays["scores"].values()
    return Outcome(scores=np.asarray(scores.numpy()), metrics=numbers)
