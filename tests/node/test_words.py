"""The words of a node, as the vocabulary's doctor asks for them."""

import json
from pathlib import Path

import pytest
from dicom_files import write_dicom
from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.errors import DataError
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest
from unica_sdk.node.words import words_of
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.vocabulary_doctor import Word, examine_words


def take_in(home: NodeHome, folder: Path, **tags: str) -> None:
    write_dicom(folder / "1", patient="P1", number=1, **tags)
    ingest(home, folder, dataset="few", title="t", description="d", synthetic=True)


def test_a_node_that_understood_everything_has_nothing_wrong(node: NodeHome, empty_node: NodeHome) -> None:
    words = words_of(node)
    assert {word.field for word in words} >= {"modality", "body_part", "sex", "diagnosis", "outcome"}
    assert examine_words(words) == ()
    assert words_of(empty_node) == []


def test_what_an_ingest_did_not_understand_is_said_until_it_is_taken_in_again(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    take_in(empty_node, tmp_path / "here", BodyPartExamined="HEAD")
    assert Word(field="body_part", word="HEAD", count=1) in words_of(empty_node)
    done = CliRunner().invoke(app, ["vocabulary", "doctor", "--node", str(empty_node.folder), "--json"])
    assert done.exit_code == 1
    assert [(f["kind"], f["field"], f["about"]) for f in json.loads(done.output)] == [
        ("missing", "body_part", "HEAD")
    ]
    take_in(empty_node, tmp_path / "here", BodyPartExamined="BREAST", PatientComments="anew")
    assert examine_words(words_of(empty_node)) == ()
    done = CliRunner().invoke(app, ["vocabulary", "doctor", "--node", str(empty_node.folder)])
    assert (done.exit_code, vocabulary.VERSION in done.output) == (0, True)


def test_a_report_that_is_none_stops_the_doctor(node: NodeHome) -> None:
    folder = node.folder / "reports" / "v0009"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text("{}")
    with pytest.raises(DataError, match="quality report"):
        words_of(node)
