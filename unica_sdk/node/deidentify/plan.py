"""One step for every attribute of the DICOM dictionary, worked out once from table, options and VR.

Beyond the table, and stricter than it (its notes 4 and 13 allow that): every date moves, every person name
and URL goes, every instance UID is renamed and every long text is cleaned, listed or not; attributes that
neither the table nor the dictionary knows go; so do private attributes and whole curve and overlay groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Final, Literal

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from unica_sdk.errors import DataError
from unica_sdk.node.deidentify import options
from unica_sdk.node.deidentify.names import Names
from unica_sdk.node.deidentify.report import Done
from unica_sdk.node.deidentify.table import Action
from unica_sdk.node.deidentify.values import (
    DUMMIES,
    LENGTHS,
    Element,
    empty_item,
    moved_date,
    moved_datetime,
    raw,
    text_of,
    unmoved_time,
)
from unica_sdk.node.deidentify.words import DESCRIPTORS, ETHNIC_GROUPS, kept_words


@dataclass(slots=True)
class Pass:
    """What one passage through one header knows."""

    names: Names
    source: Dataset
    patient: str
    pseudonym: str
    days: int
    little_endian: bool
    depth: int = 0
    changed: bool = False
    counts: list[int] = field(default_factory=lambda: [0] * len(Done))
    overlays_in_pixels: set[int] = field(default_factory=set)
    overlays: set[int] = field(default_factory=set)


Step = Callable[[Pass, Element], Element | None]
"""Returns what an attribute becomes; None where it goes."""

Kinds = frozenset[str | None]
"""The VRs of an attribute that is kept as it is: the dictionary's, their like, and None (implicit VR)."""

Plan = Mapping[int, Step | Kinds]
"""What is done to each tag. Tags that are missing go (`unplanned`)."""

PATIENT_ID: Final = 0x00100020
BODY_PART: Final = 0x00180015

_KEPT_CODES: Final = frozenset({0x00080119, 0x00080120})
"""Long Code Value and URN Code Value: codes, whatever their VR."""

_CLASS_UIDS: Final = options.tags(
    """
    00080016 0008001A 0008001B 00080062 0008010C 0008010D 00080117 00080118 0008040E 00081150 0008115A
    00083002 00340003 04000010 04000510 30100052 30100053
    """
)
"""UIDs of classes, syntaxes and coding schemes: they name a kind of thing, not a thing."""

_ALIKE: Final = (
    frozenset(("CS", "LO", "SH")),
    frozenset(("DS", "IS")),
    frozenset(("FD", "FL", "SL", "SS", "UL", "US")),
    frozenset(("OB", "OD", "OF", "OL", "OV", "OW")),
)
"""VRs that makers take for each other; under another one a value is of another kind."""

_CLASS: Final = re.compile(r"[012](?:\.(?:0|[1-9]\d*))+")

_NOT_IN_A_DATASET: Final = frozenset({0x0000, 0x0002, 0x0004})
"""Commands, file meta and directory records; found in a dataset they are removed."""

_LAWS: Final[dict[int, re.Pattern[str]]] = {
    0x00100040: re.compile(r"[MFO]?"),
    0x00101010: re.compile(r"(?:\d{3}[DWMY])?"),
    0x0072005F: re.compile(r"(?:\d{3}[DWMY])?"),
    0x00101020: re.compile(r"(?:\d{1,3}(?:\.\d{0,8})?)?"),
    0x00101030: re.compile(r"(?:\d{1,3}(?:\.\d{0,8})?)?"),
    0x001021A0: re.compile(r"(?:YES|NO|UNKNOWN)?"),
    0x00102203: re.compile(r"(?:ALTERED|UNALTERED)?"),
}
"""What a retained characteristic may look like; anything else at its place is no characteristic."""

_PREGNANCY: Final = 0x001021C0
_PREGNANCY_STATES: Final = (1, 2, 3, 4)
_ETHNIC_GROUP: Final = 0x00102160
_OLD: Final = 90


def removed(passing: Pass, element: Element) -> None:
    """X: the attribute goes."""
    passing.counts[Done.REMOVED] += 1


def unplanned(passing: Pass, element: Element) -> None:
    """Remove what has no step: private attributes, curves, overlays, group lengths, unknown attributes."""
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if group % 2:
        passing.counts[Done.PRIVATE] += 1
        return
    if group & 0xFF00 == 0x6000:
        _note_overlay(passing, element, group, number)
    passing.counts[Done.REMOVED if group & 0xFF00 in (0x5000, 0x6000) else Done.UNKNOWN] += 1


def _note_overlay(passing: Pass, element: Element, group: int, number: int) -> None:
    if number == 0x3000:
        passing.overlays.add(group)
    elif number == 0x0102:
        value = element.value
        if any(value) if isinstance(value, bytes) else bool(value):
            passing.overlays_in_pixels.add(group)


def compile_plan(profile: Mapping[int, Action], *, enter: Step, safe_harbour: bool) -> Plan:
    """Return the plan for a profile with our options; `enter` is the step that walks into a sequence."""
    plan: dict[int, Step | Kinds] = {}
    for tag, (vr, *_) in DicomDictionary.items():
        group, number = tag >> 16, tag & 0xFFFF
        apart = group in _NOT_IN_A_DATASET or group & 0xFF00 in (0x5000, 0x6000) or group == 0xFFFE
        if group % 2 == 0 and number and not apart:
            plan[tag] = _step(tag, vr, profile.get(tag), enter=enter, safe_harbour=safe_harbour)
    for tag in profile:
        plan.setdefault(tag, removed)
    plan[PATIENT_ID] = _patient
    return plan


def _step(tag: int, vr: str, action: Action | None, *, enter: Step, safe_harbour: bool) -> Step | Kinds:
    if action is None:
        return _unlisted(tag, vr, enter)
    basic = _basic(action, vr, enter)
    if tag in options.RETAINED_CHARACTERISTICS:
        return _characteristic(tag, vr, basic, safe_harbour)
    if tag in options.MODIFIED_DATES and vr in _MOVES:
        return _dated(vr, basic)
    if tag in options.CLEANED_DESCRIPTORS | options.CLEANED_CHARACTERISTICS and vr != "SQ":
        return _cleaned(vr, DESCRIPTORS, basic)
    return basic


def _unlisted(tag: int, vr: str, enter: Step) -> Step | Kinds:
    if vr == "SQ":
        return enter
    if tag == BODY_PART:
        return _cleaned(vr, DESCRIPTORS, _emptied(vr))
    if tag in _CLASS_UIDS:
        return _class
    if tag in _KEPT_CODES:
        return _kinds(vr)
    if vr in _MOVES:
        return _dated(vr, removed)
    if vr == "UI":
        return _renamed
    if vr in ("PN", "UR", "AE"):
        return removed
    if vr in ("ST", "LT", "UT", "UC"):
        return _cleaned(vr, DESCRIPTORS, removed)
    return _kinds(vr)


def _kinds(vr: str) -> Kinds:
    said = frozenset(vr.split(" or "))
    return said.union((None, vr), *(alike for alike in _ALIKE if alike & said))


def _class(passing: Pass, element: Element) -> Element | None:
    """Keep the UID of a class or a syntax, if it has the form of one (PS3.5 9.1)."""
    if not all(not one or _CLASS.fullmatch(one.strip(" \0")) for one in text_of(element).split("\\")):
        passing.counts[Done.REMOVED] += 1
        return None
    return element if isinstance(element, RawDataElement) else copy(element)


def _basic(action: Action, vr: str, enter: Step) -> Step:
    if action is Action.REMOVE or (action is Action.DUMMY_OR_NONE and vr == "SQ"):
        return removed
    if action is Action.ENTER:
        return enter
    if action is Action.EMPTY:
        return _emptied(vr)
    if action is Action.RENAME or vr == "UI":
        return _renamed
    return _replaced(vr)


def _emptied(vr: str) -> Step:
    def step(passing: Pass, element: Element) -> Element:
        passing.counts[Done.EMPTIED] += 1
        return raw(element, vr, b"")

    return step


def _replaced(vr: str) -> Step:
    dummy = DUMMIES.get(vr, b"")

    def step(passing: Pass, element: Element) -> Element:
        passing.counts[Done.REPLACED] += 1
        if vr == "SQ":
            return empty_item(element, little_endian=passing.little_endian)
        return raw(element, vr, dummy)

    return step


def _renamed(passing: Pass, element: Element) -> Element:
    passing.counts[Done.RENAMED] += 1
    uids = (one.strip(" \0").encode("latin-1", "replace") for one in text_of(element).split("\\"))
    return raw(element, "UI", b"\\".join(passing.names.uid(uid) if uid else b"" for uid in uids))


def _patient(passing: Pass, element: Element) -> Element:
    """Give the pseudonym, to a patient mentioned in a sequence too; `engine` sees to the header's own."""
    passing.counts[Done.RENAMED] += 1
    if not passing.depth:
        return raw(element, "LO", passing.pseudonym.encode())
    other = text_of(element)
    if other in ("", passing.patient):
        return raw(element, "LO", passing.pseudonym.encode() if other else b"")
    return raw(element, "LO", passing.names.patient(other).encode())


_MOVES: Final = {"DA": moved_date, "DT": moved_datetime, "TM": unmoved_time}


def _dated(vr: str, otherwise: Step) -> Step:
    move = _MOVES[vr]

    def step(passing: Pass, element: Element) -> Element | None:
        text = text_of(element)
        moved = [move(one.strip(" \0"), passing.days) if one else "" for one in text.split("\\")]
        if any(one is None for one in moved):
            return otherwise(passing, element)
        passing.counts[Done.SHIFTED] += 1
        return raw(element, vr, "\\".join(one or "" for one in moved).encode())

    return step


def _cleaned(vr: str, vocabulary: frozenset[str], otherwise: Step) -> Step:
    limit = LENGTHS.get(vr, 1024)

    def step(passing: Pass, element: Element) -> Element | None:
        kept = kept_words(text_of(element), vocabulary, limit=limit)
        if not kept:
            return otherwise(passing, element)
        passing.counts[Done.CLEANED] += 1
        return raw(element, vr, kept.encode())

    return step


def _characteristic(tag: int, vr: str, otherwise: Step, safe_harbour: bool) -> Step:
    if tag == _ETHNIC_GROUP:
        return _cleaned(vr, ETHNIC_GROUPS, otherwise)
    if tag == _PREGNANCY:
        return _pregnancy(otherwise)
    law = _LAWS[tag]

    def step(passing: Pass, element: Element) -> Element | None:
        text = text_of(element)
        if not law.fullmatch(text):
            return otherwise(passing, element)
        if safe_harbour and vr == "AS" and text.endswith("Y") and int(text[:3]) >= _OLD:
            passing.counts[Done.CLEANED] += 1
            return raw(element, vr, b"%03dY" % _OLD)
        return raw(element, vr, text.encode())

    return step


def _pregnancy(otherwise: Step) -> Step:
    def step(passing: Pass, element: Element) -> Element | None:
        order: Literal["little", "big"] = "little" if passing.little_endian else "big"
        value = element.value
        number = int.from_bytes(value, order) if isinstance(value, bytes) else value
        if number not in _PREGNANCY_STATES:
            return otherwise(passing, element)
        return raw(element, "US", int(number).to_bytes(2, order), little_endian=passing.little_endian)

    return step


def refuse_overlays(passing: Pass) -> None:
    """Refuse an image whose unused pixel bits hold an overlay: removing the group would leave it there.

    Raises:
        DataError: an overlay has a bit position and no data of its own (PS3.5 8.1.2, retired).
    """
    if passing.overlays_in_pixels - passing.overlays:
        raise DataError(
            "An overlay lies in the unused bits of the pixels.", hint="Export it without overlays."
        )
