"""Scanning many files: in this process, in processes of its own, or on a hospital's own dask cluster.

The same function does the same work everywhere (`scan.scan_files`), and its results come back in the order of
the files, so the result is the same on either. A cluster is trusted as this machine is: its workers read the
hospital's files, and what they send back is unpickled here. They get no key, and send no identifier.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unica_sdk import __version__
from unica_sdk.errors import ConfigurationError, Unavailable, UnicaError
from unica_sdk.node.scan import Listed, Verdict, scan_files

if TYPE_CHECKING:
    from distributed import Client

BATCH = 256
"""Files that a worker is given at once: a scanner is the faster the more files it sees."""

AHEAD = 4
"""Batches that each worker has waiting, so that none runs dry and few results pile up here."""

WORTH_FILES = 20_000
WORTH_BYTES = 8 * 2**30
"""What is to be read before another process is worth its start, which takes seconds."""

CONNECT_SECONDS = 20.0

_ALONE = {
    "distributed.admin.log-length": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""Settings of processes of our own: nothing to look at from outside."""


def workers_for(files: Sequence[Listed]) -> int:
    """Return how many processes are worth starting; 1 means none besides this one.

    Example:
        >>> workers_for([Listed("a.dcm", 500_000, 0)] * 800)
        1
    """
    wanted = 1 + max(len(files) // WORTH_FILES, sum(file.size for file in files) // WORTH_BYTES)
    return min(os.cpu_count() or 1, wanted)


def scan_all(
    folder: Path, files: Sequence[Listed], *, workers: int | None = None, scheduler: str | None = None
) -> Iterator[list[Verdict]]:
    """Yield what the files are, batch by batch, in their order.

    Args:
        folder: where they are.
        files: which.
        workers: processes on this machine; by default as many as are worth it.
        scheduler: the address of a dask scheduler to use instead, such as `tcp://10.0.0.5:8786`.

    Raises:
        ConfigurationError: a cluster's worker sees other files, or runs another version of this software.
        Unavailable: the scheduler cannot be reached, or lost all its workers.
    """
    paths = [file.path for file in files]
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    number = workers if workers is not None else workers_for(files)
    if not batches:
        return
    if scheduler is None and number <= 1:
        for batch in batches:
            yield scan_files(str(folder), batch, __version__)
        return
    with _client(number, scheduler) as client:
        yield from _on_cluster(client, folder, batches)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    connect: Any = Client  # it brings no types for its arguments
    with ExitStack() as opening:
        if scheduler is None:
            opening.enter_context(dask.config.set(_ALONE))
            spill = opening.enter_context(tempfile.TemporaryDirectory(prefix="unica-scan-"))
            scheduler = opening.enter_context(
                LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    # A scheduler runs what whoever may connect sends, and other people have accounts here.
                    security=True,
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                    worker_dashboard_address=None,
                    local_directory=spill,
                    silence_logs=logging.ERROR,
                )
            )
        try:
            client = opening.enter_context(connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False))
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as err:
            raise Unavailable(
                "The dask scheduler cannot be reached.",
                where=str(scheduler),
                hint="Its address is like tcp://10.0.0.5:8786; see that it runs and a worker is connected.",
            ) from err
        yield client


def _on_cluster(client: Client, folder: Path, batches: list[list[str]]) -> Iterator[list[Verdict]]:
    waiting: deque[Any] = deque()
    todo = iter(batches)
    try:
        for batch in todo:
            waiting.append(client.submit(scan_files, str(folder), batch, __version__, pure=False))
            if len(waiting) >= AHEAD * max(1, len(client.nthreads())):  # type: ignore[no-untyped-call]
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()


def _result(future: Any) -> list[Verdict]:
    try:
        found: list[Verdict] = future.result()
    except UnicaError:
        raise
    except ImportError as err:
        raise ConfigurationError(
            "A worker of the cluster does not have this software.",
            where=str(err.name),
            hint="Install unica-sdk[node] on every machine of the cluster.",
        ) from err
    except Exception as err:
        # distributed raises its own kinds: a killed worker, a lost scheduler, a cancelled future.
        raise Unavailable("The dask cluster did not finish its work.", hint=type(err).__name__) from err
    return found
