"""What is wrong with another system's list of concepts, or with a node's words, by the shared table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, cast

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.contract import Contract
from unica_sdk.schemas.vocabulary import FIELDS, Concept, Field

Kind = Literal["missing", "renamed", "doubled", "mis_keyed"]
"""Missing: the table has it and the list has not, or the other way round. Renamed: the same code under
another label, or the same label under another code. Doubled: one code for two concepts, or two codes of one
system for one. Mis-keyed: a value that stands under another field's key."""


class Entry(Contract):
    """One line of another system's list: the field's key or name, and a value's code, system and label."""

    key: str
    system: str = ""
    code: str = ""
    label: str = ""


class Word(Contract):
    """A word that a node has for a field; `count` is how often, where that is known."""

    field: str
    word: str
    count: int | None = None


class Finding(Contract):
    """One thing that is wrong: in which field, about which code or word, and what to do."""

    kind: Kind
    field: str
    about: str
    text: str
    fix: str


_SYSTEMS = {
    "eucaim": ("eucaim", "hyper-ontology", "https://cancerimage.eu/ontology/eucaim#"),
    "sct": ("sct", "snomed", "snomed ct", "snomedct", "http://snomed.info/sct", "2.16.840.1.113883.6.96"),
    "radlex": ("radlex", "http://radlex.org", "http://www.radlex.org/rid", "2.16.840.1.113883.6.256"),
    "dicom": ("dicom", "dcm", "1.2.840.10008.2.16.4"),
    "icdo3": ("icdo3", "icd-o-3", "icdo", "2.16.840.1.113883.6.43.1"),
    "ncit": ("ncit", "nci thesaurus", "http://ncicb.nci.nih.gov/xml/owl/evs/thesaurus.owl"),
    "dpv": ("dpv", "https://w3id.org/dpv"),
}
"""How lists name the systems, OIDs (HL7's registry) and addresses included."""

_ALIASES = {alias: system for system, aliases in _SYSTEMS.items() for alias in aliases}
_SHAPES = (
    (re.compile(r"(?:SNOMED ?CT|SCT|SNOMED)[:|]?(\d{5,18})", re.IGNORECASE), "sct"),
    (re.compile(r"(?:RADLEX[:|])?(RID\d+)", re.IGNORECASE), "radlex"),
    (re.compile(r"(?:EUCAIM[:|])?((?:BP|CLIN|COM|GEN|IMG|SPEC)\d{6,})", re.IGNORECASE), "eucaim"),
    (re.compile(r"(?:NCIT[:_|])?(C\d{4,6})", re.IGNORECASE), "ncit"),
    (re.compile(r"(?:ICD-?O-?3?[:|])?(C\d\d\.\d)", re.IGNORECASE), "icdo3"),
)
"""What a code looks like where the list does not name its system."""


def written(code: str, system: str = "") -> str:
    """Return a code as the table writes codes, `system|code`; where that cannot be told, as it stands.

    Example:
        >>> written("SNOMEDCT248153007"), written("RID10312"), written("248153007", "SNOMED CT")
        ('sct|248153007', 'radlex|RID10312', 'sct|248153007')
    """
    bare = re.split(r"[/#]", code.strip())[-1]
    first, _, rest = bare.partition("|")
    if rest and first.casefold() in vocabulary.SYSTEMS:
        return f"{first.casefold()}|{rest}"
    for shape, named in _SHAPES:
        if match := shape.fullmatch(bare):
            return f"{named}|{match[1].upper()}"
    known = _ALIASES.get(system.strip().casefold().removeprefix("urn:oid:").rstrip("/"))
    return f"{known}|{bare}" if known else bare


def examine_list(entries: Iterable[Entry]) -> tuple[Finding, ...]:
    """Compare another system's list with the table.

    Example:
        >>> wrong = examine_list([Entry(key="IMG1005459", code="IMG1005475", label="PI-RADS 5")])
        >>> [finding.kind for finding in wrong if finding.about == "eucaim|IMG1005475"]
        ['mis_keyed']
    """
    by_field: dict[str, list[Entry]] = defaultdict(list)
    found: list[Finding] = []
    for entry in entries:
        key = vocabulary.key_named(written(entry.key))
        if key is None:
            text = "The table has no such field or key."
            found.append(_finding("missing", entry.key, entry.key, text, "Use a field's name or public key."))
            continue
        code = written(entry.code, entry.system) if entry.code else ""
        by_field[key.field].append(entry.model_copy(update={"key": key.field, "code": code}))
    for field, lines in by_field.items():
        if field in FIELDS:
            found += [wrong for entry in lines if (wrong := _judged(field, entry))]
            found += _not_listed(field, lines)
        found += _doubled(field, lines)
    return tuple(dict.fromkeys(found))


def examine_words(words: Iterable[Word]) -> tuple[Finding, ...]:
    """Compare a node's words with the table; fields whose values are no concepts are left out."""
    found: list[Finding] = []
    meant: dict[tuple[str, str], list[str]] = defaultdict(list)
    for said in words:
        if said.field not in FIELDS:
            continue
        concept = _by_word(said.field, said.word)
        if concept is None:
            found.append(_of_unknown_word(said))
            continue
        meant[said.field, concept.term].append(said.word)
        if said.word != concept.term:
            text = f"{_times(said)}the table's word for this is {concept.term!r}."
            found.append(_finding("renamed", said.field, said.word, text, f"Write {concept.term!r}."))
    for (field, term), same in meant.items():
        if len(several := sorted(set(same))) > 1:
            text = f"{' and '.join(several)} mean one thing."
            found.append(_finding("doubled", field, term, text, f"Write {term!r} alone."))
    return tuple(dict.fromkeys(found))


def _judged(field: str, entry: Entry) -> Finding | None:
    """Say what is wrong with one line, looked at alone."""
    about = entry.code or entry.label
    here = _by_code(field, entry.code) if entry.code else _by_word(field, entry.label)
    if here is not None:
        if not entry.label or _plain(entry.label) in (_plain(here.label), _plain(here.term)):
            return None
        text = f"It is {entry.label!r} in the list and {here.label!r} in the table."
        return _finding("renamed", field, about, text, f"Call it {here.label!r}, or look for another code.")
    elsewhere = _elsewhere(field, entry.code) or ("" if entry.code else _elsewhere(field, entry.label))
    if elsewhere:
        return _mis_keyed(field, about, elsewhere)
    named = _by_word(field, entry.label)
    if named is not None and entry.code:
        codes = _of_same_system(named, entry.code)
        text = f"{entry.label!r} is {' or '.join(codes) or 'without a code of this system'} in the table."
        return _finding("renamed", field, about, text, "Use the table's code, or look for another label.")
    text = f"The table has no {field} {entry.label or about!r}."
    return _finding("missing", field, about, text, "Map it to a word of the table, or have it added there.")


def _not_listed(field: str, lines: list[Entry]) -> Iterator[Finding]:
    """Yield the public concepts of a field that a list which has the field does not have, as one finding."""
    there = {c.term for e in lines if (c := _by_code(field, e.code) or _by_word(field, e.label))}
    absent = [c for c in _concepts(field) if c.term not in there and not c.local]
    if absent:
        text = f"The list has no {', '.join(concept.label for concept in absent)}."
        fix = f"Add them: `unica vocabulary list {field}` has their codes."
        yield _finding("missing", field, ", ".join(concept.term for concept in absent), text, fix)


def _doubled(field: str, lines: list[Entry]) -> Iterator[Finding]:
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    codes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in lines:
        if not entry.code:
            continue
        if entry.label:
            labels[entry.code][_plain(entry.label)] = entry.label
        concept = _by_code(field, entry.code)
        name = concept.label if concept else entry.label
        codes[_system_of(entry.code), _plain(name)].add(entry.code)
    for code, several in labels.items():
        if len(several) > 1:
            text = f"One code for {' and '.join(map(repr, sorted(several.values())))}."
            yield _finding("doubled", field, code, text, "Give each concept its own code.")
    for (_, name), same in codes.items():
        if name and len(same) > 1:
            text = f"{' and '.join(sorted(same))} mean one thing."
            yield _finding("doubled", field, name, text, "Use one of them everywhere.")


def _of_unknown_word(said: Word) -> Finding:
    elsewhere = _elsewhere(said.field, said.word)
    if elsewhere:
        return _mis_keyed(said.field, said.word, elsewhere)
    return _finding(
        "missing",
        said.field,
        said.word,
        f"{_times(said)}the table has no such {said.field}.",
        "Map it in the mapping of the clinical table, or have it added to the vocabulary.",
    )


def _mis_keyed(field: str, about: str, elsewhere: str) -> Finding:
    text = f"It is a value of {elsewhere}, and stands under {field}."
    key = next(key for key in vocabulary.KEYS if key.field == elsewhere)
    return _finding("mis_keyed", field, about, text, f"Put it under {key.key or elsewhere}.")


def _elsewhere(field: str, word: str) -> str:
    """Return the one other field that a code or label belongs to; a bare `1` could belong to many."""
    if not word:
        return ""
    look = _by_code if "|" in word else _by_word
    others = [other for other in FIELDS if other != field and look(other, word) is not None]
    return others[0] if len(others) == 1 else ""


def _concepts(field: str) -> tuple[Concept, ...]:
    return tuple(concept for concept in vocabulary.CONCEPTS if concept.field == field)


def _by_code(field: str, code: str) -> Concept | None:
    if "|" not in code:
        return None
    return next((c for c in _concepts(field) if code in (*c.codes, *c.also)), None)


def _by_word(field: str, word: str) -> Concept | None:
    """Return the concept that a term, a label or a code means."""
    try:
        return vocabulary.recognised(cast(Field, field), word)
    except UnknownTerm:
        plain = _plain(word)
        return next((c for c in _concepts(field) if plain and plain == _plain(c.label)), None)


def _of_same_system(concept: Concept, code: str) -> list[str]:
    return [known for known in concept.codes if _system_of(known) == _system_of(code)]


def _system_of(code: str) -> str:
    return code.rpartition("|")[0]


def _plain(label: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", label.casefold()))


def _times(said: Word) -> str:
    return f"{said.count} times; " if said.count else ""


def _finding(kind: Kind, field: str, about: str, text: str, fix: str) -> Finding:
    return Finding(kind=kind, field=field, about=about, text=text[:1].upper() + text[1:], fix=fix)
