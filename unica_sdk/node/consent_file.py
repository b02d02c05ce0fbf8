"""The file of the consent registry: its tables, how identifiers are sealed, and how it gets another key.

    entry    what was said or declared, in order; `revision` numbers the changes: one may name many people
    person   a pseudonym, and the identifier it stands for, sealed with AES-256-GCM under the site key
    key      a proof of the site key that all of it hangs on

Rows are added and never changed, which triggers see to. Identifiers are padded before they are sealed, so
that they tell nothing by their length, and bound to their pseudonym, so that no two can be exchanged.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from unica_sdk.errors import DataError
from unica_sdk.node.keys import SiteKey, plain

_PAD = 128
"""Sealed identifiers are padded to multiples of this, so that they tell nothing by their length."""

_SCHEMA = """
CREATE TABLE entry (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    revision INTEGER NOT NULL,
    at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('add', 'withdraw', 'declare', 'rotate')),
    person TEXT,
    dataset TEXT,
    mode TEXT
) STRICT;
CREATE TABLE person (pseudonym TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE key (proof TEXT NOT NULL) STRICT;
"""
_APPEND_ONLY = "".join(
    f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}"
    " BEGIN SELECT raise(ABORT, 'the registry is append-only'); END;"
    for table in ("entry", "person", "key")
    for verb in ("UPDATE", "DELETE")
)


class Mode(StrEnum):
    """What a dataset declares about consent."""

    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    ALTRUISM = "altruism"

    def admits(self, granted: bool | None) -> bool:
        """Whether a person is in, by the last thing they said; None where they said nothing.

        Example:
            >>> Mode.OPT_OUT.admits(None), Mode.OPT_IN.admits(None), Mode.OPT_IN.admits(True)
            (True, False, True)
        """
        return granted if granted is not None else self is Mode.OPT_OUT


@dataclass(frozen=True, kw_only=True)
class Consent:
    """The registry as it stood at one revision: each dataset's mode, and everybody's last word.

    `said` maps a person to what they granted by dataset; the word under None covers all other datasets.
    """

    revision: int = 0
    modes: Mapping[str, Mode] = field(default_factory=dict)
    said: Mapping[str, Mapping[str | None, bool]] = field(default_factory=dict)

    def mode(self, dataset: str) -> Mode:
        """Return what a dataset declares."""
        return self.modes.get(dataset, Mode.OPT_OUT)

    def granted(self, person: str, dataset: str) -> bool | None:
        """Return a person's last word that covers a dataset; None where they said nothing."""
        words = self.said.get(person, {})
        return words.get(dataset, words.get(None))

    def admits(self, person: str, dataset: str) -> bool:
        """Whether a person's data in a dataset may be used."""
        return self.mode(dataset).admits(self.granted(person, dataset))


def make(path: Path, key: SiteKey) -> None:
    """Write an empty registry that only its owner can read."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript(f"PRAGMA synchronous = EXTRA; {_SCHEMA}")
        connection.execute("INSERT INTO key VALUES (?)", (proof_of(key),))
        connection.executescript(_APPEND_ONLY)
    finally:
        connection.close()


def rekey(source: sqlite3.Connection, old: SiteKey, new: SiteKey, target: Path) -> None:
    """Write at `target` what the source holds, every person named and sealed under the new key.

    Raises:
        DataError: an entry cannot be opened with the old key.
    """
    before, after = cipher_of(old), cipher_of(new)
    names: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for person, content in source.execute("SELECT pseudonym, sealed FROM person"):
        identifier = unsealed(before, person, content)
        names[person] = new.name("patient", plain(identifier).encode())
        contents[names[person]] = sealed(after, names[person], identifier)
    make(target, new)
    connection = sqlite3.connect(target, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO person VALUES (?, ?)", contents.items())
        connection.executemany(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (*row[:4], names.get(row[4]), *row[5:])
                for row in source.execute("SELECT * FROM entry ORDER BY sequence")
            ),
        )
        append(connection, read_revision(source) + 1, "rotate")
        connection.execute("COMMIT")
    finally:
        connection.close()


def read_state(connection: sqlite3.Connection) -> Consent:
    """Return what the registry says now."""
    modes: dict[str, Mode] = {}
    said: dict[str, dict[str | None, bool]] = {}
    revision = 0
    for number, kind, person, dataset, mode in connection.execute(
        "SELECT revision, kind, person, dataset, mode FROM entry ORDER BY sequence"
    ):
        revision = number
        if kind == "declare":
            modes[dataset] = Mode(mode)
        elif person is not None:
            if dataset is None:
                said[person] = {}
            said.setdefault(person, {})[dataset] = kind == "add"
    return Consent(revision=revision, modes=modes, said=said)


def read_revision(connection: sqlite3.Connection) -> int:
    """Return the number of the last change; 0 before the first."""
    row = connection.execute("SELECT revision FROM entry ORDER BY sequence DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def append(
    connection: sqlite3.Connection,
    revision: int,
    kind: str,
    *,
    person: str | None = None,
    dataset: str | None = None,
    mode: Mode | None = None,
) -> None:
    """Add one entry."""
    connection.execute(
        "INSERT INTO entry (revision, at, kind, person, dataset, mode) VALUES (?, ?, ?, ?, ?, ?)",
        (revision, datetime.now(UTC).isoformat(), kind, person, dataset, mode),
    )


def cipher_of(key: SiteKey) -> AESGCM:
    """Return what seals identifiers under a site key."""
    return AESGCM(key.digest("consent-identifiers", b""))


def proof_of(key: SiteKey) -> str:
    """Return what shows that a registry and a site key belong together, and tells nothing of the key."""
    return key.digest("consent-registry", b"").hex()


def sealed(cipher: AESGCM, person: str, identifier: str) -> bytes:
    """Return an identifier that only the site key opens, and only under this pseudonym."""
    text = identifier.encode() + b"\x01"
    text += bytes(-len(text) % _PAD)
    nonce = os.urandom(12)
    return nonce + cipher.encrypt(nonce, text, person.encode())


def unsealed(cipher: AESGCM, person: str, content: bytes) -> str:
    """Return the identifier behind a pseudonym.

    Raises:
        DataError: the content was changed, or belongs to another pseudonym or key.
    """
    try:
        text = cipher.decrypt(content[:12], content[12:], person.encode())
    except InvalidTag as err:
        raise DataError("An entry of the consent registry was changed, or is another's.") from err
    return text.rstrip(b"\0")[:-1].decode()
