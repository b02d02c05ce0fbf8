"""What an app's code asks of the place it runs in: its cases, its parameters, its seed.

This is the whole interface between UNICA and a bundle's `client_app.py`; everything else is the engine's
own `ClientApp`. A train function answers with an `ArrayRecord` named `arrays` and, if it likes, a
`MetricRecord` named `metrics`; an evaluate function with an `ArrayRecord` named `scores`: one number in
0..1 for each held-out case, in the order of `site_cases(context).held_out`.

No state is kept between messages: every message starts from the arrays it carries, or from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from unica_sdk.errors import UnicaError
from unica_sdk.federation.ports import Cases

if TYPE_CHECKING:
    from flwr.app import Context, Message

_cases: ContextVar[Cases] = ContextVar("unica_cases")


def site_cases(context: Context) -> Cases:
    """Return the admitted cases of this site, images in [0, 1] with their labels and the held-out mask.

    Raises:
        UnicaError: called outside of an admitted message.
    """
    try:
        return _cases.get()
    except LookupError as err:
        raise UnicaError(
            "There are no cases here: the app was not called by a UNICA site.",
            hint="Run it on unica_sdk.LocalNetwork.",
        ) from err


def parameters(message: Message) -> dict[str, float | int | str]:
    """Return the job's parameters as the site checked them: every one of the manifest, with its value."""
    values: dict[str, float | int | str] = json.loads(
        str(message.content.config_records["job"]["parameters"])
    )
    return values


def seed(message: Message) -> int:
    """Return the job's seed; every site starts the first round from it, so that all start alike."""
    return int(str(message.content.config_records["job"]["seed"]))


@contextmanager
def offered(cases: Cases) -> Iterator[None]:
    """Offer these cases to the app code called inside the block; for the site's executor only."""
    token = _cases.set(cases)
    try:
        yield
    finally:
        _cases.reset(token)
