"""`unica …` in a terminal: the environment, and the work of operators, stewards, auditors and researchers.

Runs wherever a terminal is. May see what its user may see. Must never show a secret, nor leave a traceback
where a sentence would do.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from unica_sdk.errors import ConfigurationError, InvalidRequest, UnicaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Federated cancer-imaging research in a secure environment.",
)
node = typer.Typer(no_args_is_help=True, help="A data holder's node.")
hub = typer.Typer(no_args_is_help=True, help="The hub's operator.")
permit = typer.Typer(no_args_is_help=True, help="The data steward: keys and signed permits.")
audit = typer.Typer(no_args_is_help=True, help="The hash-chained audit.")
explorer = typer.Typer(
    no_args_is_help=True, help="The endpoint for EUCAIM's explorer: off until a client has a key."
)
consent = typer.Typer(no_args_is_help=True, help="What people and datasets say about consent.")
key = typer.Typer(no_args_is_help=True, help="The site key, on which every pseudonym hangs.")
vocabulary = typer.Typer(no_args_is_help=True, help="The shared words for what is in the data.")
node.add_typer(consent, name="consent")
node.add_typer(key, name="key")
for name, group in (
    ("node", node), ("hub", hub), ("permit", permit), ("audit", audit), ("vocabulary", vocabulary),
    ("explorer", explorer),
):  # fmt: skip
    app.add_typer(group, name=name)

State = Annotated[
    Path | None,
    typer.Option("--state", help="The state folder. Default: $UNICA_STATE, else $XDG_STATE_HOME/unica."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Home = Annotated[Path, typer.Option("--home", help="The node's folder.")]
People = Annotated[Path, typer.Argument(help="A file with an identifier on each line; - is standard input.")]
About = Annotated[str | None, typer.Option("--dataset", help="Of this dataset only; else of everything.")]

NOT_ISOLATED = "Not isolated: a demonstration environment. The mammograms are synthetic."


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


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


# -- the embedded environment


@app.command()
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
    welcome = bring_up(layout, port=port, patients=patients, say=_say)
    table = Table(title="Sign-ins (generated)", title_justify="left")
    table.add_column("Name")
    table.add_column("Password", no_wrap=True)
    for person, password in welcome.sign_ins.items():
        table.add_row(person, password)
    _say("UNICA runs already." if welcome.already else "UNICA runs.")
    Console().print(table)
    _say(f"Address:  {welcome.address}")
    _say(f"State:    {layout.state}")
    _say(NOT_ISOLATED)
    _say("Next: unica demo · unica status · unica down")


@app.command()
def down(state: State = None) -> None:
    """End everything that runs from a state folder, whatever was killed before."""
    from unica_sdk.environment import lifecycle, service_user
    from unica_sdk.environment.layout import locate

    layout = locate(state)
    service_user.become_owner(layout)
    ended = lifecycle.stop(layout, say=_say)
    _say(f"Ended {ended} processes." if ended else "Nothing was running.")


@app.command()
def status(state: State = None, as_json: AsJson = False) -> None:
    """Say how each part stands. Exit code 0 where all run, else 3."""
    from unica_sdk.environment import lifecycle
    from unica_sdk.environment.layout import locate

    now = lifecycle.status(locate(state))
    if as_json:
        _print_json(now)
    else:
        table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
        for column in ("Part", "State", "Since", "Process", "Restarts"):
            table.add_column(column, no_wrap=True)
        table.add_column("Address", overflow="fold")
        for part in now["parts"]:
            process, restarts = str(part["pid"] or "–"), str(part["restarts"])
            since = f"{datetime.fromisoformat(part['since']).astimezone():%H:%M:%S}" if part["since"] else "–"
            table.add_row(part["name"], part["state"], since, process, restarts, part["address"])
        _say(f"UNICA is {now['state']} ({now['state_folder']}).")
        if now["parts"]:
            Console().print(table)
            _say(f"{NOT_ISOLATED} Address: {now['address']}")
    raise typer.Exit(0 if now["state"] == "running" else 3)


@app.command()
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
        _print_json([asdict(finding) for finding in findings])
    else:
        table = Table("Check", "", "Finding", "What to do")
        for finding in findings:
            table.add_row(finding.name, "ok" if finding.ok else "missing", finding.text, finding.hint)
        Console().print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
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
        _print_json(outcome.document())
    else:
        Console().print(outcome.table())
        _say(NOT_ISOLATED)
    raise typer.Exit(0 if outcome.has_result else 1)


# -- a data holder's node


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
    _say(f"Wrote {', '.join(path.name for path in written)}. They are personal data: keep them at the site.")


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

    _say(consenting.say(home.expanduser().resolve(), "add", people, dataset=dataset))


@consent.command("withdraw")
def consent_withdraw(home: Home, people: People = Path("-"), dataset: About = None) -> None:
    """Record that people withdraw: from the next answer and the next message of a job on."""
    from unica_sdk.environment import consenting

    _say(consenting.say(home.expanduser().resolve(), "withdraw", people, dataset=dataset))


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

    _say(consenting.declare(home.expanduser().resolve(), dataset, mode))


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
    _say(consenting.change_key(home.expanduser().resolve()))


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
    _say("Pinned both keys.")


@node.command("approve")
def node_approve(
    app_digest: Annotated[str, typer.Argument(help="sha256:… of the bundle.")], home: Home
) -> None:
    """Approve an app at this site by the SHA-256 of its bundle."""
    from unica_sdk.node.home import NodeHome

    NodeHome.open(home.expanduser().resolve()).approve(app_digest)
    _say(f"Approved {app_digest}.")


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


# -- the vocabulary


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


# -- the hub's operator, the steward, the auditor


@hub.command("enrol")
def hub_enrol(
    file: Annotated[Path, typer.Argument(help="What `unica node init` printed.")], state: State = None
) -> None:
    """Enter a site, or its new keys, and print the gateway's public key for the site to pin."""
    from unica_sdk.environment import operator
    from unica_sdk.environment.layout import locate

    _say(operator.enrol(locate(state), file))


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

    _say(operator.add_permit(locate(state), file))


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

    _say(exploring.add(locate(state), name, port=port))


@explorer.command("remove")
def explorer_remove(name: Annotated[str, typer.Argument()], state: State = None) -> None:
    """Take an explorer's key away, at once."""
    from unica_sdk.environment import exploring
    from unica_sdk.environment.layout import locate

    _say(exploring.remove(locate(state), name))


@explorer.command("list")
def explorer_list(state: State = None) -> None:
    """Say where the endpoint listens, and who may ask."""
    from unica_sdk.environment import exploring
    from unica_sdk.environment.layout import locate

    _say(exploring.show(locate(state)))


@audit.command("verify")
def audit_verify(state: State = None) -> None:
    """Verify the chains of the hub's and every local node's audit, and that they agree about each other."""
    from unica_sdk.environment import operator
    from unica_sdk.environment.layout import locate

    for line in operator.verify_audits(locate(state)):
        _say(line)


if __name__ == "__main__":
    main()
