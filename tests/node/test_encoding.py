"""A de-identified dataset as a file: the bytes that pydicom writes, whoever puts them together."""

import warnings
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from unica_sdk.errors import DataError
from unica_sdk.node.deidentify import Engine
from unica_sdk.node.deidentify.encoding import LARGE, encoded

ENGINE = Engine(bytes(range(32)))
PIXELS, CODES, NAME = 0x7FE00010, 0x00081032, 0x00080070


def by_pydicom(dataset: Dataset) -> bytes:
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def clean(name: str = "CT_small.dcm") -> FileDataset:
    done = ENGINE.deidentify(pydicom.dcmread(get_testdata_file(name)))
    assert isinstance(done, FileDataset)
    return done


def with_raw(name: str, tag: int, **values: Any) -> FileDataset:
    """A de-identified file with one element that is otherwise in some fields."""
    dataset = clean(name)
    element = dataset.get_item(tag)
    assert isinstance(element, RawDataElement)
    dataset._dict[BaseTag(tag)] = element._replace(**values)
    return dataset


def test_what_is_put_together_is_what_pydicom_writes() -> None:
    """Whatever the syntax, over all files that pydicom brings and that can be de-identified."""
    syntaxes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files are odd on purpose
        for path in get_testdata_files():
            try:
                source = pydicom.dcmread(path)
                ours = b"".join(encoded(ENGINE.deidentify(source)))
            except (pydicom.errors.InvalidDicomError, IsADirectoryError, DataError):
                continue
            assert ours == by_pydicom(ENGINE.deidentify(source)), path
            syntaxes.add(source.file_meta.TransferSyntaxUID)
    assert {ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian} < syntaxes
    assert len(syntaxes) > 8


def test_pixels_are_not_copied() -> None:
    pixels = bytes(LARGE)
    pieces = encoded(with_raw("CT_small.dcm", PIXELS, value=pixels))
    assert any(piece is pixels for piece in pieces)


def test_sequences_in_sequences_and_elements_that_were_set_are_encoded() -> None:
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning, inner.CodeValue = "ein Befund von Länge", "1"
    inner.set_original_encoding(False, True, "latin_1")
    outer.ConceptNameCodeSequence = [inner, inner]
    outer.set_original_encoding(False, True, "latin_1")
    dataset = clean()
    dataset.ProcedureCodeSequence = [outer]
    dataset.PatientComments = "gesetzt, nicht gelesen"
    dataset.add_new(0x00280010, "US", 128)
    content = b"".join(encoded(dataset))
    assert content == by_pydicom(dataset)
    again = pydicom.dcmread(BytesIO(content))
    assert again.ProcedureCodeSequence[0].ConceptNameCodeSequence[1].CodeMeaning == inner.CodeMeaning


@pytest.mark.parametrize(
    ("name", "tag", "values"),
    [
        pytest.param("CT_small.dcm", PIXELS, {"value": b"\1\2\3"}, id="pixels of odd length"),
        pytest.param("CT_small.dcm", PIXELS, {"VR": "UN"}, id="pixels of unknown representation"),
        pytest.param("CT_small.dcm", PIXELS, {"length": 0xFFFFFFFF}, id="native pixels without a length"),
        pytest.param("JPEG2000.dcm", PIXELS, {"length": 8}, id="fragments with a length"),
        pytest.param("CT_small.dcm", NAME, {"value": b"x" * 70000}, id="too long for its representation"),
        pytest.param("CT_small.dcm", NAME, {"value": None, "length": 0}, id="nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore:The value for the data element:UserWarning")
def test_an_odd_element_is_left_to_pydicom(name: str, tag: int, values: dict[str, Any]) -> None:
    expected = by_pydicom(with_raw(name, tag, **values))
    assert b"".join(encoded(with_raw(name, tag, **values))) == expected


@pytest.mark.parametrize(
    ("name", "tag", "values"),
    [
        pytest.param("JPEG2000.dcm", PIXELS, {"value": b"no fragments"}, id="what is no fragment"),
        pytest.param("CT_small.dcm", NAME, {"VR": "OB or OW"}, id="an undecided representation"),
    ],
)
def test_what_pydicom_refuses_is_refused(name: str, tag: int, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"encapsulated|ambiguous"):
        encoded(with_raw(name, tag, **values))


def test_items_of_undefined_length_keep_it() -> None:
    dataset, item = clean(), Dataset()
    item.CodeValue = "1"
    item.is_undefined_length_sequence_item = True
    item.set_original_encoding(False, True, "latin_1")
    for undefined in (False, True):
        element = DataElement(CODES, "SQ", [item])
        element.is_undefined_length = undefined
        dataset[CODES] = element
        assert b"".join(encoded(dataset)) == by_pydicom(dataset)
