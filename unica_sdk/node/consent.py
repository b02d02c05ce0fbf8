"""Who may be counted and trained on: what each dataset declares, and what people said.

A dataset declares one mode. `opt_out`: everybody is in who did not withdraw (EHDS, Regulation (EU) 2025/327,
Art. 71). `opt_in` and `altruism`: only those are in whose consent is recorded; altruism is consent too
(Regulation (EU) 2022/868, Art. 2(16)), given for the common good. An undeclared dataset is opt_out.

People say two things, as often as they like: add and withdraw, about everything or about one dataset. The
last word that covers a dataset counts.

The registry is one file, `consent.sqlite` (0600), to which rows are added and in which none is ever changed.
It holds no identifier in the clear: a person is HMAC(site key, identifier), the name under which the index
knows them. The identifier itself is kept sealed (AES-256-GCM under a key made from the site key), because the
rotation of the site key has to name everybody anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from unica_sdk.audit import AuditLog
from unica_sdk.errors import ConfigurationError, DataError, InvalidRequest, Unavailable
from unica_sdk.files import locked, write_private
from unica_sdk.node.consent_file import (
    Consent,
    Mode,
    append,
    cipher_of,
    make,
    proof_of,
    read_revision,
    read_state,
    rekey,
    sealed,
    unsealed,
)
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index_tables import check_dataset_name
from unica_sdk.node.keys import SiteKey, patient_pseudonym, plain

__all__ = ["Consent", "ConsentRegistry", "Entry", "Mode", "Word", "rotating"]

FILE = "consent.sqlite"
MADE = ".consent.made"
"""Says that there was a registry: where it is gone, nobody may take that for nobody having withdrawn."""
ROTATION = "rotation.json"
"""While this file is there the site key is being changed, and nobody may read by either key."""

MAX_IDENTIFIER = 1024
"""Characters; DICOM allows 64."""

Word = Literal["add", "withdraw"]
"""What a person says."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One person's last word about everything, or about one dataset, as the site's operator sees it."""

    identifier: str
    pseudonym: str
    dataset: str | None
    word: Word
    at: datetime


class ConsentRegistry:
    """A site's registry of consent; several processes may use it at once.

    Every change is in the site's audit, under the pseudonym, before it is in the registry.
    """

    def __init__(self, folder: Path, key: SiteKey, audit: AuditLog) -> None:
        self.folder = folder
        self._key = key
        self._audit = audit

    @classmethod
    def of(cls, home: NodeHome) -> ConsentRegistry:
        """Return a node's registry.

        Raises:
            ConfigurationError: the site key cannot be read.
        """
        return cls(home.folder, home.site_key(), home.audit)

    @property
    def path(self) -> Path:
        """The registry's file; it is not there before the first entry."""
        return self.folder / FILE

    def add(self, identifiers: Iterable[str], *, dataset: str | None = None) -> int:
        """Record that people consent, or take a withdrawal back; return for how many that was new.

        Raises:
            InvalidRequest: not an identifier, or not a dataset's name; nothing was recorded.
            AuditBroken: the audit cannot be written; nothing was recorded.
            DataError: the registry cannot be written.
        """
        return self._say("add", identifiers, dataset)

    def withdraw(self, identifiers: Iterable[str], *, dataset: str | None = None) -> int:
        """Record that people withdraw; return for how many that was new. It acts on the next answer.

        Raises:
            InvalidRequest: not an identifier, or not a dataset's name; nothing was recorded.
            AuditBroken: the audit cannot be written; nothing was recorded.
            DataError: the registry cannot be written.
        """
        return self._say("withdraw", identifiers, dataset)

    def declare(self, dataset: str, mode: Mode) -> bool:
        """Record what a dataset declares; False where it did already.

        Raises:
            InvalidRequest: not a dataset's name.
            AuditBroken: the audit cannot be written; nothing was recorded.
            DataError: the registry cannot be written.
        """
        check_dataset_name(dataset)
        with self._writing() as connection:
            now = read_state(connection)
            if now.modes.get(dataset) is mode:
                return False
            self._audit.append(actor="operator", action="consent_declare", subject=dataset, mode=mode.value)
            append(connection, now.revision + 1, "declare", dataset=dataset, mode=mode)
        return True

    def state(self) -> Consent:
        """Return the registry as it stands; empty before the first entry.

        Raises:
            DataError: the registry cannot be read, so nobody may be counted.
            ConfigurationError: it belongs to another site key.
        """
        if not self._is_there():
            return Consent()
        with self._open() as connection:
            return read_state(connection)

    def revision(self) -> int:
        """Return the number of the last change; 0 before the first.

        Raises:
            DataError: the registry cannot be read.
            ConfigurationError: it belongs to another site key.
        """
        if not self._is_there():
            return 0
        with self._open() as connection:
            return read_revision(connection)

    def entries(self, identifiers: Iterable[str] | None = None) -> list[Entry]:
        """Return the last words of everybody in the registry, or of these people, for the site's operator.

        Raises:
            DataError: the registry cannot be read.
        """
        if not self._is_there():
            return []
        only = None if identifiers is None else {self.pseudonym(i) for i in _checked(identifiers)}
        cipher = cipher_of(self._key)
        with self._open() as connection:
            contents = dict(connection.execute("SELECT pseudonym, sealed FROM person").fetchall())
            last: dict[str, dict[str | None, tuple[Word, str]]] = {}
            for kind, person, dataset, at in connection.execute(
                "SELECT kind, person, dataset, at FROM entry WHERE person IS NOT NULL ORDER BY sequence"
            ):
                if dataset is None:
                    last[person] = {}
                last.setdefault(person, {})[dataset] = (kind, at)
        found = [
            Entry(
                identifier=unsealed(cipher, person, contents[person]),
                pseudonym=person,
                dataset=dataset,
                word=word,
                at=datetime.fromisoformat(at),
            )
            for person, words in last.items()
            if only is None or person in only
            for dataset, (word, at) in words.items()
        ]
        return sorted(found, key=lambda e: (e.identifier, e.dataset or ""))

    def pseudonym(self, identifier: str) -> str:
        """Return the name under which index and registry know a patient."""
        return patient_pseudonym(self._key, identifier)

    @contextmanager
    def rekeyed(self, new: SiteKey, target: Path) -> Iterator[None]:
        """Write the registry anew under another site key, and keep it from changing inside the `with`.

        Raises:
            DataError: an entry cannot be opened with the present key, or the file cannot be written.
        """
        target.unlink(missing_ok=True)
        with self._writing() as connection:
            rekey(connection, self._key, new, target)
            yield

    def _is_there(self) -> bool:
        if self.path.exists():
            return True
        if (self.folder / MADE).exists():
            raise DataError(
                "The consent registry is gone, so nobody may be counted.",
                where=str(self.path),
                hint="Put back the newest copy of it.",
            )
        return False

    def _say(self, word: Word, identifiers: Iterable[str], dataset: str | None) -> int:
        if dataset is not None:
            check_dataset_name(dataset)
        people = {self.pseudonym(identifier): identifier for identifier in _checked(identifiers)}
        cipher = cipher_of(self._key)
        with self._writing() as connection:
            now = read_state(connection)
            fresh = {p: i for p, i in people.items() if _is_news(now, word, p, dataset)}
            for person in fresh:
                self._audit.append(
                    actor="operator", action=f"consent_{word}", subject=person, dataset=dataset or "all"
                )
            for person, identifier in fresh.items():
                connection.execute(
                    "INSERT INTO person VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (person, sealed(cipher, person, identifier)),
                )
                append(connection, now.revision + 1, word, person=person, dataset=dataset)
        return len(fresh)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to a registry that is there and that this key opens."""
        try:
            connection = sqlite3.connect(
                f"file:{self.path}?mode=rw", uri=True, timeout=30, isolation_level=None
            )
            try:
                connection.execute("PRAGMA synchronous = EXTRA")
                proof = connection.execute("SELECT proof FROM key").fetchone()
                if proof != (proof_of(self._key),):
                    raise ConfigurationError(
                        "The consent registry belongs to another site key.", where=str(self.path)
                    )
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as err:
            raise DataError(
                "The consent registry cannot be used.", where=str(self.path), hint=str(err)
            ) from err

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that alone may write; what it wrote is on disk afterwards, or nothing of it."""
        if not self._is_there():
            self._create()
        before = self.path.stat().st_ino
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if (self.folder / ROTATION).exists() or self.path.stat().st_ino != before:
                raise Unavailable(
                    "The site key is being changed; nothing was recorded.",
                    where=str(self.folder),
                    hint="Run `unica node key rotate` until it is done, then say it again.",
                )
            yield connection
            connection.execute("COMMIT")

    def _create(self) -> None:
        """Make an empty registry aside and put it into place as a whole, unless somebody else just did."""
        aside = self.folder / f".{FILE}.partial"
        try:
            with locked(self.folder / ".consent.lock"):
                if self.path.exists():
                    return
                aside.unlink(missing_ok=True)
                make(aside, self._key)
                aside.replace(self.path)
                write_private(self.folder / MADE, b"")
        except (sqlite3.Error, OSError) as err:
            raise DataError(
                "The consent registry cannot be made.", where=str(self.path), hint=str(err)
            ) from err


def rotating(folder: Path) -> bool:
    """Whether a change of the site key was begun in this node's folder and is not done."""
    return (folder / ROTATION).exists()


def _is_news(now: Consent, word: Word, person: str, dataset: str | None) -> bool:
    """Whether a word changes anything: for all datasets, or for the one that it names."""
    granted = word == "add"
    if dataset is not None:
        return now.granted(person, dataset) is not granted
    words = now.said.get(person, {})
    return None not in words or any(there is not granted for there in words.values())


def _checked(identifiers: Iterable[str]) -> list[str]:
    found = list(identifiers)
    for identifier in found:
        if not plain(identifier) or len(identifier) > MAX_IDENTIFIER:
            raise InvalidRequest(
                f"An identifier has 1 to {MAX_IDENTIFIER} characters.",
                hint="Nothing was recorded. One identifier stands on each line.",
            )
    return found
