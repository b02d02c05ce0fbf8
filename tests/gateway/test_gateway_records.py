"""The hub's records: only valid ones become current, the last good one stays, each version can be had."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from gateway_world import World, client, hello, record

from unica_sdk.client.network import Network
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import InvalidRequest, NotFound
from unica_sdk.records import documents
from unica_sdk.records.validation import validate
from unica_sdk.schemas.catalogue import RecordProblem
from unica_sdk.schemas.cohort import Offline
from unica_sdk.schemas.exchange import Hello
from unica_sdk.testing.portal import PortalTransport


def say(world: World, *records: Any, site: str = "gr") -> tuple[RecordProblem, ...]:
    return world.gateway.hello(site, Hello(datasets=records, audit_head="h", audit_length=1)).refused


def get(world: World, path: str, **query: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client(world.researcher, "alice-token") as alice:
            return await alice.get(path, params=query)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("changed", "prop", "fix"),
    [
        ({"provenance": ""}, "dct:provenance", "`provenance`"),
        ({"title": ""}, "dct:title", "`title`"),
        ({"contact": "somebody"}, "vcard:hasEmail", "`contact`"),
        ({"collection_method": "by hand"}, "eucaim:collectionMethod", "`collection_method`"),
        ({"patients": Offline(site="gr")}, "healthdcatap:numberOfUniqueIndividuals", "protected number"),
    ],
)
def test_an_invalid_record_is_refused_with_the_property_and_the_fix(
    world: World, changed: dict[str, Any], prop: str, fix: str
) -> None:
    refused = say(world, record("gr", **changed))
    (problem,) = [one for one in refused if one.property == prop]
    assert (problem.dataset, problem.required) == ("gr/mammo", True)
    assert fix in problem.text
    assert world.store.records() == ()
    assert world.gateway.nodes()[0].problems == refused
    assert world.actions().count("site.record_refused") == 1


def test_the_last_good_record_stays_and_the_others_go_on(world: World) -> None:
    assert say(world, record("gr"), record("gr", name="other")) == ()
    refused = say(world, record("gr", n=900, provenance=""), record("gr", name="other", n=500))
    assert {problem.dataset for problem in refused} == {"gr/mammo"}
    numbers = {r.id: r.patients.n for r in world.store.records()}  # type: ignore[union-attr]
    assert numbers == {"gr/mammo": 800, "gr/other": 500}
    assert say(world, record("gr", n=900), record("gr", name="other", n=500)) == ()
    assert world.gateway.nodes()[0].problems == ()
    assert [v.record.patients.n for v in world.gateway.records.versions("gr/mammo")] == [900, 800]  # type: ignore[union-attr]


def test_a_dataset_that_a_site_drops_goes_though_its_record_was_refused(world: World) -> None:
    say(world, record("gr"))
    say(world, record("gr", title=""))
    assert [r.id for r in world.store.records()] == ["gr/mammo"]
    assert say(world) == ()
    assert world.store.records() == ()
    assert world.gateway.nodes()[0].problems == ()


def test_a_heartbeat_with_a_refused_record_says_it_again_and_audits_it_once(world: World) -> None:
    bad = record("gr", keywords=(), modalities=(), body_parts=(), manufacturers=(), provenance="")
    first = say(world, bad)
    later = bad.model_copy(update={"issued": bad.issued + timedelta(seconds=10)})
    assert [say(world, later) for _ in range(3)] == [first] * 3
    assert world.actions().count("site.record_refused") == 1
    worse = bad.model_copy(update={"title": ""})
    assert len(say(world, worse)) == len(first) + 1
    assert world.actions().count("site.record_refused") == 2


def test_sites_that_greet_at_once_are_each_judged_by_their_own_records(world: World) -> None:
    told: dict[str, tuple[RecordProblem, ...]] = {}

    def greet(site: str, **changed: Any) -> None:
        for step in range(4):
            told[site] = say(world, record(site, n=100 + step, **changed), site=site)

    threads = [
        threading.Thread(target=greet, args=("gr",)),
        threading.Thread(target=greet, args=("lt",), kwargs={"provenance": ""}),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (told["gr"], {p.dataset for p in told["lt"]}) == ((), {"lt/mammo"})
    assert [r.id for r in world.store.records()] == ["gr/mammo"]


def test_whose_record_it_is_is_checked_before_anything_is_taken(world: World) -> None:
    with pytest.raises(InvalidRequest):
        say(world, record("gr"), record("lt"))
    assert world.store.records() == ()
    assert "site.connected" not in world.actions()


# -- served


def test_a_dataset_is_served_as_json_and_as_linked_data(world: World) -> None:
    world.gateway.hello("gr", hello("gr"))
    assert get(world, "/v1/datasets/gr/mammo").json()["id"] == "gr/mammo"
    jsonld = get(world, "/v1/datasets/gr/mammo.jsonld")
    turtle = get(world, "/v1/datasets/gr/mammo.ttl")
    assert jsonld.headers["content-type"] == "application/ld+json"
    assert turtle.headers["content-type"] == "text/turtle; charset=utf-8"
    assert validate(documents.from_jsonld(jsonld.text)) == validate(documents.from_turtle(turtle.text))
    assert all(not problem.required for problem in validate(documents.from_jsonld(jsonld.text)))


def test_every_version_of_a_record_can_be_had(world: World) -> None:
    for n in (800, 900):
        world.gateway.hello("gr", hello("gr", n=n))
    listed = get(world, "/v1/datasets/gr/mammo/versions").json()
    assert [(one["version"], one["current"], one["record"]["patients"]["n"]) for one in listed] == [
        (2, True, 900),
        (1, False, 800),
    ]
    assert '"900"' in get(world, "/v1/datasets/gr/mammo.ttl").text
    assert '"800"' in get(world, "/v1/datasets/gr/mammo.ttl", version=1).text
    assert get(world, "/v1/datasets/gr/mammo.jsonld", version=3).status_code == 404
    assert get(world, "/v1/datasets/gr/mammo.jsonld", version=0).status_code == 422
    world.gateway.hello("gr", Hello(datasets=(), audit_head="h", audit_length=1))
    assert get(world, "/v1/datasets/gr/mammo.ttl").status_code == 404
    assert get(world, "/v1/datasets/gr/mammo.ttl", version=2).status_code == 200


@pytest.mark.parametrize(
    ("path", "read"), [("jsonld", documents.from_jsonld), ("ttl", documents.from_turtle)]
)
def test_the_catalogue_is_one_document_also_when_it_is_empty(
    world: World, path: str, read: Callable[[str], Any]
) -> None:
    empty = read(get(world, f"/v1/datasets.{path}").text)
    for site in ("gr", "lt"):
        world.gateway.hello(site, hello(site))
    full = read(get(world, f"/v1/datasets.{path}").text)
    assert len(full) > len(empty) > 5
    assert {problem.dataset for problem in validate(full)} == {"gr/mammo", "lt/mammo", "urn:unica:catalogue"}


@pytest.mark.parametrize("path", ["/v1/datasets/GR/x", "/v1/datasets/gr/", "/v1/datasets/a"])
def test_a_name_that_is_none_is_no_dataset(world: World, path: str) -> None:
    assert get(world, path).status_code in (404, 422)


# -- in a notebook


def test_a_dataset_in_a_notebook_gives_its_linked_data_and_versions(world: World) -> None:
    from anyio.from_thread import start_blocking_portal

    world.gateway.hello("gr", hello("gr", n=800))
    world.gateway.hello("gr", hello("gr", n=900))
    with start_blocking_portal() as portal:
        transport = PortalTransport(world.researcher, portal)
        gateway = Gateway(base_url="http://gateway", token="alice-token", transport=transport, where="test")
        with Network(gateway) as network:
            dataset = network.catalogue["gr/mammo"]
            assert dataset.model_dump() == world.gateway.records.get("gr/mammo").model_dump()
            assert [one.version for one in dataset.versions] == [2, 1]
            graph = documents.from_jsonld(dataset.to_jsonld())
            assert set(graph) == set(documents.from_turtle(dataset.to_turtle()))
            assert dataset.to_jsonld(version=1) != dataset.to_jsonld()
            assert "900" in repr(dataset)
            assert "Phantom mammograms" in dataset._repr_html_()
            assert len(network.catalogue.to_jsonld()["@graph"]) > len(dataset.to_jsonld()["@graph"])
            assert "dcat:Catalog" in network.catalogue.to_turtle()
            for name in ("gr/none", "gr", "", "gr/a/b"):
                with pytest.raises((NotFound, InvalidRequest)):
                    network.catalogue[name]
            with pytest.raises(NotFound):
                dataset.to_turtle(version=9)
