"""From a cohort to an access request and back from the explorer's form: the client over the real faces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from gateway_world import Respond, World, connected, releasing, suppressing

from unica_sdk.client.applications import AccessRequest
from unica_sdk.client.cohorts import Cohort
from unica_sdk.client.network import Network
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import AccessDenied, ConfigurationError, Inexpressible, InvalidRequest
from unica_sdk.gateway.app import researcher_app
from unica_sdk.gateway.identity import TokenIdentity
from unica_sdk.schemas.application import Application
from unica_sdk.schemas.identity import Person, Scope
from unica_sdk.testing.portal import PortalTransport

DISCOVERY = (Scope.CATALOGUE_READ, Scope.COHORT_COUNT)
"""All that a researcher without a permit holds."""


@contextmanager
def network(world: World, *, scopes: tuple[str, ...] = DISCOVERY, **respond: Respond) -> Iterator[Network]:
    app = researcher_app(
        world.gateway, TokenIdentity({"t": Person(subject="carol", groups=("researchers",), scopes=scopes)})
    )
    with start_blocking_portal() as portal:
        channel = Gateway(
            base_url="http://gateway", token="t", transport=PortalTransport(app, portal), where="test"
        )
        with Network(channel) as net, portal.wrap_async_context_manager(connected(world, **respond)):
            yield net


def asked(world: World, make: Callable[[Cohort], AccessRequest], **respond: Respond) -> AccessRequest:
    with network(world, **respond) as net:
        return make(net.cohort(modality="MG", age=(50, 69)))


def test_a_request_is_filled_in_without_a_permit(world: World) -> None:
    request = asked(
        world,
        lambda c: c.application(title="Breast density", purpose="scientific_research"),
        gr=releasing,
        lt=suppressing,
    )
    made = request.application
    assert (made.holder, made.project, made.query.describe()) == (
        "carol",
        "breast-density",
        "modality MG · age 50–69",
    )
    assert [dataset.id for dataset in made.datasets] == ["gr/mammo", "lt/mammo"]
    assert [(a.site, a.status) for a in made.counts] == [("gr", "released"), ("lt", "suppressed")]
    assert (made.total.lower, made.total.upper) == (38, 51)
    assert all(dataset.synthetic for dataset in made.datasets)


def test_only_what_answered_is_asked_for_and_it_can_be_narrowed(world: World) -> None:
    def make(cohort: Cohort) -> AccessRequest:
        return cohort.application(title="T", purpose="education", datasets="gr/mammo", outputs="model")

    made = asked(world, make, gr=releasing).application
    assert [dataset.id for dataset in made.datasets] == ["gr/mammo"]
    assert [kind.value for kind in made.outputs] == ["model"]
    assert made.total.upper is None


@pytest.mark.parametrize(
    ("more", "where", "hint"),
    [
        ({"purpose": "marketing"}, "purpose", "scientific_research"),
        ({"purpose": "education", "outputs": ["pixels"]}, "outputs", "metrics"),
        ({"purpose": "education", "datasets": ["lt/mammo"]}, "datasets", "gr/mammo"),
        ({"purpose": "education", "datasets": []}, "datasets", "help"),
        ({"purpose": "education", "project": "No Name"}, "project", "help"),
        ({"purpose": "education", "title": "Ω"}, "project", "project="),
    ],
)
def test_what_cannot_be_asked_for_is_said_with_what_can(
    world: World, more: dict[str, Any], where: str, hint: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(world, lambda cohort: cohort.application(**{"title": "T", **more}), gr=releasing)
    assert refused.value.where == where
    assert hint in refused.value.hint


def test_where_nobody_answered_there_is_nothing_to_ask_for(world: World) -> None:
    with pytest.raises(InvalidRequest, match="No site said") as refused:
        asked(world, lambda cohort: cohort.application(title="T", purpose="education"))
    assert refused.value.hint == "gr: offline; lt: offline."


@pytest.mark.parametrize("held", DISCOVERY)
def test_it_needs_the_powers_of_the_discovery_workspace(world: World, held: str) -> None:
    with network(world, scopes=(held,), gr=releasing) as net, pytest.raises(AccessDenied):
        net.cohort().application(title="T", purpose="education")


def test_a_request_is_shown_saved_and_given_to_the_negotiator(world: World, tmp_path: Path) -> None:
    request = asked(
        world,
        lambda c: c.application(title="<b>Density</b>", purpose="statistics", reason="Why <not>"),
        gr=releasing,
        lt=suppressing,
    )
    for word in ("carol", "modality MG", "about 40", "fewer than 10", "gr/mammo (SYNTHETIC)", "version 1"):
        assert word in repr(request)
        assert word in request._repr_html_()
    assert "<b>" not in request._repr_html_()
    place = request.save(tmp_path / "request.json")
    assert Application.model_validate_json(place.read_bytes()) == request.application
    assert place.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError):
        request.save(tmp_path / "no" / "request.json")
    body = request.to_negotiator(url="https://unica.example")
    assert [resource["id"] for resource in body["resources"]] == ["gr/mammo", "lt/mammo"]
    assert request.to_negotiation(request="r")["draft"] is True


def test_a_cohort_goes_to_the_explorer_and_comes_back(world: World) -> None:
    with network(world, gr=releasing, lt=suppressing) as net:
        cohort = net.cohort(modality=["MG", "CT"], age=(50, 69), manufacturer="acme", sites=["gr"])
        written = cohort.to_ast()
        assert written["id"] != cohort.to_ast()["id"]
        back = Cohort.from_ast(written, net)
        assert back.query == cohort.query
        assert (back.count().lower, back.count().upper) == (38, 42)
        with pytest.raises(Inexpressible) as refused:
            net.cohort(outcome="negative").to_ast()
        assert refused.value.criteria == ("outcome",)
        for broken in ("{", "[]", b"\xff", "[" * 100_000, {"id": 1}):
            with pytest.raises(InvalidRequest):
                Cohort.from_ast(broken, net)
