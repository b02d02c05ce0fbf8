"""The embedded environment: `unica up`, `down`, `status`, `doctor`, `demo`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from unica_sdk.cli.common import NOT_ISOLATED, AsJson, State, print_json, say

commands = typer.Typer()


@commands.command()
def up(
    state: State = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The public port [8000].")] = None,
    patients: Annotated[
        int | None, typer.Option(min=60, max=5000, help="Synthetic women at each site [800].")
    ] = None,
) -> None:
    """Start everything on this machine, and return when the sign-in page answers."""
    from unica_sdk.environment.layout import locate
    from unica_sdk.environment.up import up as bring_up

    layout = locate(state)
    welcome = bring_up(layout, port=port, patients=patients, say=say)
    table = Table(title="Sign-ins (generated)", title_justify="left")
    table.add_column("Name")
    table.add_column("Password", no_wrap=True)
    for person, password in welcome.sign_ins.items():
        table.add_row(person, password)
    say("UNICA runs already." if welcome.already else "UNICA runs.")
    Console().print(table)
    say(f"Address:  {welcome.address}")
    say(f"State:    {layout.state}")
    say(NOT_ISOLATED)
    say("Next: unica demo · unica status · unica down")


@commands.command()
def down(state: State = None) -> None:
    """End everything that runs from a state folder, whatever was killed before."""
    from unica_sdk.environment import lifecycle, service_user
    from unica_sdk.environment.layout import locate

    layout = locate(state)
    service_user.become_owner(layout)
    ended = lifecycle.stop(layout, say=say)
    say(f"Ended {ended} processes." if ended else "Nothing was running.")


@commands.command()
def status(state: State = None, as_json: AsJson = False) -> None:
    """Say how each part stands. Exit code 0 where all run, else 3."""
    from unica_sdk.environment import lifecycle
    from unica_sdk.environment.layout import locate

    now = lifecycle.status(locate(state))
    if as_json:
        print_json(now)
    else:
        table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
        for column in ("Part", "State", "Since", "Process", "Restarts"):
            table.add_column(column, no_wrap=True)
        table.add_column("Address", overflow="fold")
        for part in now["parts"]:
            process, restarts = str(part["pid"] or "–"), str(part["restarts"])
            since = f"{datetime.fromisoformat(part['since']).astimezone():%H:%M:%S}" if part["since"] else "–"
            table.add_row(part["name"], part["state"], since, process, restarts, part["address"])
        say(f"UNICA is {now['state']} ({now['state_folder']}).")
        if now["parts"]:
            Console().print(table)
            say(f"{NOT_ISOLATED} Address: {now['address']}")
    raise typer.Exit(0 if now["state"] == "running" else 3)


@commands.command()
def doctor(
    state: State = None, port: Annotated[int, typer.Option(min=1, max=65535)] = 8000, as_json: AsJson = False
) -> None:
    """Check what this machine needs to run UNICA. Exit code 1 where something is missing."""
    from dataclasses import asdict

    from unica_sdk.environment import preflight, service_user
    from unica_sdk.environment.layout import locate

    layout = locate(state)
    service_user.become_owner(layout)
    findings = list(preflight.examine(layout, port=port))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table("Check", "", "Finding", "What to do")
        for finding in findings:
            table.add_row(finding.name, "ok" if finding.ok else "missing", finding.text, finding.hint)
        Console().print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@commands.command()
def demo(
    state: State = None,
    rounds: Annotated[int, typer.Option(min=1, max=100)] = 3,
    as_json: AsJson = False,
) -> None:
    """Do the whole job against the running environment: search, count, freeze, train, metrics."""
    from unica_sdk.environment.demo import run_demo
    from unica_sdk.environment.layout import locate

    outcome = run_demo(locate(state), rounds=rounds, console=Console(stderr=as_json))
    if as_json:
        print_json(outcome.document())
    else:
        Console().print(outcome.table())
        say(NOT_ISOLATED)
    raise typer.Exit(0 if outcome.has_result else 1)
