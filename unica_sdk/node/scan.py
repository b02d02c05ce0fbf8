"""Reading a folder of DICOM: what is in it, and what each file's header and digest say.

`files_of` finds the files. `scan_files` reads headers and digests with our own scanner, in plain Python and
within bounds (`bounded`), so it may run in the node's own process as in any dask worker. It gives back
verdicts and digests and no identifier: of what a header says, a network carries no more than the words for
modality, body part and sex that the vocabulary does not know. Tags: DICOM PS3.6.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import unica_sdk
from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.node.deidentify.burned_in import burned_in
from unica_sdk.node.header import Header, HeaderScanner, NoHeader
from unica_sdk.node.manifest import Fingerprint, Gap, fingerprint, missing
from unica_sdk.node.quality.headers import identifiers, judge, words_outside
from unica_sdk.node.syntaxes import UNCOMPRESSED

Reason = Literal[
    "empty",
    "not_dicom",
    "unreadable",
    "corrupt",
    "excessive",
    "truncated",
    "no_pixels",
    "incomplete",
    "changed",
    "undecodable",
    "burned_in",
    "deidentification",
    "duplicate",
    "mixed_study",
]
"""Why a file is not in the index; the detail beside it is for the site's operator alone."""

RULE_OF: dict[Reason, str] = {
    "empty": "integrity.header",
    "not_dicom": "integrity.header",
    "unreadable": "integrity.header",
    "corrupt": "integrity.header",
    "excessive": "integrity.header",
    "truncated": "integrity.pixels",
    "no_pixels": "integrity.pixels",
    "incomplete": "complete.identifiers",
    "changed": "integrity.unchanged",
    "undecodable": "integrity.decoding",
    "burned_in": "privacy.burned_in",
    "deidentification": "privacy.deidentification",
    "duplicate": "unique.instance",
    "mixed_study": "consistent.study",
}
"""The hard rule (`quality.rules`) that each reason is the failing of."""

_GAPS: dict[Gap, Reason] = {
    "no_pixels": "no_pixels",
    "cut_off": "truncated",
    "too_short": "truncated",
    "unterminated": "truncated",
    "odd_fragments": "corrupt",
}
_WARNINGS = ("BurnedInAnnotation", "ConversionType", "SOPClassUID")
"""What may warn of a text in the pixels: where one is there and cannot be read, it may have done so."""

_PIECE = 1 << 20
_AGE = re.compile(r"^(\d{3})([DWMY])$")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the index, and why."""

    path: str
    reason: Reason
    detail: str = ""
    passing: bool = False
    """Whether the next run may find it otherwise although the file is the same."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a folder, and the cheap signs by which a later run sees that it is still the same."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Scanned:
    """A file whose header passed every hard rule."""

    path: str
    fingerprint: Fingerprint
    pixels: str
    """SHA-256 of the pixel data as it is stored."""
    encoded: bool
    """Whether somebody has to decode it to know that it can be."""
    findings: tuple[tuple[str, str], ...]
    """The soft rules that it breaks, each with what is wrong."""
    words: tuple[tuple[str, str], ...] = ()
    """Words outside the vocabulary, each with its field."""


Verdict: TypeAlias = Scanned | Skipped


class _Skip(Exception):  # noqa: N818 - a verdict on a file, caught below
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def files_of(folder: Path, *, leave_out: frozenset[Path] = frozenset()) -> list[Path]:
    """Return everything below a folder that is not itself a folder, in a fixed order.

    Linked folders are not entered, since they may lead in a circle; linked files are listed. What is to be
    left out may be files or folders.

    Raises:
        ConfigurationError: the folder is not there or cannot be listed.
    """
    return sorted(Path(path) for path in _walk(folder, {str(path) for path in leave_out}))


def _walk(folder: Path, leave_out: set[str]) -> Iterator[str]:
    if not folder.is_dir():
        raise ConfigurationError("There is no such folder.", where=shown(folder))
    todo = [str(folder)]
    while todo:
        here = todo.pop()
        try:
            entries = list(os.scandir(here))
        except OSError as err:
            raise ConfigurationError(
                "A folder cannot be listed.", where=shown(here), hint=err.strerror or ""
            ) from err
        for entry in entries:
            if leave_out and os.path.realpath(entry.path) in leave_out:
                continue
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
            else:
                yield entry.path


def listed(path: Path) -> Listed:
    """Return a file's size and time; such as no file has for what is none, so that `scan_files` says why."""
    try:
        found = path.stat()
    except OSError:
        return Listed(str(path), -1, -2)
    if not stat.S_ISREG(found.st_mode):
        return Listed(str(path), -1, -2)
    return Listed(str(path), found.st_size, found.st_mtime_ns)


def scan_files(folder: str, paths: Sequence[str], version: str) -> list[Verdict]:
    """Return what each of some files of a folder is, in their order.

    Args:
        folder: what must be visible here, wherever this runs.
        paths: the files.
        version: of our own software, which must be the same here.

    Raises:
        ConfigurationError: a cluster's worker sees another disk or runs another version.
    """
    if version != unica_sdk.__version__:
        raise ConfigurationError(
            f"A worker runs version {unica_sdk.__version__} of unica-sdk, this node {version}.",
            hint="Install the same version on every machine of the cluster.",
        )
    if not Path(folder).is_dir():
        raise ConfigurationError(
            "A worker does not see the folder.",
            where=folder,
            hint="Mount it under the same path on every machine of the cluster.",
        )
    scanner = HeaderScanner()
    return [_scan_file(scanner, path) for path in paths]


def _scan_file(scanner: HeaderScanner, path: str) -> Verdict:
    try:
        before = _signs(path)
        header = scanner.scan(path)
        if isinstance(header, NoHeader):
            raise _Skip(header.reason, header.detail)
        _check_hard_rules(path, header)
        whole = fingerprint(path)
        pixels = _digest_of_pixels(path, header)
        if not before == (whole.size, whole.modified) == _signs(path):
            raise _Skip("changed", "while it was read")
        return Scanned(
            path=path,
            fingerprint=whole,
            pixels=pixels,
            encoded=header.transfer_syntax not in UNCOMPRESSED,
            findings=judge(header, today=datetime.now(UTC).date()),
            words=words_outside(header),
        )
    except _Skip as skip:
        # A disk may be back tomorrow, and somebody may be done with writing.
        passing = skip.reason in ("changed", "unreadable")
        return Skipped(path, skip.reason, skip.detail, passing=passing)
    except (DataError, OSError) as err:
        same = before == _signs_or_none(path)
        return Skipped(path, "unreadable" if same else "changed", in_words(err), passing=True)


def _check_hard_rules(path: str, header: Header) -> None:
    if header.pixels is None:
        raise _Skip("no_pixels")
    if absent := identifiers(header):
        raise _Skip("incomplete", absent)
    if gap := missing(path, header):
        raise _Skip(_GAPS[gap], gap.replace("_", " "))
    if unread := [keyword for keyword in _WARNINGS if keyword in header.malformed]:
        raise _Skip("burned_in", f"{unread[0]} cannot be read.")
    verdict = burned_in(dict(header.values))
    if not verdict.passes:
        raise _Skip("burned_in", verdict.text)


def _signs(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of paths, all of them text
    except OSError as err:
        raise _Skip("unreadable", err.strerror or "") from err
    return found.st_size, found.st_mtime_ns


def _signs_or_none(path: str) -> tuple[int, int] | None:
    try:
        return _signs(path)
    except _Skip:
        return None


def _digest_of_pixels(path: str, header: Header) -> str:
    """Return the SHA-256 of the pixel data as it is stored, so that equal images show under any header."""
    pixels = header.pixels
    if pixels is None or pixels.offset is None:
        return ""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
        file.seek(pixels.offset)
        left = pixels.length if pixels.length is not None else 1 << 62
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def years(age: str) -> int | None:
    """Return a DICOM age (VR AS, PS3.5 section 6.2) in completed years; None where it says nothing usable.

    Example:
        >>> years("061Y"), years("018M"), years(""), years("61")
        (61, 1, None, None)
    """
    found = _AGE.match(age.strip().upper())
    if found is None:
        return None
    value = int(int(found[1]) * _DAYS[found[2]] / _DAYS["Y"])
    return value if value <= 120 else None


def shown(path: Path | str) -> str:
    """Return a path as text that any encoding can carry; bytes that are not UTF-8 show as escapes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nameable(path: Path) -> bool:
    """Whether a path is text: the index cannot hold one that is not."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def in_words(err: BaseException) -> str:
    """Return an error as one short line, for the site's operator."""
    return f"{type(err).__name__}: {' '.join(str(err).split())[:120]}"
