"""A bell that wakes waiting coroutines from any thread and any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class Bell:
    """Long-polls wait here; whoever changes something rings. Bound to no event loop.

    Example:
        >>> async def answer() -> int:
        ...     return 42
        >>> asyncio.run(Bell().until("job", answer, seconds=1))
        42
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, set[_Waiter]] = defaultdict(set)
        self._closed = False

    def ring(self, *keys: str) -> None:
        """Wake everyone who waits for one of the keys."""
        with self._lock:
            waiters = [waiter for key in keys for waiter in self._waiters.get(key, ())]
        for waiter in waiters:
            _wake(waiter)

    def close(self) -> None:
        """Wake everyone and let nobody wait again."""
        with self._lock:
            self._closed = True
            waiters = [waiter for group in self._waiters.values() for waiter in group]
        for waiter in waiters:
            _wake(waiter)

    @property
    def closed(self) -> bool:
        """Whether nobody can wait any more."""
        return self._closed

    async def until(
        self, key: str, ready: Callable[[], Awaitable[T]], *, seconds: float, every: float = 1.0
    ) -> T:
        """Return what `ready` answers as soon as it is true, or its last answer after `seconds`.

        `ready` is asked again at each ring, and every `every` seconds for what other processes did.
        """
        end = time.monotonic() + seconds
        while True:
            # The future stands before the question is asked, so that no ring falls between the two.
            waiter = (asyncio.get_running_loop(), asyncio.get_running_loop().create_future())
            with self._lock:
                self._waiters[key].add(waiter)
                closed = self._closed
            try:
                answer = await ready()
                left = end - time.monotonic()
                if answer or closed or left <= 0:
                    return answer
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter[1], min(left, every))
            finally:
                self._forget(key, waiter)

    def _forget(self, key: str, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters[key].discard(waiter)
            if not self._waiters[key]:
                del self._waiters[key]


def _wake(waiter: _Waiter) -> None:
    loop, future = waiter
    try:
        within = asyncio.get_running_loop() is loop
    except RuntimeError:
        within = False
    if within:
        # Nothing need be sent through the loop's own pipe to wake it.
        _finish(future)
        return
    # A loop that closed meanwhile has nobody left to wake.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
