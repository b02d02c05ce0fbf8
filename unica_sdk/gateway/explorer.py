"""What an explorer asks, and what the sites answered: tasks that are kept for some minutes, in memory."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from unica_sdk.audit import AuditLog
from unica_sdk.errors import Inexpressible, InvalidRequest, NotFound, Unavailable, UnicaError
from unica_sdk.gateway.bell import Bell
from unica_sdk.gateway.cohorts import check_sites_known
from unica_sdk.gateway.service import Gateway
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CohortQuery, CountAnswer
from unica_sdk.schemas.contract import sha256
from unica_sdk.schemas.explorer import ExplorerTask, from_ast
from unica_sdk.schemas.explorer_answers import ExplorerResult, result_of, unasked
from unica_sdk.schemas.identity import Person, Scope

_log = logging.getLogger(__name__)

TASK_SECONDS = 360.0
"""For how long results can be asked for: what the explorer's own broker gives a task."""

MAX_TASKS = 512
MAX_UNDER_WAY = 16
"""The most tasks that are kept, and the most of one client that the sites are working on."""

QUIET_SECONDS = 15.0
"""How often whoever waits hears that the sites are still waited for."""


@dataclass
class _Task:
    id: str
    content: str
    sites: tuple[str, ...]
    started: float
    results: list[ExplorerResult] = field(default_factory=list)
    done: bool = False


class ExplorerDesk:
    """Asks the sites for explorers, each a subject of its own, `explorer:<client>`, with its own budgets.

    Bound to the event loop that `post` is called in.
    """

    def __init__(
        self, gateway: Gateway, *, audit: AuditLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gateway = gateway
        self._audit = audit
        self._clock = clock
        self._bell = Bell()
        self._closed = False
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._working: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Let everybody who waits go, and stop asking: the process is about to end."""
        self._closed = True
        self._bell.close()
        for working in self._working:
            working.cancel()

    async def post(self, client: str, asked: ExplorerTask) -> None:
        """Begin to ask the sites; the same task posted again is the same task.

        What a query cannot say is a task too: each site fails for good, with the criteria named.

        Raises:
            InvalidRequest: it is malformed, names a site that is not enrolled, or a task of another content.
            Unavailable: too much is under way.
        """
        if self._is_known(client, asked):
            return
        # Reading a hostile tree may take a while, and other callers share this loop.
        try:
            query = await asyncio.to_thread(from_ast, asked)
        except Inexpressible as err:
            query, cannot = None, err
        enrolled = await asyncio.to_thread(lambda: tuple(node.site for node in self._gateway.nodes()))
        check_sites_known(asked.sites or (), enrolled, where="sites")
        sites = tuple(sorted(set(asked.sites or enrolled)))
        if query is None:
            await asyncio.to_thread(self._record, client, asked, cannot, sites)
        if self._is_known(client, asked):
            return
        task = self._kept(client, asked, sites)
        if query is None:
            task.results = [unasked(asked.id, s, cannot.message, criteria=cannot.criteria) for s in sites]
            task.done = True
            return
        working = asyncio.create_task(self._ask(client, task, query), name=f"explorer {asked.id}")
        self._working.add(working)
        working.add_done_callback(self._working.discard)

    async def results(
        self, client: str, task_id: str, *, wait_count: int | None
    ) -> AsyncGenerator[tuple[ExplorerResult, ...]]:
        """Yield results as they come, until there are `wait_count` (by default one of each site) or no more.

        Where none comes for a while, an empty tuple is yielded.

        Raises:
            NotFound: this client has no such task, or had it too long ago.
        """
        task = self._task(client, task_id)
        wanted = len(task.sites) if wait_count is None else wait_count
        sent = 0

        async def came() -> bool:
            return task.done or len(task.results) > sent

        while not self._closed:
            some = tuple(task.results[sent:])
            sent += len(some)
            yield some
            if sent >= wanted or (task.done and sent == len(task.results)):
                return
            await self._bell.until(task_id, came, seconds=QUIET_SECONDS, every=QUIET_SECONDS)

    def require(self, client: str, task_id: str) -> None:
        """Return if this client has this task.

        Raises:
            NotFound: it has not, or had it too long ago.
        """
        self._task(client, task_id)

    def _is_known(self, client: str, asked: ExplorerTask) -> bool:
        known = self._tasks.get((client, asked.id))
        if known is not None and known.content != asked.digest():
            raise InvalidRequest("This id was given to another task.", where="id")
        return known is not None

    def _task(self, client: str, task_id: str) -> _Task:
        found = self._tasks.get((client, task_id))
        if found is None or self._clock() - found.started > TASK_SECONDS:
            raise NotFound("You have no such task.", where="task", hint="Post the query first.")
        return found

    def _kept(self, client: str, asked: ExplorerTask, sites: tuple[str, ...]) -> _Task:
        now = self._clock()
        # In the order in which they began: what is over goes once it is old, or where there is no room.
        for key, task in list(self._tasks.items()):
            if task.done and (now - task.started > TASK_SECONDS or len(self._tasks) >= MAX_TASKS):
                del self._tasks[key]
        under_way = sum(not task.done for (whose, _), task in self._tasks.items() if whose == client)
        if self._closed or under_way >= MAX_UNDER_WAY or len(self._tasks) >= MAX_TASKS:
            raise Unavailable("Too many queries are being asked.", hint="Try again in a minute.")
        made = _Task(id=asked.id, content=asked.digest(), sites=sites, started=now)
        self._tasks[client, asked.id] = made
        return made

    async def _ask(self, client: str, task: _Task, query: CohortQuery) -> None:
        waiting, why = set(task.sites), "The gateway failed."
        try:
            names, records = await asyncio.to_thread(self._described)
            async with aclosing(self._answers(client, query)) as answers:
                async for answer in answers:
                    if answer.site in waiting:
                        waiting.discard(answer.site)
                        mine = records.get(answer.site, [])
                        name = names.get(answer.site, answer.site)
                        self._add(task, result_of(task.id, answer, name=name, records=mine))
        except Exception as err:
            # Nobody awaits this: a fault of ours is logged here, and told as one.
            _log.exception("A query of %s failed", client)
            why = err.message if isinstance(err, UnicaError) else why
        finally:
            # Whatever happened, whoever waits is told something of every site.
            for site in sorted(waiting):
                self._add(task, unasked(task.id, site, why))
            task.done = True
            self._bell.ring(task.id)

    def _add(self, task: _Task, result: ExplorerResult) -> None:
        task.results.append(result)
        self._bell.ring(task.id)

    async def _answers(self, client: str, query: CohortQuery) -> AsyncGenerator[CountAnswer]:
        """Yield what the sites answer; the desk for cohorts checks, writes the audit, and asks."""
        person = Person(subject=f"explorer:{client}", scopes=(Scope.COHORT_COUNT,))
        async with aclosing(self._gateway.cohorts.steps(person, query)) as steps:
            async for step in steps:
                for answer in (*step.answers, *(step.result.answers if step.result else ())):
                    yield answer

    def _described(self) -> tuple[dict[str, str], dict[str, list[DatasetRecord]]]:
        records: dict[str, list[DatasetRecord]] = {}
        for record in self._gateway.datasets():
            records.setdefault(record.site, []).append(record)
        return {node.site: node.name for node in self._gateway.nodes()}, records

    def _record(self, client: str, asked: ExplorerTask, why: Inexpressible, sites: tuple[str, ...]) -> None:
        self._audit.append(
            actor=f"explorer:{client}",
            action="explorer.inexpressible",
            subject=sha256(asked.query.encode()),
            criteria=list(why.criteria),
            sites=list(sites),
        )


async def events(results: AsyncIterator[tuple[ExplorerResult, ...]]) -> AsyncGenerator[bytes]:
    """Yield results as server-sent events; a comment where there is none yet, so that proxies wait on."""
    async for some in results:
        yield b"".join(result.event() for result in some) or b": waiting\n\n"
