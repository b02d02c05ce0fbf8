"""A dataset's record as an RDF graph, and a catalogue of them: pure functions of what the record says.

There are no blank nodes: what belongs to a dataset has its address and a fragment, so that equal records give
equal graphs, and graphs of several datasets can be put together. What a record does not say is not in the
graph, and the shapes find it missing.

A number of people is protected, so an approximate one is written, as the profile allows; where the site does
not release it, the upper bound of what it may be. The interval that holds it stands beside it, in words and
in `unica:` properties. Where a site does not say which modality, body part, maker, sex or condition, the
broadest concept of EUCAIM's hyper-ontology stands. Source: EUCAIM DCAT-AP 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from unica_sdk.errors import UnknownTerm
from unica_sdk.records import namespaces
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CountAnswer, Released, Suppressed
from unica_sdk.schemas.vocabulary import Concept

if TYPE_CHECKING:
    from rdflib import Graph, URIRef
    from rdflib.term import Node

_EMAIL = re.compile(r"[^@\s<>\"{}|\\^`]+@[^@\s<>\"{}|\\^`]+\.[^@\s<>\"{}|\\^`]+")
_ADDRESS = re.compile(r"https?://[^\s<>\"{}|\\^`]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DATATYPES = {"age": "decimal", "follow_up_months": "decimal", "interval_cancer": "boolean"}
"""CSVW's names of what is no word: all other variables are."""


def dataset_address(dataset: str) -> str:
    """Return the address under which a dataset stands in a graph.

    Example:
        >>> dataset_address("gr/mammograms")
        'urn:unica:dataset:gr/mammograms'
    """
    return namespaces.DATASET + dataset


def dataset_graph(record: DatasetRecord) -> Graph:
    """Return one dataset as `dcat:Dataset` with its distribution.

    Example:
        >>> from datetime import UTC, datetime
        >>> few = Suppressed(site="gr", below=50, index_version=1)
        >>> record = DatasetRecord(
        ...     id="gr/m", site="gr", title="Mammograms", description="", synthetic=True, patients=few,
        ...     studies=few, modalities=("MG",), body_parts=(), manufacturers=(), ages=None,
        ...     vocabulary="2027.01", index_version=1, issued=datetime(2027, 1, 4, tzinfo=UTC),
        ... )
        >>> [str(number) for number in dataset_graph(record).objects(
        ...     predicate=term("healthdcatap:numberOfUniqueIndividuals"))]
        ['49']
    """
    out = _Writer(_empty(), dataset_address(record.id))
    out.link("rdf:type", "dcat:Dataset")
    _identify(out, record)
    _classify(out, record)
    _describe_people(out, record)
    _describe_images(out, record)
    _describe_variables(out, record)
    _agent(out.part("dct:publisher", "publisher"), record.publisher, record.contact)
    if record.access_body is not None:
        body = record.access_body
        _agent(out.part("healthdcatap:hdab", "access-body"), body.name, body.contact)
    _distribute(out, record)
    return out.graph


def catalogue_graph(datasets: Iterable[str], *, publisher: str, contact: str) -> Graph:
    """Return the `dcat:Catalog` of these datasets, by their ids, published by the hub's operator.

    What is said of the datasets themselves is in their own graphs, `dataset_graph`.
    """
    out = _Writer(_empty(), namespaces.CATALOGUE)
    out.link("rdf:type", "dcat:Catalog")
    out.text("dct:title", "UNICA catalogue")
    out.text("dct:description", "Cancer-imaging datasets of the UNICA network, as their sites describe them.")
    out.address("dcatap:applicableLegislation", namespaces.EHDS)
    _agent(out.part("dct:publisher", "publisher"), publisher, contact)
    for dataset in datasets:
        out.address("dcat:dataset", dataset_address(dataset))
    return out.graph


def term(name: str) -> URIRef:
    """Return the address of `prefix:name`."""
    from rdflib import URIRef

    prefix, _, local = name.partition(":")
    return URIRef(namespaces.PREFIXES[prefix] + local)


def _empty() -> Graph:
    from rdflib import Graph

    graph = Graph(bind_namespaces="none")
    for prefix, space in namespaces.PREFIXES.items():
        graph.bind(prefix, space)
    return graph


class _Writer:
    """Writes what is said of one subject; says nothing where there is nothing to say."""

    def __init__(self, graph: Graph, subject: str) -> None:
        from rdflib import URIRef

        self.graph = graph
        self.subject = URIRef(subject)

    def _add(self, prop: str, value: Node) -> None:
        self.graph.add((self.subject, term(prop), value))

    def link(self, prop: str, name: str) -> None:
        self._add(prop, term(name))

    def address(self, prop: str, iri: str) -> None:
        from rdflib import URIRef

        if iri:
            self._add(prop, URIRef(iri))

    def text(self, prop: str, text: str) -> None:
        """Add a text in English."""
        from rdflib import Literal

        if cleaned := _CONTROL.sub(" ", text).strip():
            self._add(prop, Literal(cleaned, lang="en"))

    def plain(self, prop: str, text: str) -> None:
        from rdflib import Literal

        if text:
            self._add(prop, Literal(text))

    def typed(self, prop: str, value: str, datatype: str) -> None:
        from rdflib import Literal

        self._add(prop, Literal(value, datatype=term(datatype)))

    def number(self, prop: str, value: int) -> None:
        self.typed(prop, str(value), "xsd:nonNegativeInteger")

    def part(self, prop: str, fragment: str) -> _Writer:
        """Begin something that belongs to the subject; `fragment` may be anything."""
        base = str(self.subject)
        other = _Writer(self.graph, f"{base}{'-' if '#' in base else '#'}{quote(fragment, safe='')}")
        self._add(prop, other.subject)
        return other


def _identify(out: _Writer, record: DatasetRecord) -> None:
    out.typed("dct:identifier", str(out.subject), "xsd:anyURI")
    out.text("dct:title", record.title)
    out.text("dct:description", record.description)
    # Calendar versioning, which the profile allows: an index version is never used twice.
    out.plain("dcat:version", f"{record.issued:%Y.%m}.{record.index_version}")
    out.typed("dct:modified", record.issued.isoformat(), "xsd:dateTime")
    tier = vocabulary.concept("tier", str(record.tier))
    out.link("eucaim:interoperabilityLevel", f"eucaim:{tier.eucaim}")
    for what in record.missing:
        out.text("unica:missingForNextTier", what)
    contact = out.part("dcat:contactPoint", "contact")
    contact.link("rdf:type", "vcard:Kind")
    contact.text("vcard:fn", record.publisher)
    email, page = _contact(record.contact)
    contact.address("vcard:hasEmail", email)
    contact.address("vcard:hasURL", page)


def _classify(out: _Writer, record: DatasetRecord) -> None:
    out.address("dcat:theme", namespaces.HEALTH)
    out.address("healthdcatap:healthCategory", namespaces.ELECTRONIC_HEALTH_RECORDS)
    out.address("healthdcatap:healthTheme", namespaces.CANCER)
    out.link("dct:type", "dpv:SyntheticData" if record.synthetic else "dpv:PseudonymisedData")
    out.address("dct:accessRights", namespaces.NON_PUBLIC)
    out.address("dcatap:applicableLegislation", namespaces.EHDS)
    if basis := _word("legal_basis", record.legal_basis):
        out.link("dpv:hasLegalBasis", f"dpv:{basis.dpv}")
    named = (*_of_images(record), *_concepts("diagnosis", record.conditions))
    for keyword in (*record.keywords, *(concept.label for concept in named), *record.manufacturers):
        out.text("dcat:keyword", keyword)
    if record.provenance:
        said = out.part("dct:provenance", "provenance")
        said.link("rdf:type", "dct:ProvenanceStatement")
        said.text("rdfs:label", record.provenance)
    if method := _word("collection_method", record.collection_method):
        out.link("eucaim:collectionMethod", f"eucaim:{method.eucaim}")
    out.address("dct:spatial", _country(record.country))


def _describe_people(out: _Writer, record: DatasetRecord) -> None:
    _count(out, record.patients, "healthdcatap:numberOfUniqueIndividuals", "individuals")
    _count(out, record.studies, "healthdcatap:numberOfRecords", "studies")
    _ontology(out, "eucaim:hasBirthSex", "sex", record.sexes)
    _ontology(out, "eucaim:hasCondition", "diagnosis", (record.condition,))
    if record.ages is not None:
        out.number("healthdcatap:minTypicalAge", record.ages.low)
        out.number("healthdcatap:maxTypicalAge", record.ages.high)
    out.text("healthdcatap:populationCoverage", _words_for(record.patients))


def _describe_images(out: _Writer, record: DatasetRecord) -> None:
    _ontology(out, "eucaim:hasImageModality", "modality", record.modalities)
    _ontology(out, "eucaim:hasImageBodyPart", "body_part", record.body_parts)
    makers = [maker.term for word in record.manufacturers if (maker := maker_named(word))]
    _ontology(out, "eucaim:hasEquipmentManufacturer", "manufacturer", makers)
    people = (*_concepts("diagnosis", record.conditions), *_concepts("sex", record.sexes))
    for concept in (*_of_images(record), *people):
        for code in concept.codes:
            system, _, bare = code.partition("|")
            out.plain("healthdcatap:hasCodeValues", f"{namespaces.SYSTEM_NAMES[system]}: {bare}")


def _of_images(record: DatasetRecord) -> list[Concept]:
    return [*_concepts("modality", record.modalities), *_concepts("body_part", record.body_parts)]


def _describe_variables(out: _Writer, record: DatasetRecord) -> None:
    out.typed("healthdcatap:hasStructuredData", str(bool(record.variables)).lower(), "xsd:boolean")
    if not record.variables:
        return
    group = out.part("healthdcatap:hasVariables", "variables")
    group.link("rdf:type", "csvw:TableGroup")
    group.text("dct:title", "Clinical data")
    table = group.part("csvw:table", "patient")
    table.link("rdf:type", "csvw:Table")
    table.text("dct:title", "One row for each patient")
    for name in record.variables:
        column = table.part("csvw:column", name)
        column.link("rdf:type", "csvw:Column")
        column.plain("csvw:name", name)
        key = vocabulary.key_named(name)
        label = key.label if key else name
        column.text("csvw:title", label)
        column.text("dct:description", f"{label} of the patient, in the words of UNICA's vocabulary.")
        column.plain("csvw:datatype", _DATATYPES.get(name, "string"))
        column.address("csvw:propertyUrl", _code_address(key.key) if key and key.key else "")


def _distribute(out: _Writer, record: DatasetRecord) -> None:
    given = out.part("dcat:distribution", "distribution")
    given.link("rdf:type", "dcat:Distribution")
    given.text("dct:title", "DICOM images, processed where they are")
    given.address("dcat:mediaType", namespaces.DICOM)
    # Who asks for access writes to the contact: the profile takes any way to ask for an address.
    given.address("dcat:accessURL", next(filter(None, _contact(record.contact)), ""))
    given.address("dcatap:applicableLegislation", namespaces.EHDS)
    given.address("dct:rights", namespaces.ACCESS_CONDITION + record.access.value)


def _agent(out: _Writer, name: str, contact: str) -> None:
    out.link("rdf:type", "foaf:Agent")
    out.text("foaf:name", name)
    point = out.part("cv:contactPoint", "contact")
    point.link("rdf:type", "cv:ContactPoint")
    email, page = _contact(contact)
    point.plain("cv:email", email.removeprefix("mailto:"))
    point.address("cv:contactPage", page)


def _count(out: _Writer, answer: CountAnswer, prop: str, noun: str) -> None:
    if isinstance(answer, Released):
        number, low, high = answer.n, answer.low, answer.high
    elif isinstance(answer, Suppressed):
        number, low, high = answer.below - 1, 0, answer.below - 1
    else:
        return
    out.number(prop, number)
    out.number(f"unica:{noun}AtLeast", low)
    out.number(f"unica:{noun}AtMost", high)


def _words_for(answer: CountAnswer) -> str:
    if isinstance(answer, Released):
        return (
            f"About {answer.n} people: between {answer.low} and {answer.high}, 95 times in 100. "
            "The site protects the number."
        )
    if isinstance(answer, Suppressed):
        return (
            f"Fewer than {answer.below} people. The site does not release the number; the one given is the "
            "most that it may be."
        )
    return ""


def maker_named(word: str) -> Concept | None:
    """Return the maker that a header's free word begins with, if the table has it.

    Example:
        >>> maker_named("ge medical systems").label, maker_named("acme")
        ('General Electric', None)
    """
    plain = " ".join(re.findall(r"[a-z]+", word.casefold())) + " "
    for concept in vocabulary.concepts("manufacturer"):
        if plain.startswith((f"{concept.term} ", f"{concept.label.casefold()} ")):
            return concept
    return None


def _ontology(out: _Writer, prop: str, field: vocabulary.Field, words: Iterable[str]) -> None:
    codes = {concept.eucaim for concept in _concepts(field, words) if concept.eucaim}
    key = vocabulary.key_named(field)
    for code in codes or ({key.broadest} if key and key.broadest else ()):
        out.link(prop, f"eucaim:{code}")


def _concepts(field: vocabulary.Field, words: Iterable[str]) -> list[Concept]:
    return [concept for word in words if (concept := _word(field, word))]


def _word(field: vocabulary.Field, word: str) -> Concept | None:
    """Return a concept of this table; a record made with a newer one may have words that are not in it."""
    try:
        return vocabulary.concept(field, word)
    except UnknownTerm:
        return None


def _contact(text: str) -> tuple[str, str]:
    """Return a contact as an email's address or a page's; neither where it is none."""
    text = text.strip()
    email = text.removeprefix("mailto:")
    if _EMAIL.fullmatch(email) and "://" not in email:
        return f"mailto:{email}", ""
    return ("", text) if _ADDRESS.fullmatch(text) else ("", "")


def _country(code: str) -> str:
    known = namespaces.COUNTRIES.get(code)
    return namespaces.COUNTRY + known if known else ""


def _code_address(code: str) -> str:
    system, _, bare = code.partition("|")
    space = {"eucaim": namespaces.PREFIXES["eucaim"], "sct": namespaces.SNOMED}.get(system)
    return space + bare if space else ""
