"""The engine in one process: the same server side, the same site checks, no isolation and no network.

For LocalNetwork, on a laptop, with synthetic data: an app runs here in a thread of the caller's own process.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from unica_sdk.federation import adapter
from unica_sdk.federation.hub.collect import Patience
from unica_sdk.federation.hub.server import Unwanted, run_job
from unica_sdk.federation.ports import Site
from unica_sdk.federation.site.executor import ThreadExecutor
from unica_sdk.federation.site.runner import SiteRunner
from unica_sdk.federation.site.work import Abandoned, Executor
from unica_sdk.schemas.job import JobOrder, JobUpdate

log = logging.getLogger(__name__)


class LocalGrid(Grid):
    """Carries messages to the runners of this process; a site's node number is its place in the list."""

    def __init__(self, runners: Mapping[str, SiteRunner], bundle: bytes, stop: threading.Event) -> None:
        self._runners = dict(enumerate(runners.values(), 1))
        self._bundle, self._stop = bundle, stop
        self._replies: dict[str, Future[Message]] = {}
        self._pool = ThreadPoolExecutor(
            max_workers=max(1, len(self._runners)), thread_name_prefix="unica-site"
        )

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Hand each message to its site and return the messages' numbers."""
        numbers = []
        for message in messages:
            number = uuid4().hex
            adapter.stamp(message, number)
            runner = self._runners[message.metadata.dst_node_id]
            self._replies[number] = self._pool.submit(self._handle, runner, message)
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that are there.

        Raises:
            Unwanted: the job was stopped.
        """
        if self._stop.is_set():
            raise Unwanted
        done = [number for number in message_ids if number in self._replies and self._replies[number].done()]
        try:
            return [self._replies.pop(number).result() for number in done]
        except Abandoned as err:
            raise Unwanted from err

    def close(self) -> None:
        """Take no more messages; what has not begun does not begin, what runs is left behind."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _handle(self, runner: SiteRunner, message: Message) -> Message:
        reply = runner.handle(message, bundle=self._bundle, wanted=lambda: not self._stop.is_set())
        return adapter.stamp(reply, uuid4().hex)

    def get_node_ids(self) -> list[int]:
        """Return the sites' node numbers."""
        return list(self._runners)

    def get_nodes(self) -> list[Any]:
        """Return nothing: there is nothing to say of a node in this process."""
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> NoReturn:
        """Not offered: it cannot notice that a site left."""
        raise NotImplementedError("push_messages and pull_messages are the way")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message; the engine's older way of making one."""
        return Message(
            content, dst_node_id=dst_node_id, message_type=message_type, ttl=ttl, group_id=group_id
        )

    def set_run(self, run: Any) -> None:
        """Accept a run and forget it: there are no numbered runs in this process."""

    @property
    def run(self) -> NoReturn:
        """Not offered: there are no numbered runs in this process."""
        raise NotImplementedError("there are no numbered runs in this process")


class LocalEngine:
    """An `Engine` in threads of this process, over sites that live in it.

    Args:
        sites: each taking-part site by name.
        report: where the job's steps go; its answer says whether the job is still wanted.
    """

    def __init__(self, sites: Mapping[str, Site], report: Callable[[str, JobUpdate], bool]) -> None:
        self._sites, self._report = dict(sites), report
        self._stops: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._opening = threading.Lock()
        self._executor: Executor = ThreadExecutor(self._apps)

    def start(self, order: JobOrder, bundle: bytes) -> None:
        """Start a job and return at once; progress goes to `report`."""
        adapter.hush()
        adapter.identify()
        stop = self._stops[order.job] = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(order, bundle, stop), daemon=True, name=f"unica-job-{order.job}"
        )
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def stop(self, job: str) -> None:
        """Stop a job; an app that computes is left behind, its answer dropped. Unknown jobs are ignored."""
        if job in self._stops:
            self._stops[job].set()

    def close(self, *, seconds: float = 5.0) -> None:
        """Stop every job, wait for their threads, and remove the unpacked apps."""
        for stop in self._stops.values():
            stop.set()
        for thread in self._threads:
            thread.join(seconds)
        with self._opening:
            if self._home is not None:
                self._home.cleanup()
                self._home = None

    def _run(self, order: JobOrder, bundle: bytes, stop: threading.Event) -> None:
        here = sorted(set(order.sites) & set(self._sites))
        runners = {name: SiteRunner(self._sites[name], self._executor) for name in here}
        grid = LocalGrid(runners, bundle, stop)
        nodes = {name: number for number, name in enumerate(runners, 1)}
        try:
            run_job(
                order,
                grid=grid,
                roster=lambda: nodes,
                report=lambda update: self._report(order.job, update),
                patience=Patience(arrival=0.0),
            )
        except Exception:
            # `run_job` has reported and logged it; a thread has nobody to raise it to.
            log.debug("job %s ended by a fault of the engine", order.job)
        finally:
            grid.close()
            self._stops.pop(order.job, None)

    def _apps(self) -> Path:
        with self._opening:
            if self._home is None:
                self._home = tempfile.TemporaryDirectory(prefix="unica-apps-")
            return Path(self._home.name)
