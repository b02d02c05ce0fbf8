"""The header scanner: agrees with pydicom on everything it reads, and nothing stops it."""

import os
import pickle
import zlib
from pathlib import Path

import pytest
from header_oracle import assert_same, by_pydicom, element, explicit, written
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from unica_sdk.node.bounded import MAX_READS, PIECE
from unica_sdk.node.header import Header, HeaderScanner, NoHeader, Pixels
from unica_sdk.node.header_values import MAX_VALUE, PIXELS, WANTED, encodings_of

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
OPEN_ITEM = ITEM + b"\xff" * 4

BUNDLED = sorted(Path(name) for name in set(get_testdata_files()) if Path(name).is_file())
REFUSED = {
    "README.txt": "not_dicom",
    "README": "not_dicom",
    "crayons.icc": "not_dicom",
    "no_meta.dcm": "not_dicom",  # begins in the middle of a tag
    "rtplan.dump": "not_dicom",
    "rtstruct.dump": "not_dicom",
    "test1.json": "not_dicom",
    "test_PN.json": "not_dicom",
    "zipMR.gz": "not_dicom",
    "rtplan_truncated.dcm": "truncated",
}
LEFT_TO_PYDICOM = 13
"""Bundled files that are big endian, without file meta, or not in the encoding they state."""


@pytest.fixture(scope="module")
def scanner() -> HeaderScanner:
    return HeaderScanner()


def read(scanner: HeaderScanner, content: bytes) -> Header:
    header = scanner.scan_bytes(content)
    assert isinstance(header, Header), header
    return header


def reason(scanner: HeaderScanner, content: bytes) -> str:
    found = scanner.scan_bytes(content)
    assert isinstance(found, NoHeader), found
    return found.reason


# --- agreement with pydicom -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "-".join(path.parts[-2:]))
def test_bundled_file_reads_as_pydicom_reads_it_or_is_refused_by_name(
    scanner: HeaderScanner, path: Path
) -> None:
    header = scanner.scan(path)
    if isinstance(header, NoHeader):
        assert REFUSED.get(path.name) == header.reason
    else:
        assert path.name not in REFUSED
        assert_same(header, path)


def test_only_the_odd_ones_go_to_pydicom(scanner: HeaderScanner) -> None:
    headers = [scanner.scan(path) for path in BUNDLED]
    by_reader = [header.reader for header in headers if isinstance(header, Header)]
    assert by_reader.count("pydicom") == LEFT_TO_PYDICOM
    assert by_reader.count("unica") > 140


@pytest.mark.skipif("UNICA_BENCH_DATA" not in os.environ, reason="outside data: set UNICA_BENCH_DATA")
def test_outside_data_reads_as_pydicom_reads_it(scanner: HeaderScanner) -> None:
    compared = 0
    for path in Path(os.environ["UNICA_BENCH_DATA"]).rglob("*"):
        header = scanner.scan(path)
        if isinstance(header, Header):
            assert_same(header, path)
            compared += 1
    assert compared


@pytest.mark.parametrize(
    "path", [path for path in BUNDLED if path.suffix == ".dcm"], ids=lambda path: path.name
)
def test_pixel_data_is_where_the_header_says(scanner: HeaderScanner, path: Path) -> None:
    header = scanner.scan(path)
    if not isinstance(header, Header) or header.pixels is None or header.pixels.offset is None:
        return
    content = path.read_bytes()
    tag = next(tag for tag, keyword in PIXELS.items() if keyword == header.pixels.keyword)
    order = "big" if header.transfer_syntax.endswith(".1.2.2") or "BigEndNoMeta" in path.name else "little"
    mark = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)
    head = content[header.pixels.offset - 12 : header.pixels.offset]
    assert mark in (head[:4], head[4:8])
    if header.pixels.length is None:
        assert content[header.pixels.offset :].startswith(ITEM)


text = st.text(
    st.characters(codec="ascii", exclude_characters="\\", min_codepoint=32, max_codepoint=126), max_size=40
)
accented = st.text(st.characters(codec="latin-1", exclude_characters="\\", min_codepoint=32), max_size=40)
decimal = st.floats(-1e6, 1e6).map(lambda number: f"{number:.6g}"[:16])
VALUES = {
    "ImageType": st.lists(text, min_size=1, max_size=4),
    "Manufacturer": accented,
    "PatientID": accented,
    "PatientAge": st.sampled_from(["", "061Y", "018M", "61"]),
    "StudyDate": st.sampled_from(["", "20260101", "2026.01.01"]),
    "SOPInstanceUID": st.sampled_from(["1.2.3", "1.2.840.10008.1.2", "2.25." + "9" * 38]),
    "Rows": st.integers(0, 65535),
    "NumberOfFrames": st.one_of(st.integers(-(2**31), 2**31 - 1).map(str), st.just("")),
    "PixelSpacing": st.lists(decimal, min_size=2, max_size=2),
    "WindowCenter": st.one_of(decimal, st.lists(decimal, min_size=1, max_size=3), st.just("")),
    "RescaleSlope": decimal,
    "ViewPosition": text,
}
some_values = st.fixed_dictionaries({}, optional=VALUES)


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    for keyword, value in draw(some_values).items():
        setattr(dataset, keyword, value)
    dataset.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 100", "ISO_IR 192"]))
    if draw(st.booleans()):
        block = dataset.private_block(0x0029, "UNICA TEST", create=True)
        block.add_new(0x01, "OB", draw(st.binary(max_size=40)))
        block.add_new(0x02, "UT", draw(text))
    if depth and draw(st.booleans()):
        for keyword in draw(st.sets(st.sampled_from(["ReferencedImageSequence", "ViewCodeSequence"]))):
            items = draw(st.lists(datasets(depth=depth - 1), max_size=2))
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
            setattr(dataset, keyword, Sequence(items))
            dataset[keyword].is_undefined_length = draw(st.booleans())
    return dataset


@given(dataset=datasets(), syntax=st.sampled_from([EXPLICIT, IMPLICIT]), pixels=st.binary(max_size=64))
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it warns of the odd values that are meant here
def test_what_pydicom_wrote_reads_as_pydicom_reads_it(dataset: Dataset, syntax: str, pixels: bytes) -> None:
    dataset.BitsAllocated = 16
    dataset.PixelData = pixels + bytes(len(pixels) % 2)
    dataset["PixelData"].VR = "OW"
    content = written(dataset, syntax)
    header = read(HeaderScanner(), content)
    assert header.reader == "unica"
    assert_same(header, content)
    assert header.pixels is not None and header.pixels.offset is not None and header.pixels.length is not None
    assert content[header.pixels.offset :][: header.pixels.length] == dataset.PixelData


@given(
    tag=st.sampled_from(sorted(WANTED)),
    vr=st.sampled_from(
        [b"LO", b"CS", b"DS", b"IS", b"US", b"UI", b"DA", b"SH", b"UL", b"UN", b"AT", b"FL", b"PN"]
    ),
    value=st.one_of(
        st.binary(max_size=24),
        st.text("0123456789.-+eE\\ \0_nainf", max_size=24).map(str.encode),
    ),
    character_set=st.sampled_from(
        [b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"", b"?"]
    ),
)
@example(tag=0x00200013, vr=b"IS", value=b"9007199254740993", character_set=b"")
@example(tag=0x00280030, vr=b"DS", value=b" 1.5\\ ", character_set=b"")
@example(tag=0x00283000, vr=b"UN", value=b"\0", character_set=b"ISO_IR 100")
@example(tag=0x00100020, vr=b"LO", value=b"\x1b$)C\xb1\xe8", character_set=b"\\ISO 2022 IR 149")
def test_any_bytes_of_any_kind_convert_as_pydicom_converts_them(
    tag: int, vr: bytes, value: bytes, character_set: bytes
) -> None:
    assume(tag != 0x00080005)
    content = explicit(element(0x00080005, b"CS", character_set), element(tag, vr, value))
    header = read(HeaderScanner(), content)
    assert_same(header, content)


@given(padding=st.integers(8100, 8300), scanner=st.just(HeaderScanner()))
def test_a_value_across_the_end_of_the_first_piece_is_whole(padding: int, scanner: HeaderScanner) -> None:
    content = explicit(
        element(0x00080070, b"LO", b"Maker "),
        element(0x00090010, b"UT", bytes(padding - 160)),
        element(0x00100020, b"LO", b"PATIENT1"),
        element(0x00400275, b"SQ", OPEN_ITEM + ITEM_END + SEQUENCE_END, length=UNDEFINED),
        element(0x00540220, b"SQ", b""),
        element(0x7FE00010, b"OW", b"12"),
    )
    header = read(scanner, content)
    assert dict(header.values) == {"Manufacturer": "Maker", "PatientID": "PATIENT1"}
    assert header.pixels == Pixels("PixelData", len(content) - 2, 2)


def test_an_element_that_comes_twice_counts_as_it_came_last(scanner: HeaderScanner) -> None:
    for values in ((b"1.5", b"2_"), (b"x ", b"7 "), (b"7 ", b"x ")):
        content = explicit(*(element(0x00281053, b"DS", value) for value in values))
        assert_same(read(scanner, content), content)


def test_a_deflated_file_has_values_and_no_place_for_its_pixels(scanner: HeaderScanner) -> None:
    header = scanner.scan(get_testdata_file("image_dfl.dcm"))
    assert isinstance(header, Header) and header.reader == "unica"
    assert header.pixels is not None and header.pixels.offset is None


def test_text_of_plain_ascii_is_the_same_in_all_character_sets() -> None:
    printable = bytes(range(32, 127))
    for name in python_encoding.values():
        assert printable.decode(name) == printable.decode("ascii")


def test_an_order_of_files_changes_nothing() -> None:
    fresh = {path: HeaderScanner().scan(path) for path in BUNDLED}
    for paths in (BUNDLED, BUNDLED[::-1]):
        used = HeaderScanner()
        assert {path: repr(used.scan(path)) for path in paths} == {path: repr(fresh[path]) for path in paths}


def test_what_a_scanner_saw_before_does_not_show_in_a_value() -> None:
    """The first element of a kind goes another way than those after it; both end at pydicom's value."""
    for character_set in (b"ISO_IR 100", b"punycode"):
        for tag, vr, value in (
            (0x0020000D, b"UI", b"1.2.3\x1f\x0c"),
            (0x0020000D, b"UI", b"\x0b1.2\\1.3\n\0"),
            (0x0020000D, b"UI", b" 1.2.3"),
            (0x00080070, b"LO", b"Maker "),
            (0x00080070, b"LO", b"M\xe4ker\t"),
            (0x00080070, b"CS", b"MAKER\x1f"),
            (0x00080070, b"UN", b"Maker "),
        ):
            content = explicit(element(0x00080005, b"CS", character_set), element(tag, vr, value))
            scanner = HeaderScanner()
            first, second = (repr(read(scanner, content)) for _ in range(2))
            assert first == second, (vr, value)
            if character_set != b"punycode":
                assert_same(read(scanner, content), content)


def test_a_header_travels_between_processes(scanner: HeaderScanner) -> None:
    header = scanner.scan(get_testdata_file("CT_small.dcm"))
    assert pickle.loads(pickle.dumps(header)) == header  # noqa: S301 - our own bytes


# --- hostile files --------------------------------------------------------------------------------------

SEEDS = [path.read_bytes()[:20_000] for path in BUNDLED if path.name in {
    "CT_small.dcm", "MR_small_implicit.dcm", "JPEG2000.dcm", "image_dfl.dcm", "nested_priv_SQ.dcm",
    "priv_SQ.dcm", "ExplVR_BigEnd.dcm", "rtplan.dcm", "rtstruct.dcm", "UN_sequence.dcm",
}]  # fmt: skip
changes = st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"SQ", b"UN", ITEM, OPEN_ITEM])
edits = st.lists(st.tuples(st.integers(0, 4000), changes | st.binary(min_size=1, max_size=8)), max_size=6)
SHARED = HeaderScanner()


@given(seed=st.sampled_from(SEEDS), edits=edits, end=st.none() | st.integers(0, 20_000))
def test_no_bytes_do_anything_but_end_in_a_header_or_a_reason(
    seed: bytes, edits: list[tuple[int, bytes]], end: int | None
) -> None:
    content = bytearray(seed)
    for place, change in edits:
        content[place : place + len(change)] = change
    found = SHARED.scan_bytes(bytes(content[:end]))
    assert isinstance(found, Header | NoHeader)
    # And in the same one as without all that was seen before.
    assert repr(found) == repr(HeaderScanner().scan_bytes(bytes(content[:end])))


@given(st.binary(max_size=400))
def test_noise_after_the_prefix_ends_in_a_header_or_a_reason(noise: bytes) -> None:
    for start in (bytes(128) + b"DICM", explicit(), b"\x08\x00"):
        assert isinstance(SHARED.scan_bytes(start + noise), Header | NoHeader)


@given(seed=st.sampled_from([seed for seed in SEEDS if b"\xff\xff\xff\xff" not in seed]), edits=edits)
def test_what_our_own_scanner_takes_of_a_changed_file_is_what_pydicom_takes(
    seed: bytes, edits: list[tuple[int, bytes]]
) -> None:
    content = bytearray(seed)
    for place, change in edits:
        if place > 300:
            content[place : place + len(change)] = change
    header = SHARED.scan_bytes(bytes(content))
    if isinstance(header, NoHeader) or b"\xff\xff\xff\xff" in content[132:]:
        return  # a damaged sequence of undefined length has no agreed end: each reader has its own
    values, _, _ = by_pydicom(bytes(content))
    for keyword, value in header.values.items():
        assert repr(values[keyword]) == repr(value)


def nested(depth: int) -> bytes:
    head = element(0x00400275, b"SQ", OPEN_ITEM, length=UNDEFINED)
    return explicit(head * depth, (ITEM_END + SEQUENCE_END) * depth)


def test_depth_is_bounded(scanner: HeaderScanner) -> None:
    assert read(scanner, nested(60)).reader == "unica"
    assert reason(scanner, nested(70)) == "excessive"
    assert reason(scanner, nested(100_000)) == "excessive"
    odd = nested(100_000).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0")
    assert reason(scanner, odd) in ("corrupt", "excessive")  # pydicom's turn


def test_a_value_is_bounded(scanner: HeaderScanner) -> None:
    content = explicit(
        element(0x00100020, b"LO", b"x" * (MAX_VALUE + 2)), element(0x00280010, b"US", b"\1\0")
    )
    header = read(scanner, content)
    assert header.malformed == ("PatientID",) and dict(header.values) == {"Rows": 1}
    sequence = explicit(element(0x00100020, b"SQ", SEQUENCE_END, length=UNDEFINED))
    assert read(scanner, sequence).malformed == ("PatientID",)


def test_a_codec_that_is_not_dicoms_is_not_lent(scanner: HeaderScanner) -> None:
    assert encodings_of("punycode") is encodings_of(("",) * 100) is None
    content = explicit(element(0x00080005, b"CS", b"punycode"), element(0x00100020, b"LO", b"\xe9" * 2000))
    assert read(scanner, content).malformed == ("PatientID",)


def test_a_header_without_end_is_given_up(scanner: HeaderScanner, tmp_path: Path) -> None:
    jump = element(0x00091000, b"UN", b"", length=1 << 20)
    path = tmp_path / "sparse.dcm"
    with path.open("wb") as file:
        file.write(explicit())
        for _ in range(MAX_READS + 2):
            file.write(jump)
            file.seek(1 << 20, os.SEEK_CUR)
        file.write(b"\0")
    assert scanner.scan(path) == NoHeader("excessive", "the header is too long or too scattered")
    many = explicit(element(0x00091000, b"UN", b"") * ((MAX_READS + 2) * PIECE // 12))
    assert reason(scanner, many) == "excessive"
    assert reason(scanner, many.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0")) == "excessive"


def test_a_flood_of_character_sets_is_given_up(scanner: HeaderScanner) -> None:
    flood = element(0x00080005, b"UT", b"a1\\" * 1_000_000)
    odd = explicit(flood, syntax=b"1.2.840.99999.1.2.1\0")
    assert reason(scanner, odd) == "excessive"
    assert read(scanner, explicit(flood)).malformed == ("SpecificCharacterSet",)


def test_a_bomb_is_not_inflated(scanner: HeaderScanner) -> None:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(element(0x00091000, b"UT", bytes(1 << 20))) for _ in range(200))
    deflated = b"1.2.840.10008.1.2.1.99"
    assert reason(scanner, explicit(bomb + deflater.flush(), syntax=deflated)) == "excessive"
    # With file meta that only pydicom takes, pydicom would inflate without bound.
    odd_meta = element(0x00020016, b"ZZ", b"") + bomb
    assert reason(scanner, explicit(odd_meta, syntax=deflated)) in ("corrupt", "excessive")


def test_what_is_no_file_is_unreadable(scanner: HeaderScanner, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody writes into it: whoever waits, waits for ever
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (pipe, tmp_path, tmp_path / "link", tmp_path / "absent", "a\0b"):
        found = scanner.scan(path)
        assert isinstance(found, NoHeader) and found.reason == "unreadable"
    (tmp_path / "empty").touch()
    assert scanner.scan(tmp_path / "empty") == NoHeader("empty")
    assert scanner.scan("/dev/zero") == NoHeader("not_dicom", "no DICM prefix")


def test_every_cut_of_a_header_is_seen(scanner: HeaderScanner) -> None:
    content = explicit(
        element(0x00100020, b"LO", b"PATIENT1"),
        element(0x00400275, b"SQ", OPEN_ITEM + ITEM_END + SEQUENCE_END, length=UNDEFINED),
        element(0x00540220, b"SQ", b"\0" * 20),
    )
    between = {len(explicit()), len(explicit()) + 16, len(explicit()) + 16 + 36, len(content)}
    for end in range(len(explicit()), len(content) + 1):
        found = scanner.scan_bytes(content[:end])
        assert isinstance(found, Header) is (end in between), end
        assert isinstance(found, Header) or found.reason == "truncated"
