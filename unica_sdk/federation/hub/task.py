"""One server task, in a process of its own: what the gateway ordered, and never what a bundle says."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from types import FrameType
from typing import NoReturn

from unica_sdk.federation import adapter
from unica_sdk.federation.hub.collect import Roster
from unica_sdk.federation.hub.link import GatewayLink
from unica_sdk.federation.hub.server import run_job
from unica_sdk.schemas.job import JobOrder

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where the engine and the gateway are, and the secrets that open them; never shown."""

    superlink: str
    certificate: bytes
    secret: bytes
    gateway: str
    gateway_secret: str

    def __repr__(self) -> str:
        return f"Hub(superlink={self.superlink!r}, gateway={self.gateway!r})"


def run_task(hub: Hub, token: str) -> None:
    """Run one claimed server task to its end.

    A run that names no job of the gateway's, or brings other bytes than the order says, ends failed with
    nothing done. A run that is stopped ends this process where it stands.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    adapter.hush()
    signal.signal(signal.SIGTERM, _leave)
    # The engine's client raises SIGINT in its own process once its token no longer holds: a stopped run.
    signal.signal(signal.SIGINT, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        task = adapter.ServerTask(hub.superlink, hub.certificate, token)
        with GatewayLink(hub.gateway, hub.gateway_secret) as gateway:
            order = _order(hub, gateway, task)
            if order is None:
                task.finish("There is no such job.")
                return
            log.info("job %s begins as run %s", order.job, task.run)
            run_job(
                order,
                grid=task.grid,
                roster=_roster(task, order.sites),
                report=lambda update: gateway.report(order.job, update),
            )
            task.finish()
    except adapter.Stopped:
        _leave(0, None)


def _order(hub: Hub, gateway: GatewayLink, task: adapter.ServerTask) -> JobOrder | None:
    """Return the order for this very run; None for an unknown job, other bytes, or a repeated run."""
    order = gateway.order(task.job) if task.job else None
    if order is None or order.app != task.app:
        log.warning("run %s names no job of the gateway's, or another app than the job's", task.run)
        return None
    with adapter.Control(hub.superlink, hub.certificate) as control:
        first = next(run.id for run in control.runs() if run.job == task.job and run.app == task.app)
    if first != task.run:
        log.warning("run %s repeats job %s", task.run, task.job)
        return None
    return order


def _roster(task: adapter.ServerTask, sites: Mapping[str, str]) -> Roster:
    """Return the look-up of connected sites: by enrolled key, and only as they were when first seen here."""
    keys: dict[bytes, str] = {}
    for site, text in sites.items():
        try:
            keys[adapter.engine_key(text)] = site
        except ValueError:
            log.warning("%s has no usable engine key", site)
    first: dict[str, str] = {}

    def look() -> dict[str, int]:
        here: dict[str, int] = {}
        for peer in task.peers():
            site = keys.get(peer.key)
            # A site that restarted has forgotten the message it was working on.
            if site is not None and first.setdefault(site, peer.since) == peer.since:
                here[site] = peer.node
        return here

    return look


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(0)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
