"""Lists: found by name or place, and of several apps with one name the right one is taken."""

import pytest

from unica_sdk.client.listings import Apps
from unica_sdk.client.nodes import Nodes
from unica_sdk.errors import NotFound
from unica_sdk.schemas.app import App, AppManifest
from unica_sdk.schemas.catalogue import NodeStatus


def app(version: str, letter: str) -> App:
    manifest = AppManifest.model_validate(
        {
            "name": "screen", "version": version, "title": "Screen", "description": "",
            "image": {"modality": "MG", "rows": 64, "columns": 80},
            "label": {"field": "outcome", "positive": ["screen_detected"]},
        }
    )  # fmt: skip
    return App(id="sha256:" + letter * 64, manifest=manifest)


OLD, NEW, NEWEST = app("1.9.0", "a"), app("1.10.0", "b"), app("2.0.0", "c")


@pytest.mark.parametrize(
    ("covered", "chosen"),
    [((), NEWEST), ((OLD.id, NEW.id), NEW), ((OLD.id,), OLD), (("sha256:" + "f" * 64,), NEWEST)],
    ids=["no-permit", "newest-covered", "only-one", "none-covered"],
)
def test_the_newest_app_that_the_permit_covers_is_taken(covered: tuple[str, ...], chosen: App) -> None:
    assert Apps([OLD, NEWEST, NEW]).newest("screen", covered=covered) == chosen


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(NotFound) as raised:
        Apps([OLD]).newest("other")
    assert "screen" in raised.value.hint


def test_a_list_is_read_by_place_name_and_slice() -> None:
    nodes = [
        NodeStatus(site=site, name=site.upper(), country="GR", online=True, last_seen=None)
        for site in ("gr", "lt")
    ]
    listing = Nodes(nodes)
    assert listing[0] == listing["gr"] == nodes[0]
    assert list(listing[:1]) == nodes[:1]
    assert "No node" in repr(Nodes([]))
