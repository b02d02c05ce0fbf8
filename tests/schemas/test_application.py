"""An access request holds what was counted, and becomes the Negotiator's forms."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.application import Application, RequestedDataset, project_named
from unica_sdk.schemas.cohort import CohortQuery, Offline, Released, Suppressed
from unica_sdk.schemas.permit import OutputKind, Purpose


def application(**changed: Any) -> Application:
    values: dict[str, Any] = {
        "holder": "alice",
        "project": "density",
        "title": "Breast density",
        "purpose": Purpose.SCIENTIFIC_RESEARCH,
        "reason": "Does density predict recall?",
        "datasets": (
            RequestedDataset(id="gr/mammo", title="Mammograms", description="Phantoms.", synthetic=True),
        ),
        "outputs": (OutputKind.METRICS, OutputKind.TABLE),
        "query": CohortQuery(modality=("MG",)),
        "counts": (
            Released(site="gr", n=40, low=38, high=42, index_version=3),
            Suppressed(site="lt", below=50, index_version=2),
            Offline(site="pt"),
        ),
        "vocabulary": "2026.12",
        "created": datetime(2026, 12, 1, tzinfo=UTC),
    }
    return Application(**{**values, **changed})


def test_it_says_what_was_counted_and_where_the_numbers_belong() -> None:
    said = application().describe()
    assert said.splitlines() == [
        "Query: modality MG.",
        "People: 38 to an unknown number, from protected counts of 2026-12-01.",
        "gr: about 40 (38 to 42), index version 3.",
        "lt: fewer than 50, perhaps none, index version 2.",
        "pt: no number (offline).",
    ]


def test_it_is_read_again_as_it_was_written() -> None:
    made = application()
    assert Application.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("site", ["pt", "de"])
def test_a_dataset_of_a_site_that_said_no_number_cannot_be_asked_for(site: str) -> None:
    dataset = RequestedDataset(id=f"{site}/x", title="x", synthetic=False)
    with pytest.raises(ValidationError, match="did not say how many"):
        application(datasets=(dataset,))


@pytest.mark.parametrize(
    "changed", [{"datasets": ()}, {"outputs": ()}, {"title": ""}, {"datasets": application().datasets * 2}]
)
def test_what_is_incomplete_or_said_twice_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        application(**changed)


def test_the_negotiators_request_has_its_three_fields_and_no_other() -> None:
    """RequestCreateDTO: url, humanReadable and at least one resource with id, name and description."""
    body = application().to_negotiator(url="https://unica.example/hub")
    assert set(body) == {"url", "humanReadable", "resources"}
    assert body["resources"] == [{"id": "gr/mammo", "name": "Mammograms", "description": "Phantoms."}]
    assert "about 40 (38 to 42)" in body["humanReadable"]
    assert json.loads(json.dumps(body)) == body


def test_the_negotiation_is_a_draft_for_a_request_with_the_forms_sections() -> None:
    body = application().to_negotiation(request="r-1")
    assert (body["request"], body["draft"], set(body["payload"])) == ("r-1", True, {"project", "request"})
    assert body["payload"]["project"]["objective"].startswith("Does density predict recall?\nPurpose")
    assert "scientific research" in body["payload"]["project"]["objective"]
    assert body["payload"]["request"]["specifics"] == "Outputs: metrics, table."


@pytest.mark.parametrize("url", ["", "hub", "ftp://x", "https://", "javascript:alert(1)"])
def test_a_discovery_service_has_a_web_address(url: str) -> None:
    with pytest.raises(InvalidRequest):
        application().to_negotiator(url=url)


@pytest.mark.parametrize(
    ("title", "name"), [("Über-Density 2", "ber-density-2"), ("x" * 62 + " y", "x" * 62), ("A", "a")]
)
def test_a_project_is_named_after_its_title(title: str, name: str) -> None:
    assert project_named(title) == name


def test_a_title_without_latin_letters_names_no_project() -> None:
    with pytest.raises(InvalidRequest, match="short name"):
        project_named("Μαστογραφία")
