"""Showing in place what is known so far, in a notebook or a terminal, while a person waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from unica_sdk.client.display import Shown

QUIET_SECONDS = 0.4
"""What is over sooner is not shown on the way: it would only flicker."""


@contextmanager
def shown_meanwhile(
    *, after: float = QUIET_SECONDS, console: Any = None
) -> Iterator[Callable[[Shown], None]]:
    """Give a function that shows its argument in place of the one before; at the end nothing of it is left.

    `console` is a rich console; by default one on the standard error. Where that is neither a notebook's nor
    a terminal's, nothing is shown.
    """
    from rich.console import Console

    out = console or Console(stderr=True)
    begin = time.monotonic()
    with ExitStack() as stack:
        place: list[Callable[[Shown], None]] = []

        def show(what: Shown) -> None:
            if not place and time.monotonic() - begin >= after:
                if out.is_jupyter:
                    place.append(_in_a_notebook(stack))
                elif out.is_terminal:
                    place.append(_in_a_terminal(stack, out))
            for update in place:
                update(what)

        yield show


def _in_a_notebook(stack: ExitStack) -> Callable[[Shown], None]:
    # Whoever runs in a notebook has IPython imported; asking for it here keeps it off the others.
    handle = sys.modules["IPython.display"].display(_Nothing(), display_id=True)
    stack.callback(lambda: handle.update(_Nothing()))
    update: Callable[[Shown], None] = handle.update
    return update


def _in_a_terminal(stack: ExitStack, console: Any) -> Callable[[Shown], None]:
    from rich.live import Live

    live = stack.enter_context(Live(console=console, transient=True, auto_refresh=False))
    return lambda what: live.update(what, refresh=True)


class _Nothing:
    def _repr_html_(self) -> str:
        return ""

    def __repr__(self) -> str:
        return ""
