"""What the commands share: their common options, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

State = Annotated[
    Path | None,
    typer.Option("--state", help="The state folder. Default: $UNICA_STATE, else $XDG_STATE_HOME/unica."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Home = Annotated[Path, typer.Option("--home", help="The node's folder.")]

NOT_ISOLATED = "Not isolated: a demonstration environment. The mammograms are synthetic."


def say(text: str) -> None:
    """Print a sentence as it is."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
