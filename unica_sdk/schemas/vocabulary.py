"""The shared vocabulary: every concept that a query, a table or a record may name.

The table is `vocabulary.tsv` beside this file: codes of EUCAIM's hyper-ontology, SNOMED CT, RadLex, DICOM,
ICD-O-3, the NCI Thesaurus and the Data Privacy Vocabulary where they are known, and the source of each line.
`vocabulary_keys.tsv` has what public vocabularies call the fields themselves. A concept or field without a
public code is local to UNICA and says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Literal, get_args

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas.contract import Contract

Field = Literal[
    "sex",
    "diagnosis",
    "outcome",
    "modality",
    "body_part",
    "manufacturer",
    "population",
    "topography",
    "birads",
    "density",
    "lung_rads",
    "pirads",
    "gleason",
    "isup",
    "ct",
    "cn",
    "cm",
    "collection_method",
    "legal_basis",
    "tier",
]
FIELDS: tuple[Field, ...] = get_args(Field)
"""The fields whose values are concepts of this table."""

VERSION = "2027.01"
"""Raised with every change of the table: an index and a record say which one they were made with."""

SYSTEMS: Mapping[str, str] = {
    "eucaim": "eucaim",
    "sct": "snomed",
    "radlex": "radlex",
    "dicom": "dicom",
    "icdo3": "icdo3",
    "ncit": "ncit",
    "dpv": "dpv",
}
"""The short name of each public vocabulary, as codes are written, to the column it stands in."""


class Concept(Contract):
    """One concept: the word people type, its label, and its codes where they are known.

    `also` are codes (`system|code`) in use elsewhere for the same concept: understood, never written.
    """

    field: Field
    term: str
    label: str
    eucaim: str | None = None
    snomed: str | None = None
    radlex: str | None = None
    dicom: str | None = None
    icdo3: str | None = None
    ncit: str | None = None
    dpv: str | None = None
    also: tuple[str, ...] = ()
    source: str = "local"

    @property
    def codes(self) -> tuple[str, ...]:
        """The public codes, each as `system|code` with the short name of its system.

        Example:
            >>> concept("diagnosis", "lung_cancer").codes
            ('eucaim|CLIN1000065', 'sct|363358000', 'ncit|C7377')
        """
        known = {system: getattr(self, column) for system, column in SYSTEMS.items()}
        return tuple(f"{system}|{code}" for system, code in known.items() if code)

    @property
    def local(self) -> bool:
        """Whether no public vocabulary is known to have this concept."""
        return not self.codes


class Key(Contract):
    """A field: what it is called here, and its code (`system|code`) in a public vocabulary if there is one.

    `broadest` is the concept of EUCAIM's hyper-ontology that all values of the field lie under.
    """

    field: str
    label: str
    key: str | None = None
    broadest: str | None = None
    also: tuple[str, ...] = ()
    source: str = "local"

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code by which a list may mean this field."""
        broadest = (f"eucaim|{self.broadest}",) if self.broadest else ()
        return (*((self.key,) if self.key else ()), *broadest, *self.also)


def _lines(name: str) -> Iterator[dict[str, object]]:
    text = files("unica_sdk.schemas").joinpath(name).read_text(encoding="utf-8")
    rows = (line for line in text.splitlines() if line and not line.startswith("#"))
    for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True):
        filled: dict[str, object] = {column: value for column, value in row.items() if value}
        yield {**filled, "also": tuple(row["also"].split())}


CONCEPTS: tuple[Concept, ...] = tuple(Concept.model_validate(line) for line in _lines("vocabulary.tsv"))
"""The whole table, in its order."""

KEYS: tuple[Key, ...] = tuple(Key.model_validate(line) for line in _lines("vocabulary_keys.tsv"))
"""Every field that the network names, whether its values are concepts or numbers."""

FIELD_CODES: dict[Field, str] = {field: k.key for field in FIELDS for k in KEYS if k.field == field and k.key}
"""What a public vocabulary calls the field itself: EUCAIM's search keys. A field not here is local."""

_TERMS: dict[str, dict[str, Concept]] = {
    field: {c.term: c for c in CONCEPTS if c.field == field} for field in FIELDS
}


def _words(concepts: Iterable[Concept]) -> dict[str, Concept]:
    return {word.casefold(): c for c in concepts for word in (c.term, *c.codes, *c.also)}


_WORDS: dict[str, dict[str, Concept]] = {field: _words(known.values()) for field, known in _TERMS.items()}
_KEYS: dict[str, Key] = {word.casefold(): k for k in KEYS for word in (k.field, *k.codes)}


def concepts(field: Field) -> tuple[Concept, ...]:
    """Return the concepts of one field, in the table's order.

    Example:
        >>> [concept.label for concept in concepts("sex")]
        ['Female', 'Male', 'Unknown']
    """
    return tuple(_TERMS[field].values())


def terms(field: Field) -> tuple[str, ...]:
    """Return the words of one field, in the table's order.

    Example:
        >>> terms("sex")
        ('female', 'male', 'unknown')
    """
    return tuple(_TERMS[field])


def concept(field: Field, term: str) -> Concept:
    """Return one concept.

    Raises:
        UnknownTerm: the word is not in the table; the hint lists those that are.

    Example:
        >>> concept("modality", "MG").label
        'Mammography'
    """
    found = _TERMS[field].get(term)
    if found is None:
        raise UnknownTerm(
            f"{term!r} is not a {field} in the vocabulary {VERSION}.",
            where=field,
            hint="Use one of: " + ", ".join(_TERMS[field]) + ".",
        )
    return found


def recognised(field: Field, word: str) -> Concept:
    """Return the concept that a table or record names, by its word in any case or by a public code.

    A code is written `system|code`, the system being one of `SYSTEMS`.

    Raises:
        UnknownTerm: it is neither; nothing is guessed.

    Example:
        >>> recognised("diagnosis", "sct|254837009").term
        'breast_cancer'
        >>> recognised("topography", "c50.4").label
        'Upper-outer quadrant of breast'
    """
    found = _WORDS[field].get(word.strip().casefold())
    return found if found is not None else concept(field, word)


def key_named(word: str) -> Key | None:
    """Return the field that a list means, by its name here or by a public code; None for neither.

    Example:
        >>> key_named("sct|263495000").field, key_named("modality").label
        ('sex', 'Imaging modality')
    """
    return _KEYS.get(word.strip().casefold())


def dicom_words(field: Field) -> dict[str, str]:
    """Return the words that DICOM headers use for a field, each with its term.

    Example:
        >>> dicom_words("sex")
        {'F': 'female', 'M': 'male', 'O': 'unknown'}
    """
    return {
        code.removeprefix("dicom|"): c.term
        for c in concepts(field)
        for code in (*c.codes, *c.also)
        if code.startswith("dicom|")
    }
