"""`unica node policy`: a site's settings, and what they mean for a researcher and for an attacker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from unica_sdk.node.disclosure import half_width, release_limit, suppressed_below
from unica_sdk.node.home import NodeHome
from unica_sdk.node.utility import expected, guess
from unica_sdk.schemas.policy import SitePolicy

PEOPLE = (30, 300, 3000)
SITES = (1, 12)
PERIODS = (1, 4, 13, 52)


def figures(policy: SitePolicy) -> dict[str, Any]:
    """Return what a policy means, as numbers: nothing of it hangs on data."""
    return {
        "settings": policy.model_dump(mode="json", exclude={"approved_apps"}),
        "released_from": release_limit(policy),
        "interval": half_width(policy),
        "suppressed_below": suppressed_below(policy),
        "counts": [asdict(expected(n, policy, sites=sites)) for sites in SITES for n in PEOPLE],
        "guesses": [
            {
                "periods": periods,
                "one_person": guess(policy, questions=policy.person_budget, periods=periods),
                "everybody": guess(policy, periods=periods),
                "everybody_informed": guess(policy, periods=periods, informed=True),
            }
            for periods in PERIODS
        ],
    }


def show(home: Path | None, *, as_json: bool) -> None:
    """Print a node's policy, or the default one, and what it means.

    Raises:
        ConfigurationError: there is no node, or its policy cannot be read or is impossible.
    """
    policy = NodeHome.open(home).policy() if home is not None else SitePolicy()
    found = figures(policy)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console = Console()
    told = {name: str(value) for name, value in found["settings"].items()}
    told["released"] = f"from {found['released_from']:.0f} with noise, ± {found['interval']:.0f}"
    told["suppressed"] = f"below {found['suppressed_below']}, 97 times in 100"
    console.print(_table("What this site insists on", ("setting", "value"), told.items()))
    counts = [
        (f"{c['n']:,}", str(c["sites"]), f"{c['suppressed']:.0%}", f"{c['error']:.0f}", f"{c['width']:.0f}")
        for c in found["counts"]
    ]
    columns = ["people", "sites", "suppressed at each", "expected error", "width of the range"]
    console.print(_table("What a count is worth, in people", columns, counts))
    guesses = [
        (str(periods), *(f"{chance:.2f}" for chance in chances))
        for periods, *chances in (line.values() for line in found["guesses"])
    ]
    columns = ["periods", "one person's budget", "the site's budget", "the same, all others known"]
    console.print(_table("How often a person's bit is guessed (0.50: a coin)", columns, guesses))


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*columns, title=title, title_justify="left", box=SIMPLE)
    for row in rows:
        table.add_row(*row)
    return table
