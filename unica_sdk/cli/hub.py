"""The hub's operator, the data steward, the auditor, and the shared vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unica_sdk.cli.common import AsJson, State, say

hub = typer.Typer(no_args_is_help=True, help="The hub's operator.")
permit = typer.Typer(no_args_is_help=True, help="The data steward: keys and signed permits.")
audit = typer.Typer(no_args_is_help=True, help="The hash-chained audit.")
explorer = typer.Typer(
    no_args_is_help=True, help="The endpoint for EUCAIM's explorer: off until a client has a key."
)
vocabulary = typer.Typer(no_args_is_help=True, help="The shared words for what is in the data.")


@vocabulary.command("list")
def vocabulary_list(
    field: Annotated[str | None, typer.Argument(help="Only this field, for example `modality`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the vocabulary: words, their meaning and their public codes; what has none is local."""
    from unica_sdk.environment import vocabularies

    vocabularies.show(field, as_json=as_json)


@vocabulary.command("doctor")
def vocabulary_doctor(
    node: Annotated[Path | None, typer.Option("--node", help="A node's folder.")] = None,
    file: Annotated[
        Path | None, typer.Option("--list", help="Another system's list: CSV or JSON with key, code, label.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a node's words, or another system's list, with the vocabulary. Exit code 1 where they differ.

    It says what is missing, renamed, doubled, or stands under another field's key.
    """
    from unica_sdk.environment import vocabularies

    home = node.expanduser().resolve() if node else None
    raise typer.Exit(1 if vocabularies.examine(node=home, file=file, as_json=as_json) else 0)


@hub.command("enrol")
def hub_enrol(
    file: Annotated[Path, typer.Argument(help="What `unica node init` printed.")], state: State = None
) -> None:
    """Enter a site, or its new keys, and print the gateway's public key for the site to pin."""
    from unica_sdk.environment import operator
    from unica_sdk.environment.layout import locate

    say(operator.enrol(locate(state), file))


@permit.command("key")
def permit_key(
    file: Annotated[Path, typer.Argument(help="The private key; made where it is not there.")],
) -> None:
    """Print the steward's public key, for hub and sites to pin."""
    from unica_sdk.environment.steward import make_key

    typer.echo(make_key(file).public_key().public_bytes_raw().hex())


@permit.command("sign")
def permit_sign(
    file: Annotated[Path, typer.Argument(help="The permit as JSON.")],
    key: Annotated[Path, typer.Option(help="The steward's private key.")],
) -> None:
    """Sign a permit on the steward's own machine, and print the signed document."""
    from unica_sdk.environment import steward
    from unica_sdk.schemas.signing import sign

    typer.echo(sign(steward.read_permit(file), steward.read_key(key)).model_dump_json(indent=2))


@permit.command("show")
def permit_show(
    file: Annotated[Path, typer.Argument(help="A signed permit.")],
    steward_key: Annotated[str, typer.Option("--steward", help="The steward's public key, 64 hex digits.")],
) -> None:
    """Verify a signed permit and print what it says."""
    from unica_sdk.environment import steward
    from unica_sdk.schemas.permit import Permit
    from unica_sdk.schemas.signing import verify

    signed = steward.read_signed(file)
    typer.echo(verify(signed, Permit, steward.read_public_key(steward_key)).model_dump_json(indent=2))


@permit.command("add")
def permit_add(file: Annotated[Path, typer.Argument(help="A signed permit.")], state: State = None) -> None:
    """Enter a signed permit at the hub, which verifies it against the steward's key it knows."""
    from unica_sdk.environment import operator
    from unica_sdk.environment.layout import locate

    say(operator.add_permit(locate(state), file))


@explorer.command("add")
def explorer_add(
    name: Annotated[str, typer.Argument(help="Short and lower-case; its budgets and audit go by it.")],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The endpoint's port on 127.0.0.1 [8055].")
    ] = None,
    state: State = None,
) -> None:
    """Let an explorer ask, or give it a new key, which is printed once and kept nowhere."""
    from unica_sdk.environment import exploring
    from unica_sdk.environment.layout import locate

    say(exploring.add(locate(state), name, port=port))


@explorer.command("remove")
def explorer_remove(name: Annotated[str, typer.Argument()], state: State = None) -> None:
    """Take an explorer's key away, at once."""
    from unica_sdk.environment import exploring
    from unica_sdk.environment.layout import locate

    say(exploring.remove(locate(state), name))


@explorer.command("list")
def explorer_list(state: State = None) -> None:
    """Say where the endpoint listens, and who may ask."""
    from unica_sdk.environment import exploring
    from unica_sdk.environment.layout import locate

    say(exploring.show(locate(state)))


@audit.command("verify")
def audit_verify(state: State = None) -> None:
    """Verify the chains of the hub's and every local node's audit, and that they agree about each other."""
    from unica_sdk.environment import operator
    from unica_sdk.environment.layout import locate

    for line in operator.verify_audits(locate(state)):
        say(line)
