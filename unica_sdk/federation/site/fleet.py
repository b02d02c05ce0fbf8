"""A site's connection to the engine: one process that calls out, takes messages one by one, and answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Message

from unica_sdk.errors import ConfigurationError
from unica_sdk.federation import adapter
from unica_sdk.federation.ports import Site
from unica_sdk.federation.site.executor import ForkExecutor
from unica_sdk.federation.site.runner import SiteRunner
from unica_sdk.federation.site.work import Abandoned

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
IDLE_POLL_SECONDS = 2.0
HOT_SECONDS = 60.0
RECONNECT_SECONDS = 1.0
KEPT_BUNDLES = 4


def run_node(
    site: Site,
    *,
    superlink: str,
    certificate: Path,
    engine_key: Path,
    home: Path,
    stop: threading.Event,
    preload: Iterable[str] = ("torch",),
) -> None:
    """Serve the engine until `stop` is set; it may come, go and come back meanwhile.

    Args:
        site: the site's own checks, data and audit.
        superlink: host and port of the engine.
        certificate: the engine's certificate, PEM; it may appear later.
        engine_key: the site's private key for the engine, OpenSSH, elliptic curve P-384.
        home: where this side keeps what it needs: unpacked apps, its node number.
        stop: set it from another thread or a signal handler; running app code is then ended.
        preload: modules the warm process imports, so that apps need not; those not installed are left out.

    Raises:
        ConfigurationError: the key cannot be read.
    """
    try:
        key = engine_key.read_bytes()
    except OSError as err:
        raise ConfigurationError("The site's engine key cannot be read.", where=str(engine_key)) from err
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    execute = ForkExecutor(home / "apps", preload=preload)
    execute.warm()
    runner = SiteRunner(site, execute)
    said = ""
    while not stop.is_set():
        try:
            fleet = adapter.Fleet(superlink, certificate=certificate.read_bytes(), key=key, stop=stop)
            try:
                _Connection(fleet, runner, home / "engine-node", stop).serve()
                said = ""
            finally:
                fleet.close()
        except (adapter.EngineGone, adapter.EngineRefused, FileNotFoundError) as err:
            # Said once: a hub that is down for a night must not fill the log.
            if (now := str(err)) != said:
                log.warning("%s: not connected to the engine: %s", site.name, err)
                said = now
            stop.wait(RECONNECT_SECONDS)


class _Connection:
    """One lease at the engine, from connecting to losing it."""

    def __init__(self, fleet: adapter.Fleet, runner: SiteRunner, lease: Path, stop: threading.Event) -> None:
        self._fleet, self._runner, self._lease, self._stop = fleet, runner, lease, stop
        self._lost = threading.Event()
        self._bundles: dict[int, bytes] = {}

    def serve(self) -> None:
        """Connect and serve until the lease is lost or the node stops."""
        node = self._fleet.activate(_previous(self._lease))
        self._lease.write_text(str(node))
        log.info("connected to the engine as node %s", node)
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        try:
            self._poll()
        finally:
            self._lost.set()
            heart.join()

    def _poll(self) -> None:
        last, wait = time.monotonic() - HOT_SECONDS, IDLE_POLL_SECONDS
        while not (self._stop.is_set() or self._lost.is_set()):
            try:
                message = self._fleet.receive()
            except adapter.RunOver:
                continue
            if message is not None:
                self._answer(message)
                last, wait = time.monotonic(), POLL_SECONDS
                continue
            if time.monotonic() - last > HOT_SECONDS:
                wait = min(wait * 1.5, IDLE_POLL_SECONDS)
            self._stop.wait(wait)

    def _answer(self, message: Message) -> None:
        run, start = message.metadata.run_id, time.monotonic()
        try:
            reply = self._runner.handle(message, bundle=self._bundle(run), wanted=self._wanted(run))
            seconds = time.monotonic() - start
            self._fleet.reply(reply, seconds)
            log.info("run %s: %s answered in %.2f s", run, message.metadata.message_type, seconds)
        except (adapter.RunOver, Abandoned):
            log.info("run %s is over: its message is dropped", run)
        except adapter.EngineRefused as err:
            log.warning("run %s: the engine does not take the reply: %s", run, err)

    def _bundle(self, run: int) -> bytes:
        if run not in self._bundles:
            while len(self._bundles) >= KEPT_BUNDLES:
                del self._bundles[next(iter(self._bundles))]
            self._bundles[run] = self._fleet.bundle(run)
        return self._bundles[run]

    def _wanted(self, run: int) -> Callable[[], bool]:
        def wanted() -> bool:
            if self._stop.is_set():
                return False
            try:
                return self._fleet.running(run)
            except (adapter.EngineGone, adapter.EngineRefused):
                # The engine may come back; the work is not thrown away for that.
                return True

        return wanted

    def _beat(self) -> None:
        while not (self._stop.is_set() or self._lost.wait(adapter.HEARTBEAT_SECONDS)):
            try:
                if not self._fleet.heartbeat():
                    self._lost.set()
            except adapter.EngineGone:
                continue
            except (adapter.EngineRefused, adapter.RunOver):
                self._lost.set()


def _previous(lease: Path) -> int | None:
    """Return the node number of an earlier process, whose lease may still hold."""
    try:
        return int(lease.read_text())
    except (FileNotFoundError, ValueError):
        return None
