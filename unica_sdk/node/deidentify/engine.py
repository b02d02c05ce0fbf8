"""`Engine`: a header goes in, a de-identified one comes out, by PS3.15 Annex E and under the site's key."""

from __future__ import annotations

import copy
import re
from functools import cached_property
from io import BytesIO
from typing import Any, Final, NamedTuple, NoReturn

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_sequence
from pydicom.filewriter import write_sequence
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from unica_sdk.errors import DataError, UnicaError
from unica_sdk.node.deidentify.names import Names
from unica_sdk.node.deidentify.options import CODES
from unica_sdk.node.deidentify.plan import (
    PATIENT_ID,
    Pass,
    Plan,
    compile_plan,
    refuse_overlays,
    removed,
    unplanned,
)
from unica_sdk.node.deidentify.report import Done, Report
from unica_sdk.node.deidentify.table import EDITION, basic_profile
from unica_sdk.node.deidentify.values import Element, raw, text_of
from unica_sdk.node.keys import plain

DEPTH: Final = 32
"""How deep sequences may nest; a header that goes deeper is refused."""

_DISGUISES: Final = ("SQ", "UN")
_ITEM: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_SOP_INSTANCE: Final = 0x00080018
_META_VERSION: Final = 0x00020001
_META_INSTANCE: Final = 0x00020003
_META_KEPT: Final = (0x00020002, 0x00020010)
"""SOP class and transfer syntax; the rest of the file meta names machines or people."""
_PIXELS: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UID: Final = re.compile(r"[0-9.]{1,64}")


class Deidentified(NamedTuple):
    """A de-identified header with its pixels, and the count of what was done to it."""

    dataset: Dataset
    report: Report


class Engine:
    """De-identifies DICOM headers under one site's key.

    Profile and options (PS3.15 Annex E): Basic Application Confidentiality Profile; Retain Patient
    Characteristics; Retain Longitudinal Temporal Information with Modified Dates; Clean Descriptors, by a
    vocabulary. An option keeps only what its attribute can lawfully say: a value that is not legal, and a
    descriptor of which no word is known, are treated as in the basic profile.

    The dataset given is left as it is; the one returned has the same bytes where nothing changed.
    Safe in threads. To work in several processes make an engine in each from the key file: it refuses to be
    pickled.

    Args:
        key: The site key, 16 bytes or more; kept in memory only.
        safe_harbour: Collapse ages over 89 into 90, as HIPAA asks (45 CFR 164.514(b)(2)(i)(C)).

    Example:
        >>> header = Dataset()
        >>> header.PatientID, header.SOPInstanceUID, header.PatientName = "4711", "1.2.3", "Doe^Jane"
        >>> done = Engine(bytes(32)).deidentify(header)
        >>> done.PatientName == done.PatientID != "4711", done.PatientIdentityRemoved
        (True, 'YES')
    """

    def __init__(self, key: bytes, *, safe_harbour: bool = False) -> None:
        self._names = Names(key)
        self._safe_harbour = safe_harbour

    def __repr__(self) -> str:
        return f"Engine(…, safe_harbour={self._safe_harbour})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An engine holds a site key and is not pickled; make one in each process.")

    def pseudonym(self, patient: str) -> str:
        """Return the name this site gives a patient identifier; surrounding blanks do not count."""
        return self._names.patient(plain(patient))

    def deidentify(self, dataset: Dataset) -> Dataset:
        """Return a de-identified copy of a dataset; see `run`."""
        return self.run(dataset).dataset

    def run(self, dataset: Dataset) -> Deidentified:
        """Return a de-identified copy of a dataset, file meta and preamble included, and what was done.

        Raises:
            DataError: no patient identifier, no SOP instance UID, sequences that cannot be read or nest too
                deep, an overlay in the pixels' unused bits, or a header that breaks its reader.
            ConfigurationError: the table is not installed.
        """
        try:
            return self._run(dataset)
        except UnicaError:
            raise
        except Exception as err:
            # pydicom raises whatever the bytes provoke; the message must not quote the header.
            raise DataError("The header cannot be de-identified.", hint=type(err).__name__) from err

    @cached_property
    def _plan(self) -> Plan:
        return compile_plan(basic_profile(), enter=self._enter, safe_harbour=self._safe_harbour)

    @cached_property
    def _nested_plan(self) -> Plan:
        """The plan within sequences: an image there is none that `burned_in` judged or a decoder has seen."""
        return {**self._plan, **dict.fromkeys(_PIXELS, removed)}

    def _run(self, dataset: Dataset) -> Deidentified:
        patient = patient_of(dataset)
        instance = dataset._dict.get(BaseTag(_SOP_INSTANCE))
        if not patient:
            raise DataError("The header has no patient identifier.", where="(0010,0020)")
        if instance is None or not text_of(instance):
            raise DataError("The header has no SOP instance UID.", where="(0008,0018)")
        passing = Pass(
            names=self._names,
            source=dataset,
            patient=patient,
            pseudonym=self._names.patient(patient),
            days=self._names.shift(patient),
            little_endian=dataset.original_encoding[1] is not False,
        )
        elements = self._walk(dataset, passing)
        refuse_overlays(passing)
        self._mark(elements, passing)
        result = _like(dataset, elements)
        _wipe_file(result, elements)
        return Deidentified(result, Report.of(passing.counts))

    def _walk(self, source: Dataset, passing: Pass) -> dict[BaseTag, Any]:
        outer, passing.source = passing.source, source
        plan = self._nested_plan if passing.depth else self._plan
        elements: dict[BaseTag, Any] = {}
        counts = passing.counts
        for tag, element in source._dict.items():
            # A plain int: comparing pydicom's tags runs Python code.
            step = plan.get(int(tag), unplanned)
            if step is None:
                as_read = isinstance(element, RawDataElement) and element.value is not None
                step = _keep if as_read and element.VR not in _DISGUISES else self._keep_with_care
            if step is _keep:
                elements[tag] = element
                continue
            if step is removed:
                counts[Done.REMOVED] += 1
                passing.changed = True
                continue
            result = step(passing, element)
            passing.changed = passing.changed or result is not element
            if result is not None:
                elements[tag] = result
        passing.source = outer
        return elements

    def _keep_with_care(self, passing: Pass, element: Element) -> Element | None:
        """Keep an attribute, unless a sequence hides under its tag."""
        value = element.value
        if element.VR == "SQ":
            return self._enter(passing, element)
        if element.VR == "UN" and isinstance(value, bytes) and value.startswith(_ITEM):
            passing.counts[Done.REMOVED] += 1
            return None
        if isinstance(element, RawDataElement):
            deferred = value is None and element.length
            return copy.copy(passing.source.get_item(element.tag)) if deferred else element
        return copy.copy(element)

    def _enter(self, passing: Pass, element: Element) -> Element | None:
        if passing.depth >= DEPTH:
            raise DataError("Sequences nest too deep.", hint=f"At most {DEPTH} levels are read.")
        items, whole = _items(passing, element)
        if items is None:
            passing.counts[Done.REMOVED] += 1
            return None
        outer, passing.changed = passing.changed, False
        passing.depth += 1
        cleaned = [_like(item, self._walk(item, passing)) for item in items]
        passing.depth -= 1
        changed, passing.changed = passing.changed, outer
        if whole and not changed:
            return element
        return DataElement(element.tag, "SQ", Sequence(cleaned), already_converted=True)

    def _mark(self, elements: dict[BaseTag, Any], passing: Pass) -> None:
        """Write the pseudonym and what was done into the header (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1)."""
        implicit, little = passing.source.original_encoding
        text = f"UNICA: DICOM PS3.15 {EDITION} Annex E"
        if self._safe_harbour:
            text += "\\ages over 89 as 90"
        pseudonym = passing.pseudonym.encode()
        for tag, vr, value in (
            (0x00100010, "PN", pseudonym),
            (PATIENT_ID, "LO", pseudonym),
            (0x00120062, "CS", b"YES"),
            (0x00120063, "LO", text.encode()),
            (0x00280303, "CS", b"MODIFIED"),
        ):
            elements[BaseTag(tag)] = _made(tag, vr, value)
        elements[BaseTag(0x00120064)] = self._codes[implicit is True, little is not False]

    @cached_property
    def _codes(self) -> dict[tuple[bool, bool], RawDataElement]:
        """De-identification Method Code Sequence, ready in each encoding."""
        return {
            (True, True): _codes(True, True),
            (False, True): _codes(False, True),
            (False, False): _codes(False, False),
        }


def _keep(passing: Pass, element: Element) -> Element:
    """Keep an attribute as it is; the walk does it in place of a call."""
    return element


def patient_of(dataset: Dataset) -> str:
    """Return the patient identifier as the hospital knows it, without padding; "" where there is none."""
    element = dataset._dict.get(BaseTag(PATIENT_ID))
    if element is None:
        return ""
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        if value.isascii() and b"\x1b" not in value and b"\\" not in value:
            return plain(value.decode("ascii"))
        value = convert_raw_data_element(element, encoding=dataset._character_set, ds=dataset).value
    return "" if value is None else plain(str(value))


def _items(passing: Pass, element: Element) -> tuple[list[Dataset] | None, bool]:
    """Return the items of a sequence, and whether its bytes are these items and no more.

    There are no items where the element is something else under a sequence's tag.
    """
    if not isinstance(element, RawDataElement):
        return (list(element.value) if element.VR == "SQ" else None), False
    if element.VR not in ("SQ", "UN", None):
        return None, False
    if element.value is None and element.length:
        raise DataError("A sequence was left unread.", hint="Read the file without `defer_size`.")
    implicit = element.is_implicit_VR and element.VR != "UN"
    encoding = passing.source._character_set
    encodings = [encoding] if isinstance(encoding, str) else list(encoding)
    content = BytesIO(element.value or b"")
    length = len(content.getbuffer())
    items = read_sequence(content, implicit, element.is_little_endian, length, encodings)
    return list(items), content.tell() == length and element.VR != "UN"


def _like(source: Dataset, elements: dict[BaseTag, Any]) -> Dataset:
    """Return a dataset with other elements that remembers how its source was encoded, but not from where."""
    result = type(source).__new__(type(source))
    state = result.__dict__
    state.update(source.__dict__)
    state["_dict"] = elements
    state["_private_blocks"] = {}
    state["is_undefined_length_sequence_item"] = False
    for name in ("filename", "buffer"):
        if name in state:
            state[name] = None
    return result


def _wipe_file(result: Dataset, elements: dict[BaseTag, Any]) -> None:
    state = result.__dict__
    if "preamble" in state:
        state["preamble"] = bytes(128)
    meta = state.get("file_meta")
    if meta is None:
        return
    wiped = FileMetaDataset()
    uids = {_META_INSTANCE: elements[BaseTag(_SOP_INSTANCE)].value}
    for tag in _META_KEPT:
        element = meta._dict.get(BaseTag(tag))
        if element is not None and _UID.fullmatch(text := text_of(element)):
            uids[tag] = text.encode()
    wiped._dict = {BaseTag(tag): _made(tag, "UI", uid) for tag, uid in uids.items()}
    wiped._dict[BaseTag(_META_VERSION)] = _made(_META_VERSION, "OB", b"\0\1")
    wiped.set_original_encoding(False, True)
    state["file_meta"] = wiped


def _made(tag: int, vr: str, value: bytes) -> RawDataElement:
    return raw(RawDataElement(BaseTag(tag), vr, 0, b"", 0, False, True), vr, value)


def _codes(implicit: bool, little: bool) -> RawDataElement:
    items = []
    for code, meaning in CODES:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
        items.append(item)
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    tag = BaseTag(0x00120064)
    write_sequence(out, DataElement(tag, "SQ", Sequence(items)), ["iso8859"])
    value = out.getvalue()
    return RawDataElement(tag, "SQ", len(value), value, 0, implicit, little)
