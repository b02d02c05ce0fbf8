"""Sockets the gateway listens on, made with the right mode before anybody can connect."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from unica_sdk.errors import ConfigurationError

LOOPBACK = "127.0.0.1"


def unix_listener(path: Path, *, mode: int) -> socket.socket:
    """Return a listening unix socket with these permissions; one that was left behind is removed.

    Raises:
        ConfigurationError: somebody listens there, something else is there, or the path cannot be used.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        # Before listen(): until then nobody can connect, whatever the mode was.
        path.chmod(mode)
        listener.listen(128)
    except OSError as err:
        listener.close()
        raise ConfigurationError(
            f"The socket cannot be made: {err.strerror or err}.",
            where=str(path),
            hint="The folder must exist and belong to the service user; its path must be under 100 bytes.",
        ) from err
    return listener


def loopback_listener(port: int) -> socket.socket:
    """Return a listening TCP socket on 127.0.0.1.

    Raises:
        ConfigurationError: the port is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except (OSError, OverflowError) as err:
        listener.close()
        taken = isinstance(err, OSError) and err.errno == errno.EADDRINUSE
        raise ConfigurationError(
            f"Port {port} is taken." if taken else f"Port {port} cannot be used.",
            where=f"{LOOPBACK}:{port}",
            hint="End what listens there, or choose another port.",
        ) from err
    return listener


def remove_socket(path: Path) -> None:
    """Remove a socket that was ours."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _remove_stale(path: Path) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as err:
        raise ConfigurationError("The socket's folder cannot be read.", where=str(path)) from err
    if not stat.S_ISSOCK(kind):
        raise ConfigurationError(
            "Something that is not a socket is in its place.", where=str(path), hint="Move it away."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            remove_socket(path)
            return
        except OSError as err:
            raise ConfigurationError("The socket cannot be probed.", where=str(path)) from err
    raise ConfigurationError(
        "Another gateway is running.", where=str(path), hint="See `unica status`; `unica down` ends it."
    )
