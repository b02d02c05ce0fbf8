"""The notebook's forms, driven as a person drives them, over a real gateway and sites that answer."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from client_world import POLICY, ClientWorld, releasing, with_left
from gateway_world import hello

from unica_sdk.client import browser as browser_module
from unica_sdk.client import builder as builder_module
from unica_sdk.client.browser import CatalogueBrowser
from unica_sdk.client.builder import LOW_BUDGET, CohortBuilder
from unica_sdk.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's pauses are a test's waste; that pauses are waited for has a test of its own."""
    monkeypatch.setattr(browser_module, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(builder_module, "PAUSE_SECONDS", 0.02)


# -- the browser


@pytest.fixture
def browser(hub: ClientWorld) -> CatalogueBrowser:
    hub.filled(30)
    hub.filled(2, site="lt", modalities=("CT",), title="<b>Lungs</b>", synthetic=False)
    made = hub.network.catalogue.browse()
    assert hub.transport.paths == [], "nothing is asked before it is shown"
    made._repr_mimebundle_()
    return made


def listed(browser: CatalogueBrowser) -> list[str]:
    return [identity for _, identity in browser.results.options]


def test_the_browser_begins_with_everything_and_its_facets(browser: CatalogueBrowser) -> None:
    assert browser.status.value == "32 datasets"
    assert listed(browser)[:2] == ["gr/d000", "gr/d001"]
    boxes = browser.facets["modality"].boxes
    assert {value: box.description for value, box in boxes.items()} == {
        "MG": "Mammography (30)",
        "CT": "Computed tomography (2)",
    }
    assert browser.facets["condition"].widget.layout.display == "none", "no dataset has one"
    assert browser.selected is None
    assert browser.detail.value == ""


def test_ticking_a_box_narrows_down_and_keeps_the_others_of_its_facet(browser: CatalogueBrowser) -> None:
    browser.facets["modality"].boxes["CT"].value = True
    assert browser.wait()
    assert browser.status.value == "2 datasets"
    assert listed(browser) == ["lt/d000", "lt/d001"]
    assert browser.facets["modality"].boxes["MG"].description == "Mammography (30)"
    assert list(browser.facets["site"].boxes) == ["gr", "lt"]
    assert browser.facets["site"].boxes["lt"].description == "lt (2)"
    browser.facets["synthetic"].boxes["yes"].value = True
    assert browser.wait()
    assert "No dataset fits" in browser.status.value
    browser.facets["modality"].boxes["CT"].value = False
    assert browser.wait()
    assert browser.status.value == "30 datasets"
    browser.facets["synthetic"].boxes["no"].value = True
    assert browser.wait()
    assert browser.status.value == "32 datasets", "both kinds are all"


def test_typing_asks_once_for_what_was_typed_last(hub: ClientWorld, browser: CatalogueBrowser) -> None:
    before = len(hub.transport.paths)
    browser._soon._seconds = 0.3
    for letters in ("l", "lu", "lun", "lung"):
        browser.text.value = letters
    assert browser.wait()
    assert listed(browser) == ["lt/d000", "lt/d001"]
    assert len(hub.transport.paths) == before + 1


def test_choosing_a_dataset_shows_all_about_it_as_text(browser: CatalogueBrowser) -> None:
    browser.text.value = "lungs"
    assert browser.wait()
    browser.results.value = "lt/d001"
    assert browser.selected is not None
    assert browser.selected.id == "lt/d001"
    assert "&lt;b&gt;Lungs&lt;/b&gt;" in browser.detail.value
    assert "<b>Lungs" not in browser.detail.value
    browser.text.value = "phantom"
    assert browser.wait()
    assert browser.selected is None
    assert browser.detail.value == ""


def test_more_are_listed_when_asked_for(browser: CatalogueBrowser) -> None:
    assert (len(listed(browser)), browser.more.description) == (25, "7 more")
    browser.results.value = "gr/d003"
    browser.more.click()
    assert len(listed(browser)) == 32
    assert browser.more.layout.display == "none"
    assert browser.selected is not None
    assert browser.selected.id == "gr/d003", "what was chosen stays chosen"


def test_a_gateway_that_is_away_is_said_in_the_form(hub: ClientWorld, browser: CatalogueBrowser) -> None:
    hub.transport.away = True
    browser.text.value = "lungs"
    assert browser.wait()
    assert 'role="alert"' in browser.status.value
    assert "did not answer" in browser.status.value
    hub.transport.away = False
    browser.text.value = "lungs "
    assert browser.wait()
    assert browser.status.value == "2 datasets"


# -- the builder


@pytest.fixture
def builder(hub: ClientWorld) -> CohortBuilder:
    hub.filled(1, manufacturers=("ACME",))
    made = hub.network.cohort_builder()
    made._repr_mimebundle_()
    return made


def test_the_builder_offers_the_vocabulary_the_makers_and_the_sites(builder: CohortBuilder) -> None:
    assert list(builder.fields["sex"].boxes) == ["female", "male", "unknown"]
    assert builder.fields["modality"].boxes["MG"].description == "Mammography"
    assert list(builder.fields["manufacturer"].boxes) == ["acme"]
    assert list(builder.fields["sites"].boxes) == ["gr", "lt"]
    assert "offline" in builder.fields["sites"].boxes["lt"].description
    assert f"A site takes {POLICY.person_budget} in {POLICY.budget_days} days." in builder.budget.value
    assert builder.code.value == "<pre>net.cohort()</pre>"


def test_the_count_is_shown_as_the_query_is_edited(hub: ClientWorld, builder: CohortBuilder) -> None:
    with hub.sites(gr=with_left(40), lt=with_left(30)):
        builder.fields["modality"].boxes["MG"].value = True
        assert builder.wait()
        assert builder.count is not None
        assert (builder.count.lower, builder.left) == (76, 30)
        assert "about 40" in builder.answers.value
        assert "<strong>30</strong> different questions left" in builder.budget.value
        builder.with_ages.value = True
        builder.ages.value = (40, 49)
        builder.fields["sites"].boxes["gr"].value = True
        assert builder.wait()
        assert [answer.site for answer in builder.count.answers] == ["gr"]
        assert builder.left == 40
    assert "net.cohort(modality=[&#x27;MG&#x27;], age=(40, 49), sites=[&#x27;gr&#x27;])" in builder.code.value
    assert builder.cohort.query == hub.network.cohort(modality="MG", age=(40, 49), sites="gr").query


def test_edits_in_quick_succession_are_one_question(hub: ClientWorld, builder: CohortBuilder) -> None:
    builder._soon._seconds = 0.3
    with hub.sites(gr=with_left(40), lt=releasing):
        builder.fields["sites"].boxes["gr"].value = True
        for word in ("MG", "DX", "CT"):
            builder.fields["modality"].boxes[word].value = True
        builder.fields["modality"].boxes["DX"].value = False
        assert builder.wait()
    assert [question["query"] for question in hub.asked] == [{"modality": ["CT", "MG"]}]


def test_nothing_is_asked_without_a_criterion_or_a_change(hub: ClientWorld, builder: CohortBuilder) -> None:
    with hub.sites(gr=with_left(40), lt=with_left(40)):
        builder.fields["sites"].boxes["gr"].value = True
        assert builder.wait()
        assert "press Count to count everyone" in builder.status.value
        builder.ages.value = (10, 20)
        assert builder.wait()
        assert hub.asked == []
        builder.button.click()
        assert builder.wait()
        assert builder.count is not None
        builder.automatic.value = False
        builder.automatic.value = True
        assert builder.wait()
    assert [question["query"] for question in hub.asked] == [{}]


def test_with_little_left_only_the_button_asks(hub: ClientWorld, builder: CohortBuilder) -> None:
    with hub.sites(gr=with_left(LOW_BUDGET), lt=with_left(40)):
        builder.fields["sex"].boxes["female"].value = True
        assert builder.wait()
        asked = len(hub.asked)
        assert asked == 2
        assert (builder.automatic.value, builder.automatic.disabled) == (False, True)
        assert builder.button.description == f"Count (1 of {LOW_BUDGET})"
        assert "only the button asks now" in builder.budget.value
        builder.fields["sex"].boxes["male"].value = True
        assert builder.wait()
        assert len(hub.asked) == asked
        assert builder.count is None
        assert builder.answers.value == "", "an old count is not shown beside a new query"
        assert "Press Count" in builder.status.value
        builder.button.click()
        assert builder.wait()
        assert builder.count is not None
        assert len(hub.asked) == asked + 2


def test_the_builder_can_be_told_not_to_ask(hub: ClientWorld, builder: CohortBuilder) -> None:
    with hub.sites(gr=releasing, lt=releasing):
        builder.automatic.value = False
        builder.fields["sex"].boxes["female"].value = True
        assert builder.wait()
        assert hub.asked == []
        builder.automatic.value = True
        assert builder.wait()
        assert builder.count is not None


def test_a_count_that_was_edited_away_is_not_shown(hub: ClientWorld, builder: CohortBuilder) -> None:
    """One site sleeps, so the first count is still under way when the query is another one."""

    def slow(site: str, question: dict[str, Any]) -> Any:
        return None if question["query"] == {"sex": ["female"]} else releasing(site, question)

    with hub.sites(gr=slow, lt=releasing):
        builder.fields["sex"].boxes["female"].value = True
        waited_for(lambda: "1 of 2 sites" in builder.answers.value)
        builder.fields["sex"].boxes["unknown"].value = True
        assert builder.wait()
    assert builder.count is not None
    assert builder.count.result.query.sex == ("female", "unknown")
    assert "female or unknown" in builder.answers.value


def test_a_question_that_fails_is_said_in_the_form(hub: ClientWorld, builder: CohortBuilder) -> None:
    hub.network._gateway._client.headers["Authorization"] = "Bearer weak-token"
    builder.fields["sex"].boxes["female"].value = True
    assert builder.wait()
    assert 'role="alert"' in builder.status.value
    assert builder.count is None


def test_the_builder_begins_with_what_is_given(hub: ClientWorld) -> None:
    hub.world.gateway.hello("gr", hello("gr"))
    builder = hub.network.cohort_builder(modality="MG", manufacturer="Other", age=(60, 64), sites="gr")
    builder._repr_mimebundle_()
    assert builder.fields["modality"].chosen == ("MG",)
    assert builder.fields["manufacturer"].chosen == ("other",)
    assert (builder.with_ages.value, builder.ages.value) == (True, (60, 64))
    assert hub.asked == []


def waited_for(condition: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# -- where the toolkit is missing


def test_without_ipywidgets_the_error_names_the_extra(
    hub: ClientWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for form in (hub.network.catalogue.browse(), hub.network.cohort_builder()):
        with pytest.raises(ConfigurationError, match="ipywidgets") as raised:
            form._repr_mimebundle_()
        assert "unica-sdk[notebook]" in raised.value.hint
        assert "notebook" in repr(form)
