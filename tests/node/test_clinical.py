"""Clinical data of three forms into one record: what is understood, what is listed; nothing is guessed."""

import csv
import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.errors import ConfigurationError, DataError, NotFound
from unica_sdk.node.clinical import (
    ClinicalTable,
    FieldMapping,
    TableMapping,
    read_clinical,
    read_mapping,
    template,
    templates,
)
from unica_sdk.node.clinical.mapping import template_mapping
from unica_sdk.node.clinical.values import months_between, years_between
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.clinical import FIELDS, TERM_FIELDS, ClinicalRecord


def _csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _mapping(**fields: Any) -> TableMapping:
    return TableMapping.model_validate({"fields": fields})


def _read(path: Path, rows: list[dict[str, str]], **fields: Any) -> ClinicalTable:
    return read_clinical(_csv(path / "c.csv", rows), mapping=_mapping(**fields))


def _listed(table: ClinicalTable) -> list[tuple[str, str, int]]:
    return [(u.field, u.value, u.count) for u in table.unmapped]


BREAST = {
    "patient_id": "P1",
    "birth_date": "1970-03-01",
    "screening_date": "2020-09-01",
    "sex": "F",
    "population": "Invited",
    "topography": "c50.4",
    "diagnosis": "Breast cancer",
    "outcome": "screen detected",
    "birads": "4B",
    "density": "C",
    "ct": "T1c",
    "cn": "N0",
    "cm": "m0",
    "last_contact": "2023-03-16",
    "interval_cancer": "no",
}


def test_the_breast_template_reads_every_field(tmp_path: Path) -> None:
    table = read_clinical(_csv(tmp_path / "c.csv", [BREAST]), mapping=template_mapping("breast"))
    (row,) = table.rows
    assert table.unmapped == []
    assert row.record == ClinicalRecord(
        age=50.5, sex="female", population="screening", topography="C50.4", diagnosis="breast_cancer",
        outcome="screen_detected", birads="4", density="c", ct="T1c", cn="N0", cm="M0",
        follow_up_months=30.4, interval_cancer=False,
    )  # fmt: skip
    assert (row.patient, row.outcome, row.diagnosis, row.sex, row.age) == (
        "P1", "screen_detected", "breast_cancer", "female", 50,
    )  # fmt: skip
    assert row.extra["age"] == 50.5
    assert not {"outcome", "diagnosis", "sex", "gleason"} & set(row.extra)


@pytest.mark.parametrize("name", templates())
def test_every_template_is_a_mapping_of_the_minimum_fields(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(template(name), encoding="utf-8")
    mapping = read_mapping(path)
    assert {"age", "sex", "diagnosis"} <= set(mapping.fields)
    assert {"outcome", "population"} <= set(mapping.fields) or name == "fhir"
    assert {"breast": "birads", "prostate": "pirads", "lung": "lung_rads"}.get(name, "age") in mapping.fields


def test_prostate_and_lung_and_negatives_are_read(tmp_path: Path) -> None:
    common = {"patient_id": "1", "age": "66.78", "sex": "M", "population": "referred", "follow_up": "24"}
    words = {"diagnosis": "no cancer", "outcome": "normal", "topography": "", "ct": "", "cn": "", "cm": ""}
    prostate = {**common, **words, "pirads": "4", "gleason": "7b", "isup": "3", "interval_cancer": ""}
    lung = {**common, **words, "lung_rads": "4b", "interval_cancer": "maybe"}
    negative = {"patient_id": "1", "age": "66.78", "sex": "M", "birads": "1", "screening_date": "2020-01-31",
                "last_contact": "2021-02-28"}  # fmt: skip
    read = {
        name: read_clinical(_csv(tmp_path / "c.csv", [row]), mapping=template_mapping(name))
        for name, row in (("prostate", prostate), ("lung", lung), ("screening_negative", negative))
    }
    extra = {name: table.rows[0].extra for name, table in read.items()}
    assert extra["prostate"] == {
        "age": 66.7, "population": "diagnostic", "pirads": "4", "gleason": "4+3", "isup": "3",
        "follow_up_months": 24.0,
    }  # fmt: skip
    assert (extra["lung"]["lung_rads"], _listed(read["lung"])) == ("4B", [("interval_cancer", "maybe", 1)])
    case = read["screening_negative"].rows[0]
    assert (case.outcome, case.diagnosis, case.record.interval_cancer) == ("negative", "none", False)
    assert extra["screening_negative"]["follow_up_months"] == 13.0


def test_what_is_not_mapped_is_listed_with_the_number_of_patients_and_left_empty(tmp_path: Path) -> None:
    rows = [{"patient_id": str(n), "b": "4A", "d": "2", "n": "NA"} for n in range(7)]
    mapping = TableMapping.model_validate(
        {
            "missing": ["NA"],
            "fields": {"birads": {"column": "b"}, "density": {"column": "d"}, "age": {"column": "n"}},
        }
    )
    table = read_clinical(_csv(tmp_path / "c.csv", [*rows, *rows]), mapping=mapping)
    assert _listed(table) == [("birads", "4A", 7), ("density", "2", 7)]
    assert all(row.extra == {} for row in table.rows)


@given(st.text(max_size=12), st.sampled_from(TERM_FIELDS))
def test_no_word_outside_the_vocabulary_becomes_a_term(word: str, field: vocabulary.Field) -> None:
    known = {w.casefold() for c in vocabulary.CONCEPTS if c.field == field for w in (c.term, *c.codes)}
    try:
        found = vocabulary.recognised(field, word)
    except vocabulary.UnknownTerm:
        assert word.strip().casefold() not in known
    else:
        assert found.field == field
        assert word.strip().casefold() in known


@pytest.mark.parametrize("field", TERM_FIELDS)
def test_every_term_and_code_of_a_field_means_one_thing(field: vocabulary.Field) -> None:
    words = [w.casefold() for c in vocabulary.CONCEPTS if c.field == field for w in (c.term, *c.codes)]
    assert len(words) == len(set(words)) > 0
    for concept in vocabulary.CONCEPTS:
        if concept.field == field:
            assert all(vocabulary.recognised(field, code) == concept for code in concept.codes)
            assert getattr(ClinicalRecord.model_validate({field: concept.term}), field) == concept.term


def test_codes_are_eucaims_where_they_are_known_and_local_where_not() -> None:
    def codes(field: vocabulary.Field) -> list[str | None]:
        return [vocabulary.concept(field, term).eucaim for term in vocabulary.terms(field)]

    assert codes("birads") == [f"IMG10054{n}" for n in (70, 69, 68, 66, 65, 64, 63)]
    assert codes("pirads") == [f"IMG10054{n}" for n in (79, 78, 77, 76, 75)]
    assert all(vocabulary.concept("lung_rads", term).local for term in vocabulary.terms("lung_rads"))
    assert vocabulary.concept("outcome", "negative").codes == ("eucaim|COM1002626",)


@pytest.mark.parametrize(
    ("text", "mapped", "age"),
    [
        ("52", {}, 52.0),
        ("52.39", {}, 52.3),
        ("120.99", {}, 120.9),
        ("121", {}, None),
        ("-1", {}, None),
        ("1e1", {}, None),
        ("nan", {}, None),
        ("52,3", {}, None),
        ("٥٢", {}, None),
        ("623", {"unit": "months"}, 51.9),
        ("18263", {"unit": "days"}, 50.0),
    ],
)
def test_ages_have_units_and_bounds(
    tmp_path: Path, text: str, mapped: dict[str, str], age: float | None
) -> None:
    table = _read(tmp_path, [{"patient_id": "1", "a": text}], age={"column": "a", **mapped})
    assert table.rows[0].record.age == age
    assert _listed(table) == ([] if age is not None else [("age", text, 1)])


def test_decimal_commas_other_dates_and_encodings_are_declared(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(
        "Patient;Alter;Geb;Unt;Geschlecht\r\nMüller;52,39;24.12.1960;24.06.2011;weiblich\r\n".encode("cp1252")
    )
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        'patient = "patient"\ndelimiter = ";"\nencoding = "cp1252"\ndecimal = ","\ndate_format = "%d.%m.%Y"\n'
        '[fields.age]\ncolumn = "alter"\n'
        '[fields.sex]\ncolumn = "GESCHLECHT"\nvalues = { Weiblich = "female" }\n'
        '[fields.follow_up_months]\nsince = "Geb"\nuntil = "Unt"\n'
    )
    (row,) = read_clinical(path, mapping=mapping).rows
    assert (row.patient, row.sex, row.record.age, row.record.follow_up_months) == (
        "Müller",
        "female",
        52.3,
        606.0,
    )


@given(st.dates(date(1900, 1, 1), date(2030, 12, 31)), st.integers(0, 40_000))
def test_ages_from_dates_are_completed_years_and_tenths(born: date, days: int) -> None:
    then = born + timedelta(days=days)
    years = years_between(born, then)
    completed = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    assert int(years) == completed
    assert abs(float(years) - days / 365.25) < 0.01
    assert abs(float(months_between(born, then)) - days / 30.4375) < 0.2
    assert years_between(born, then) <= years_between(born, then + timedelta(days=1))


@pytest.mark.parametrize(
    "dates", [("1960", "2011-06-24"), ("2011-06-24", "1960-12-24"), ("1960-12-24", "9999-12-31")]
)
def test_dates_that_make_no_age_are_listed_without_the_dates(tmp_path: Path, dates: tuple[str, str]) -> None:
    rows = [{"patient_id": "1", "born": dates[0], "seen": dates[1]}]
    table = _read(tmp_path, rows, age={"since": "born", "until": "seen"})
    assert table.rows[0].record.age is None
    ((field, value, count),) = _listed(table)
    assert (field, count, "born to seen" in value) == ("age", 1, True)
    assert not any(text in value for text in dates)


def test_several_rows_of_a_patient_are_put_together_as_declared(tmp_path: Path) -> None:
    rows = [
        {"patient_id": "1", "age": "50.5", "b": "2", "s": "F", "i": "yes"},
        {"patient_id": "1", "age": "52.5", "b": "4", "s": "M", "i": "no"},
        {"patient_id": "1", "age": "", "b": "", "s": "", "i": ""},
    ]
    table = _read(
        tmp_path,
        rows,
        age={"column": "age"},
        birads={"column": "b", "several": "highest"},
        sex={"column": "s", "values": {"F": "female", "M": "male"}},
        interval_cancer={"column": "i"},
    )
    (row,) = table.rows
    assert (row.record.age, row.record.birads, row.sex, row.record.interval_cancer) == (50.5, "4", None, None)
    assert _listed(table) == [
        ("interval_cancer", "contradictory: false, true", 1),
        ("sex", "contradictory: female, male", 1),
    ]


def test_the_same_table_as_parquet_reads_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "a [strange] fol*der"
    folder.mkdir()
    source = _csv(folder / "c.csv", [BREAST, {**BREAST, "patient_id": "P2", "birads": "9"}])
    plain = shutil.copy(source, tmp_path / "c.csv")
    with duckdb.connect() as connection:
        table = connection.read_csv(str(plain), all_varchar=True)
        table.write_parquet(str(tmp_path / "c.parquet"))
    moved = (tmp_path / "c.parquet").rename(folder / "c?.parquet")
    assert read_clinical(moved, mapping=template_mapping("breast")) == read_clinical(
        source, mapping=template_mapping("breast")
    )


def test_typed_parquet_values_are_words(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    with duckdb.connect() as connection:
        connection.sql(
            "COPY (SELECT 7 AS patient_id, 'negative' AS outcome, 'none' AS diagnosis, 3.0 AS birads,"
            " 61.25 AS age, true AS interval_cancer, NULL::VARCHAR AS density,"
            " 'nan'::DOUBLE AS follow_up_months,"
            f" date '1970-01-02' AS other) TO '{path}' (FORMAT parquet)"
        )
    table = read_clinical(path)
    (row,) = table.rows
    assert table.unmapped == []
    assert (row.patient, row.extra) == ("7", {"age": 61.2, "birads": "3", "interval_cancer": True})


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"patient_id\n1\n"])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.parquet").write_bytes(content)
    with pytest.raises(DataError, match="Parquet"):
        read_clinical(tmp_path / "c.parquet")


def test_a_parquet_name_is_a_file_and_never_an_address_or_a_pattern(tmp_path: Path) -> None:
    for name in ("*.parquet", "http:/127.0.0.1:9/x.parquet", "nowhere.parquet"):
        with pytest.raises(DataError, match="no such"):
            read_clinical(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "not TOML"),
        ("", "fields"),
        ("[fields.shoe_size]\ncolumn = 'x'", "shoe_size is not a field"),
        ("[fields.sex]\ncolumn = 'x'\nvalues = { F = 'woman' }", "woman"),
        ("[fields.sex]\ncolumn = 'x'\nvalues = { F = 'female', f = 'male' }", "twice"),
        ("[fields.sex]\ncolumn = 'x'\nunit = 'years'", "no unit"),
        ("[fields.sex]\ncolumn = 'x'\nseveral = 'highest'", "no lowest"),
        ("[fields.sex]\ncolumn = 'x'\nconstant = 'male'", "give one of"),
        ("[fields.sex]", "give one of"),
        ("[fields.age]\nsince = 'x'", "go together"),
        ("[fields.age]\ncolumn = 'x'\nvalues = { old = '90' }", "no words"),
        ("[fields.age]\ncolumn = 'x'\nunit = 'parsecs'", "unit"),
        ("[fields.interval_cancer]\ncolumn = 'x'\nvalues = { 1 = 'perhaps' }", "true or false"),
        ("[fields.sex]\ncolumn = 'x'\nfallback = 'male'", "fallback"),
        ("guess = true\n[fields.sex]\ncolumn = 'x'", "guess"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        read_mapping(tmp_path / "m.toml")


def test_a_mapped_column_that_is_missing_or_there_twice_is_not_overlooked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column gender"):
        _read(tmp_path, [{"patient_id": "1", "sex": "F"}], sex={"column": "gender"})
    (tmp_path / "c.csv").write_text("patient_id,Sex,SEX\n1,male,female\n")
    with pytest.raises(DataError, match="twice"):
        read_clinical(tmp_path / "c.csv", mapping=_mapping(sex={"column": "sex"}))
    assert (
        _read(tmp_path, [{"patient_id": "1"}], sex={"column": "gender", "optional": True}).rows[0].sex is None
    )


def test_a_number_that_means_true_has_to_be_mapped(tmp_path: Path) -> None:
    rows = [{"patient_id": "1", "i": "1"}]
    assert _read(tmp_path, rows, interval_cancer={"column": "i"}).rows[0].record.interval_cancer is None
    mapped = {"column": "i", "values": {"1": True, "2": False}}
    assert _read(tmp_path, rows, interval_cancer=mapped).rows[0].record.interval_cancer is True


def test_an_unknown_template_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="screening_negative"):
        template("../mapping")


# -- FHIR

EUCAIM = "https://cancerimage.eu/ontology/EUCAIM#"
SCT = "http://snomed.info/sct"


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://local.example", "code": "x"}, {"system": system, "code": code}]}


def _bundle(*resources: dict[str, Any], patient: dict[str, Any] | None = None) -> dict[str, Any]:
    person = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"system": "urn:hospital", "value": " P1 "}],
        "gender": "female",
        "birthDate": "1970-03-01",
        **(patient or {}),
    }
    entries = [{"fullUrl": "urn:uuid:1", "resource": person}]
    entries += [{"resource": {"subject": {"reference": "urn:uuid:1"}, **resource}} for resource in resources]
    return {"resourceType": "Bundle", "type": "document", "entry": entries}


def _observation(system: str, code: str, **value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": _concept(system, code), **value}


def _two_women(reference: dict[str, Any], addresses: tuple[str, str]) -> dict[str, Any]:
    people = [
        {
            "resource": {"resourceType": "Patient", "id": "1", "identifier": [{"value": name}]},
            "fullUrl": address,
        }
        for name, address in zip(("A", "B"), addresses, strict=True)
    ]
    people[1]["resource"]["id"] = "1" if addresses[1].endswith("/1") else "2"
    found = {"resourceType": "Condition", "code": _concept(SCT, "254837009"), "subject": reference}
    return {"resourceType": "Bundle", "type": "collection", "entry": [*people, {"resource": found}]}


@pytest.mark.parametrize(
    ("reference", "addresses", "whose"),
    [
        ({}, ("", ""), ""),
        ({"reference": ""}, ("", ""), ""),
        ({"reference": "Patient/"}, ("", ""), ""),
        ({"identifier": {"value": "A"}}, ("", ""), "A"),
        ({"reference": "Patient/2"}, ("", ""), "B"),
        ({"reference": "https://x.example/Patient/2"}, ("", "urn:uuid:2"), "B"),
        ({"reference": "https://a.x/Patient/1"}, ("https://a.x/Patient/1", "https://b.x/Patient/1"), "A"),
        ({"reference": "Patient/1"}, ("https://a.x/Patient/1", "https://b.x/Patient/1"), ""),
        ({"reference": "https://c.x/Patient/1"}, ("https://a.x/Patient/1", "urn:uuid:2"), ""),
    ],
)  # fmt: skip
def test_a_diagnosis_is_of_whom_its_reference_names_or_of_nobody(
    tmp_path: Path, reference: dict[str, Any], addresses: tuple[str, str], whose: str
) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(_two_women(reference, addresses)))
    table = read_clinical(path)
    assert {row.patient: row.diagnosis for row in table.rows} == {
        name: "breast_cancer" if name == whose else None for name in "AB"
    }
    assert [word.field for word in table.unmapped] == ([] if whose else ["Condition"])


RESOURCES = (
    {"resourceType": "Condition", "code": _concept(SCT, "254837009"),
     "bodySite": [_concept("http://terminology.hl7.org/CodeSystem/icd-o-3", "C50.4")]},
    {"resourceType": "ImagingStudy", "status": "available", "started": "2020-09-01T08:00:00+02:00",
     "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "MG"}]},
    {"resourceType": "ImagingStudy", "status": "available", "started": "2022-09-01"},
    _observation(EUCAIM, "IMG1005459", valueCodeableConcept=_concept(EUCAIM, "IMG1005465")),
    _observation(EUCAIM, "CLIN1052158", valueCodeableConcept=_concept(SCT, "129718006")),
    _observation("http://loinc.org", "21905-5", valueString="T1c"),
    _observation("http://loinc.org", "1", component=[
        {"code": _concept("http://loinc.org", "21906-3"), "valueString": "N0"},
        {"code": _concept(EUCAIM, "CLIN1037300"), "valueInteger": 2}]),
    {"resourceType": "Composition", "title": "not read"},
)  # fmt: skip


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_bundle_of_the_imaging_subset_becomes_one_record(tmp_path: Path) -> None:
    table = read_clinical(_write(tmp_path / "b.json", _bundle(*RESOURCES)))
    assert table.unmapped == []
    (row,) = table.rows
    assert row.patient == "P1"
    assert row.record == ClinicalRecord(
        age=50.5, sex="female", diagnosis="breast_cancer", topography="C50.4", birads="4", density="c",
        ct="T1c", cn="N0", isup="2",
    )  # fmt: skip


def test_a_folder_of_bundles_is_one_source(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        who = {"identifier": [{"system": "urn:hospital", "value": f"P{n}"}], "gender": "male"}
        _write(tmp_path / f"{n}.json", _bundle(*RESOURCES, patient=who))
    assert [row.patient for row in read_clinical(tmp_path).rows] == ["P1", "P2", "P3"]


def test_what_is_not_so_or_of_nobody_is_no_fact(tmp_path: Path) -> None:
    def status(code: str) -> dict[str, Any]:
        return {"resourceType": "Condition", "code": _concept(SCT, "254837009"),
                "verificationStatus": {"coding": [{"system": "urn:x", "code": code}]}}  # fmt: skip

    wrong = (
        status("refuted"),
        status("provisional"),
        {**_observation(EUCAIM, "IMG1005459", valueInteger=5), "status": "entered-in-error"},
        {**_observation(EUCAIM, "IMG1005459", valueInteger=5), "subject": {"reference": "Patient/other"}},
        {"resourceType": "Condition", "code": "not a concept"},
        _observation(EUCAIM, "IMG1005457", valueCodeableConcept=_concept("urn:y", "z")),
    )
    table = read_clinical(_write(tmp_path / "b.json", _bundle(*wrong)))
    assert table.rows[0].record == ClinicalRecord(sex="female")
    assert _listed(table) == [
        ("Condition", "(not as FHIR R4 has it)", 1),
        ("Condition", "(not confirmed: provisional)", 1),
        ("Condition", "(not confirmed: refuted)", 1),
        ("Observation", "(entered-in-error)", 1),
        ("Observation", "(of a patient who is not in the bundle)", 1),
        ("pirads", "http://local.example|x", 1),
    ]


def test_a_patient_with_several_identifiers_needs_a_system(tmp_path: Path) -> None:
    two = [{"system": "urn:nation", "value": "N"}, {"system": "urn:hospital", "value": "H"}]
    path = _write(tmp_path / "b.json", _bundle(*RESOURCES, patient={"identifier": two}))
    with pytest.raises(DataError, match="2 identifiers"):
        read_clinical(path)
    mapping = template_mapping("fhir").model_copy(update={"patient": "urn:hospital"})
    assert [row.patient for row in read_clinical(path, mapping=mapping).rows] == ["H"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Bundle", "entry": 3}',
        b"\xff",
        b"[" * 200_000,
    ],
    ids=range(7),
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(DataError, match="bundle"):
        read_clinical(tmp_path / "b.json")


def test_quantities_bring_their_units(tmp_path: Path) -> None:
    bundle = _bundle(
        _observation("urn:x", "age", valueQuantity={"value": 612.5, "code": "mo"}),
        _observation("urn:x", "fu", valueQuantity={"value": 2, "code": "a"}),
        _observation("urn:x", "bad", valueQuantity={"value": 2, "code": "km"}),
    )
    fields = {
        "age": FieldMapping(column=("Observation.urn:x|age",)),
        "follow_up_months": FieldMapping(
            column=("Observation.urn:x|fu", "Observation.urn:x|bad"), several="highest"
        ),
    }
    mapping = TableMapping(format="fhir", patient="", fields=fields)
    table = read_clinical(_write(tmp_path / "b.json", bundle), mapping=mapping)
    assert table.rows[0].extra == {"age": 51.0, "follow_up_months": 24.0}
    assert _listed(table) == [("follow_up_months", "2 km", 1)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["code", "coding", "subject", "identifier", "valueQuantity", "status", "started", "component"]
)


@given(st.sampled_from(["Condition", "Observation", "ImagingStudy", "Procedure", "DiagnosticReport"]),
       st.dictionaries(KEYS, JSON, max_size=5))  # fmt: skip
def test_any_json_in_a_resource_is_listed_or_read_and_never_an_accident(
    tmp_path_factory: pytest.TempPathFactory, kind: str, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("fhir") / "b.json"
    (row,) = read_clinical(_write(path, _bundle({"resourceType": kind, **content}))).rows
    assert row.patient == "P1"


def test_the_record_has_every_field_of_the_common_data_model() -> None:
    assert set(FIELDS) == {
        "age", "sex", "population", "topography", "diagnosis", "outcome", "birads", "density", "lung_rads",
        "pirads", "gleason", "isup", "ct", "cn", "cm", "follow_up_months", "interval_cancer",
    }  # fmt: skip
