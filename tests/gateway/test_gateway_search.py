"""Finding datasets: what a text finds and in which order, what facets count, how pages follow each other."""

import asyncio
from typing import Any

import pytest
from gateway_world import World, client, hello, record
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.errors import InvalidRequest, UnknownTerm
from unica_sdk.gateway.search import CatalogueSearch
from unica_sdk.gateway.search_index import SearchIndex, every
from unica_sdk.schemas.exchange import Hello
from unica_sdk.schemas.search import SEARCH_FACETS, DatasetSearch, SearchPage


def document(identity: str, title: str = "", **values: Any) -> dict[str, Any]:
    return {"id": identity, "site": identity.partition("/")[0], "title": title, **values}


def found(index: SearchIndex, text: str, **chosen: tuple[str, ...]) -> list[str]:
    scores = index.scores(text)
    places, _ = index.places(scores, every(scores > 0, index.having(chosen).values()))  # type: ignore[arg-type]
    return [index.ids[place] for place in places.tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mammo", ["gr/a", "lt/b"]),
        ("MAMMOGRAMS", ["gr/a"]),
        ("lodz", ["pl/c"]),
        ("ŁÓDŹ", ["pl/c"]),
        ("rontgen", ["pl/c"]),
        ("ΜΑΣΤΟΣ", ["gr/a"]),
        ("breast", ["gr/a"]),
        ("mammography", ["gr/a", "lt/b"]),
        ("screening lt", ["lt/b"]),
        ("screening nothing", []),
        ("gram", []),
        ("!?", []),
        ("", ["gr/a", "lt/b", "pl/c"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_text_finds_words_by_their_beginning_without_case_and_accents(
    text: str, expected: list[str]
) -> None:
    index = SearchIndex(
        [
            document("gr/a", "Mammograms", description="Μαστός", body_parts=["breast"]),
            document("lt/b", "Mammography screening", keywords=["women"], modalities=["CT"]),
            document("pl/c", "Röntgen w Łodzi", publisher="Szpital Łódź"),
        ]
    )
    # A modality is found by its label in the vocabulary.
    labelled = SearchIndex(
        [
            document("gr/a", "Mammograms", description="Μαστός", body_parts=["breast"], modalities=["MG"]),
            document("lt/b", "Mammography screening", keywords=["women"], modalities=["CT"]),
            document("pl/c", "Röntgen w Łodzi", publisher="Szpital Łódź"),
        ]
    )
    assert sorted(found(labelled if text == "mammography" else index, text)) == expected


def test_a_word_counts_most_in_the_title_and_as_a_whole() -> None:
    index = SearchIndex(
        [
            document("a/1", "Lungs", description="screen"),
            document("a/2", "Screenings"),
            document("a/3", "Screen"),
            document("a/4", "Lungs", keywords=["screen"]),
            document("a/5", "Screen", keywords=["screen"]),
        ]
    )
    assert found(index, "screen") == ["a/5", "a/3", "a/4", "a/2", "a/1"]


FACET_FIELDS = {"modality": "modalities", "sex": "sexes"}
documents = st.lists(
    st.fixed_dictionaries(
        {
            "modalities": st.sets(st.sampled_from(["MG", "CT", "MR"])).map(sorted),
            "sexes": st.sets(st.sampled_from(["female", "male"])).map(sorted),
            "title": st.sampled_from(["breast", "lung", "breast lung", ""]),
        }
    ),
    max_size=12,
).map(lambda drawn: [document(f"gr/{n}", **values) for n, values in enumerate(drawn)])
choices = st.fixed_dictionaries(
    {},
    optional={
        "modality": st.sets(st.sampled_from(["MG", "CT", "MR", "US"]), min_size=1).map(sorted).map(tuple),
        "sex": st.sets(st.sampled_from(["female", "male"]), min_size=1).map(sorted).map(tuple),
    },
)


@given(documents, choices, st.sampled_from(["", "breast", "br lu"]))
def test_facets_count_what_the_other_facets_leave(
    drawn: list[dict[str, Any]], chosen: dict[Any, tuple[str, ...]], text: str
) -> None:
    """Against the same in plain words: every document looked at, every facet counted alone."""

    def fits(one: dict[str, Any], but: str | None = None) -> bool:
        begun = all(any(word.startswith(t) for word in one["title"].split()) for t in text.split())
        return begun and all(
            set(values) & set(one[FACET_FIELDS[facet]]) for facet, values in chosen.items() if facet != but
        )

    index = SearchIndex(sorted(drawn, key=lambda one: one["id"]))
    assert set(found(index, text, **chosen)) == {one["id"] for one in drawn if fits(one)}
    facets = index.facets(index.scores(text) > 0, index.having(chosen), chosen, most=9)
    for facet, name in FACET_FIELDS.items():
        counted = dict(facets[facet])  # type: ignore[index]
        expected = {
            value: sum(fits(one, but=facet) and value in one[name] for one in drawn)
            for value in {v for one in drawn for v in one[name]} | set(chosen.get(facet, ()))
        }
        kept = {v: n for v, n in expected.items() if n or v in chosen.get(facet, ())}
        assert counted == kept


def filled(world: World, *names: str, site: str = "gr", **changed: Any) -> None:
    records = tuple(record(site, name=name, **changed) for name in names)
    world.gateway.hello(site, Hello(datasets=records, audit_head="h", audit_length=1))


def pages(world: World, search: DatasetSearch, *, between: Any = lambda: None) -> list[SearchPage]:
    seen = [world.gateway.search(search)]
    while seen[-1].next:
        between()
        seen.append(world.gateway.search(search.model_copy(update={"cursor": seen[-1].next})))
    return seen


@pytest.mark.parametrize("text", ["", "phantom"])
def test_pages_hold_each_dataset_once_whatever_comes_meanwhile(world: World, text: str) -> None:
    names = [f"d{number:02}" for number in range(10)]
    filled(world, *names)
    more = iter([["a-first", *names], ["a-first", *names, "z-last"], ["a-first", *names[1:], "z-last"]])

    def between() -> None:
        filled(world, *next(more, ["a-first", *names[1:], "z-last"]))

    seen = pages(world, DatasetSearch(text=text, limit=3), between=between)
    ids = [item.id for page in seen for item in page.items]
    assert ids == [f"gr/{name}" for name in (*names, "z-last")]
    assert [bool(page.facets) for page in seen] == [True, *[False] * (len(seen) - 1)]
    assert seen[-1].next is None


def test_the_first_page_has_every_facet_and_the_total(world: World) -> None:
    filled(world, "a", "b", tier=2, manufacturers=("ACME",), conditions=("breast_cancer",), sexes=("female",))
    world.gateway.hello("lt", hello("lt", modalities=("CT",), synthetic=False, country="DE"))
    page = world.gateway.search(DatasetSearch(limit=1))
    assert (page.total, len(page.items), set(page.facets)) == (3, 1, set(SEARCH_FACETS))
    facets = {facet: {v.value: v.datasets for v in values} for facet, values in page.facets.items()}
    assert facets == {
        "modality": {"MG": 2, "CT": 1},
        "body_part": {"breast": 3},
        "condition": {"breast_cancer": 2},
        "sex": {"female": 2},
        "manufacturer": {"acme": 3},
        # A record that says no country is where its site is enrolled.
        "country": {"GR": 2, "DE": 1},
        "site": {"gr": 2, "lt": 1},
        "tier": {"2": 2, "1": 1},
        "synthetic": {"yes": 2, "no": 1},
        "access": {"IN_SITU_PROCESSING": 3},
    }


def test_each_facet_narrows_down(world: World) -> None:
    filled(world, "a", tier=2, manufacturers=("ACME",), conditions=("breast_cancer",), sexes=("female",))
    world.gateway.hello(
        "lt", hello("lt", modalities=("CT",), synthetic=False, body_parts=("lung",), manufacturers=("b",))
    )
    for chosen in (
        {"modality": ("MG",)},
        {"body_part": ("breast",)},
        {"condition": ("breast_cancer",)},
        {"sex": ("female",)},
        {"manufacturer": ("Acme",)},
        {"country": ("gr",)},
        {"site": ("gr",)},
        {"tier": (2, 3)},
        {"synthetic": True},
        {"id": "gr/a"},
    ):
        assert [item.id for item in world.gateway.search(DatasetSearch(**chosen)).items] == ["gr/a"], chosen
    both = DatasetSearch(modality=("MG", "CT"), access=("IN_SITU_PROCESSING",))
    assert world.gateway.search(both).total == 2
    assert world.gateway.search(DatasetSearch(access=("REMOTE_PROCESSING",))).total == 0


def test_gateways_that_share_a_store_see_what_the_other_took_in(world: World) -> None:
    other = CatalogueSearch(world.store)
    assert other.find(DatasetSearch()).total == 0
    filled(world, "a")
    assert [item.id for item in other.find(DatasetSearch()).items] == ["gr/a"]
    filled(world, "a", n=900)
    assert other.find(DatasetSearch()).items[0].patients.n == 900  # type: ignore[union-attr]
    filled(world)
    assert other.find(DatasetSearch()).total == 0


def test_what_cannot_be_searched_for_is_an_error_with_the_field(world: World) -> None:
    filled(world, "a")
    with pytest.raises(UnknownTerm, match="XYZ"):
        world.gateway.search(DatasetSearch(modality=("XYZ",)))
    with pytest.raises(UnknownTerm, match="flu"):
        world.gateway.datasets(DatasetSearch(condition=("flu",)))
    with pytest.raises(InvalidRequest, match="nowhere") as raised:
        world.gateway.search(DatasetSearch(site=("nowhere",)))
    assert raised.value.hint == "The sites are: gr, lt."


MALFORMED: list[tuple[dict[str, str], str]] = [
    ({"text": "x" * 201}, "text"),
    ({"tier": "4"}, "tier"),
    ({"country": "Greece"}, "country"),
    ({"synthetic": "perhaps"}, "synthetic"),
    ({"limit": "0"}, "limit"),
    ({"limit": "1000"}, "limit"),
    ({"cursor": "nonsense"}, "cursor"),
    ({"cursor": "WyJhIiwgMV0="}, "cursor"),
    ({"cursor": "é"}, "cursor"),
    ({"modality": "X" * 65}, "modality"),
    ({"modality": "XYZ"}, "modality"),
    ({"lung_rads": "4B"}, "lung_rads"),
    ({"site": "../etc"}, "site"),
]


def test_a_search_that_is_malformed_is_422_with_the_field(world: World) -> None:
    async def go() -> list[tuple[int, dict[str, str]]]:
        async with client(world.researcher, "alice-token") as alice:
            replies = [await alice.get("/v1/search", params=parameters) for parameters, _ in MALFORMED]
        return [(reply.status_code, reply.json()["error"]) for reply in replies]

    for (status, error), (parameters, where) in zip(asyncio.run(go()), MALFORMED, strict=True):
        assert (status, error["where"]) == (422, where), parameters
        assert 0 < len(error["message"]) < 500
