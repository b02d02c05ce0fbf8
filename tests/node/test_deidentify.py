"""De-identification: what must not survive does not, what must stay comparable does, whatever comes in."""

import pickle
import re
import warnings
from datetime import date, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from _canaries import CARRIER, LAWFUL, as_file, everything, planted, retained, survivors
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.node.deidentify import Engine, Report, burned_in, options
from unica_sdk.node.deidentify.table import EDITION, basic_profile
from unica_sdk.node.deidentify.words import DESCRIPTORS, kept_words

DOCUMENTED = Path(__file__).parents[2] / "docs" / "de-identification.md"
KEY = bytes(range(32))
ENGINE = Engine(KEY)
REAL = ("CT_small.dcm", "MR_small_implicit.dcm", "rtplan.dcm")
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)

RETAINED_TIMES = {
    "InstanceCreationTime",
    "StudyTime",
    "SeriesTime",
    "AcquisitionTime",
    "ContentTime",
    "OverlayTime",
    "CurveTime",
    "CalibrationTime",
    "InterventionDrugStopTime",
    "InterventionDrugStartTime",
    "TimeOfSecondaryCapture",
    "ContrastBolusStartTime",
    "ContrastBolusStopTime",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStopTime",
    "TimeOfLastCalibration",
    "TimeOfLastDetectorCalibration",
    "ModifiedImageTime",
    "StudyVerifiedTime",
    "StudyReadTime",
    "ScheduledStudyStartTime",
    "ScheduledStudyStopTime",
    "StudyArrivalTime",
    "StudyCompletionTime",
    "ScheduledAdmissionTime",
    "ScheduledDischargeTime",
    "AdmittingTime",
    "DischargeTime",
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepEndTime",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepEndTime",
    "IssueTimeOfImagingServiceRequest",
    "FindingsGroupRecordingTimeTrial",
    "TimeOfDocumentCreationOrVerbalTransactionTrial",
    "Time",
    "ObservationTimeTrial",
    "PresentationCreationTime",
    "SelectorTMValue",
    "CreationTime",
    "StructureSetTime",
    "TreatmentControlPointTime",
    "SafePositionExitTime",
    "SafePositionReturnTime",
    "TreatmentTime",
    "RTPlanTime",
    "SourceStrengthReferenceTime",
    "ReviewTime",
    "IntendedFractionStartTime",
    "InterpretationRecordedTime",
    "InterpretationTranscriptionTime",
    "InterpretationApprovalTime",
}
"""Retain Modified Dates: dates move by whole days, so a time of day stays what it was."""


def written(dataset: Dataset) -> bytes:
    out = BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


@cache
def real_header(name: str) -> bytes:
    """One of pydicom's own files up to its pixels: private blocks, sequences, identifiers of nobody."""
    return written(dcmread(get_testdata_file(name), stop_before_pixels=True))


def header(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in {"PatientID": "4711", "SOPInstanceUID": "1.2.3", **values}.items():
        setattr(dataset, keyword, value)
    return dataset


def read(content: bytes) -> Dataset:
    return dcmread(BytesIO(content))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
def test_of_every_attribute_of_the_table_nothing_survives_but_what_the_options_retain(syntax: UID) -> None:
    done = ENGINE.deidentify(read(as_file(planted(lawful=True), syntax)))
    content = written(done)
    assert b"CANARY" not in content
    expected = {(level, word) for level in range(3) for word in {*LAWFUL, *RETAINED_TIMES}}
    assert survivors(read(content)) == expected


def test_a_retained_attribute_keeps_lawful_values_only() -> None:
    done = ENGINE.deidentify(read(as_file(planted(lawful=False))))
    assert b"CANARY" not in written(done)
    ages = {"PatientAge", "SelectorASValue"}  # 043Y is lawful
    assert survivors(done) == {(level, word) for level in range(3) for word in RETAINED_TIMES | ages}


def test_nothing_survives_in_a_dataset_made_in_memory() -> None:
    done = ENGINE.deidentify(planted(lawful=False))
    assert not any("CANARY" in str(element.value) for _, element in everything(done))


@pytest.mark.parametrize("implicit", [True, False])
def test_sequences_under_vr_un_are_entered_even_when_longer_than_64_kilobytes(implicit: bool) -> None:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, True
    item = planted(lawful=True)
    item.PixelData = bytes(70000)
    item["PixelData"].VR = "OW"
    write_sequence(out, pydicom.DataElement(CARRIER, "SQ", [item]), ["iso8859"])
    content = out.getvalue()
    hidden = RawDataElement(BaseTag(CARRIER), "UN", len(content), content, 0, False, True)
    dataset = read(as_file(header()))
    dataset._dict[BaseTag(CARRIER)] = hidden
    assert len(content) > 0xFFFF
    done = ENGINE.deidentify(dataset)
    assert done[CARRIER].VR == "SQ"
    found = survivors(read(written(done)))
    assert {level for level, _ in found} == {1, 2, 3}
    assert {word for _, word in found} == {*LAWFUL, *RETAINED_TIMES}


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00080070, "UN"), (0x00081032, "OB"), (0x00081032, "LO"), (0x00080070, "SQ")]
)
def test_a_sequence_in_disguise_keeps_nothing(tag: int, vr: str) -> None:
    inside = b"\x10\x00\x10\x00PN\x06\x00CANARY"
    item = b"\xfe\xff\x00\xe0" + len(inside).to_bytes(4, "little") + inside
    dataset = read(as_file(header()))
    dataset._dict[BaseTag(tag)] = RawDataElement(BaseTag(tag), vr, len(item), item, 0, False, True)
    done = ENGINE.deidentify(dataset)
    assert not any("CANARY" in str(element.value) for _, element in everything(done))


def test_bytes_behind_the_end_of_a_sequence_do_not_ride_along() -> None:
    item, end = b"\xfe\xff\x00\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    dataset = read(as_file(header()))
    for content in (item + end + b"CANARY", item + _twice("PatientSex", b"CANARY", b"F ")):
        dataset._dict[BaseTag(CARRIER)] = RawDataElement(
            BaseTag(CARRIER), "SQ", len(content), content, 0, False, True
        )
        assert b"CANARY" not in written(ENGINE.deidentify(dataset))


def _twice(keyword: str, *values: bytes) -> bytes:
    tag = pydicom.datadict.tag_for_keyword(keyword) or 0
    start = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"CS"
    inside = b"".join(start + len(value).to_bytes(2, "little") + value for value in values)
    return b"\xfe\xff\x00\xe0" + len(inside).to_bytes(4, "little") + inside


def test_the_markers_say_what_was_done() -> None:
    done = read(written(ENGINE.deidentify(read(as_file(header(PatientName="Doe^Jane"))))))
    assert done.PatientID == done.PatientName == ENGINE.pseudonym(" 4711 ")
    assert done.PatientIdentityRemoved == "YES"
    assert done.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = done.DeidentificationMethodCodeSequence
    assert [(code.CodeValue, code.CodeMeaning) for code in codes] == list(options.CODES)
    assert {code.CodingSchemeDesignator for code in codes} == {"DCM"}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
def test_file_meta_is_in_step_and_the_preamble_is_wiped(syntax: UID) -> None:
    done = ENGINE.deidentify(read(as_file(header(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.2"), syntax)))
    content = written(done)
    again = read(content)
    assert content[:128] == bytes(128)
    assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID != "1.2.3"
    assert again.file_meta.TransferSyntaxUID == syntax
    assert again.SOPClassUID == again.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert "SourceApplicationEntityTitle" not in again.file_meta
    assert done.filename is None


def test_files_of_one_study_stay_together_and_other_patients_apart() -> None:
    first = header(StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1", SOPInstanceUID="1.2.9.1.1")
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    reference.ReferencedSOPInstanceUID = "1.2.9.1.1"
    second = header(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1.2", SourceImageSequence=[reference])
    one, two = ENGINE.deidentify(first), Engine(KEY).deidentify(read(as_file(second)))
    assert one.StudyInstanceUID == two.StudyInstanceUID != "1.2.9"
    assert two.SourceImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert two.SourceImageSequence[0].ReferencedSOPClassUID == reference.ReferencedSOPClassUID
    assert one.PatientID == two.PatientID != ENGINE.deidentify(header(PatientID="4712")).PatientID


def test_a_standard_uid_stays_and_many_values_are_renamed_each() -> None:
    done = ENGINE.deidentify(
        header(FrameOfReferenceUID="1.2.840.10008.1.4.1.1", IrradiationEventUID=["1.2", "1.3"])
    )
    assert done.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert len(set(done.IrradiationEventUID)) == 2
    assert all(uid.startswith("2.25.") for uid in done.IrradiationEventUID)


@given(st.binary(min_size=16, max_size=40), st.text(st.characters(codec="utf-8"), min_size=1, max_size=64))
def test_the_same_key_gives_the_same_names_and_another_key_others(key: bytes, patient: str) -> None:
    names, again, other = (Engine(k)._names for k in (key, key, key + b"!"))
    assert names.patient(patient) == again.patient(patient) != other.patient(patient)
    assert re.fullmatch(r"[0-9a-f]{32}", names.patient(patient))
    assert names.shift(patient) == again.shift(patient)
    assert -3650 <= names.shift(patient) <= -1


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_new_uids_are_legal_and_differ_where_the_old_ones_do(first: bytes, second: bytes) -> None:
    one, two = ENGINE._names.uid(first), ENGINE._names.uid(second)
    assert re.fullmatch(rb"2\.25\.[1-9][0-9]{0,38}", one)
    assert (one == two) == (first == second)


@given(st.integers(16, 40), st.sampled_from(REAL))
@settings(max_examples=20)
def test_whole_files_come_out_the_same_under_one_key_and_share_no_name_under_two(
    size: int, name: str
) -> None:
    content = real_header(name)
    one, again, other = (Engine(bytes([k]) * size).deidentify(read(content)) for k in (1, 1, 2))
    assert written(one) == written(again)
    for keyword in ("PatientID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert one[keyword].value != other[keyword].value


DAYS = st.dates(min_value=date(1920, 1, 1), max_value=date(2099, 12, 31))


@given(DAYS, DAYS, st.times(), st.sampled_from(["4711", "4712"]))
def test_intervals_between_dates_stay(first: date, second: date, clock: Any, patient: str) -> None:
    done = ENGINE.deidentify(
        header(
            PatientID=patient,
            StudyDate=first.strftime("%Y%m%d"),
            StudyTime=clock.strftime("%H%M%S"),
            AcquisitionDateTime=second.strftime("%Y%m%d") + clock.strftime("%H%M%S.%f+0200"),
        )
    )
    moved = [date.fromisoformat(text[:8]) for text in (done.StudyDate, done.AcquisitionDateTime)]
    assert moved[1] - moved[0] == second - first
    assert moved[0] - first == timedelta(days=ENGINE._names.shift(patient))
    assert done.StudyTime == clock.strftime("%H%M%S")
    assert done.AcquisitionDateTime[8:] == clock.strftime("%H%M%S.%f")


@pytest.mark.parametrize("value", ["00010101", "20240230", "SMITH", "2024"])
def test_a_date_that_is_none_gets_the_basic_profile(value: str) -> None:
    dataset = read(as_file(header()))
    for tag in (0x00080020, 0x00080021, 0x00080024):
        content = value.encode()
        dataset._dict[BaseTag(tag)] = RawDataElement(
            BaseTag(tag), "DA", len(content), content, 0, False, True
        )
    done = ENGINE.deidentify(dataset)
    assert (done.StudyDate, done.SeriesDate, "OverlayDate" in done) == ("", "19000101", False)


@pytest.mark.parametrize(("age", "plain", "harbour"), [("089Y", "089Y", "089Y"), ("097Y", "097Y", "090Y")])
def test_ages_stay_and_old_ones_are_collapsed_on_request(age: str, plain: str, harbour: str) -> None:
    old = header(PatientAge=age)
    assert ENGINE.deidentify(old).PatientAge == plain
    done = Engine(KEY, safe_harbour=True).deidentify(old)
    assert done.PatientAge == harbour
    assert len(done.DeidentificationMethod) == 2


@given(st.text(max_size=200))
def test_descriptors_keep_words_of_the_vocabulary_only(text: str) -> None:
    kept = kept_words(text, DESCRIPTORS, limit=64)
    assert set(kept.split()) <= DESCRIPTORS
    assert len(kept) <= 64


def test_descriptors_are_cleaned_in_place() -> None:
    done = ENGINE.deidentify(
        header(
            StudyDescription="Screening mammo, Ms Jane Roe 12/3",
            SeriesDescription="R CC Dr. Lungren",
            BodyPartExamined="BREAST",
            ProtocolName="Jane's",
            ImageComments="call her",
        )
    )
    assert (done.StudyDescription, done.SeriesDescription) == ("SCREENING MAMMO", "CC")
    assert (done.BodyPartExamined, done.ProtocolName) == ("BREAST", "ANONYMIZED")
    assert "ImageComments" not in done


def test_an_overlay_goes_and_one_in_the_pixels_is_refused() -> None:
    plain = header()
    plain.add_new(0x60000102, "US", 0)
    plain.add_new(0x60003000, "OW", b"\1\0")
    assert not [e for e in ENGINE.deidentify(plain) if e.tag.group == 0x6000]
    hidden = header()
    hidden.add_new(0x60020102, "US", 12)
    for dataset in (hidden, read(as_file(hidden))):
        with pytest.raises(DataError, match="unused bits"):
            ENGINE.deidentify(dataset)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name)
def test_the_source_is_left_as_it_is(syntax: UID) -> None:
    content = as_file(planted(lawful=True), syntax)
    source = read(content)
    ENGINE.deidentify(source)
    assert written(source)[128:] == written(read(content))[128:]


def test_the_report_counts_and_adds_up() -> None:
    source = header(
        PatientName="Doe^Jane", PatientComments="x", StudyDate="20240301", StudyDescription="CT chest"
    )
    source.private_block(0x0019, "ACME", create=True)
    report = ENGINE.run(source).report
    assert report.counts == {
        "removed": 1, "emptied": 1, "renamed": 2, "shifted": 1, "cleaned": 1, "private": 1
    }  # fmt: skip
    assert (report + report + Report()).counts["renamed"] == 4
    assert "4711" not in repr(report)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"PatientID": ""}, "no patient identifier"),
        ({"PatientID": None}, "no patient identifier"),
        ({"SOPInstanceUID": ""}, "no SOP instance UID"),
    ],
)
def test_a_header_that_names_nobody_or_nothing_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        ENGINE.deidentify(header(**values))


def test_sequences_that_nest_without_end_are_refused() -> None:
    inner = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.add_new(CARRIER, "SQ", [inner])
        inner = outer
    with pytest.raises(DataError, match="too deep"):
        ENGINE.deidentify(header(ProcedureCodeSequence=[inner]))


@given(st.binary(max_size=200), st.sampled_from(["SQ", "UN", None]))
@settings(max_examples=200)
def test_a_broken_sequence_raises_a_data_error_or_nothing(content: bytes, vr: str | None) -> None:
    dataset = header()
    dataset._dict[BaseTag(CARRIER)] = RawDataElement(
        BaseTag(CARRIER), vr, len(content), content, 0, vr is None, True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what it repairs
        try:
            ENGINE.deidentify(dataset)
        except DataError as err:
            assert "4711" not in str(err)


DAMAGE = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=40)


@given(DAMAGE, st.sampled_from(REAL))
@settings(max_examples=150)
def test_a_damaged_file_raises_a_data_error_or_nothing(damage: list[tuple[int, int]], name: str) -> None:
    content = bytearray(real_header(name))
    for place, value in damage:
        content[132 + place % (len(content) - 132)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of what it repairs
        try:
            dataset = read(bytes(content))
        except Exception:
            return  # the scanner's matter
        try:
            done = ENGINE.deidentify(dataset)
        except DataError:
            return
    assert done.PatientIdentityRemoved == "YES"


def test_every_file_that_pydicom_brings_passes_or_says_why() -> None:
    passed, refused = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files are odd on purpose
        for path in get_testdata_files():
            try:
                source = dcmread(path)
            except (pydicom.errors.InvalidDicomError, IsADirectoryError):
                continue
            try:
                done = ENGINE.run(source)
            except DataError as err:
                refused.add(err.message)
                continue
            passed += 1
            out = BytesIO()
            dcmwrite(out, done.dataset)
            again = dcmread(BytesIO(out.getvalue()), force=True)
            name = str(source.get("PatientName", "")).strip("^ ")
            assert again.PatientID == ENGINE.pseudonym(str(source.PatientID)), path
            assert not name or name not in map(str, (e.value for _, e in everything(again))), path
            if "PixelData" in source:
                assert again.PixelData == source.PixelData, path
    assert passed > 100
    assert refused == {"The header has no patient identifier."}


def test_a_value_left_unread_is_read_for_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    large = header(PixelData=b"\1" * 4000)
    large["PixelData"].VR = "OW"
    path.write_bytes(as_file(large))
    done = ENGINE.deidentify(dcmread(path, defer_size=1000))
    path.unlink()
    assert read(written(done)).PixelData == b"\1" * 4000


def test_the_key_shows_nowhere_and_does_not_travel() -> None:
    assert KEY.hex() not in repr(ENGINE) + repr(ENGINE._names) + repr(vars(ENGINE))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ENGINE)
    with pytest.raises(ConfigurationError):
        Engine(b"short")


def test_the_options_and_the_table_fit() -> None:
    profile = basic_profile()
    ours = (
        options.RETAINED_CHARACTERISTICS,
        options.CLEANED_CHARACTERISTICS,
        options.MODIFIED_DATES,
        options.CLEANED_DESCRIPTORS,
    )
    assert [len(tags) for tags in ours] == [9, 4, 165, 125]
    assert all(tags <= profile.keys() for tags in ours)
    dated = {tag for tag in profile if DicomDictionary.get(tag, [""])[0] in ("DA", "DT", "TM")}
    birth_and_position = {0x00100030, 0x00100032, 0x00160077}
    assert dated - options.MODIFIED_DATES == birth_and_position
    assert retained() == {*LAWFUL, *RETAINED_TIMES}


def test_the_documentation_lists_what_is_retained() -> None:
    profile, text = DOCUMENTED.read_text(encoding="utf-8").split("## What is retained")
    assert f"edition {EDITION}" in profile
    listed = re.findall(r"^(?:\w+, )+.*?\.$", text, re.MULTILINE | re.DOTALL)
    assert [set(words[:-1].replace("\n", " ").split(", ")) for words in listed] == [
        set(LAWFUL),
        RETAINED_TIMES,
    ]


PRIMARY = ["ORIGINAL", "PRIMARY", "AXIAL"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "CT", "ImageType": PRIMARY}, "passed"),
        ({"Modality": "MR", "ImageType": PRIMARY, "BurnedInAnnotation": "NO"}, "passed"),
        ({"Modality": "CR", "ImageType": PRIMARY}, "passed"),
        ({"Modality": "MG", "ImageType": ["DERIVED", "PRIMARY"], "BurnedInAnnotation": "NO"}, "passed"),
        ({"Modality": "MG", "ImageType": ["DERIVED", "PRIMARY"]}, "image_type"),
        ({"Modality": "CT", "ImageType": ["DERIVED", "PRIMARY"], "BurnedInAnnotation": "NO"}, "image_type"),
        ({"Modality": "DX", "ImageType": ["ORIGINAL", "SECONDARY"]}, "image_type"),
        ({"Modality": "DX"}, "image_type"),
        ({"Modality": "MG", "ImageType": PRIMARY, "BurnedInAnnotation": "YES"}, "burned_in"),
        ({"Modality": "MG", "ImageType": PRIMARY, "BurnedInAnnotation": "MAYBE"}, "burned_in"),
        ({"Modality": "MG", "ImageType": PRIMARY, "BurnedInAnnotation": ["NO", "YES"]}, "burned_in"),
        ({"Modality": "CR", "ImageType": PRIMARY, "ConversionType": "DF"}, "secondary_capture"),
        (
            {"Modality": "CT", "ImageType": PRIMARY, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
            "secondary_capture",
        ),
        ({"Modality": "US", "ImageType": PRIMARY}, "modality"),
        ({"Modality": "OT", "ImageType": PRIMARY}, "modality"),
        ({}, "modality"),
    ],
)
def test_burned_in_text_is_judged_by_the_header(values: dict[str, Any], code: str) -> None:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    texts = {key: "\\".join(v) if isinstance(v, list) else v for key, v in values.items()}
    for form in (values, dataset, texts):
        verdict = burned_in(form)
        assert (verdict.code, verdict.passes) == (code, code == "passed")
