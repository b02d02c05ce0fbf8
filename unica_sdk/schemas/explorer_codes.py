"""How the EUCAIM explorer spells fields and values, and what each spelling is in the shared vocabulary.

Codes come from `unica_sdk.schemas.vocabulary`; what stands here besides is the explorer's own: its spelling
of a code, keys of fields that are no table of concepts, and makers. Source: the explorer's catalogue of
criteria (samply/eucaim-frontend, `catalogue-eucaim.json`, 20 February 2026), EUCAIM's hyper-ontology for Age.
"""

from __future__ import annotations

import re
from typing import Final, cast

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas import vocabulary

ONTOLOGY: Final = "EUCAIM_Hyper-Ontology_V1.0."
"""What the explorer writes before a code of EUCAIM's hyper-ontology."""

_SPELLINGS: Final = (
    ("sct", "SNOMEDCT", re.compile(r"SNOMEDCT([0-9]{5,18})")),
    ("radlex", "", re.compile(r"(RID[0-9]{1,10})")),
    (
        "eucaim",
        ONTOLOGY,
        re.compile(r"(?:EUCAIM_Hyper-Ontology_V[0-9.]{1,8}\.)?((?:BP|CLIN|COM|IMG|SPEC)[0-9]{7})"),
    ),
    ("ncit", "", re.compile(r"(C[0-9]{3,8})")),
    ("birnlex", "", re.compile(r"(birnlex_[0-9]{1,8})")),
)
"""Systems in the order in which a code is chosen to be written, with what stands before it."""

_KEYS: Final = {
    "age": "eucaim|COM1002041",
    "manufacturer": "ncit|C25392",
    "age_at_diagnosis": "sct|423493009",
    "year_of_diagnosis": "sct|432213005",
    "er": "eucaim|CLIN1045815",
    "pr": "eucaim|CLIN1046085",
    "her2": "eucaim|CLIN1045851",
    "ki67": "eucaim|CLIN1045913",
    "psa": "eucaim|CLIN1033410",
}
"""Keys of fields whose values are numbers or free words; those that no query has are named by these words.

The age that a site has is a person's at the screening or first image, so `age` is the hyper-ontology's Age
and never the explorer's age at diagnosis: most people of a screening programme have no diagnosis.
"""

_KEY_SYSTEMS: Final = {
    "sct": ("urn:snomed-org/sct", "http://snomed.info/sct"),
    "radlex": ("urn:oid:2.16.840.1.113883.6.256", "http://www.radlex.org"),
    "eucaim": ("https://cancerimage.eu/ontology/EUCAIM#",),
    "ncit": ("http://bioontology.org/projects/ontologies/birnlex",),
}
"""What `system` may say beside a key: the explorer's own word first, which is the one that is written."""

MAX_MAKER: Final = 64
"""The most characters of a maker's name."""

MAKERS: Final = {
    "birnlex|birnlex_12833": ("ge medical systems", "general electric medical systems"),
    "birnlex|birnlex_3065": ("philips", "philips medical systems"),
    "birnlex|birnlex_3066": ("siemens", "siemens medical solutions"),
    "birnlex|birnlex_3067": ("toshiba", "toshiba medical solutions", "toshiba medical systems"),
    "ncit|C200140": ("siemens healthineers",),
}
"""The explorer's makers as words: its label, and what their devices write in Manufacturer (0008,0070)."""


def parsed(word: str) -> str | None:
    """Return a spelling as `system|code`; None where it is no code.

    Example:
        >>> parsed("SNOMEDCT76752008"), parsed("EUCAIM_Hyper-Ontology_V1.0.IMG1005459"), parsed("Siemens")
        ('sct|76752008', 'eucaim|IMG1005459', None)
    """
    for system, _, pattern in _SPELLINGS:
        if found := pattern.fullmatch(word):
            return f"{system}|{found[1]}"
    return None


def spelled(codes: tuple[str, ...]) -> str | None:
    """Return the first of several codes (`system|code`) that the explorer can spell, as it spells it.

    Example:
        >>> spelled(("eucaim|IMG1000022", "radlex|RID10312"))
        'RID10312'
    """
    for system, prefix, _ in _SPELLINGS:
        for code in codes:
            if code.startswith(system + "|"):
                return prefix + code.removeprefix(system + "|")
    return None


def field_of(key: str) -> str | None:
    """Return the field that a key stands for: one of a query, one of the vocabulary, or one we know of.

    Example:
        >>> field_of("RID10311"), field_of("SNOMEDCT423493009"), field_of("SNOMEDCT1")
        ('modality', 'age_at_diagnosis', None)
    """
    return _FIELDS.get(parsed(key) or "")


def key_of(field: str) -> tuple[str, str] | None:
    """Return the key and the system that a field of a query is written with; None where it has none.

    Example:
        >>> key_of("sex"), key_of("outcome")
        (('SNOMEDCT263495000', 'urn:snomed-org/sct'), None)
    """
    code = _codes().get(field)
    key = spelled((code,)) if code else None
    return (key, _KEY_SYSTEMS[code.partition("|")[0]][0]) if code and key else None


def system_fits(key: str, system: str) -> bool:
    """Whether `system` names the code system of the key, or none.

    Example:
        >>> system_fits("RID10311", ""), system_fits("RID10311", "urn:snomed-org/sct")
        (True, False)
    """
    return system in ("", *_KEY_SYSTEMS.get((parsed(key) or "").partition("|")[0], ()))


def values_of(field: str, word: str) -> tuple[str, ...]:
    """Return what a value means under a field of a query: one term, or the words of a maker.

    Raises:
        UnknownTerm: nothing, or something of another field; the message says which.

    Example:
        >>> values_of("modality", "RID10312"), values_of("manufacturer", "ACME")
        (('MR',), ('ACME',))
    """
    code = parsed(word)
    if field == "manufacturer":
        if code is None:
            return (word,)
        if code in MAKERS:
            return MAKERS[code]
    elif code is not None and (found := _recognised(field, code)):
        return (found,)
    raise UnknownTerm(f"{word} {_elsewhere(field, code)}", where=field)


def word_of(field: str, term: str) -> str | None:
    """Return how the explorer spells a value of a query; None where it does not, or would read another one.

    Example:
        >>> word_of("modality", "MR"), word_of("diagnosis", "none"), word_of("manufacturer", "acme")
        ('RID10312', None, 'acme')
    """
    if field == "manufacturer":
        return term if parsed(term) is None and term.isprintable() and len(term) <= MAX_MAKER else None
    return spelled(vocabulary.concept(cast(vocabulary.Field, field), term).codes)


def mistaken(field: str, word: str) -> str:
    """Return what is wrong with a value of a field that no query has, as a sentence's end; "" for nothing.

    Example:
        >>> mistaken("birads", "IMG1005479")
        'is a pirads, not a birads'
    """
    code = parsed(word)
    own = field in vocabulary.FIELDS and code is not None and _recognised(field, code)
    wrong = "" if own else _elsewhere(field, code)
    return wrong if wrong.startswith("is a ") else ""


def _codes() -> dict[str, str]:
    return {**_KEYS, **{str(field): code for field, code in vocabulary.FIELD_CODES.items()}}


_FIELDS: Final = {code: field for field, code in _codes().items()}


def _recognised(field: str, code: str) -> str | None:
    try:
        return vocabulary.recognised(cast(vocabulary.Field, field), code).term
    except UnknownTerm:
        return None


def _elsewhere(field: str, code: str | None) -> str:
    for other in vocabulary.FIELDS:
        if code is not None and other != field and _recognised(other, code):
            return f"is a {other}, not a {field}"
    return "is not known"
