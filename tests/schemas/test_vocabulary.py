"""The shared table itself, and what the doctor says of other systems' lists: the field's real defects."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.errors import UnicaError
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.clinical import FIELDS as CLINICAL
from unica_sdk.schemas.vocabulary_doctor import (
    Entry,
    Finding,
    Word,
    examine_list,
    examine_words,
    written,
)

TABLE = Path(vocabulary.__file__).with_name("vocabulary.tsv")
PATTERNS = {
    "eucaim": r"(BP|CLIN|COM|IMG|SPEC)\d{7}",
    "sct": r"\d{6,18}",
    "radlex": r"RID\d+",
    "dicom": r"[A-Z]+",
    "icdo3": r"C\d\d\.\d",
    "ncit": r"C\d{4,6}",
    "dpv": r"[A-Z][A-Za-z]+",
}

SEX = "SNOMEDCT263495000"
MODALITY = "RID10311"
BIRADS, PIRADS = "IMG1005459", "IMG1005457"

EXPLORER_SEX = [
    Entry(key=SEX, code="SNOMEDCT248153007", label="male"),
    Entry(key=SEX, code="SNOMEDCT248152002", label="female"),
    Entry(key=SEX, code="SNOMEDCT261665006", label="unknown"),
]
EXPLORER_MODALITY = [
    Entry(key=MODALITY, code=code, label=label)
    for code, label in (
        ("RID10312", "Magnetic Resonance Imaging"),
        ("RID10337", "Positron Emission Tomography"),
        ("RID10334", "Single Photon Emission Computed Tomography"),
        ("RID10321", "Computed Tomography"),
    )
]


def kinds(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.about: finding.kind for finding in findings}


def told(findings: tuple[Finding, ...], kind: str) -> list[str]:
    return [finding.about for finding in findings if finding.kind == kind]


# -- the table


def test_every_term_of_a_field_is_there_once_and_every_field_has_some() -> None:
    times = Counter((c.field, c.term) for c in vocabulary.CONCEPTS)
    assert set(times.values()) == {1}
    assert {field for field, _ in times} == set(vocabulary.FIELDS) == set(get_args(vocabulary.Field))
    assert all(c.label.strip() == c.label for c in vocabulary.CONCEPTS)


def test_no_code_means_two_things_in_a_field() -> None:
    for field in vocabulary.FIELDS:
        codes = [code for c in vocabulary.concepts(field) for code in (*c.codes, *c.also)]
        assert [code for code, times in Counter(codes).items() if times > 1] == []
        words = [word.casefold() for c in vocabulary.concepts(field) for word in (c.term, *c.codes, *c.also)]
        assert len(set(words)) == len(words)


def test_codes_look_like_those_of_their_system_and_have_a_source() -> None:
    assert set(PATTERNS) == set(vocabulary.SYSTEMS)
    for concept in vocabulary.CONCEPTS:
        for code in (*concept.codes, *concept.also):
            system, _, bare = code.partition("|")
            assert re.fullmatch(PATTERNS[system], bare), code
        assert (concept.source == "local") is concept.local, concept
    for key in vocabulary.KEYS:
        assert all(re.fullmatch(PATTERNS[c.partition("|")[0]], c.partition("|")[2]) for c in key.codes)


def test_every_field_of_a_clinical_table_has_a_name() -> None:
    named = {key.field for key in vocabulary.KEYS}
    assert set(vocabulary.FIELDS) | set(CLINICAL) <= named
    codes = [code for key in vocabulary.KEYS for code in (key.field, *key.codes)]
    assert len(set(codes)) == len(codes)


def test_a_changed_table_has_another_version() -> None:
    text = TABLE.read_text() + TABLE.with_name("vocabulary_keys.tsv").read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert (vocabulary.VERSION, digest) == ("2027.01", "18559bb3f4d3"), "raise VERSION with the table"


@pytest.mark.parametrize(
    ("field", "term", "code"),
    [
        ("sex", "male", "eucaim|COM1001366"),
        ("sex", "female", "eucaim|COM1001370"),
        ("modality", "MG", "eucaim|IMG1000030"),
        ("modality", "CR", "eucaim|IMG1000024"),
        ("modality", "DX", "eucaim|IMG1000028"),
        ("modality", "MR", "radlex|RID10312"),
        ("diagnosis", "lung_cancer", "sct|363358000"),
        ("birads", "0", "eucaim|IMG1005470"),
        ("birads", "6", "eucaim|IMG1005463"),
        ("pirads", "1", "eucaim|IMG1005479"),
        ("pirads", "5", "eucaim|IMG1005475"),
        ("tier", "2", "eucaim|SPEC1000011"),
        ("tier", "3", "eucaim|SPEC1000010"),
    ],
)
def test_the_codes_of_the_field_are_in_the_table(field: vocabulary.Field, term: str, code: str) -> None:
    assert code in vocabulary.concept(field, term).codes
    assert vocabulary.recognised(field, code).term == term


# -- the doctor: other systems' lists


def test_a_list_like_the_table_has_nothing_wrong() -> None:
    entries = [Entry(key=c.field, code=code, label=c.label) for c in vocabulary.CONCEPTS for code in c.codes]
    assert examine_list(entries) == ()
    assert examine_list([]) == ()


def test_sex_codes_that_drifted_are_renamed_not_believed() -> None:
    assert examine_list(EXPLORER_SEX) == ()
    drifted = [
        EXPLORER_SEX[0].model_copy(update={"code": "SNOMEDCT248152002"}),
        EXPLORER_SEX[1].model_copy(update={"code": "SNOMEDCT446141000124107"}),
        EXPLORER_SEX[2],
    ]
    found = examine_list(drifted)
    assert told(found, "renamed") == ["sct|248152002", "sct|446141000124107"]
    assert "sct|248152002" in found[1].text, "the table's own code for the label is named"


def test_a_modality_list_without_the_pilots_says_what_is_missing() -> None:
    (finding,) = examine_list(EXPLORER_MODALITY)
    assert finding.kind == "missing"
    assert {"MG", "DX", "CR"} <= set(finding.about.split(", "))
    assert not {"MR", "CT", "PT", "ST"} & set(finding.about.split(", "))


def test_a_pirads_filter_under_the_birads_key_is_mis_keyed() -> None:
    pirads = [
        Entry(key=BIRADS, code=f"IMG{1005480 - n}", label=f"PI-RADS {n}, of the study") for n in range(1, 6)
    ]
    found = examine_list(pirads)
    assert told(found, "mis_keyed") == [f"eucaim|IMG{1005480 - n}" for n in range(1, 6)]
    assert all(PIRADS in finding.fix for finding in found if finding.kind == "mis_keyed")
    right = [entry.model_copy(update={"key": PIRADS}) for entry in pirads]
    assert examine_list(right) == ()


def test_labels_alone_can_be_mis_keyed_but_a_bare_number_belongs_anywhere() -> None:
    found = kinds(examine_list([Entry(key="birads", label="Mammography"), Entry(key="birads", label="9")]))
    assert (found["Mammography"], found["9"]) == ("mis_keyed", "missing")


def test_one_code_for_two_concepts_and_two_codes_for_one_are_doubled() -> None:
    # EUCAIM's own ETL writes another class of the same label for mammography and magnetic resonance.
    entries = [
        Entry(key="modality", code="IMG1000030", label="Mammography"),
        Entry(key="modality", code="IMG1004455", label="Mammography"),
        Entry(key="modality", code="IMG1000024", label="Computed radiography"),
        Entry(key="modality", code="IMG1000024", label="Film"),
        Entry(key="age", code="X1", label="Years"),
        Entry(key="age", code="X2", label="years"),
    ]
    found = examine_list(entries)
    assert told(found, "doubled") == ["eucaim|IMG1000024", "mammography", "years"]


def test_a_key_or_code_that_nobody_knows_is_missing_from_the_table() -> None:
    found = examine_list(
        [Entry(key="shoe", code="1"), Entry(key="sex", code="SNOMEDCT74964007", label="other")]
    )
    assert {"shoe", "sct|74964007"} <= set(told(found, "missing"))


@pytest.mark.parametrize(
    ("code", "system", "expected"),
    [
        ("SNOMEDCT248153007", "", "sct|248153007"),
        ("248153007", "http://snomed.info/sct", "sct|248153007"),
        ("248153007", "urn:oid:2.16.840.1.113883.6.96", "sct|248153007"),
        ("http://snomed.info/id/SCT248153007", "", "sct|248153007"),
        ("rid10312", "urn:oid:2.16.840.1.113883.6.256", "radlex|RID10312"),
        ("https://cancerimage.eu/ontology/EUCAIM#IMG1000030", "", "eucaim|IMG1000030"),
        ("C50.4", "", "icdo3|C50.4"),
        ("C25392", "", "ncit|C25392"),
        ("MG", "DCM", "dicom|MG"),
        ("sct|248153007", "anything", "sct|248153007"),
        ("birnlex_3066", "", "birnlex_3066"),
    ],
)
def test_codes_are_read_however_a_list_writes_them(code: str, system: str, expected: str) -> None:
    assert written(code, system) == expected


@given(
    st.lists(
        st.builds(
            Entry,
            key=st.sampled_from([*vocabulary.FIELDS, "age", SEX, "?", ""]) | st.text(max_size=8),
            system=st.sampled_from(["", "sct", "DCM"]) | st.text(max_size=8),
            code=st.text(max_size=12),
            label=st.text(max_size=12),
        ),
        max_size=8,
    )
)
def test_no_list_breaks_the_doctor(entries: list[Entry]) -> None:
    for finding in examine_list(entries):
        assert finding.text
        assert finding.fix


# -- the doctor: a node's words


def test_a_nodes_words_are_missing_renamed_doubled_or_mis_keyed() -> None:
    found = examine_words(
        [
            Word(field="body_part", word="HEAD", count=12),
            Word(field="modality", word="Mammography", count=3),
            Word(field="sex", word="female"),
            Word(field="sex", word="Female"),
            Word(field="birads", word="eucaim|IMG1005475", count=2),
            Word(field="birads", word="7"),
            Word(field="age", word="unknown"),
        ]
    )
    assert [(f.kind, f.field, f.about) for f in found] == [
        ("missing", "body_part", "HEAD"),
        ("renamed", "modality", "Mammography"),
        ("renamed", "sex", "Female"),
        ("mis_keyed", "birads", "eucaim|IMG1005475"),
        ("missing", "birads", "7"),
        ("doubled", "sex", "female"),
    ]
    assert found[0].text.startswith("12 times")


# -- the command


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["vocabulary", *map(str, arguments)])
    refused = isinstance(result.exception, UnicaError)
    return result.exit_code, str(result.exception) if refused else result.output


def test_the_command_lists_the_table_for_people_and_programs() -> None:
    code, text = call("list", "sex", "--json")
    document: dict[str, Any] = json.loads(text)
    assert (code, document["version"]) == (0, vocabulary.VERSION)
    assert [c["term"] for c in document["concepts"]] == ["female", "male", "unknown"]
    assert document["fields"][0]["key"] == "sct|263495000"
    assert "local" in call("list", "lung_rads")[1]
    assert "no field 'shoe'" in call("list", "shoe")[1]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_the_command_reads_lists_and_its_exit_code_says_whether_they_differ(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"list{suffix}"

    def write(entries: list[Entry]) -> Path:
        rows = [{"Field": e.key, "code": e.code, "label": e.label, "size": "1"} for e in entries]
        if suffix == ".json":
            file.write_text(json.dumps(rows))
        else:
            lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
            file.write_text("\n".join(lines), encoding="utf-8-sig")
        return file

    assert call("doctor", "--list", write(EXPLORER_SEX)) == (
        0,
        f"Nothing is wrong: every value is in the vocabulary {vocabulary.VERSION}.\n",
    )
    code, text = call("doctor", "--list", write(EXPLORER_MODALITY), "--json")
    assert (code, [finding["kind"] for finding in json.loads(text)]) == (1, ["missing"])
    assert "MG, DX, CR" in call("doctor", "--list", file)[1]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "{", '[{"key": 1}]', "key\n\x00\n"])
@pytest.mark.parametrize("name", ["list.csv", "list.json"])
def test_what_is_no_list_is_a_sentence(tmp_path: Path, content: str, name: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    code, text = call("doctor", "--list", file)
    assert code in (0, 1)
    assert "UNICA-700" in text or "Nothing is wrong" in text or "no such field" in text


def test_the_command_wants_one_thing_to_compare(tmp_path: Path) -> None:
    assert "UNICA-200" in call("doctor")[1]
    assert "UNICA-700" in call("doctor", "--list", tmp_path / "none.csv")[1]
