"""From a de-identified copy's header to its row of the index: nothing else of a file can get there."""

from __future__ import annotations

import math

from unica_sdk.node.header_values import Header
from unica_sdk.node.index_tables import InstanceRow
from unica_sdk.node.quality.headers import day_of
from unica_sdk.node.scan import years
from unica_sdk.node.terms import BODY_PARTS, LATERALITIES, SEXES, modality, word


def row_of(header: Header, *, path: str, sha256: str) -> InstanceRow:
    """Return the row of a copy: words of the vocabulary, pseudonyms, and where its pixels are.

    Args:
        header: the copy's, not the original's.
        path: where the copy is.
        sha256: of the copy.
    """
    pixels = header.pixels
    rows, columns = _spacing(header)
    return InstanceRow(
        path=path,
        patient=header.text("PatientID"),
        study=header.text("StudyInstanceUID"),
        series=header.text("SeriesInstanceUID"),
        instance=header.text("SOPInstanceUID"),
        modality=modality(header.text("Modality")),
        body_part=BODY_PARTS.get(word(header.text("BodyPartExamined"))),
        manufacturer=" ".join(header.text("Manufacturer").lower().split()) or None,
        sex=SEXES.get(word(header.text("PatientSex"))),
        age=years(header.text("PatientAge")),
        rows=header.whole("Rows") or 0,
        columns=header.whole("Columns") or 0,
        frames=max(1, header.whole("NumberOfFrames") or 1),
        samples=max(1, header.whole("SamplesPerPixel") or 1),
        transfer_syntax=header.transfer_syntax,
        pixel_keyword=pixels.keyword if pixels else None,
        pixel_offset=pixels.offset if pixels else None,
        pixel_length=pixels.length if pixels else None,
        bits_allocated=header.whole("BitsAllocated"),
        bits_stored=header.whole("BitsStored"),
        signed=header.whole("PixelRepresentation") == 1,
        photometric=word(header.text("PhotometricInterpretation")) or None,
        planar=header.whole("PlanarConfiguration") == 1,
        rescale_slope=_first(header, "RescaleSlope"),
        rescale_intercept=_first(header, "RescaleIntercept"),
        window_center=_first(header, "WindowCenter"),
        window_width=_first(header, "WindowWidth"),
        row_spacing=rows,
        column_spacing=columns,
        slice_thickness=_first(header, "SliceThickness"),
        number=header.whole("InstanceNumber"),
        position=_vector(header, "ImagePositionPatient", 3),
        orientation=_vector(header, "ImageOrientationPatient", 6),
        laterality=_laterality(header),
        view=word(header.text("ViewPosition")) or None,
        acquired=day_of(header.text("AcquisitionDate")) or day_of(header.text("StudyDate")),
        sha256=sha256,
        high_bit=header.whole("HighBit"),
        # A sequence is no value that the scanner hands out: that it is there is what counts.
        nonlinear="ModalityLUTSequence" in header.malformed,
    )


def _first(header: Header, keyword: str) -> float | None:
    """Return the first of an element's numbers: a window may have alternatives (PS3.3 C.11.2.1.2)."""
    numbers = header.numbers(keyword)
    return numbers[0] if numbers and math.isfinite(numbers[0]) else None


def _vector(header: Header, keyword: str, length: int) -> list[float] | None:
    numbers = header.numbers(keyword)
    return list(numbers) if len(numbers) == length and all(map(math.isfinite, numbers)) else None


def _spacing(header: Header) -> tuple[float | None, float | None]:
    """Return the distances between rows and between columns: in the patient, else at the detector."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if (found := _vector(header, keyword, 2)) is not None:
            return found[0], found[1]
    return None, None


def _laterality(header: Header) -> str | None:
    for keyword in ("ImageLaterality", "Laterality"):
        if (found := word(header.text(keyword))) in LATERALITIES:
            return found
    return None
