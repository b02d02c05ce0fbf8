"""Fingerprints, and pixel data that is not all there."""

import hashlib
import os
from pathlib import Path

import pytest
from header_oracle import element, explicit
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from unica_sdk.errors import DataError
from unica_sdk.node.header import Header, HeaderScanner
from unica_sdk.node.manifest import Gap, expected_length, fingerprint, missing, unchanged

ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0" + bytes(4)


def gap(path: Path) -> Gap | None:
    header = HeaderScanner().scan(path)
    assert isinstance(header, Header), header
    return missing(path, header)


def image(
    rows: int, pixels: bytes, *, length: int | None = None, syntax: bytes = b"1.2.840.10008.1.2.1\0"
) -> bytes:
    return explicit(
        element(0x00280010, b"US", rows.to_bytes(2, "little")),
        element(0x00280011, b"US", b"\4\0"),
        element(0x00280100, b"US", b"\x10\0"),
        element(0x7FE00010, b"OW", pixels, length=length),
        syntax=syntax,
    )


@given(content=st.binary(max_size=3000))
def test_a_fingerprint_is_the_contents_sha256(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    found = fingerprint(path)
    assert (found.sha256, found.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert unchanged(path, found)


def test_a_file_that_was_written_to_or_is_gone_is_not_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    known = fingerprint(path)
    path.write_bytes(b"longer")
    assert not unchanged(path, known)
    path.unlink()
    assert not unchanged(path, known)


def test_what_is_no_regular_file_has_no_fingerprint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", "/dev/zero"):
        with pytest.raises(DataError):
            fingerprint(path)


def test_native_pixel_data_is_judged_by_its_length_and_the_images_size(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    for content, expected in (
        (image(3, bytes(24)), None),
        (image(3, bytes(23), length=24), "cut_off"),
        (image(4, bytes(24)), "too_short"),
        (image(4, bytes(24), syntax=b"1.2.840.10008.1.2.4.50"), None),  # as long as its codec makes it
        (explicit(element(0x00280010, b"US", b"\1\0")), "no_pixels"),
    ):
        path.write_bytes(content)
        assert gap(path) == expected


def test_encapsulated_pixel_data_is_followed_to_its_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    whole = ITEM + bytes(4) + ITEM + b"\x06\0\0\0abcdef"
    for pixels, expected in (
        (whole + SEQUENCE_END, None),
        (whole, "unterminated"),
        (whole[:-1], "cut_off"),
        (whole + b"12345678", "odd_fragments"),
        (whole + ITEM + b"\xff" * 4, "odd_fragments"),
    ):
        path.write_bytes(image(3, pixels, length=0xFFFFFFFF, syntax=b"1.2.840.10008.1.2.4.50"))
        assert gap(path) == expected


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
def test_no_cut_of_a_real_file_passes(tmp_path: Path, name: str) -> None:
    content = Path(get_testdata_file(name)).read_bytes()
    header = HeaderScanner().scan_bytes(content)
    assert isinstance(header, Header) and header.pixels is not None and header.pixels.offset is not None
    path = tmp_path / name
    path.write_bytes(content)
    assert gap(path) is None
    begin, end = header.pixels.offset, header.pixels.offset + (header.pixels.length or 0)
    for cut in (begin + 1, begin + (len(content) - begin) // 2, max(end - 1, begin + 2)):
        path.write_bytes(content[:cut])
        assert gap(path) in ("cut_off", "unterminated")


def test_the_expected_length_counts_frames_samples_and_shared_chroma() -> None:
    values = {"Rows": 2, "Columns": 4, "BitsAllocated": 8, "SamplesPerPixel": 3, "NumberOfFrames": 2}
    assert expected_length(Header(values, "", None, "unica")) == 48
    subsampled = {**values, "PhotometricInterpretation": "YBR_FULL_422"}
    assert expected_length(Header(subsampled, "", None, "unica")) == 32
    assert (
        expected_length(Header({**values, "SamplesPerPixel": 1, "BitsAllocated": 1}, "", None, "unica")) == 2
    )
    assert expected_length(Header({}, "", None, "unica")) is None
