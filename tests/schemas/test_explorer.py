"""The explorer's query format: what it says is asked exactly, or refused with the names of the criteria."""

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.errors import Inexpressible, InvalidRequest
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.cohort import AgeRange, CohortQuery
from unica_sdk.schemas.explorer import MAX_QUERY, from_ast, to_ast
from unica_sdk.schemas.explorer_codes import field_of, word_of

ID = UUID(int=7)
FEMALE, MALE = "SNOMEDCT248152002", "SNOMEDCT248153007"
SEX, DIAGNOSIS, MODALITY = "SNOMEDCT263495000", "SNOMEDCT439401001", "RID10311"
BODY, MAKER, AGE = "SNOMEDCT123037004", "C25392", "EUCAIM_Hyper-Ontology_V1.0.COM1002041"
CT, MR, PT = "RID10321", "RID10312", "RID10337"

Node = dict[str, Any]


def packed(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(text).decode()


def task(ast: Any, **changed: Any) -> dict[str, Any]:
    tree = packed({"ast": ast, "id": f"{ID}__search__{ID}"})
    return {"id": str(ID), "query": packed({"lang": "ast", "query": tree}), **changed}


def any_of(*children: Node) -> Node:
    return {"operand": "OR", "children": list(children)}


def all_of(*children: Node) -> Node:
    return {"operand": "AND", "children": list(children)}


def says(key: str, value: Any, kind: str = "EQUALS", **more: Any) -> Node:
    return {"key": key, "type": kind, "value": value, **more}


def asked(*conditions: Node) -> CohortQuery:
    """What an explorer asks that has one value in each of its fields."""
    return from_ast(task(any_of(all_of(*(any_of(condition) for condition in conditions)))))


def writable(field: Any) -> st.SearchStrategy[tuple[str, ...]]:
    words = [term for term in vocabulary.terms(field) if word_of(field, term)]
    return st.lists(st.sampled_from(words), max_size=4).map(tuple)


queries = st.builds(
    CohortQuery,
    sex=writable("sex"),
    diagnosis=writable("diagnosis"),
    modality=writable("modality"),
    body_part=writable("body_part"),
    manufacturer=st.lists(st.text(max_size=64).filter(str.strip), max_size=3).map(tuple),
    age=st.none()
    | st.tuples(st.integers(0, 120), st.integers(0, 120)).map(
        lambda ages: AgeRange(low=min(ages), high=max(ages))
    ),
    sites=st.lists(st.sampled_from(["gr", "lt", "pt.lisbon"]), max_size=3).map(tuple),
).filter(lambda query: all(word_of("manufacturer", word) for word in query.manufacturer))


@given(queries)
def test_what_is_written_is_read_again(query: CohortQuery) -> None:
    written = to_ast(query, id=ID)
    assert from_ast(json.loads(json.dumps(written))) == query


def test_what_is_written_is_what_the_explorer_writes() -> None:
    query = CohortQuery(sex=("male",), modality=("MR", "CT"), age=AgeRange(low=50, high=69))
    written = to_ast(query, id=ID)
    outer = json.loads(base64.b64decode(written["query"]))
    inner = json.loads(base64.b64decode(outer["query"]))
    assert (set(written), outer["lang"], inner["id"]) == ({"id", "query"}, "ast", f"{ID}__search__{ID}")
    urn = "urn:snomed-org/sct"
    radlex = "urn:oid:2.16.840.1.113883.6.256"
    ours = "https://cancerimage.eu/ontology/EUCAIM#"
    assert inner["ast"] == any_of(
        all_of(
            any_of(says(SEX, MALE, system=urn)),
            any_of(says(MODALITY, CT, system=radlex), says(MODALITY, MR, system=radlex)),
            any_of(says(AGE, {"min": 50, "max": 69}, "BETWEEN", system=ours)),
        )
    )


@pytest.mark.parametrize("query", [CohortQuery(outcome=("negative",)), CohortQuery(diagnosis=("none",))])
def test_what_no_public_code_is_known_for_is_not_written(query: CohortQuery) -> None:
    with pytest.raises(Inexpressible) as refused:
        to_ast(query, id=ID)
    assert refused.value.criteria == query.criteria()


def test_nothing_chosen_is_everyone() -> None:
    assert from_ast(task(any_of())) == from_ast(task(any_of(all_of()))) == CohortQuery()
    assert to_ast(CohortQuery(), id=ID)["query"] == task_query(any_of())


def task_query(ast: Node) -> str:
    query: str = to_ast(from_ast(task(ast)), id=ID)["query"]
    return query


def test_the_explorers_own_query_is_understood_with_or_inside_a_field() -> None:
    """The query that the deployed translators refuse or answer each in its own way."""
    query = from_ast(
        task(
            any_of(
                all_of(
                    any_of(says(SEX, MALE, system=""), says(SEX, FEMALE, system="")),
                    any_of(says(DIAGNOSIS, "SNOMEDCT399068003", system="urn:snomed-org/sct")),
                    any_of(says(MODALITY, MR), says(MODALITY, PT)),
                    any_of(says(BODY, "SNOMEDCT41216001")),
                    any_of(says(MAKER, "birnlex_3065"), says(MAKER, "ACME ")),
                )
            ),
            sites=["lt", "gr"],
        )
    )
    assert query == CohortQuery(
        sex=("male", "female"),
        diagnosis=("prostate_cancer",),
        modality=("MR", "PT"),
        body_part=("prostate",),
        manufacturer=("philips", "philips medical systems", "acme"),
        sites=("gr", "lt"),
    )


@pytest.mark.parametrize(
    ("condition", "low", "high"),
    [
        (says(AGE, {"min": 50, "max": 69}, "BETWEEN"), 50, 69),
        (says(AGE, {"min": 50.0}, "BETWEEN"), 50, 120),
        (says(AGE, {"max": 69}, "BETWEEN"), 0, 69),
        (says(AGE, {"min": -5, "max": 200}, "BETWEEN"), 0, 120),
        (says(AGE, 50, "LOWER_THAN"), 0, 49),
        (says(AGE, 50, "GREATER_THAN"), 51, 120),
        (says(AGE, 50), 50, 50),
        (says(AGE, [51, 50, 52.0], "IN"), 50, 52),
    ],
)
def test_ages_are_ranges_of_whole_years(condition: Node, low: int, high: int) -> None:
    assert asked(condition) == CohortQuery(age=AgeRange(low=low, high=high))


BIRADS = "EUCAIM_Hyper-Ontology_V1.0.IMG1005459"
PIRADS_4 = "EUCAIM_Hyper-Ontology_V1.0.IMG1005476"


@pytest.mark.parametrize(
    ("condition", "criterion", "said"),
    [
        (says(SEX, FEMALE, "NOT_EQUALS"), "sex", "sex NOT_EQUALS"),
        (says(SEX, "SNOMEDCT74964007"), "sex", "is not known"),
        (says(SEX, "EUCAIM_Hyper-Ontology_V1.0.COM1000177"), "sex", "is not known"),
        (says(SEX, "female"), "sex", "is not known"),
        (says(SEX, CT), "sex", "is a modality, not a sex"),
        (says(SEX, {"min": 1}, "BETWEEN"), "sex", "BETWEEN"),
        (says(SEX, FEMALE, system="urn:oid:1"), "sex", "is not the system"),
        (says(MAKER, "siem", "CONTAINS"), "manufacturer", "CONTAINS"),
        (says(MAKER, "birnlex_1"), "manufacturer", "is not known"),
        (says(MAKER, "C999999"), "manufacturer", "is not known"),
        (says(MODALITY, [CT, "RID1"], "IN"), "modality", "RID1 is not known"),
        (says("SNOMEDCT423493009", {"min": 50}, "BETWEEN"), "age_at_diagnosis", "asked for"),
        (says("SNOMEDCT432213005", {"min": 2015}, "BETWEEN"), "year_of_diagnosis", "asked for"),
        (says("CLIN1045815", "COM1001310"), "er", "asked for"),
        (says(BIRADS, "EUCAIM_Hyper-Ontology_V1.0.IMG1005465"), "birads", "asked for"),
        (says(BIRADS, PIRADS_4), "birads", "is a pirads, not a birads"),
        (says("EUCAIM_Hyper-Ontology_V1.0.IMG1005457", PIRADS_4), "pirads", "asked for"),
        (says("SNOMEDCT1", "x"), "SNOMEDCT1", "not a key"),
        (says("sex", FEMALE), "sex", "not a key"),
        (says(AGE, {"min": 50.5}, "BETWEEN"), "age", "whole years"),
        (says(AGE, {"min": 121, "max": 130}, "BETWEEN"), "age", "nobody"),
        (says(AGE, [50, 60], "IN"), "age", "gap"),
        (says(AGE, "50"), "age", "whole years"),
        (says(AGE, 50, "NOT_EQUALS"), "age", "NOT_EQUALS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_query_cannot_say_is_refused_with_its_name(condition: Node, criterion: str, said: str) -> None:
    for tree in (condition, any_of(condition, says(SEX, MALE)) if criterion == "sex" else condition):
        with pytest.raises(Inexpressible, match="can") as refused:
            from_ast(task(any_of(all_of(any_of(tree), any_of(says(DIAGNOSIS, "SNOMEDCT254837009"))))))
        assert refused.value.criteria == (criterion,)
        assert said in refused.value.message or said == "gap"


def test_every_criterion_that_cannot_be_said_is_named() -> None:
    tree = any_of(
        all_of(any_of(says("SNOMEDCT1", "x")), any_of(says(SEX, "x"))), all_of(any_of(says(BIRADS, PIRADS_4)))
    )
    with pytest.raises(Inexpressible) as refused:
        from_ast(task(tree))
    assert refused.value.criteria == ("SNOMEDCT1", "sex", "birads")


@pytest.mark.parametrize(
    ("tree", "criteria"),
    [
        (any_of(all_of(says(SEX, MALE)), all_of(says(MODALITY, CT))), ("sex", "modality")),
        (any_of(says(SEX, MALE), says(BODY, "SNOMEDCT76752008")), ("sex", "body_part")),
        (all_of(says(SEX, MALE), says(SEX, FEMALE)), ("sex",)),
        (all_of(says(MODALITY, CT), says(MODALITY, MR)), ("modality",)),
        (any_of(says(AGE, 50), says(AGE, 52)), ("age",)),
        ({"operand": "NOT", "children": [says(SEX, MALE)]}, ("sex",)),
        ({"operand": "XOR", "children": [says(SEX, MALE), any_of(says(AGE, 50))]}, ("sex", "age")),
    ],
)
def test_trees_that_no_query_equals_name_the_fields_in_question(
    tree: Node, criteria: tuple[str, ...]
) -> None:
    with pytest.raises(Inexpressible) as refused:
        from_ast(task(any_of(tree)))
    assert refused.value.criteria == criteria


FIELDS: dict[str, list[str]] = {SEX: [MALE, FEMALE], MODALITY: [CT, MR, PT], DIAGNOSIS: ["SNOMEDCT254837009"]}
WORDS = {MALE: "male", FEMALE: "female", CT: "CT", MR: "MR", PT: "PT", "SNOMEDCT254837009": "breast_cancer"}

leaves = st.sampled_from([says(key, value) for key, values in FIELDS.items() for value in values])
trees = st.recursive(
    leaves,
    lambda below: st.builds(
        lambda operand, children: {"operand": operand, "children": children},
        st.sampled_from(["AND", "OR"]),
        st.lists(below, min_size=1, max_size=3),
    ),
    max_leaves=12,
)

PEOPLE = [
    {"sex": sex, "modality": several, "diagnosis": diagnosis}
    for sex in ("male", "female", "unknown")
    for several in ((), ("CT",), ("MR",), ("PT",), ("CT", "MR"), ("MR", "PT"), ("CT", "MR", "PT"), ("US",))
    for diagnosis in ("breast_cancer", None)
]


def meant(tree: Node, person: dict[str, Any]) -> bool:
    """Whether a tree means a person, read as plainly as can be."""
    if "operand" in tree:
        return (all if tree["operand"] == "AND" else any)(meant(child, person) for child in tree["children"])
    has = person[field_of(tree["key"]) or ""]
    return WORDS[tree["value"]] in (has if isinstance(has, tuple) else (has,))


def matched(query: CohortQuery, person: dict[str, Any]) -> bool:
    """Whether a query means a person, as the nodes read it."""
    return all(
        not getattr(query, field)
        or set(getattr(query, field)) & set(has if isinstance(has, tuple) else (has,))
        for field, has in person.items()
    )


@given(trees)
def test_a_tree_is_asked_exactly_or_not_at_all(tree: Node) -> None:
    try:
        query = from_ast(task(any_of(tree)))
    except Inexpressible as refused:
        assert refused.criteria
    except InvalidRequest as malformed:
        assert "levels" in malformed.message
    else:
        assert [meant(tree, person) for person in PEOPLE] == [matched(query, person) for person in PEOPLE]


@given(queries, st.randoms(use_true_random=False))
def test_the_same_said_another_way_is_the_same_query(query: CohortQuery, random: Any) -> None:
    """Alternatives written out, in any order and twice, are the query that says them in one field."""
    outer = json.loads(base64.b64decode(to_ast(query, id=ID)["query"]))
    ast = json.loads(base64.b64decode(outer["query"]))["ast"]
    fields = ast["children"][0]["children"] if ast["children"] else []
    spread: list[list[Node]] = [[]]
    for field in fields[:3]:
        spread = [[*row, condition] for row in spread for condition in field["children"]]
    rows = [all_of(*row, *fields[3:]) for row in spread]
    random.shuffle(rows)
    said_twice = any_of(*rows, *rows[:3])
    sites = list(query.sites) or None
    assert from_ast(task(said_twice, sites=sites)) == query


def test_alternatives_that_only_together_are_a_box_are_that_box() -> None:
    """Five pieces around a corner: no two of them are one clause, all of them are."""
    sexes = {"f": [FEMALE], "m": [MALE], "u": ["SNOMEDCT261665006"]}
    rows = [("f", [CT, MR]), ("fm", [PT]), ("u", [MR, PT]), ("mu", [CT]), ("m", [MR])]
    pieces = [
        all_of(any_of(*(says(SEX, sexes[s][0]) for s in who)), says(MODALITY, values, "IN"))
        for who, values in rows
    ]
    everyone = CohortQuery(sex=("female", "male", "unknown"), modality=("CT", "MR", "PT"))
    assert from_ast(task(any_of(*pieces))) == everyone
    with pytest.raises(Inexpressible):
        from_ast(task(any_of(*pieces[:-1])))


def deep(levels: int) -> bytes:
    return b'{"ast":' + b'{"operand":"OR","children":[' * levels + b"]}" * levels + b',"id":"x"}'


def wide(parts: int) -> bytes:
    children = b",".join([b'{"operand":"AND","children":[]}'] * parts)
    return b'{"ast":{"operand":"OR","children":[' + children + b']},"id":"x"}'


def inner(raw: bytes) -> Callable[[], dict[str, Any]]:
    return lambda: {"id": str(ID), "query": packed({"lang": "ast", "query": packed(raw)})}


HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "no id": (lambda: {"query": task(any_of())["query"]}, "id"),
    "id is no uuid": (lambda: task(any_of(), id="../../etc"), "id"),
    "no sites": (lambda: task(any_of(), sites=[]), "sites"),
    "a site that is none": (lambda: task(any_of(), sites=["A B"]), "sites.0"),
    "sites of another type": (lambda: task(any_of(), sites={"gr": 1}), "sites"),
    "something more": (lambda: task(any_of(), limit=1), "limit"),
    "query is no text": (lambda: task(any_of(), query=7), "query"),
    "query is huge": (lambda: task(any_of(), query="A" * (MAX_QUERY + 4)), "query"),
    "query is no base64": (lambda: task(any_of(), query="{}!!"), "query"),
    "query is base64 of nothing known": (lambda: task(any_of(), query=packed(b"\xff\xfe\x00\x01")), "query"),
    "another language": (lambda: task(any_of(), query=packed({"lang": "cql", "query": ""})), "query"),
    "inner query is no text": (
        lambda: task(any_of(), query=packed({"lang": "ast", "query": {"ast": {}}})),
        "query.query",
    ),
    "a list": (inner(b"[]"), "query.query"),
    "brackets": (inner(b"[" * 30_000), "query.query"),
    "a name twice": (inner(b'{"ast":{},"ast":{},"id":"x"}'), "query.query"),
    "not a number": (inner(b'{"ast":NaN,"id":"x"}'), "query.query"),
    "a number of 5,000 digits": (inner(b'{"ast":' + b"9" * 5000 + b',"id":"x"}'), "query.query"),
    "nothing to ask": (inner(b'{"ast":null,"id":"x"}'), "ast"),
    "too deep": (inner(deep(9)), "ast.children.0.children.0.children.0.children.0.children.0.children.0"),
    "far too deep": (inner(deep(400)), "ast.children.0"),
    "too wide": (inner(wide(1100)), "ast.children.1023"),
    "a bare condition": (lambda: task(says(SEX, MALE)), "ast"),
    "an operand that is none": (lambda: task({"operand": "NAND", "children": []}), "ast.operand"),
    "an operand of another type": (lambda: task({"operand": ["OR"], "children": []}), "ast.operand"),
    "children of another type": (lambda: task({"operand": "OR", "children": {"0": {}}}), "ast.children"),
    "a field without values": (lambda: task(any_of(all_of(any_of()))), "ast.children.0.children.0.children"),
    "a child that is none": (lambda: task(any_of(None)), "ast.children.0"),  # type: ignore[arg-type]
    "no value": (lambda: task(any_of({"key": SEX, "type": "EQUALS"})), "ast.children.0"),
    "a condition with more": (lambda: task(any_of(says(SEX, MALE, negated=True))), "ast.children.0"),
    "a key of another type": (lambda: task(any_of(says(7, MALE))), "ast.children.0.key"),  # type: ignore[arg-type]
    "a long key": (lambda: task(any_of(says("x" * 200, MALE))), "ast.children.0.key"),
    "a key of controls": (lambda: task(any_of(says("a\n\x1b[2J", MALE))), "ast.children.0.key"),
    "half a character": (lambda: task(any_of(says(MAKER, "\ud800"))), "ast.children.0.value"),
    "a type that is none": (lambda: task(any_of(says(SEX, MALE, "LIKE"))), "ast.children.0.type"),
    "EQUALS with a list": (lambda: task(any_of(says(SEX, [MALE]))), "ast.children.0.value"),
    "EQUALS with yes": (lambda: task(any_of(says(SEX, True))), "ast.children.0.value"),
    "IN with a word": (lambda: task(any_of(says(SEX, MALE, "IN"))), "ast.children.0.value"),
    "IN with nothing": (lambda: task(any_of(says(SEX, [], "IN"))), "ast.children.0.value"),
    "BETWEEN with a word": (lambda: task(any_of(says(AGE, "50", "BETWEEN"))), "ast.children.0.value"),
    "BETWEEN without ends": (lambda: task(any_of(says(AGE, {}, "BETWEEN"))), "ast.children.0.value"),
    "BETWEEN with dates": (
        lambda: task(any_of(says(AGE, {"min": "2015"}, "BETWEEN"))),
        "ast.children.0.value.min",
    ),
    "BETWEEN backwards": (
        lambda: task(any_of(says(AGE, {"min": 60, "max": 50}, "BETWEEN"))),
        "ast.children.0.value",
    ),
    "an endless number": (
        lambda: task(any_of(says(AGE, 1e308, "LOWER_THAN"))),
        "ast.children.0.value",
    ),
    "a maker of blanks": (lambda: task(any_of(says(MAKER, "  "))), "ast.children.0.value"),
    "a long maker": (lambda: task(any_of(says(MAKER, "x" * 65))), "ast.children.0.value"),
    "another key above": (
        lambda: task(any_of({**any_of(says(SEX, MALE)), "key": MODALITY})),
        "ast.children.0.key",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_malformed_is_refused_with_the_place_and_the_reason(case: str) -> None:
    make, where = HOSTILE[case]
    with pytest.raises(InvalidRequest) as refused:
        from_ast(make())
    assert type(refused.value) is InvalidRequest
    assert refused.value.where.startswith(where)
    assert 0 < len(refused.value.message) < 300


def test_an_operations_own_key_is_read_where_it_agrees() -> None:
    assert from_ast(task(any_of({**any_of(says(SEX, MALE)), "key": SEX}))) == CohortQuery(sex=("male",))


def test_many_alternatives_are_bounded() -> None:
    makers = [says(MAKER, f"maker {number}") for number in range(33)]
    with pytest.raises(Inexpressible) as refused:
        from_ast(task(any_of(*makers)))
    assert refused.value.criteria == ("manufacturer",)
    pairs = [any_of(all_of(says(SEX, MALE), says(MAKER, f"m{n}")), says(MODALITY, CT)) for n in range(12)]
    with pytest.raises(Inexpressible):
        from_ast(task(any_of(all_of(*pairs))))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.sampled_from(["operand", "children", "key", "type", "value", "system", "min", "max"])
            | st.text(max_size=4),
            below | st.sampled_from(["OR", "AND", SEX, AGE, "EQUALS", "BETWEEN", MALE]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_comes_is_a_query_or_a_refusal(ast: Any) -> None:
    try:
        assert isinstance(from_ast(task(ast)), CohortQuery)
    except InvalidRequest as refused:
        assert refused.message
