"""LocalNetwork: the same client over the same parts, in one process, with synthetic data."""

from __future__ import annotations

import secrets
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from unica_sdk.assembly import SITES
from unica_sdk.client.network import Network
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import ConfigurationError, InvalidRequest


class LocalNetwork(Network):
    """A network of synthetic sites in this process: what `connect()` gives, without an environment.

    Nothing is started until the network is first used; then each site's synthetic mammograms are drawn, which
    takes some seconds. `folder` keeps them for the next time; by default they go when the network is closed.
    Sites have the default policy: with far fewer patients, its noise suppresses most figures of a job.
    Apps run without isolation in this process.

    Raises:
        InvalidRequest: too many or too few nodes or patients.
        ConfigurationError: on first use, the extra `local` is not installed.

    Example:
        >>> net = LocalNetwork(nodes=2, patients=100)
        >>> net.close()
    """

    def __init__(
        self, nodes: int = 3, *, patients: int = 800, seed: int = 0, folder: str | Path | None = None
    ) -> None:
        if not 1 <= nodes <= len(SITES):
            raise InvalidRequest(f"A local network has 1 to {len(SITES)} nodes.", where="nodes")
        if not 60 <= patients <= 5000:
            raise InvalidRequest("A local site has 60 to 5,000 patients.", where="patients")
        token = secrets.token_urlsafe(32)
        self._local = _LazyTransport(
            folder=Path(folder) if folder else None,
            sites=SITES[:nodes],
            patients=patients,
            seed=seed,
            token=token,
        )
        super().__init__(
            Gateway(base_url="http://gateway", token=token, transport=self._local, where="LocalNetwork")
        )


class _LazyTransport(httpx.BaseTransport):
    """Starts the network at the first request and ends it with the client, or with the interpreter."""

    def __init__(
        self, *, folder: Path | None, sites: Sequence[str], patients: int, seed: int, token: str
    ) -> None:
        self._folder, self._sites = folder, tuple(sites)
        self._patients, self._seed, self._token = patients, seed, token
        self._starting = threading.Lock()
        self._inner: httpx.BaseTransport | None = None
        self._open = ExitStack()
        self._end = weakref.finalize(self, self._open.close)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer from the network, starting it first where it is not there yet."""
        with self._starting:
            if not self._end.alive:
                raise httpx.ConnectError("the local network is closed", request=request)
            if self._inner is None:
                self._inner = self._start()
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Stop every part; a temporary folder goes with it."""
        self._end()

    def _start(self) -> httpx.BaseTransport:
        try:
            from unica_sdk.testing.stack import LocalStack
        except ImportError as err:
            raise ConfigurationError(
                f"LocalNetwork needs a package that is not installed: {err.name}.",
                hint="pip install 'unica-sdk[local]'",
            ) from err
        from rich.console import Console

        with ExitStack() as opening:
            folder = self._folder or Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="unica-")))
            folder.mkdir(parents=True, exist_ok=True)
            stack = LocalStack(
                folder, sites=self._sites, patients=self._patients, seed=self._seed, token=self._token
            )
            opening.callback(stack.close)
            with Console(stderr=True).status("Starting a local network of synthetic sites") as status:
                transport = stack.start(status.update)
            self._open.push(opening.pop_all())
        return transport
