"""`unica …` in a terminal: the environment, and the work of operators, stewards, auditors and researchers.

Runs in any terminal. May see what its user may see. Must never show a secret, nor leave a traceback where a
sentence would do.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

import typer
from rich.console import Console

from unica_sdk.cli.environment import commands
from unica_sdk.cli.hub import audit, explorer, hub, permit, vocabulary
from unica_sdk.cli.node import node
from unica_sdk.errors import ConfigurationError, UnicaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Federated cancer-imaging research in a secure environment.",
)
app.add_typer(commands)
for name, group in (
    ("node", node), ("hub", hub), ("permit", permit), ("audit", audit), ("vocabulary", vocabulary),
    ("explorer", explorer),
):  # fmt: skip
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; an error of UNICA is one sentence on stderr and exit code 1."""
    try:
        _run()
    except UnicaError as err:
        Console(stderr=True).print(str(err), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _run() -> None:
    """Run the command line; a package that is not installed is an error of UNICA too.

    Raises:
        ConfigurationError: a package is missing; the hint names what brings it.
    """
    try:
        app()
    except ModuleNotFoundError as err:
        package = (err.name or "").partition(".")[0]
        if not package or package in ("unica_sdk", "hub_config", *sys.stdlib_module_names):
            raise
        extras = _extras_with(package)
        hint = (
            f"It comes with the extra {' or '.join(extras)}. In the clone: "
            f"pip install -c constraints.txt '.[{extras[0]}]'"
        )
        raise ConfigurationError(
            f"This command needs {package}, which is not installed.",
            hint=hint if extras else "Install UNICA again, as the README says.",
        ) from err


def _extras_with(package: str) -> list[str]:
    """Return the extras of this installation that bring a package, by the name it is imported by."""
    name = {"jwt": "pyjwt"}.get(package, package).replace("_", "-")
    try:
        lines = metadata.requires("unica-sdk") or []
    except metadata.PackageNotFoundError:
        # Run from a folder of sources that was never installed: nothing says what brings what.
        return []
    found = set()
    for line in lines:
        asked = re.match(r"([\w-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if asked and asked[1].replace("_", "-").lower() == name:
            found.add(asked[2])
    return sorted(found - {"test"}, key=lambda extra: (extra == "local", extra))
