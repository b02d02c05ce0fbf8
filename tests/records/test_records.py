"""Records as linked data: what is mandatory, suppressed, kept by a round trip; and nothing is fetched."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from complete import FEW, MANY, record, records
from hypothesis import given, settings
from rdflib import Graph, Literal, URIRef
from rdflib.compare import isomorphic

from unica_sdk.errors import InvalidRequest
from unica_sdk.records import documents, namespaces
from unica_sdk.records.graph import catalogue_graph, dataset_graph, maker_named, term
from unica_sdk.records.tiers import Facts, tier
from unica_sdk.records.validation import problems, required, shapes_text, validate
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import Offline

MANDATORY = {
    "dct:identifier": "urn:unica:dataset:gr/mammograms",
    "dct:title": "",
    "dct:description": "",
    "dcat:version": "",
    "eucaim:interoperabilityLevel": "",
    "dcat:distribution": "",
    "dcat:contactPoint": "",
    "dcat:theme": "",
    "healthdcatap:healthCategory": "",
    "dct:type": "",
    "dct:accessRights": "",
    "dcatap:applicableLegislation": "",
    "dct:publisher": "",
    "healthdcatap:hasStructuredData": "",
    "healthdcatap:numberOfUniqueIndividuals": "",
    "healthdcatap:numberOfRecords": "",
    "eucaim:hasBirthSex": "",
    "eucaim:hasCondition": "",
    "eucaim:collectionMethod": "",
    "eucaim:hasImageModality": "",
    "eucaim:hasEquipmentManufacturer": "",
    "eucaim:hasImageBodyPart": "",
    "dcat:keyword": "",
    "dct:provenance": "",
    "healthdcatap:hasVariables": "",
}
"""What EUCAIM DCAT-AP 2.0 marks M or C of a dataset; `hdab` may be absent until a body is designated."""

EXACTLY_ONE = (
    "dct:identifier",
    "dcat:version",
    "eucaim:interoperabilityLevel",
    "dcat:theme",
    "dct:accessRights",
    "dct:publisher",
    "healthdcatap:hasStructuredData",
    "healthdcatap:numberOfUniqueIndividuals",
    "healthdcatap:numberOfRecords",
    "eucaim:hasCondition",
)

DATASET = URIRef("urn:unica:dataset:gr/mammograms")


def named(found: Any) -> set[str]:
    return {problem.property for problem in required(found)}


def values(graph: Graph, prop: str) -> list[str]:
    return sorted(str(value) for value in graph.objects(DATASET, term(prop)))


# -- what is mandatory


def test_a_complete_record_has_nothing_wrong() -> None:
    assert problems([record()]) == {}


@pytest.mark.parametrize("prop", MANDATORY)
def test_each_mandatory_property_that_is_not_there_is_named_with_its_fix(prop: str) -> None:
    graph = dataset_graph(record())
    graph.remove((DATASET, term(prop), None))
    found = required(validate(graph))
    assert {problem.dataset for problem in found} == {"gr/mammograms"}
    assert {problem.property for problem in found} == {prop}
    assert all(problem.text.startswith(prop) and len(problem.text) > len(prop) + 15 for problem in found)


@pytest.mark.parametrize("prop", EXACTLY_ONE)
def test_what_may_be_there_once_may_not_be_there_twice(prop: str) -> None:
    graph = dataset_graph(record())
    (there,) = list(graph.objects(DATASET, term(prop)))
    other: Any = URIRef(f"{there}1")
    if isinstance(there, Literal):
        other = Literal("false" if str(there) == "true" else f"{there}1", datatype=there.datatype)
    graph.add((DATASET, term(prop), other))
    assert prop in named(validate(graph))


@pytest.mark.parametrize(
    ("changed", "prop"),
    [
        ({"title": ""}, "dct:title"),
        ({"description": " \x00 "}, "dct:description"),
        ({"publisher": ""}, "foaf:name"),
        ({"contact": ""}, "vcard:hasEmail"),
        ({"contact": "call us"}, "dcat:accessURL"),
        ({"provenance": ""}, "dct:provenance"),
        ({"collection_method": ""}, "eucaim:collectionMethod"),
        ({"collection_method": "by hand"}, "eucaim:collectionMethod"),
        ({"patients": Offline(site="gr")}, "healthdcatap:numberOfUniqueIndividuals"),
        ({"studies": Offline(site="gr")}, "healthdcatap:numberOfRecords"),
        ({"keywords": (), "modalities": (), "body_parts": (), "conditions": (), "manufacturers": ()},
         "dcat:keyword"),
        ({"access_body": {"name": "Body", "contact": "by post"}}, "cv:email"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_say_it_names_what_to_say(changed: dict[str, Any], prop: str) -> None:
    found = problems([record(), record(id="gr/other", **changed)])
    assert list(found) == ["gr/other"]
    assert prop in named(found["gr/other"])


def test_what_is_recommended_keeps_no_record_back() -> None:
    found = problems([record(legal_basis="", access_body=None)])["gr/mammograms"]
    assert [(p.property, p.required) for p in found] == [
        ("dpv:hasLegalBasis", False),
        ("healthdcatap:hdab", False),
    ]
    assert required(found) == ()


def test_distribution_and_variables_have_rules_of_their_own() -> None:
    graph = dataset_graph(record())
    for prop in ("dcat:accessURL", "dct:rights", "csvw:name", "csvw:datatype"):
        graph.remove((None, term(prop), None))
    assert named(validate(graph)) == {"dcat:accessURL", "dct:rights", "csvw:name", "csvw:datatype"}
    none = dataset_graph(record(variables=()))
    assert values(none, "healthdcatap:hasStructuredData") == ["false"]
    assert validate(none) == ()


@pytest.mark.parametrize(
    ("prop", "wrong"),
    [
        ("healthdcatap:numberOfUniqueIndividuals", Literal(12)),
        ("dct:title", Literal("Nur auf Deutsch", lang="de")),
        ("eucaim:hasImageModality", Literal("MG")),
        ("eucaim:hasImageModality", URIRef("https://example.org/MG")),
        ("eucaim:interoperabilityLevel", URIRef(namespaces.PREFIXES["eucaim"] + "SPEC1000008")),
        ("dct:accessRights", URIRef("http://publications.europa.eu/resource/authority/access-right/OPEN")),
        ("dcatap:applicableLegislation", URIRef("http://data.europa.eu/eli/reg/2022/868/oj")),
    ],
)
def test_a_value_of_another_kind_is_wrong(prop: str, wrong: Any) -> None:
    graph = dataset_graph(record())
    graph.remove((DATASET, term(prop), None))
    graph.add((DATASET, term(prop), wrong))
    assert prop in named(validate(graph))


def test_every_shape_names_its_property_and_says_it_in_english() -> None:
    shapes = Graph().parse(data=shapes_text(), format="turtle")
    shacl = "http://www.w3.org/ns/shacl#"
    said = dict(shapes.subject_objects(URIRef(shacl + "message")))
    assert set(said) == set(shapes.subjects(URIRef(shacl + "name")))
    assert len(said) > 50
    for shape, message in said.items():
        name = str(shapes.value(shape, URIRef(shacl + "name")))
        assert isinstance(message, Literal)
        assert message.language == "en"
        assert str(message).startswith(name), shape
    assert set(MANDATORY) <= {str(name) for name in shapes.objects(predicate=URIRef(shacl + "name"))}


# -- numbers that are protected


def test_a_protected_number_is_approximate_and_has_its_interval() -> None:
    graph = dataset_graph(record())
    assert values(graph, "healthdcatap:numberOfUniqueIndividuals") == ["800"]
    assert values(graph, "unica:individualsAtLeast") == ["780"]
    assert values(graph, "unica:individualsAtMost") == ["820"]
    assert "780 and 820" in values(graph, "healthdcatap:populationCoverage")[0]


def test_a_suppressed_number_is_the_most_that_it_may_be_and_says_so() -> None:
    few = record(patients=FEW, studies=FEW, modalities=(), body_parts=(), manufacturers=(), sexes=(),
                 conditions=(), condition="", variables=(), ages=None)  # fmt: skip
    graph = dataset_graph(few)
    assert problems([few]) == {}
    assert values(graph, "healthdcatap:numberOfUniqueIndividuals") == ["49"]
    assert values(graph, "unica:individualsAtLeast") == ["0"]
    assert "Fewer than 50 people" in values(graph, "healthdcatap:populationCoverage")[0]
    # Where a site does not say which, the broadest class of the property's range stands.
    assert values(graph, "eucaim:hasImageModality") == [namespaces.PREFIXES["eucaim"] + "IMG1000009"]
    assert values(graph, "eucaim:hasBirthSex") == [namespaces.PREFIXES["eucaim"] + "COM1001396"]
    assert values(graph, "eucaim:hasCondition") == [namespaces.PREFIXES["eucaim"] + "CLIN1007977"]


# -- documents


@settings(max_examples=60)
@given(records)
def test_a_round_trip_keeps_every_triple(one: DatasetRecord) -> None:
    graph = dataset_graph(one)
    there = documents.to_jsonld(graph)
    back = documents.from_jsonld(json.dumps(there))
    assert isomorphic(back, graph)
    assert documents.to_jsonld(back) == there
    assert isomorphic(documents.from_turtle(documents.to_turtle(graph)), graph)


@settings(max_examples=25)
@given(records)
def test_whatever_people_say_validation_only_ever_says_what_to_fix(one: DatasetRecord) -> None:
    for problem in validate(dataset_graph(one)):
        assert problem.dataset == one.id
        assert re.match(r"[a-z]+:\w+", problem.property)


def test_equal_records_give_equal_bytes_without_blank_nodes() -> None:
    first, second = (documents.to_jsonld(dataset_graph(record())) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert "_:" not in json.dumps(first)
    assert list(first) == ["@context", "@graph"]


def test_a_catalogue_is_streamed_as_one_document_of_all_its_datasets() -> None:
    several = [record(), record(id="gr/other", title='"Quoted"\n@prefix x: <y> .')]
    head = catalogue_graph([one.id for one in several], publisher="Hub", contact="hub@unica.example")
    graphs = [head, *map(dataset_graph, several)]
    whole = Graph()
    for graph in graphs:
        whole += graph
    assert validate(whole) == ()
    read: dict[documents.Form, Callable[[str], Graph]] = {
        "jsonld": documents.from_jsonld,
        "turtle": documents.from_turtle,
    }
    for form, parse in read.items():
        assert isomorphic(parse("".join(documents.stream(graphs, form))), whole)
    assert named(validate(catalogue_graph([], publisher="", contact=""))) == {"foaf:name", "cv:email"}


@pytest.mark.parametrize(
    "document",
    [
        {"@context": "https://example.org/context.jsonld", "@id": "urn:a"},
        {"@context": [{}, "https://example.org/context.jsonld"]},
        {"@context": {"@import": "https://example.org/context.jsonld"}},
        {"@graph": [{"@id": "urn:a", "urn:p": {"@context": "file:///etc/hostname"}}]},
        {"@context": {"x": {"@id": "urn:x", "@context": "https://example.org/c"}}},
    ],
)
def test_a_context_elsewhere_is_refused_not_fetched(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*args: object, **options: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetched)
    monkeypatch.setattr("socket.create_connection", fetched)
    with pytest.raises(InvalidRequest, match="context elsewhere"):
        documents.from_jsonld(document)


def test_validation_follows_no_import() -> None:
    graph = dataset_graph(record())
    graph.add((DATASET, URIRef("http://www.w3.org/2002/07/owl#imports"), URIRef("https://example.org/x.ttl")))
    assert validate(graph) == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", "not turtle", "<a> <b> .", '{"@id": 5}', "\x00"])
@pytest.mark.parametrize("read", [documents.from_jsonld, documents.from_turtle])
def test_what_is_no_document_is_refused_in_a_sentence(read: Callable[[str], Graph], text: str) -> None:
    try:
        graph = read(text)
    except InvalidRequest:
        return
    assert len(graph) == 0
    assert validate(graph) == ()


def test_a_document_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="longer"):
        documents.from_turtle(" " * (documents.MAX_BYTES + 1))


# -- what words become


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("siemens healthineers", "Siemens"),
        ("ge medical systems", "General Electric"),
        ("General Electric Company", "General Electric"),
        ("hologic, inc.", "Hologic"),
        ("toshiba_mec", "Toshiba"),
        ("genoray", None),
        ("acme siemens", None),
        ("", None),
    ],
)
def test_a_maker_is_the_one_that_the_word_begins_with(word: str, label: str | None) -> None:
    found = maker_named(word)
    assert (found.label if found else None) == label


@pytest.mark.parametrize(
    ("contact", "email", "page"),
    [
        ("data@hospital.example", ["mailto:data@hospital.example"], []),
        ("mailto:data@hospital.example", ["mailto:data@hospital.example"], []),
        ("https://hospital.example/ask?a=b", [], ["https://hospital.example/ask?a=b"]),
        ("javascript:alert(1)", [], []),
        ("a@b.example> . <urn:x", [], []),
        ("https://x.example/ y", [], []),
    ],
)
def test_a_contact_is_an_email_or_a_page_or_nothing(contact: str, email: list[str], page: list[str]) -> None:
    graph = dataset_graph(record(contact=contact))
    assert [str(o) for o in graph.objects(predicate=term("vcard:hasEmail"))] == email
    assert [str(o) for o in graph.objects(predicate=term("vcard:hasURL"))] == page


# -- tiers

ALL = frozenset({"modality", "body_part", "sex"})
CLINICAL = frozenset({"sex", "age", "population", "topography"})
FULL = Facts(named=ALL, variables=CLINICAL, segmentations=True, materialiser=True)


@pytest.mark.parametrize(
    ("facts", "reached", "asks"),
    [
        (Facts(named=frozenset()), 1, ["modality, body_part, sex"]),
        (Facts(named=frozenset({"modality"})), 1, ["body_part, sex"]),
        (Facts(named=ALL, outside=True, variables=CLINICAL), 1, ["doctor"]),
        (Facts(named=ALL), 2, ["sex, age, population, topography", "DICOM-SEG", "materialiser"]),
        (Facts(named=ALL, variables=CLINICAL, segmentations=True), 2, ["materialiser"]),
        (
            Facts(named=ALL, variables=CLINICAL - {"topography"}, segmentations=True, materialiser=True),
            2,
            ["topography"],
        ),
        (
            Facts(
                named=ALL,
                variables=CLINICAL - {"topography"},
                screening_negative=True,
                segmentations=True,
                materialiser=True,
            ),
            3,
            [],
        ),
        (FULL, 3, []),
    ],
)
def test_the_tier_is_what_the_facts_reach_and_names_what_the_next_asks_for(
    facts: Facts, reached: int, asks: list[str]
) -> None:
    found, missing = tier(facts)
    assert found == reached
    assert len(missing) == len(asks)
    assert all(ask in text for ask, text in zip(asks, missing, strict=True))


@pytest.mark.parametrize(("number", "code"), [(1, "SPEC1000009"), (2, "SPEC1000011"), (3, "SPEC1000010")])
def test_each_tier_has_its_code(number: int, code: str) -> None:
    graph = dataset_graph(record(tier=number, patients=MANY))
    assert values(graph, "eucaim:interoperabilityLevel") == [namespaces.PREFIXES["eucaim"] + code]
