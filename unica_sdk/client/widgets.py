"""Parts that the notebook's forms are made of; ipywidgets is loaded when the first form is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from unica_sdk.errors import ConfigurationError, UnicaError

Stale = Callable[[], bool]
"""Says whether something newer is wanted, so that the rest need not be done."""


def toolkit() -> Any:
    """Return the module ipywidgets.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import ipywidgets
    except ImportError as err:
        raise ConfigurationError(
            "A form in a notebook needs ipywidgets, which is not installed.",
            hint="pip install 'unica-sdk[notebook]'",
        ) from err
    return ipywidgets


class Form:
    """Something with widgets, built when a notebook first shows it."""

    def __init__(self) -> None:
        self._widget: Any = None

    @property
    def widget(self) -> Any:
        """The form's outermost widget.

        Raises:
            ConfigurationError: ipywidgets is not installed.
        """
        if self._widget is None:
            self._widget = self._built(toolkit())
        return self._widget

    def _built(self, ipywidgets: Any) -> Any:
        raise AssertionError(f"{type(self).__name__} has no widgets")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: the last line of a notebook's cell shows it."


class Debouncer:
    """Does the newest of what is wanted, once nothing newer came for `seconds`; never in the caller's thread.

    One thing is done at a time. What is wanted is called with a function that says whether it is stale.

    Example:
        >>> done = []
        >>> soon = Debouncer(seconds=0.01)
        >>> for number in range(3):
        ...     soon.want(lambda stale, number=number: done.append(number))
        >>> soon.wait(10), done
        (True, [2])
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._doing = threading.Lock()
        self._done = threading.Event()
        self._done.set()
        self._turn = 0
        self._timer: threading.Timer | None = None

    def want(self, job: Callable[[Stale], object], *, at_once: bool = False) -> None:
        """Do this in a while, instead of what was wanted before."""
        with self._lock:
            turn = self._next()
            self._done.clear()
            self._timer = threading.Timer(0 if at_once else self._seconds, self._do, (turn, job))
            self._timer.daemon = True
            self._timer.start()

    def forget(self) -> None:
        """Do nothing of what was wanted; what is under way becomes stale."""
        with self._lock:
            self._next()
            self._done.set()

    def wait(self, timeout: float) -> bool:
        """Return whether what was wanted is done, after `timeout` seconds at the latest."""
        return self._done.wait(timeout)

    def _next(self) -> int:
        self._turn += 1
        if self._timer is not None:
            self._timer.cancel()
        return self._turn

    def _do(self, turn: int, job: Callable[[Stale], object]) -> None:
        try:
            with self._doing:
                if turn == self._turn:
                    job(lambda: turn != self._turn)
        finally:
            with self._lock:
                if turn == self._turn:
                    self._done.set()


class Choices:
    """A group of boxes to tick, under a title; a box may say how many it stands for."""

    def __init__(self, ipywidgets: Any, title: str, *, changed: Callable[[], object]) -> None:
        self._ipywidgets = ipywidgets
        self._changed = changed
        self.boxes: dict[str, Any] = {}
        self._box = ipywidgets.VBox(layout={"max_height": "13em", "overflow": "auto"})
        self.widget = ipywidgets.VBox(
            [ipywidgets.HTML(f"<strong>{escape(title)}</strong>"), self._box], layout={"width": "17em"}
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The values whose boxes are ticked."""
        return tuple(value for value, box in self.boxes.items() if box.value)

    def offer(self, options: Iterable[tuple[str, str]], *, chosen: Sequence[str] = ()) -> None:
        """Show these (value, label) pairs; a box that was ticked stays so."""
        shown = dict(options)
        for value in chosen:
            shown.setdefault(value, value)
        for value, label in shown.items():
            box = self.boxes.get(value)
            if box is None:
                box = self._ipywidgets.Checkbox(
                    value=value in chosen, indent=False, layout={"width": "auto", "min_height": "1.8em"}
                )
                box.observe(lambda change: self._changed(), names="value")
                self.boxes[value] = box
            # A long label is cut off where it is shown.
            box.description = box.tooltip = label
        self._box.children = tuple(self.boxes[value] for value in shown)
        self.widget.layout.display = None if shown else "none"


def error_html(error: UnicaError) -> str:
    """Return what went wrong and what to do, as HTML.

    Example:
        >>> error_html(UnicaError("It <failed>.", hint="Wait."))
        '<div role="alert">It &lt;failed&gt;. Wait.</div>'
    """
    return f'<div role="alert">{escape(" ".join(filter(None, (error.message, error.hint))))}</div>'
