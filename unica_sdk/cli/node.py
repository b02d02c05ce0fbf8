"""A data holder's node: `unica node …`, with `consent` and `key` below it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unica_sdk.cli.common import AsJson, Home, say
from unica_sdk.errors import InvalidRequest

node = typer.Typer(no_args_is_help=True, help="A data holder's node.")
consent = typer.Typer(no_args_is_help=True, help="What people and datasets say about consent.")
key = typer.Typer(no_args_is_help=True, help="The site key, on which every pseudonym hangs.")
node.add_typer(consent, name="consent")
node.add_typer(key, name="key")

People = Annotated[Path, typer.Argument(help="A file with an identifier on each line; - is standard input.")]
About = Annotated[str | None, typer.Option("--dataset", help="Of this dataset only; else of everything.")]


@node.command("init")
def node_init(
    folder: Annotated[Path, typer.Argument(help="The node's folder; made where it is not there.")],
    site: Annotated[str, typer.Option(help="Short and lower-case, for example `gr`.")],
    name: Annotated[str, typer.Option(help="What people call the site.")],
    country: Annotated[str, typer.Option(help="Two capital letters, ISO 3166.")],
) -> None:
    """Make a node's folder with its keys and policy, and print what the hub's operator enters."""
    from unica_sdk.node.home import NodeHome

    home = NodeHome.create(folder.expanduser().resolve(), site=site, name=name, country=country)
    typer.echo(home.enrolment().model_dump_json(indent=2))


@node.command("ingest")
def node_ingest(
    folder: Annotated[Path, typer.Argument(help="Where the DICOM files are.")],
    home: Home,
    dataset: Annotated[str, typer.Option(help="Short and lower-case; with the site it is the dataset's id.")],
    title: Annotated[str | None, typer.Option(help="What people read in the catalogue.")] = None,
    description: Annotated[str | None, typer.Option()] = None,
    clinical: Annotated[
        Path | None, typer.Option(help="CSV, Parquet, FHIR bundle, or a folder of them.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Which column means what: `unica node template`.")
    ] = None,
    about: Annotated[
        Path | None, typer.Option(help="What people say of the dataset, TOML: `unica node about`.")
    ] = None,
    no_clinical: Annotated[
        bool, typer.Option("--no-clinical", help="Without the clinical table of last time.")
    ] = False,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Whether the images are of nobody.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; as many as are worth it.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Scan on your own dask cluster instead: tcp://HOST:8786.")
    ] = None,
    reread: Annotated[
        bool, typer.Option("--reread", help="Read files again that seem unchanged: finds flipped bits.")
    ] = False,
    emptied: Annotated[
        bool, typer.Option("--emptied", help="The folder is empty now, and is meant to be.")
    ] = False,
    prepare: Annotated[
        list[str] | None,
        typer.Option(help="ROWSxCOLUMNS of prepared images, instead of node.toml's; repeat it, or say none."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check, de-identify and index a folder of DICOM files, and publish the version that results.

    The folder is only ever read. Run it again at any time: it reads what changed, and goes on where it was
    stopped; title, clinical table and the like are those of last time unless you say others. What it leaves
    out is in the quarantine list, with the reason; the quality report is a page.
    """
    from unica_sdk.environment.ingesting import ingest_folder

    ingest_folder(
        home.expanduser().resolve(), folder.expanduser().resolve(), dataset=dataset, title=title,
        description=description, clinical=clinical, mapping=mapping, synthetic=synthetic, workers=workers,
        scheduler=scheduler, reread=reread, prepare=tuple(prepare or ()), as_json=as_json, about=about,
        no_clinical=no_clinical, emptied=emptied,
    )  # fmt: skip


@node.command("about")
def node_about() -> None:
    """Print a description to fill in: what people must say of a dataset. See `unica node ingest --about`."""
    from unica_sdk.node.about import About, text_of

    typer.echo(text_of(About()), nl=False)


@node.command("record")
def node_record(
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset, and its record in full.")] = None,
    home: Annotated[Path | None, typer.Option("--home", help="The node's folder.")] = None,
    as_json: AsJson = False,
    jsonld: Annotated[bool, typer.Option("--jsonld", help="Print the record as JSON-LD.")] = False,
    turtle: Annotated[bool, typer.Option("--turtle", help="Print the record as Turtle.")] = False,
    check: Annotated[
        Path | None, typer.Option(help="Validate this record instead, Turtle or JSON-LD.")
    ] = None,
) -> None:
    """Say how the node's records stand and what to fix. Exit code 1 where one cannot be published."""
    from unica_sdk.environment import recording

    if check is not None:
        raise typer.Exit(0 if recording.check(check) else 1)
    if home is None:
        raise InvalidRequest("Say which node: --home HOME, or --check FILE for a record of your own.")
    form: recording.Form | None = "jsonld" if jsonld else "turtle" if turtle else "json" if as_json else None
    raise typer.Exit(0 if recording.show(home.expanduser().resolve(), dataset, form=form) else 1)


@node.command("export")
def node_export(
    folder: Annotated[Path, typer.Argument(help="Where the Parquet files go.")], home: Home
) -> None:
    """Write the index as Parquet for the site's own tools: exact, pseudonymous, what consent admits."""
    from unica_sdk.node.export import export_parquet
    from unica_sdk.node.home import NodeHome

    written = export_parquet(NodeHome.open(home.expanduser().resolve()), folder.expanduser().resolve())
    say(f"Wrote {', '.join(path.name for path in written)}. They are personal data: keep them at the site.")


@node.command("template")
def node_template(
    name: Annotated[str, typer.Argument(help="breast, fhir, lung, prostate or screening_negative.")],
) -> None:
    """Print a mapping of clinical data, to be adapted to one's own table."""
    from unica_sdk.node.clinical import template

    typer.echo(template(name), nl=False)


@consent.command("add")
def consent_add(home: Home, people: People = Path("-"), dataset: About = None) -> None:
    """Record that people consent, or take a withdrawal back."""
    from unica_sdk.environment import consenting

    say(consenting.say(home.expanduser().resolve(), "add", people, dataset=dataset))


@consent.command("withdraw")
def consent_withdraw(home: Home, people: People = Path("-"), dataset: About = None) -> None:
    """Record that people withdraw: from the next answer and the next message of a job on."""
    from unica_sdk.environment import consenting

    say(consenting.say(home.expanduser().resolve(), "withdraw", people, dataset=dataset))


@consent.command("list")
def consent_list(
    home: Home,
    people: Annotated[
        Path | None, typer.Argument(help="Only those in this file; - is standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List people's last words by the hospital's identifiers, and what the datasets declare."""
    from unica_sdk.environment import consenting

    consenting.show(home.expanduser().resolve(), people, as_json=as_json)


@consent.command("declare")
def consent_declare(
    dataset: Annotated[str, typer.Argument(help="The dataset's short name.")],
    mode: Annotated[str, typer.Argument(help="opt_out, opt_in or altruism.")],
    home: Home,
) -> None:
    """Declare how people come to be in a dataset: all but those who withdraw, or those who consent."""
    from unica_sdk.environment import consenting

    say(consenting.declare(home.expanduser().resolve(), dataset, mode))


@key.command("rotate")
def key_rotate(
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Change the site key: all is ingested again, frozen cohorts end. Cut short, run it again."""
    from unica_sdk.environment import consenting

    if not yes:
        typer.confirm(
            "Frozen cohorts end, and the node answers nothing until all is ingested. Go on?", abort=True
        )
    say(consenting.change_key(home.expanduser().resolve()))


@node.command("trust")
def node_trust(
    home: Home,
    steward: Annotated[str, typer.Option(help="The steward's public key, 64 hex digits.")],
    gateway: Annotated[str, typer.Option(help="The gateway's public key, 64 hex digits.")],
) -> None:
    """Pin the keys whose permits and tickets this site accepts."""
    from unica_sdk.environment.steward import read_public_key
    from unica_sdk.node.home import NodeHome

    keys = [read_public_key(text).public_bytes_raw() for text in (steward, gateway)]
    NodeHome.open(home.expanduser().resolve()).pin(*keys)
    say("Pinned both keys.")


@node.command("approve")
def node_approve(
    app_digest: Annotated[str, typer.Argument(help="sha256:… of the bundle.")], home: Home
) -> None:
    """Approve an app at this site by the SHA-256 of its bundle."""
    from unica_sdk.node.home import NodeHome

    NodeHome.open(home.expanduser().resolve()).approve(app_digest)
    say(f"Approved {app_digest}.")


@node.command("policy")
def node_policy(
    home: Annotated[Path | None, typer.Option("--home", help="The node's folder; else the default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a site insists on, how far off its counts are, and how well a person is protected."""
    from unica_sdk.environment import protecting

    protecting.show(home.expanduser().resolve() if home else None, as_json=as_json)


@node.command("run")
def node_run(
    home: Home,
    gateway: Annotated[str, typer.Option(help="The gateway's address for nodes.")],
    engine: Annotated[str, typer.Option(help="Host and port of the engine.")],
    certificate: Annotated[Path, typer.Option(help="The engine's certificate, a PEM file.")],
) -> None:
    """Connect this node to the hub, and stay connected until told to stop."""
    from unica_sdk.environment.node_process import run_node_process

    folder = home.expanduser().resolve()
    raise typer.Exit(run_node_process(folder, gateway=gateway, engine=engine, certificate=certificate))
