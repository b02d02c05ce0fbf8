"""Searches: nothing is asked before it is looked at, pages come as needed, and what is shown is whole."""

from typing import Any

import pytest
from client_world import ClientWorld

from unica_sdk.client.catalogue import AT_ONCE, SHOWN, Datasets
from unica_sdk.errors import InvalidRequest, NotFound, UnknownTerm


def test_nothing_is_asked_until_it_is_looked_at_and_then_page_by_page(hub: ClientWorld) -> None:
    number = SHOWN + AT_ONCE + 5
    hub.filled(number)
    found = hub.network.catalogue.search("phantom", modality="MG")
    assert hub.transport.paths == []
    assert len(found) == number
    assert (found[0].id, found[SHOWN - 1].id) == ("gr/d000", f"gr/d{SHOWN - 1:03}")
    assert hub.transport.paths == ["/v1/search"]
    assert found[SHOWN].id == f"gr/d{SHOWN:03}"
    assert len(hub.transport.paths) == 2
    assert [item.id for item in found] == [f"gr/d{n:03}" for n in range(number)]
    assert len(hub.transport.paths) == 3
    assert found[-1].id == f"gr/d{number - 1:03}"
    assert [item.id for item in found[number - 2 :]] == [f"gr/d{n:03}" for n in (number - 2, number - 1)]
    assert len(hub.transport.paths) == 3, "what came is kept"
    with pytest.raises(IndexError):
        found[number]


def test_a_dataset_is_found_by_its_id_without_the_pages_before_it(hub: ClientWorld) -> None:
    hub.filled(120)
    found = hub.network.catalogue.search(modality="MG")
    assert found["gr/d119"].site == "gr"
    assert len(hub.transport.paths) == 1
    with pytest.raises(NotFound) as raised:
        found["gr/other"]
    assert "gr/d000" in raised.value.hint
    with pytest.raises(NotFound):
        hub.network.catalogue.search(modality="CT")["gr/d000"]
    with pytest.raises(NotFound):
        found["x" * 500]


FILTERS: list[tuple[dict[str, Any], int]] = [
    ({"modality": "MG"}, 3),
    ({"modality": ["MG", "CT"], "body_part": "lung"}, 2),
    ({"condition": "lung_cancer"}, 2),
    ({"sex": ["male"]}, 2),
    ({"manufacturer": "Bolt"}, 2),
    ({"country": "lt"}, 2),
    ({"site": "lt"}, 2),
    ({"tier": 3}, 2),
    ({"tier": (1, 3)}, 5),
    ({"synthetic": False}, 2),
    ({"synthetic": True}, 3),
    ({"access": "REMOTE_PROCESSING"}, 0),
]


def test_a_filter_is_a_word_or_several(hub: ClientWorld) -> None:
    hub.filled(3)
    hub.filled(
        2, site="lt", modalities=("CT",), body_parts=("lung",), conditions=("lung_cancer",), sexes=("male",),
        manufacturers=("bolt",), tier=3, synthetic=False,
    )  # fmt: skip
    found = [(criteria, len(hub.network.catalogue.search(**criteria))) for criteria, _ in FILTERS]
    assert found == FILTERS


def test_what_is_no_word_is_said_before_anything_is_asked(hub: ClientWorld) -> None:
    catalogue = hub.network.catalogue
    with pytest.raises(UnknownTerm, match="XYZ"):
        catalogue.search(modality="XYZ")
    with pytest.raises(UnknownTerm, match="flu"):
        catalogue.search(condition=["lung_cancer", "flu"])
    for criteria, where in (({"tier": 4}, "tier.0"), ({"country": "Greece"}, "country.0")):
        with pytest.raises(InvalidRequest) as raised:
            catalogue.search(**criteria)  # type: ignore[arg-type]
        assert raised.value.where == where
    assert hub.transport.paths == []
    with pytest.raises(InvalidRequest, match="nowhere"):
        len(catalogue.search(site="nowhere"))


def test_a_table_shows_the_first_and_by_what_to_narrow_down(hub: ClientWorld) -> None:
    hub.filled(30)
    hub.filled(2, site="lt", modalities=("CT",), title="<b>Lungs</b>", synthetic=False)
    found = hub.network.catalogue.search()
    text, html = repr(found), found._repr_html_()
    for shown in (text, html):
        assert "Datasets: 32 found" in shown
        assert "gr/d000" in shown
        assert f"gr/d{SHOWN:03}" not in shown
        assert "12 more" in shown
        assert "modality: MG 30, CT 2" in shown
        assert "body part" in shown
        assert "tier:" not in shown, "all are of one tier, so it tells nothing apart"
        assert "SYNTHETIC" in shown
    assert "<b>Lungs" not in hub.network.catalogue.search("lungs")._repr_html_()
    assert "real" in repr(hub.network.catalogue.search("lungs"))
    assert repr(hub.network.catalogue) == text


def test_a_frame_has_all_that_was_found(hub: ClientWorld) -> None:
    hub.filled(70)
    frame = hub.network.catalogue.search().to_frame()
    assert list(frame["dataset"]) == [f"gr/d{n:03}" for n in range(70)]


def test_nothing_found_says_what_was_looked_for(hub: ClientWorld) -> None:
    assert "No dataset is in the catalogue yet." in repr(hub.network.catalogue.search())
    hub.filled(1)
    nothing = hub.network.catalogue.search("retina", modality=["CT", "MR"], synthetic=True)
    for shown in (repr(nothing), nothing._repr_html_()):
        assert "No dataset matches “retina” · modality CT or MR · synthetic yes." in shown
    assert not nothing
    assert nothing.facets["modality"][0].model_dump() == {"value": "CT", "datasets": 0}


def test_one_dataset_shows_itself(hub: ClientWorld) -> None:
    hub.filled(
        1, title="<i>Mammograms</i>", tier=2, missing=("a legal basis",), conditions=("breast_cancer",)
    )
    dataset = hub.network.catalogue.search()[0]
    assert "2 of 3; for the next: a legal basis" in repr(dataset)
    assert "breast_cancer" in str(dataset)
    assert "SYNTHETIC" in dataset._repr_html_()
    assert "<i>" not in dataset._repr_html_()
    assert "about 800" in repr(dataset)


def test_facets_are_typed_and_counted(hub: ClientWorld) -> None:
    hub.filled(3)
    found = hub.network.catalogue.search(modality="MG")
    assert isinstance(found, Datasets)
    assert [(v.value, v.datasets) for v in found.facets["site"]] == [("gr", 3)]
