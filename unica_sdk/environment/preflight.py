"""What must hold before anything is started: each check says what is wrong and what to do."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from unica_sdk.environment import lifecycle, software
from unica_sdk.environment.layout import Layout
from unica_sdk.environment.ports import DEFAULT_PORT
from unica_sdk.errors import ConfigurationError, UnicaError

WANTED_PYTHON = (3, 11)
FREE_GIGABYTES = 2.0
FREE_MEMORY_GIGABYTES = 2.0
LAST_PRIVILEGED = 1023


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    ok: bool
    text: str
    hint: str = ""


def examine(layout: Layout, *, port: int) -> Iterator[Finding]:
    """Yield the outcome of every check, also after one that failed."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("Python", check_python),
        ("state folder", lambda: _check_state(layout)),
        ("disk space", lambda: _check_disk(layout)),
        ("memory", _check_memory),
        ("node runtime", lambda: str(software.node_binary())),
        ("hub's proxy", lambda: software.proxy_command()[1]),
        ("port", lambda: _check_own_or_free(layout, port)),
    )
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except UnicaError as err:
            where = f" [{err.where}]" if err.where else ""
            yield Finding(name, False, f"{err.message}{where}", err.hint)


def require(layout: Layout, *, port: int) -> None:
    """Return if every check holds.

    Raises:
        ConfigurationError: with everything that does not, so that it can be put right in one go.
    """
    failed = [finding for finding in examine(layout, port=port) if not finding.ok]
    if failed:
        raise ConfigurationError(
            " ".join(finding.text for finding in failed),
            hint=" ".join(dict.fromkeys(finding.hint for finding in failed)),
        )


def check_python() -> str:
    """Return the version of this Python.

    Raises:
        ConfigurationError: it is not the one that everything is pinned for.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != WANTED_PYTHON:
        wanted = ".".join(map(str, WANTED_PYTHON))
        raise ConfigurationError(
            f"This is Python {version}; UNICA needs {wanted}.",
            where=sys.executable,
            hint=f"Install python{wanted} and python{wanted}-venv and run `make run` again.",
        )
    return version


def check_port(port: int) -> str:
    """Return the address to serve on.

    Raises:
        ConfigurationError: the port is taken, or not ours to take.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            taken = err.errno == errno.EADDRINUSE
            other = port + 1 if port > LAST_PRIVILEGED else DEFAULT_PORT
            raise ConfigurationError(
                f"Port {port} is taken{_by(port)}." if taken else f"Port {port}: {err.strerror}.",
                where=f"127.0.0.1:{port}",
                hint=f"{'End what holds it, or choose' if taken else 'Choose'} another: "
                f"`make run ARGS='--port {other}'`.",
            ) from err
    return f"http://127.0.0.1:{port}/"


def _by(port: int) -> str:
    """Return " by …" where this user may know who holds a port."""
    holder = port_holder(port)
    if holder is None:
        return ""
    try:
        return f" by {Path(holder.exe()).name} (process {holder.pid})"
    except psutil.Error:
        return f" by process {holder.pid}"


def port_holder(port: int) -> psutil.Process | None:
    """Return the process that listens on a port, where this user may know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listening and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def _check_own_or_free(layout: Layout, port: int) -> str:
    holder = port_holder(port)
    if holder is not None and holder.pid in lifecycle.leftovers(layout):
        return f"http://127.0.0.1:{port}/ (served by this environment)"
    return check_port(port)


def _check_state(layout: Layout) -> str:
    layout.create()
    return str(layout.state)


def _check_disk(layout: Layout) -> str:
    place = next(folder for folder in (layout.state, *layout.state.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    if free < FREE_GIGABYTES:
        raise ConfigurationError(
            f"Only {free:.1f} GB are free; the demonstration needs {FREE_GIGABYTES:.0f} GB.",
            where=str(place),
            hint="Make room, or choose another state folder with --state.",
        )
    return f"{free:.0f} GB free"


def _check_memory() -> str:
    total = psutil.virtual_memory().available / 1e9
    if total < FREE_MEMORY_GIGABYTES:
        raise ConfigurationError(
            f"Only {total:.1f} GB of memory are free; UNICA needs about {FREE_MEMORY_GIGABYTES:.0f} GB.",
            hint="End other programs, or use a larger machine.",
        )
    return f"{total:.0f} GB free"
