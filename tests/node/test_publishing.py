"""A node's records: what people say, what the index says, and that only good ones are pushed."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicom_files import write_collection, write_dicom
from node_people import ABOUT
from typer.testing import CliRunner

from unica_sdk.audit import AuditLog
from unica_sdk.cli import app
from unica_sdk.errors import AuditBroken, ConfigurationError, DataError
from unica_sdk.node import about as abouts
from unica_sdk.node.about import About, load, read_about, say, text_of
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.agent import Agent
from unica_sdk.node.catalogue import described, measure
from unica_sdk.node.consent import ConsentRegistry, Mode
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.node.publishing import RecordKeeper
from unica_sdk.records import documents
from unica_sdk.records.graph import dataset_graph
from unica_sdk.records.validation import problems, required
from unica_sdk.schemas.catalogue import AccessBody
from unica_sdk.schemas.cohort import Released, Suppressed

QUIET = {"noise": 2.5, "person_budget": 6, "site_budget": 6}
"""Settings under which the noise is small, and one record can be paid for."""


def actions(home: NodeHome) -> list[str]:
    return [entry.action for entry in home.audit.entries()]


def take_in(home: NodeHome, folder: Path, *, dataset: str = "more", people: int = 1, **tags: Any) -> None:
    for number in range(people):
        write_dicom(folder / f"{number}", patient=f"Q{number}", number=5000 + number, **tags)
    ingest(home, folder, dataset=dataset, title="More", description="Synthetic.", synthetic=True)


# -- what people say


def test_a_dataset_says_more_than_the_site_and_what_is_empty_says_nothing(node: NodeHome) -> None:
    say(node, "screening", About(contact="https://unit.example", publisher=""))
    said = read_about(node, "screening")
    assert (said.contact, said.provenance) == ("https://unit.example", ABOUT.provenance)
    assert read_about(node, "another") == ABOUT


def test_a_description_is_written_as_toml_that_reads_back(tmp_path: Path) -> None:
    about = About(
        title='Quote " and \\ and \x7f', keywords=("b", "a"), collection_method="longitudinal",
        access_body=AccessBody(name="Body", contact="body@access.example"),
    )  # fmt: skip
    for written in (about, About()):
        (tmp_path / "about.toml").write_text(text_of(written), encoding="utf-8")
        assert load(tmp_path / "about.toml") == written


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title = ", "not TOML"),
        ("patients = 800", "patients"),
        ('collection_method = "by hand"', "case_control"),
        ('legal_basis = "because"', "public_interest"),
        ('condition = "flu"', "breast_cancer"),
        ("title = 5", "title"),
        ("[access_body]\nname = ''", "access_body"),
    ],
)
def test_what_cannot_be_said_is_a_sentence_that_names_it(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "about.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load(tmp_path / "about.toml")


# -- what the index says


def test_a_demonstration_like_record_says_everything_and_is_valid(node: NodeHome, set_policy: Any) -> None:
    set_policy(node, **QUIET)
    say(node, "screening", About(condition="breast_cancer", keywords=("screening", "phantom")))
    (record,) = RecordKeeper(node).current().records
    assert required(problems([record]).get(record.id, ())) == ()
    assert (record.publisher, record.country, record.contact) == ("Aegean Breast Centre", "GR", ABOUT.contact)
    assert (record.modalities, record.body_parts, record.sexes) == (("MG",), ("breast",), ("female",))
    assert record.conditions == ("none",), "those with a cancer are too few to name it: people say it"
    assert {"outcome", "diagnosis"} <= set(record.variables)
    assert record.tier == 2
    assert any("DICOM-SEG" in what for what in record.missing)
    graph = dataset_graph(record)
    assert set(documents.from_jsonld(documents.to_jsonld(graph))) == set(graph)


def test_the_condition_is_the_one_cancer_of_the_index_or_what_people_say(
    node: NodeHome, set_policy: Callable[..., None]
) -> None:
    set_policy(node, threshold=3, noise=1.0, site_budget=1, person_budget=1)
    with open_admitted(node) as index:
        (info,) = index.datasets()
        measures = measure(index, info, site="gr", policy=node.policy(), key=node.site_key())
    assert described(measures, info, About(), site="gr").condition == "breast_cancer"
    said = About(condition="lung_cancer")
    assert described(measures, info, said, site="gr").condition == "lung_cancer"


def test_a_word_of_few_people_is_not_named_and_many_studies_of_one_person_count_little(
    empty_node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    set_policy(empty_node, threshold=10, rounding=1, noise=1.0, site_budget=1, person_budget=1)
    for person in range(60):
        maker = "RARE" if person < 10 else "COMMON"
        write_dicom(tmp_path / f"{person}", patient=f"P{person}", number=person, Manufacturer=maker)
    for number in range(60):
        write_dicom(tmp_path / f"s{number}", patient="P59", number=100 + number, Manufacturer="COMMON")
    ingest(empty_node, tmp_path, dataset="d", title="t", description="d", synthetic=True)
    with open_admitted(empty_node) as index:
        (info,) = index.datasets()
        policy, key = empty_node.policy(), empty_node.site_key()
        measures = measure(index, info, site="lt", policy=policy, key=key)
    assert measures.manufacturers == ("common",)
    assert isinstance(measures.patients, Released)
    # Of sixty-one studies of one person four are counted: 59 + 4 of 120.
    assert isinstance(measures.studies, Released)
    assert measures.studies.low <= 63 <= measures.studies.high < 90


def test_words_outside_the_vocabulary_keep_a_dataset_at_the_first_tier_when_many_people_have_them(
    empty_node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    set_policy(empty_node, noise=4.0, site_budget=16, person_budget=6)
    say(empty_node, None, ABOUT)
    take_in(empty_node, tmp_path / "a", people=90)
    assert RecordKeeper(empty_node).current().records[0].tier == 2
    for number in range(90):
        write_dicom(
            tmp_path / "a" / f"h{number}", patient=f"Q{number}", number=9000 + number, BodyPartExamined="HEAD"
        )
    ingest(empty_node, tmp_path / "a", dataset="more", title="t", description="d", synthetic=True)
    (record,) = RecordKeeper(empty_node).current().records
    assert record.tier == 1
    assert "unica vocabulary doctor" in record.missing[0]
    assert not any(character.isdigit() for what in record.missing for character in what)


# -- pushed or kept back


def test_an_invalid_record_stays_here_and_says_what_to_fix(
    empty_node: NodeHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take_in(empty_node, tmp_path / "a")
    with caplog.at_level(logging.WARNING):
        published = RecordKeeper(empty_node).current()
    assert published.records == ()
    assert published.state_of("lt/more") == "none"
    assert {"dct:provenance", "dcat:accessURL"} <= {p.property for p in published.problems if p.required}
    assert "provenance" in caplog.text
    (entry,) = [e for e in empty_node.audit.entries() if e.action == "record_kept_back"]
    assert "dct:provenance" in entry.detail["problems"]
    assert entry.detail["pushed_version"] is None


def test_the_last_good_record_stays_pushed_until_the_description_is_right_again(
    node: NodeHome, tmp_path: Path
) -> None:
    keeper = RecordKeeper(node)
    (good,) = keeper.current().records
    say(node, None, About(contact=""))
    published = keeper.current()
    assert published.records == (good,)
    assert published.drafts != (good,)
    assert published.state_of("gr/screening") == "older"
    assert RecordKeeper(node).current().records == (good,), "also after the node was started anew"
    (node.folder / "about.toml").write_text("title = ")
    (problem,) = [p for p in keeper.current().problems if p.required]
    assert (problem.property, "not TOML" in problem.text) == ("about.toml", True)
    assert keeper.current().records == (good,)
    say(node, None, ABOUT.model_copy(update={"provenance": "Better said."}))
    (better,) = keeper.current().records
    assert better.provenance == "Better said."
    assert better.patients == good.patients


def test_one_bad_record_keeps_no_other_back(node: NodeHome, tmp_path: Path) -> None:
    take_in(node, tmp_path / "more")
    (node.folder / "about").mkdir(exist_ok=True)
    (node.folder / "about" / "more.toml").write_text("oops")
    published = RecordKeeper(node).current()
    assert [record.id for record in published.records] == ["gr/screening"]
    assert [published.state_of(draft.id) for draft in published.drafts] == ["none", "good"]


def test_asking_again_does_nothing_and_a_change_is_in_the_audit(node: NodeHome) -> None:
    keeper = RecordKeeper(node)
    keeper.current()
    length = len(actions(node))
    assert keeper.current() is keeper.current()
    assert RecordKeeper(node).current() == keeper.current()
    assert len(actions(node)) == length
    say(node, "screening", About(keywords=("anew",)))
    keeper.current()
    assert actions(node)[length:] == ["record"]


def test_an_opt_out_gives_no_new_draw_of_the_noise_and_another_version_does(
    node: NodeHome, tmp_path: Path, set_policy: Callable[..., None]
) -> None:
    keeper = RecordKeeper(node)
    (before,) = keeper.current().records
    registry = ConsentRegistry.of(node)
    for number in range(6):
        registry.withdraw([f"P{number:04d}"])
        assert keeper.current().records == (before,)
        assert RecordKeeper(node).current().records == (before,)
    take_in(node, tmp_path / "more")
    after = next(r for r in keeper.current().records if r.id == before.id)
    assert after.index_version == before.index_version + 7
    registry.declare("screening", Mode.OPT_IN)
    closed = next(r for r in keeper.current().records if r.id == before.id)
    assert isinstance(closed.patients, Suppressed)
    set_policy(node, threshold=20)
    assert keeper.current().records != (closed,)


def test_without_an_audit_nothing_new_is_published(node: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: AuditLog, **entry: Any) -> None:
        raise AuditBroken("The disk is full.")

    monkeypatch.setattr(AuditLog, "append", broken)
    with pytest.raises(AuditBroken):
        RecordKeeper(node).current()
    assert not (node.folder / "records" / "good.json").exists()


def test_kept_records_that_are_none_are_an_error_not_an_empty_catalogue(node: NodeHome) -> None:
    RecordKeeper(node).current()
    (node.folder / "records" / "good.json").write_text("{")
    with pytest.raises(DataError, match="kept records"):
        RecordKeeper(node).current()


def test_a_node_without_data_has_nothing_to_push(empty_node: NodeHome) -> None:
    published = RecordKeeper(empty_node).current()
    assert (published.records, published.drafts, published.problems) == ((), (), ())


def test_what_is_kept_is_the_owners_alone(node: NodeHome) -> None:
    RecordKeeper(node).current()
    for path in (node.folder / "records").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_agent_pushes_good_records_only(node: NodeHome, tmp_path: Path) -> None:
    import httpx

    take_in(node, tmp_path / "more")
    (node.folder / "about").mkdir(exist_ok=True)
    (node.folder / "about" / "more.toml").write_text("oops")
    with httpx.Client() as client:
        assert [record.id for record in Agent(node, client).record()] == ["gr/screening"]


# -- the command line


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["node", *map(str, arguments)])
    return result.exit_code, result.output if not result.exception or result.exit_code == 1 else repr(result)


def test_an_operator_fills_in_a_description_and_sees_the_record_go_out(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    images, _ = write_collection(tmp_path / "images", patients=3)
    home = ("--home", empty_node.folder)
    code, told = run("ingest", images, *home, "--dataset", "scr", "--title", "T", "--description", "D")
    assert code == 0
    assert "cannot be published yet" in told
    assert "`provenance`" in told
    code, told = run("record", *home)
    assert (code, "not published" in told, "`provenance`" in told) == (1, True, True)
    template = run("about")[1]
    for name, value in (
        ("contact", '"a@b.example"'),
        ("provenance", '"Drawn."'),
        ("collection_method", '"case_control"'),
        ("keywords", '["phantom"]'),
    ):
        template = template.replace(
            f"\n{name} = {'[]' if name == 'keywords' else chr(34) * 2}", f"\n{name} = {value}"
        )
    (tmp_path / "mine.toml").write_text(template)
    code, told = run("ingest", images, *home, "--dataset", "scr", "--title", "T", "--description", "D",
                     "--about", tmp_path / "mine.toml")  # fmt: skip
    assert (code, "cannot be published" in told) == (0, False)
    assert (empty_node.folder / abouts.FOLDER / "scr.toml").read_text() == template
    code, told = run("record", *home)
    assert (code, "published" in told) == (0, True)
    record = json.loads(run("record", "scr", *home, "--json")[1])
    assert record["collection_method"] == "case_control"
    graph = documents.from_jsonld(run("record", "lt/scr", *home, "--jsonld")[1])
    assert set(graph) == set(documents.from_turtle(run("record", "scr", *home, "--turtle")[1]))
    assert run("record", "none", *home)[0] == 1


def test_a_description_that_is_none_stops_the_ingest_before_it_reads(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text("patients = 3")
    code, _ = run(
        "ingest", tmp_path, "--home", empty_node.folder, "--dataset", "d", "--about", tmp_path / "bad.toml"
    )
    assert code == 1
    assert "ingest" not in actions(empty_node)


def test_anybodys_record_can_be_checked(node: NodeHome, tmp_path: Path) -> None:
    (record,) = RecordKeeper(node).current().records
    good, bad = tmp_path / "good.ttl", tmp_path / "bad.jsonld"
    good.write_text(documents.to_turtle(dataset_graph(record)))
    bad.write_text(
        json.dumps(documents.to_jsonld(dataset_graph(record.model_copy(update={"provenance": ""}))))
    )
    assert run("record", "--check", good)[0] == 0
    code, told = run("record", "--check", bad)
    assert (code, "dct:provenance" in told) == (1, True)
    assert run("record", "--check", tmp_path / "none.ttl")[0] == 1
    assert run("record")[0] == 1
