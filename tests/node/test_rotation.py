"""Changing the site key: nothing of the old one is left, nobody's word is lost, and a kill does no harm."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dicom_files import write_clinical, write_collection, write_dicom
from node_people import People
from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.errors import ConfigurationError, Unavailable
from unica_sdk.federation.ports import Refusal
from unica_sdk.node import cohort, rotation
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.answers import Answerer
from unica_sdk.node.consent import ConsentRegistry, Mode
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import cases_of, prepare_cases
from unica_sdk.node.ingest import ingest
from unica_sdk.node.rotation import rotate
from unica_sdk.node.site import LocalSite
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CohortQuery, Refused, Released
from unica_sdk.schemas.exchange import CountQuestion
from unica_sdk.schemas.job import FailureCode

PATIENTS = 12
WORDS: dict[str, Any] = {"title": "t", "description": "d", "synthetic": True}


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> NodeHome:
    folder = tmp_path_factory.mktemp("rotation")
    home = NodeHome.create(folder / "gr", site="gr", name="x", country="GR")
    images, clinical = write_collection(folder / "source", patients=PATIENTS)
    ingest(home, images, dataset="one", clinical=clinical, **WORDS)
    other, _ = write_collection(folder / "other", patients=3, first=100)
    ingest(home, other, dataset="two", **WORDS)
    registry = ConsentRegistry.of(home)
    registry.withdraw(["P0001", "P0002"])
    registry.add(["P0002"], dataset="one")
    registry.declare("two", Mode.OPT_IN)
    registry.add(["P0100"])
    return home


@pytest.fixture
def home(_made: NodeHome, tmp_path: Path) -> NodeHome:
    """A node with 12 people in one dataset, one of them withdrawn, and 3 in another, one consenting."""
    folder = shutil.copytree(_made.folder, tmp_path / "gr")
    # The copies are named by where they are.
    moved = NodeHome.open(folder)
    for source in json.loads((folder / "sources.json").read_bytes())["sources"]:
        clinical = Path(source["clinical"]) if source["clinical"] else None
        words = {"dataset": source["dataset"], "clinical": clinical, **WORDS}
        ingest(moved, Path(source["folder"]), reread=True, **words)
    return moved


def _everyone(home: NodeHome) -> set[str]:
    with open_admitted(home) as index:
        assert cohort.count(index, CohortQuery()) == PATIENTS
        return {patient for (patient,) in index.rows("SELECT patient FROM patient")}


def _version(home: NodeHome) -> int:
    with open_admitted(home) as index:
        return index.version


def _freeze(home: NodeHome) -> cohort.FrozenList:
    with open_admitted(home) as index:
        frozen = cohort.freeze(home, index, CohortQuery(), permit="p", holder="alice", datasets=("one",))
    return cohort.store(home, frozen)


def test_everything_hangs_on_the_new_key_and_nothing_on_the_old(home: NodeHome) -> None:
    people, before, frozen = _everyone(home), _version(home), _freeze(home)
    old, names = home.site_key(), {p.name for p in (home.folder / "store").rglob("*.dcm")}
    reports = rotate(home)
    assert [report.indexed for report in reports] == [PATIENTS, 3]
    assert home.site_key().name("x", b"") != old.name("x", b"")
    assert _everyone(home).isdisjoint(people)
    assert _version(home) > before
    assert list(home.snapshot_folder.iterdir()) == []
    assert names.isdisjoint({p.name for p in (home.folder / "store").rglob("*.dcm")})
    with pytest.raises(Exception, match="no such frozen"):
        cohort.load(home, frozen.id)
    registry = ConsentRegistry.of(home)
    said = [(e.identifier, e.dataset, e.word) for e in registry.entries()]
    assert said == [
        ("P0001", None, "withdraw"),
        ("P0002", None, "withdraw"),
        ("P0002", "one", "add"),
        ("P0100", None, "add"),
    ]
    assert registry.state().mode("two") is Mode.OPT_IN
    leftovers = {"rotation", "rotation.json"} & {p.name for p in home.folder.iterdir()}
    assert leftovers == set()
    # The index and the registry, byte by byte: no name by the old key. (The audit keeps what it recorded.)
    for file in [*home.index_folder.iterdir(), registry.path]:
        assert not any(person.encode() in file.read_bytes() for person in people)
    registry.withdraw(["P0003"])
    with open_admitted(home) as index:
        assert cohort.count(index, CohortQuery()) == PATIENTS - 1
    assert home.audit.verify() > 0


def test_an_old_snapshot_put_back_is_not_accepted(home: NodeHome) -> None:
    frozen = _freeze(home)
    rotate(home)
    cohort.store(home, frozen)
    with pytest.raises(Exception, match="changed after it was made"):
        cohort.load(home, frozen.id)


ROTATE = """
import sys, os
from pathlib import Path
import unica_sdk.node.rotation as rotation, unica_sdk.node.index as index
at, home = int(sys.argv[2]), Path(sys.argv[1])
# Die at the n-th thing that is renamed, removed or created under the node's folder.
count = 0
def hook(event, args):
    global count
    made = event == "open" and args[2] & os.O_CREAT
    if made or event in ("os.rename", "os.remove", "shutil.rmtree", "os.mkdir"):
        if str(home) in str(args[0]) or event == "os.remove":
            count += 1
            if count == at:
                print("dying", event, args[0], flush=True)
                os._exit(9)
sys.addaudithook(hook)
rotation.rotate(rotation.NodeHome.open(home), workers=1)
print("done", count, flush=True)
"""


def _die(home: NodeHome, at: int) -> int:
    command = [sys.executable, "-c", ROTATE, str(home.folder), str(at)]
    return subprocess.run(command, capture_output=True, timeout=240).returncode


@pytest.mark.parametrize("at", [6, 10, 11, 12, 13, 14, 17, 19, 20, 22, 31, 39, 50])
def test_a_rotation_killed_anywhere_is_done_by_the_next(home: NodeHome, at: int) -> None:
    before = _version(home)
    frozen = _freeze(home)
    code = _die(home, at)
    answer = Answerer(home).answer(CountQuestion(id="q", query={})).count
    if (home.folder / "rotation.json").exists():
        assert code == 9
        # Nobody reads by either key, and nobody's word is lost on the way.
        assert answer == Refused(site="gr", code="unavailable")
        with pytest.raises(Unavailable):
            open_admitted(home)
        with pytest.raises((Unavailable, ConfigurationError)):
            ConsentRegistry.of(home).withdraw(["P0005"])
    else:
        assert isinstance(answer, Released)
        assert cohort.load(home, frozen.id) == frozen
    rotate(home)
    assert len(_everyone(home)) == PATIENTS
    assert _version(home) > before
    assert not (home.folder / "rotation.json").exists()
    assert {e.identifier for e in ConsentRegistry.of(home).entries()} == {"P0001", "P0002", "P0100"}


def test_what_was_ingested_after_a_rotation_was_cut_short_is_not_lost(
    home: NodeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(home: NodeHome) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rotation, "_swap", cut_short)
    with pytest.raises(KeyboardInterrupt):
        rotate(home)
    monkeypatch.undo()
    images, _ = write_collection(tmp_path / "more", patients=2, first=700)
    ingest(home, images, dataset="more", **WORDS)
    rotate(home)
    with open_admitted(home) as index:
        assert cohort.count(index, CohortQuery()) == PATIENTS + 2


def test_a_folder_that_is_gone_keeps_the_key(home: NodeHome, tmp_path: Path) -> None:
    sources = home.folder / "sources.json"
    content = json.loads(sources.read_bytes())
    key = (home.folder / "site.key").read_bytes()
    for change in (
        {"folder": str(tmp_path / "gone")},
        {"clinical": str(tmp_path / "gone.csv")},
        {"mapping": str(tmp_path / "gone.toml")},
    ):
        changed = {"sources": [{**content["sources"][0], **change}, *content["sources"][1:]]}
        sources.write_text(json.dumps(changed))
        with pytest.raises(ConfigurationError, match="the key stays"):
            rotate(home)
    sources.write_text(json.dumps({"sources": content["sources"][:1]}))
    with pytest.raises(ConfigurationError, match="the key stays"):
        rotate(home)
    assert (home.folder / "site.key").read_bytes() == key
    assert len(_everyone(home)) == PATIENTS


def test_a_node_without_anything_rotates_too(tmp_path: Path) -> None:
    home = NodeHome.create(tmp_path / "lt", site="lt", name="x", country="LT")
    before = home.site_key().digest("x", b"")
    assert rotate(home) == []
    assert home.site_key().digest("x", b"") != before


def test_a_rotation_ingests_with_the_mapping_of_the_ingest(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=2)
    rows = [{"id": "P0000", "result": "all clear"}, {"id": "P0001", "result": "cancer"}]
    table = write_clinical(tmp_path / "mapped.csv", rows)
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        'patient = "id"\n[fields.outcome]\ncolumn = "result"\n'
        'values = { "all clear" = "negative", cancer = "screen_detected" }\n'
    )
    ingest(empty_node, images, dataset="one", clinical=table, mapping=mapping, **WORDS)
    rotate(empty_node)
    with open_admitted(empty_node) as index:
        assert cohort.count(index, CohortQuery(outcome=("screen_detected",))) == 1


# -- consent where jobs read, and the command line


def test_a_job_gets_no_case_of_those_who_withdrew_since(
    node: NodeHome, people: People, manifest: AppManifest
) -> None:
    from test_node_site import Message

    message = Message(node=node, people=people, manifest=manifest)
    admission = message.send()
    site = LocalSite(node)
    everybody = site.cases(admission, manifest)
    registry = ConsentRegistry.of(node)
    registry.withdraw([f"P{n:04d}" for n in range(8)])
    with open_admitted(node) as index:
        frozen = cohort.load(node, admission.snapshot)
        assert len(frozen.patients) == 88
        cases = cases_of(index, frozen, manifest)
        assert {case.patient for case in cases}.isdisjoint(registry.pseudonym(f"P{n:04d}") for n in range(8))
        assert prepare_cases(node, index, frozen, manifest).people.all == 80
    left = site.cases(admission, manifest)
    assert (len(everybody.labels), len(left.labels)) == (88, 80)
    last = list(node.audit.entries())[-1]
    assert (last.action, last.detail["withheld"], last.detail["patients"]) == ("cases", 8, 80)
    # A later message of the same job is admitted with the number that is left, until too few are.
    assert message.send().cases == Released(site="gr", n=80, low=78, high=82, index_version=2)
    registry.withdraw([f"P{n:04d}" for n in range(8, 45)])
    with pytest.raises(Refusal) as refused:
        message.send()
    assert refused.value.code is FailureCode.TOO_FEW_CASES
    registry.add([f"P{n:04d}" for n in range(45)])
    assert len(site.cases(message.send(), manifest).labels) == 88


def test_an_opt_in_dataset_trains_on_recorded_consent_only(
    node: NodeHome, people: People, manifest: AppManifest
) -> None:
    from test_node_site import Message

    message = Message(node=node, people=people, manifest=manifest)
    admission = message.send()
    registry = ConsentRegistry.of(node)
    registry.declare("screening", Mode.OPT_IN)
    with pytest.raises(Refusal) as refused:
        message.send()
    assert refused.value.code is FailureCode.TOO_FEW_CASES
    registry.add([f"P{n:04d}" for n in range(60)])
    message.frozen = {}
    assert len(LocalSite(node).cases(admission, manifest).labels) == 60


def test_the_command_line_takes_identifiers_from_a_file_or_standard_input_alone(
    node: NodeHome, tmp_path: Path
) -> None:
    run = CliRunner().invoke
    where = ["--home", str(node.folder)]
    listed = tmp_path / "people.txt"
    listed.write_text("\ufeffP0001\r\n\r\n P0002 \r\n", encoding="utf-8")
    said = run(app, ["node", "consent", "withdraw", *where, str(listed)])
    assert (said.exit_code, "withdrawal of 2 people" in said.output, "P0001" in said.output) == (
        0,
        True,
        False,
    )
    again = run(app, ["node", "consent", "add", *where, "--dataset", "screening"], input="P0002\n")
    assert again.exit_code == 0
    declared = run(app, ["node", "consent", "declare", "screening", "opt-in", *where])
    assert (declared.exit_code, "opt_in" in declared.output) == (0, True)
    shown = json.loads(run(app, ["node", "consent", "list", *where, "--json"]).output)
    assert shown["datasets"] == {"screening": "opt_in"}
    assert [(p["identifier"], p["dataset"], p["word"]) for p in shown["people"]] == [
        ("P0001", None, "withdraw"),
        ("P0002", None, "withdraw"),
        ("P0002", "screening", "add"),
    ]
    one = run(app, ["node", "consent", "list", *where, "-"], input="\ufeffP0001\r\n").output
    assert ("P0001" in one, "P0002" in one) == (True, False)
    assert run(app, ["node", "consent", "withdraw", *where], input="\n").exit_code == 1
    assert "no image" not in said.output
    audit = (node.folder / "audit.jsonl").read_text()
    assert not any(name in audit for name in ("P0001", "P0002"))


@pytest.mark.parametrize(
    ("named", "dataset", "says"),
    [
        ("P0003\nP00O4\n", [], "1 of these 2 have no image in the index now."),
        ("P0003\n", ["--dataset", "sreening"], "1 of these 1 have no image in the dataset sreening now."),
        ("P0003\n", ["--dataset", "screening"], ""),
    ],
)
def test_a_word_that_concerns_nobody_here_is_recorded_and_said_to(
    node: NodeHome, named: str, dataset: list[str], says: str
) -> None:
    words = ["node", "consent", "withdraw", "--home", str(node.folder), *dataset]
    said = " ".join(CliRunner().invoke(app, words, input=named).output.split())
    assert "Recorded the withdrawal" in said
    assert (says in said) and ("no image" in said) is bool(says)
    assert ConsentRegistry.of(node).revision() == 1


def test_what_looks_like_markup_is_shown_as_it_is(empty_node: NodeHome, tmp_path: Path) -> None:
    """A stranger's word must not end a command with a traceback after all was done."""
    write_dicom(tmp_path / "d" / "1.dcm", patient="[/b]", number=1)
    (tmp_path / "d" / "[bold].txt").write_text("no image")
    table = write_clinical(
        tmp_path / "c.csv", [{"patient_id": "[/b]", "outcome": "[/b]", "diagnosis": "none"}]
    )
    run, where = CliRunner().invoke, ["--home", str(empty_node.folder)]
    words = ["node", "ingest", str(tmp_path / "d"), *where, "--dataset", "one", "--clinical", str(table)]
    done = run(app, words)
    assert (done.exit_code, "[/b]" in done.output, "[bold].txt" in done.output) == (0, True, True)
    run(app, ["node", "consent", "add", *where], input="[/b]\n")
    shown = run(app, ["node", "consent", "list", *where])
    assert (shown.exit_code, "[/b]" in shown.output) == (0, True)


def test_the_command_line_prints_templates_and_rotates(home: NodeHome, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert "birads" in run(app, ["node", "template", "breast"]).output
    assert run(app, ["node", "template", "../x"]).exit_code == 1
    before = (home.folder / "site.key").read_bytes()
    assert run(app, ["node", "key", "rotate", "--home", str(home.folder)], input="n\n").exit_code == 1
    assert (home.folder / "site.key").read_bytes() == before
    done = run(app, ["node", "key", "rotate", "--home", str(home.folder), "--yes"])
    assert (done.exit_code, "ingested again" in done.output) == (0, True)
    assert (home.folder / "site.key").read_bytes() != before
    assert (home.folder / "site.key").stat().st_mode & 0o777 == 0o600
