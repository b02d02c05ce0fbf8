"""Canaries: a dataset with a value in every attribute of PS3.15 Table E.1-1, and what is left of them.

They are planted at the top and so many sequence levels down, beside private attributes, curves and overlays.
Texts are no words, numbers and dates occur nowhere else. Where an option retains a characteristic, a value
can be planted that it may lawfully have. The tests of de-identification plant the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pydicom import dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from unica_sdk.node.deidentify import options
from unica_sdk.node.deidentify.table import basic_profile

CARRIER = 0x00081032
"""Procedure Code Sequence: a sequence that stays, so what is planted below it has to be found there."""

LEVELS = 2
"""How many sequences deep, besides the top."""

_WALKED = (0x00081140, 0x00082112)
"""X/Z/U*: Referenced and Source Image Sequence stay, and their references are renamed."""

LAWFUL = {
    "EthnicGroup": "EUROPEAN",
    "PatientAge": "041Y",
    "PatientSex": "F",
    "PatientSexNeutered": "ALTERED",
    "PatientSize": "1.6777",
    "PatientWeight": "67.891",
    "PregnancyStatus": 4,
    "SelectorASValue": "042Y",
    "SmokingStatus": "UNKNOWN",
}
"""What is planted where Retain Patient Characteristics keeps a lawful value."""


def retained() -> set[str]:
    """Return the keywords of what the chosen options keep: characteristics, and times of day.

    A time of day stays where dates move by whole days (Retain Longitudinal Modified Dates).
    """
    times = {tag for tag in options.MODIFIED_DATES if DicomDictionary.get(tag, ("",))[0] == "TM"}
    return {DicomDictionary[tag][4] for tag in times | options.RETAINED_CHARACTERISTICS}


def canary(tag: int, vr: str) -> Any:
    """Return the value that is planted in an attribute of a VR."""
    text = f"CANARY{tag:08X}"
    if vr in ("OB", "OW", "UN"):
        return text.encode()
    values = {
        "AS": "043Y",
        "DA": "19870613",
        "DT": "19870613121314.151617",
        "TM": "121314.151617",
        "DS": "987654.3219",
        "IS": "987654321",
        "UI": f"1.2.826.0.1.3680043.9.9999.{tag}",
        "UR": f"http://{text}.example/",
        "US": 48271,
    }
    return values.get(vr, text)


def planted(*, lawful: bool, depth: int = LEVELS) -> Dataset:
    """Return a dataset with every attribute of Table E.1-1, at the top and so many sequence levels down."""
    dataset = Dataset()
    for tag in basic_profile():
        if tag >> 16 in (0x0000, 0x0002):
            continue
        vr, *_, keyword = DicomDictionary.get(tag, ("LO", "1", "", "", ""))
        if vr == "SQ":
            dataset.add_new(tag, "SQ", [_marked_item(tag)])
        else:
            dataset.add_new(tag, vr, LAWFUL[keyword] if lawful and keyword in LAWFUL else canary(tag, vr))
    for group in (0x5000, 0x6000, 0x601E):
        dataset.add_new(group << 16 | 0x3000, "OW", canary(group << 16, "OW"))
    dataset.add_new(0x60004000, "LT", "CANARY60004000")
    dataset.add_new(0x60000022, "LO", "CANARY60000022")
    block = dataset.private_block(0x0019, "CANARY CREATOR", create=True)
    block.add_new(1, "LO", "CANARY private")
    block.add_new(2, "SQ", [_marked_item(0x00190002)])
    if depth:
        dataset.add_new(CARRIER, "SQ", [planted(lawful=lawful, depth=depth - 1)])
    return dataset


def _marked_item(tag: int) -> Dataset:
    item = Dataset()
    if tag in _WALKED:
        item.ReferencedSOPInstanceUID = canary(tag, "UI")
    else:
        item.CodeMeaning = canary(tag, "LO")  # an attribute that stays where its sequence does
    return item


def as_file(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return a dataset as the content of a file, with canaries in its preamble and file meta too."""
    dataset = copy.deepcopy(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = "CANARYAE"
    dataset.preamble = b"CANARY".ljust(128, b"\0")
    out = BytesIO()
    dcmwrite(out, dataset)
    return out.getvalue()


def everything(dataset: Dataset, level: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield every element of a dataset with how many sequences deep it lies."""
    for element in dataset:
        yield level, element
        if element.VR == "SQ":
            for item in element.value:
                yield from everything(item, level + 1)


def survivors(dataset: Dataset) -> set[tuple[int, str]]:
    """Return level and keyword of everything that still has the value that was planted there."""
    found = set()
    for level, element in everything(dataset):
        if element.VR == "SQ":
            continue
        plant = LAWFUL.get(element.keyword), canary(int(element.tag), element.VR)
        if str(element.value) in map(str, plant) or "CANARY" in str(element.value):
            found.add((level, element.keyword or str(element.tag)))
    return found
