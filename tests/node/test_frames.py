"""Text beside the image in compressed frames: none survives, no pixel changes, and no bytes do harm."""

import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from codestreams import (
    CANARY,
    PIXELS,
    box,
    compressed,
    decoded,
    frames_of,
    image,
    segment,
    with_frames,
    with_words,
)
from dicom_files import MAMMOGRAPHY, ROOT
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.pixels import get_decoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from unica_sdk.errors import DataError
from unica_sdk.node.copies import Copied, CopyPool
from unica_sdk.node.deidentify import Engine, jpeg
from unica_sdk.node.deidentify.codestream import Codestream, Steps
from unica_sdk.node.deidentify.frames import WALKED, blank_frames, clean_frames
from unica_sdk.node.header import Header, HeaderScanner
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import IngestReport, ingest
from unica_sdk.node.manifest import fingerprint
from unica_sdk.node.scan import Skipped
from unica_sdk.node.store import Store

BASELINE, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
IMAGES = compressed()
FRAMES = {kind: with_words(frames_of(one)[0]) for kind, one in IMAGES.items()}
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SCAN = segment(0xFFC0, b"\x08\0\1\0\1\1\1\x11\0") + segment(0xFFDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\0\x34"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what the bundled files are like


def _syntax(dataset: Dataset) -> str:
    return str(dataset.file_meta.TransferSyntaxUID)


def _clean(*fragments: bytes, syntax: str = BASELINE) -> list[bytes]:
    value = b"\xfe\xff\0\xe0\0\0\0\0" + b"".join(_item(fragment) for fragment in fragments)
    found = clean_frames(value, transfer_syntax=syntax).value
    assert len(found) == len(value)
    return list(generate_fragments(found))[1:]


def _item(fragment: bytes) -> bytes:
    return b"\xfe\xff\0\xe0" + struct.pack("<I", len(fragment)) + fragment


# --- real images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IMAGES)
def test_no_word_is_left_and_every_decoder_sees_the_same_image(kind: str) -> None:
    plain = IMAGES[kind]
    worded = with_frames(plain, [with_words(frame) for frame in frames_of(plain)])
    before, expected = worded.PixelData, _by_every_decoder(worded)
    assert before.count(CANARY) >= 3 * len(frames_of(plain))
    assert expected
    np.testing.assert_array_equal(decoded(worded), decoded(plain))
    assert blank_frames(worded) > 0
    assert CANARY[:4] not in worded.PixelData
    assert len(worded.PixelData) == len(before)
    assert worded["PixelData"].is_undefined_length
    found = _by_every_decoder(worded)
    assert found.keys() == expected.keys()
    for plugin, pixels in found.items():
        np.testing.assert_array_equal(pixels, expected[plugin])
    assert blank_frames(worded) == 0


def _by_every_decoder(dataset: Dataset) -> dict[str, Any]:
    """What those make of it that make something of it: an old JPEG-LS decoder knows no comments."""
    found = {}
    for plugin in get_decoder(UID(_syntax(dataset))).available_plugins:
        with suppress(RuntimeError):
            found[plugin] = decoded(dataset, plugin)
    return found


def test_progressive_scans_with_words_between_them() -> None:
    pillow = pytest.importorskip("PIL.Image")
    from io import BytesIO

    stored = np.random.default_rng(3).integers(0, 256, (64, 72, 3)).astype(np.uint8)
    out = BytesIO()
    pillow.fromarray(stored).save(out, "jpeg", progressive=True, comment=CANARY, exif=b"Exif\0\0" + CANARY)
    frame = out.getvalue()
    places = [place for place in range(len(frame)) if frame[place : place + 2] == b"\xff\xda"]
    assert len(places) > 5
    for place in reversed(places):
        frame = frame[:place] + segment(0xFFFE, CANARY) + frame[place:]
    (cleaned,) = _clean(frame)
    assert frame.count(CANARY) > len(places)
    assert CANARY[:4] not in cleaned
    for one in (frame, cleaned):
        assert np.array_equal(
            np.asarray(pillow.open(BytesIO(one))), np.asarray(pillow.open(BytesIO(out.getvalue())))
        )


@given(st.data())
def test_a_frame_in_any_number_of_fragments_is_cleaned_as_one(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(FRAMES)))
    frame = FRAMES[kind]
    cuts = sorted(data.draw(st.lists(st.integers(1, len(frame) - 1), max_size=6)))
    fragments = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    assume(not any(one.startswith(b"\xff\xd8\xff") for one in fragments[1:]))  # as SPIFF's end would
    syntax = _syntax(IMAGES[kind])
    found = _clean(*fragments, syntax=syntax)
    assert [len(one) for one in found] == [len(one) for one in fragments]
    assert [b"".join(found)] == _clean(frame, syntax=syntax)


def test_frames_of_several_fragments_each_decode_as_before() -> None:
    plain = IMAGES["several frames"]
    worded = with_frames(plain, [with_words(frame) for frame in frames_of(plain)], fragments=3)
    blank_frames(worded)
    assert CANARY[:4] not in worded.PixelData
    np.testing.assert_array_equal(decoded(worded), decoded(plain))


def test_pixels_without_words_stay_the_same_object() -> None:
    for kind, dataset in (("RLE", image(RLELossless)), ("JPEG-LS", IMAGES["JPEG-LS"])):
        value = dataset.PixelData
        assert clean_frames(value, transfer_syntax=_syntax(dataset)).value is value, kind


# --- what stays and what goes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "content", "left"),
    [
        (0xFFE0, b"JFIF\0\1\2\0\0\1\0\1\x02\x01rgbRGB", b"JFIF\0\1\2\0\0\1\0\1" + bytes(8)),
        (0xFFE0, b"JFXX\0\x13thumbnail", bytes(15)),
        (0xFFE0, b"JFI", bytes(3)),
        (0xFFE1, b"Exif\0\0" + CANARY, bytes(6 + len(CANARY))),
        (0xFFE8, b"mrfx\3more", b"mrfx\3" + bytes(4)),
        (0xFFE8, b"SPIFF\0\1\2", bytes(8)),
        (0xFFEE, b"Adobe\0\x65Eleni\1more", b"Adobe" + bytes(6) + b"i" + bytes(5)),
        (0xFFEE, b"Adobe\0\x65\0\0\0\0\1", b"Adobe" + bytes(6) + b"\1"),
        (0xFFEE, b"Adobe", b"Adobe"),
        (0xFFED, b"Adobe\0\x65\0\0\0\0\1", bytes(12)),
        (0xFFF0, b"version", bytes(7)),
        (0xFFF8, b"\1\0\xff\0\4", b"\1\0\xff\0\4"),
        (0xFFDB, b"table", b"table"),
    ],
)
def test_of_application_data_stays_what_decoders_need(marker: int, content: bytes, left: bytes) -> None:
    (found,) = _clean(SOI + segment(marker, content) + SCAN + EOI)
    assert found == SOI + segment(marker, left) + SCAN + EOI


def test_entropy_coded_data_is_passed_by_whatever_it_looks_like() -> None:
    jpeg_data = b"\xff\0\xfe\0\x04ab\xff\xd0\xff\0\xff\xff\xd1\xff\xff"
    frame = SOI + SCAN + jpeg_data + EOI
    assert _clean(frame) == [frame]
    # In JPEG-LS any byte below 80 may follow an FF.
    ls = SOI + SCAN.replace(b"\xff\xc0", b"\xff\xf7") + b"\xff\x7e\0\x08secret\xff\x01"
    assert _clean(ls + segment(0xFFFE, b"Doe") + EOI) == [ls + segment(0xFFFE, bytes(3)) + EOI]


def test_what_no_decoder_looks_at_goes() -> None:
    between = SOI + segment(0xFFDB, b"q") + b"Doe" + SCAN + EOI + b"\xff\xd8\xff\xe0preview"
    assert _clean(between) == [SOI + segment(0xFFDB, b"q") + bytes(3) + SCAN + EOI + bytes(11)]
    fill = SOI + b"\xff\xff\xff" + segment(0xFFDB, b"q") + SCAN + EOI
    assert _clean(fill) == [fill]
    # Fragments behind the end of a frame that begin no other one.
    assert _clean(SOI + SCAN + EOI, b"Doe ", SOI + SCAN + EOI) == [
        SOI + SCAN + EOI,
        bytes(4),
        SOI + SCAN + EOI,
    ]


MAIN = b"\xff\x4f" + segment(0xFF51, bytes(39)) + segment(0xFF50, b"\0\2\0\0\0\0") + segment(0xFF52, b"style")


def _tile(data: bytes, header: bytes = b"", *, length: int | None = None) -> bytes:
    size = 14 + len(header) + len(data) if length is None else length
    return b"\xff\x90\0\x0a\0\0" + struct.pack(">I", size) + b"\0\1" + header + b"\xff\x93" + data


def test_tiles_are_passed_by_their_length_and_the_last_one_may_leave_it_open() -> None:
    comment, blank = segment(0xFF64, b"\0\1Doe"), segment(0xFF64, bytes(5))
    looks = b"\xff\x64\0\x07\0\1Doe"
    frame = MAIN + comment + _tile(looks, comment) + _tile(looks, comment, length=0)
    clean = MAIN + blank + _tile(looks, blank) + _tile(looks, blank, length=0)
    assert _clean(frame + EOI + b"Doe", syntax=J2K) == [clean + EOI + bytes(3)]
    assert _clean(frame, syntax=J2K) == [clean]


def test_of_boxes_stay_those_that_describe_the_image() -> None:
    stream = MAIN + _tile(b"data") + EOI

    def boxes(words: bytes, label: bytes) -> bytes:
        colours = box(b"colr", b"\1\0\0\0\0\0\x11" + words) + box(b"colr", b"\2\0\0" + words)
        header = box(b"ihdr", b"size") + colours + box(b"lbl ", words)
        long = struct.pack(">I4sQ", 1, b"xml ", 16 + len(words)) + words
        start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 ") + box(b"jp2h", header)
        return start + long + box(b"uuid", words) + box(b"asoc", label)

    label, none = box(b"lbl ", CANARY), bytes(len(CANARY))
    preview = box(b"jp2c", stream)
    first = boxes(CANARY, label) + box(b"jp2c", stream)
    gone = bytes(len(preview) + len(label))
    assert _clean(first + preview + label, syntax=J2K) == [boxes(none, bytes(len(label))) + preview + gone]
    last = struct.pack(">I", 0) + b"jp2c" + stream
    assert _clean(boxes(CANARY, label) + last, syntax=J2K) == [boxes(none, bytes(len(label))) + last]


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragments", "syntax", "hint"),
    [
        ([SOI + SCAN], "1.2.840.10008.1.2.4.100", "not known"),
        ([SOI + SCAN], "1.2.840.10008.1.2.4.110", "not known"),
        ([SOI + SCAN], "1.2.3", "not known"),
        ([b"GIF89a"], BASELINE, "no codestream"),
        ([SOI + segment(0xFFDB, b"q")], BASELINE, "end before"),
        ([SOI + segment(0xFFDB, b"quant")[:-1]], BASELINE, "length"),
        ([SOI + b"\xff\xdb\0\1" + SCAN], BASELINE, "length"),
        ([SOI + SCAN + b"\xff\xfe"], BASELINE, "middle"),
        ([SOI + SCAN + SOI + b"\xff\xe0"], BASELINE, "marker"),
        ([SOI + b"\xff\x42" + SCAN], BASELINE, "marker"),
        ([MAIN], J2K, "middle"),
        ([MAIN + _tile(b"data") + b"junk"], J2K, "no tile"),
        ([MAIN + _tile(b"data", length=1000)], J2K, "length"),
        ([MAIN + _tile(b"data", length=12)], J2K, "length"),
        ([MAIN + _tile(b"data").replace(b"\0\x0a", b"\0\x0b", 1)], J2K, "no tile"),
        ([MAIN + EOI], J2K, "marker"),
        ([box(b"jP  ", b"\r\n\x87\n") + box(b"jp2c", b"nothing")], J2K, "no codestream"),
        ([box(b"jP  ", b"\r\n\x87\n") + struct.pack(">I", 7) + b"xml "], J2K, "length"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_fixed_words(
    fragments: list[bytes], syntax: str, hint: str
) -> None:
    with pytest.raises(DataError, match="cannot be searched") as refused:
        _clean(*fragments, syntax=syntax)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "value", [SOI + SCAN, _item(b"")[:6], _item(b"") + _item(SOI)[:-1], b"\xfe\xff\xdd\xe0" * 3]
)
def test_what_is_not_in_fragments_is_refused(value: bytes) -> None:
    with pytest.raises(DataError):
        clean_frames(value, transfer_syntax=BASELINE)


def test_too_many_parts_are_refused() -> None:
    frame = SOI + b"\xff\xfe\0\2" * 50 + SCAN + EOI
    with pytest.raises(DataError, match="searched"):
        jpeg.walk(Codestream(frame, 0, len(frame), Steps(40)))
    jpeg.walk(Codestream(frame, 0, len(frame), Steps(60)))


def test_fragments_under_a_syntax_that_has_none_are_refused() -> None:
    """No decoder has looked at them, and a codestream in them would be copied unseen."""
    dataset = with_frames(IMAGES["JPEG 2000 made here"], [b"anything"])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with pytest.raises(DataError):
        blank_frames(dataset)
    native = Dataset()
    native.file_meta = dataset.file_meta
    native.add_new("PixelData", "OW", b"plain")
    assert blank_frames(native) == 0


changes = st.lists(st.tuples(st.integers(0, 8000), st.binary(min_size=1, max_size=6)), max_size=5)
seeds = st.sampled_from(sorted(FRAMES.values()))
BOX = box(b"jP  ", b"\r\n\x87\n")
beginnings = st.sampled_from(
    [
        b"",
        SOI + b"\xff",
        SOI + SCAN,
        MAIN[:4],
        MAIN,
        MAIN + _tile(b"")[:12],
        BOX,
        BOX + b"\0\0\0\0jp2c" + MAIN,
    ]
)
noise = st.tuples(beginnings, st.binary(max_size=200)).map(b"".join)


@given(st.data(), st.sampled_from(sorted(WALKED)))
def test_no_bytes_do_anything_but_lose_text_or_be_refused(data: st.DataObject, syntax: str) -> None:
    frames = []
    for frame in data.draw(st.lists(seeds | noise, min_size=1, max_size=3)):
        changed = bytearray(frame)
        for place, change in data.draw(changes):
            changed[place : place + len(change)] = change
        frames.append(bytes(changed[: data.draw(st.none() | st.integers(0, 8000))]))
    value = b"".join(map(_item, [b"", *frames]))
    if data.draw(st.booleans()):
        value = value[: data.draw(st.integers(0, len(value)))]
    try:
        found = clean_frames(value, transfer_syntax=syntax)
    except DataError:
        return
    assert len(found.value) == len(value)
    assert all(new in (0, old) for old, new in zip(value, found.value, strict=True))
    assert clean_frames(found.value, transfer_syntax=syntax) == (found.value, 0)


@given(
    st.binary(max_size=300), st.sampled_from([*sorted(WALKED), RLELossless, "1.2.840.10008.1.2.4.100", ""])
)
def test_any_value_under_any_syntax(value: bytes, syntax: str) -> None:
    try:
        assert len(clean_frames(value, transfer_syntax=syntax).value) == len(value)
    except DataError:
        return


# --- the store ------------------------------------------------------------------------------------------


def _mammogram(path: Path, dataset: Dataset, number: int) -> Path:
    """A file that passes every rule, with such compressed pixels."""
    fields: dict[str, Any] = {
        "SOPClassUID": MAMMOGRAPHY,
        "SOPInstanceUID": f"{ROOT}.3.{number}",
        "StudyInstanceUID": f"{ROOT}.1.{number}",
        "SeriesInstanceUID": f"{ROOT}.2.{number}",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Modality": "MG",
        "BodyPartExamined": "BREAST",
        "PatientID": f"P{number}",
    }
    for name, value in fields.items():
        setattr(dataset, name, value)
    for name in ("ConversionType", "BurnedInAnnotation"):
        if name in dataset:
            delattr(dataset, name)
    dataset.file_meta.MediaStorageSOPClassUID = MAMMOGRAPHY
    dataset.file_meta.MediaStorageSOPInstanceUID = fields["SOPInstanceUID"]
    dataset.save_as(path, enforce_file_format=True)
    return path


def _ingest(home: NodeHome, folder: Path) -> IngestReport:
    return ingest(home, folder, dataset="one", title="t", description="d", synthetic=True)


def _rows(home: NodeHome) -> dict[str, str]:
    with Index.open(home.index_folder) as index:
        return dict(index.rows("SELECT sha256, path FROM instance"))


@pytest.fixture
def worded(tmp_path: Path) -> Path:
    (folder := tmp_path / "d").mkdir()
    for number, (kind, dataset) in enumerate(compressed().items(), 1):
        frames = [with_words(frame) for frame in frames_of(dataset)]
        _mammogram(folder / f"{kind}.dcm", with_frames(dataset, frames, fragments=1 + number % 2), number)
    return folder


def test_the_store_has_no_word_of_any_frame_and_the_same_images(empty_node: NodeHome, worded: Path) -> None:
    report = _ingest(empty_node, worded)
    assert report.skipped == ()
    assert report.indexed == len(IMAGES)
    copies = [pydicom.dcmread(path) for path in _rows(empty_node).values()]
    for path in (empty_node.folder / "store").rglob("*.dcm"):
        assert CANARY[:12] not in path.read_bytes()
    sources = [decoded(pydicom.dcmread(path)) for path in worded.iterdir()]
    for copy in copies:
        assert any(np.array_equal(decoded(copy), source) for source in sources)


def test_another_profile_makes_every_copy_anew_beside_the_old_one(
    empty_node: NodeHome, worded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that reads by the version before keeps its files; nothing is written over."""
    from unica_sdk.node import ingest as ingesting
    from unica_sdk.node import intake

    for module in (ingesting, intake):
        monkeypatch.setattr(module, "PROFILE", "before")
    _ingest(empty_node, worded)
    before = {path: Path(path).stat().st_ino for path in _rows(empty_node).values()}
    monkeypatch.undo()
    report = _ingest(empty_node, worded)
    assert report.read == len(before)
    assert before.keys().isdisjoint(_rows(empty_node).values())
    assert {path: Path(path).stat().st_ino for path in before} == before


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_pixels_end_where_the_image_does(syntax: UID) -> None:
    dataset = image(JPEGLSLossless)
    dataset.decompress(generate_instance_uid=False)
    stored = dataset.PixelData
    dataset.PixelData = stored + CANARY
    dataset.add_new(0x7FE00008, "OF", CANARY + b"  ")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = MAMMOGRAPHY, f"{ROOT}.3.1"
    out = BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    out.seek(0)
    found = pydicom.dcmread(out)
    assert blank_frames(found) == 2
    assert found.PixelData == stored + bytes(len(CANARY))
    assert "FloatPixelData" not in found
    assert blank_frames(found) == 0


def test_an_odd_number_of_bytes_is_padded_whichever_way_words_lie() -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("SC_rgb_small_odd_big_endian.dcm")))
    stored = dataset.PixelData
    assert blank_frames(dataset) == 0
    assert dataset.PixelData == stored


def test_float_pixels_end_where_the_image_does() -> None:
    dataset = image(JPEGLSLossless)
    del dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 2, 3, 32
    dataset.add_new(0x7FE00008, "OF", bytes(24) + CANARY + b"  ")
    assert blank_frames(dataset) == 1
    assert dataset.FloatPixelData == bytes(24 + len(CANARY) + 2)


def test_what_the_header_of_rle_leaves_unused_goes() -> None:
    dataset = image(RLELossless)
    (frame,) = frames_of(dataset)
    words = (CANARY * 2)[:52]
    changed = with_frames(dataset, [frame[:12] + words + frame[64:]])
    assert words in changed.PixelData
    assert blank_frames(changed) == 1
    assert frames_of(changed) == [frame]
    assert np.array_equal(decoded(changed), PIXELS)


def test_a_fragment_of_rle_without_a_header_is_refused() -> None:
    dataset = image(RLELossless)
    for fragment in (CANARY, CANARY * 3, bytes(64)):
        with pytest.raises(DataError, match="searched for text"):
            blank_frames(with_frames(dataset, [*frames_of(dataset), fragment]))


def test_what_stands_behind_the_pixels_is_judged_too(copying: CopyPool, tmp_path: Path) -> None:
    """A scan ends at the pixels: to it, this is a mammogram without annotations."""
    path = _mammogram(tmp_path / "1.dcm", image(JPEGLSLossless), 1)
    path.write_bytes(path.read_bytes() + b"\x08\0\x60\0CS\2\0US")
    header = HeaderScanner().scan(path)
    assert isinstance(header, Header)
    assert header.text("Modality") == "MG"
    refused = copying.copy(str(path), fingerprint(path), stamp="0" * 16)
    assert isinstance(refused, Skipped)
    assert refused.reason == "burned_in"
    assert not list((tmp_path / "lt").rglob("*.dcm"))


@pytest.fixture
def copying(empty_node: NodeHome):
    store = Store(empty_node.folder / "store")
    with CopyPool(key_file=empty_node.folder / "site.key", store=store, size=1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("syntax", "frame"), [(MPEG2MPML, b"\0\0\1\xb3 Eleni"), (JPEG2000Lossless, b"\xff\x4f\xff\x51\0\4ab")]
)
def test_a_frame_that_cannot_be_walked_keeps_its_file_out(
    copying: CopyPool, tmp_path: Path, syntax: UID, frame: bytes
) -> None:
    dataset = IMAGES["JPEG 2000 made here"]
    dataset = with_frames(dataset, [frame])
    dataset.file_meta.TransferSyntaxUID = syntax
    path = _mammogram(tmp_path / "1.dcm", dataset, 1)
    refused = copying.copy(str(path), fingerprint(path), stamp="0" * 16)
    assert isinstance(refused, Skipped)
    assert (refused.reason, refused.passing) == ("deidentification", False)
    assert "searched for text" in refused.detail


def test_a_file_that_can_be_walked_is_copied_with_its_offset_table(copying: CopyPool, tmp_path: Path) -> None:
    dataset = with_frames(
        IMAGES["several frames"], [with_words(f) for f in frames_of(IMAGES["several frames"])]
    )
    path = _mammogram(tmp_path / "1.dcm", dataset, 1)
    copied = copying.copy(str(path), fingerprint(path), stamp="0" * 16)
    assert isinstance(copied, Copied)
    assert copied.size > 0


def test_an_image_within_a_sequence_goes_whole() -> None:
    dataset = image(JPEG2000Lossless)
    dataset.PatientID, dataset.SOPInstanceUID = "4711", "1.2.3"
    item = Dataset()
    item.add_new("PixelData", "OB", encapsulate([with_words(frames_of(dataset)[0])]))
    item["PixelData"].is_undefined_length = True
    item.Rows = 40
    dataset.SourceImageSequence = Sequence([item])
    done = Engine(bytes(32)).deidentify(dataset)
    assert "PixelData" in done
    assert "PixelData" not in done.SourceImageSequence[0]
    assert done.SourceImageSequence[0].Rows == 40
