"""The cohort builder in a notebook: criteria to tick, and the count as they are edited, within the budget."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from unica_sdk.client.cohorts import Cohort, build_query
from unica_sdk.client.counts import Count
from unica_sdk.client.widgets import Choices, Debouncer, Form, Stale, error_html
from unica_sdk.errors import UnicaError
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.cohort import VALUE_FIELDS, CohortQuery

if TYPE_CHECKING:
    from unica_sdk.client.network import Network

PAUSE_SECONDS = 0.8
"""How long nobody edits before the sites are asked: each different question is paid for."""

LOW_BUDGET = 10
"""With so many questions left at some site, none is asked but on the button."""

OLDEST = 120


class CohortBuilder(Form):
    """Says who is meant, and counts them as it is edited; `cohort` is what to go on with.

    Sites are asked when a criterion is set and the query changed. Where little of the budget is left, or
    where the box "Count as I edit" is not ticked, only the button asks.
    """

    def __init__(self, cohort: Cohort, *, network: Network) -> None:
        super().__init__()
        self._network = network
        self._cohort = cohort
        self._soon = Debouncer(seconds=PAUSE_SECONDS)
        self._left: dict[str, int] = {}
        self._count: Count | None = None
        self._allowed = ""
        self.fields: dict[str, Choices] = {}

    @property
    def query(self) -> CohortQuery:
        """The query as it is edited."""
        return self._cohort.query

    @property
    def cohort(self) -> Cohort:
        """The cohort as it is edited: to count, break down or freeze."""
        return self._cohort

    @property
    def count(self) -> Count | None:
        """What the sites answered to the query as it is; None where they were not asked."""
        return self._count

    @property
    def left(self) -> int | None:
        """How many different questions every site still takes; None where none has said."""
        sites = self.query.sites or self._left.keys()
        return min((self._left[site] for site in sites if site in self._left), default=None)

    def wait(self, timeout: float = 30) -> bool:
        """Return whether nothing is being asked or about to be, after `timeout` seconds at the latest."""
        return self._soon.wait(timeout)

    def _built(self, ipywidgets: Any) -> Any:
        self._make_criteria(ipywidgets)
        self.automatic = ipywidgets.Checkbox(value=True, description="Count as I edit", indent=False)
        self.button = ipywidgets.Button(description="Count", button_style="primary")
        self.budget, self.status, self.answers, self.code = (ipywidgets.HTML() for _ in range(4))
        self.button.on_click(lambda button: self._ask(at_once=True))
        self.automatic.observe(self._toggled, names="value")
        self._show_budget()
        self._show_query()
        self.status.value = "Press Count to ask the sites, or edit: the count follows."
        criteria = ipywidgets.HBox(
            [choices.widget for choices in self.fields.values()], layout={"flex_flow": "row wrap"}
        )
        ages = ipywidgets.HBox([self.with_ages, self.ages])
        controls = ipywidgets.HBox([self.button, self.automatic, self.budget])
        return ipywidgets.VBox([criteria, ages, controls, self.status, self.answers, self.code])

    def _make_criteria(self, ipywidgets: Any) -> None:
        query = self.query
        for name in (*VALUE_FIELDS, "sites"):
            self.fields[name] = Choices(ipywidgets, name.replace("_", " ").capitalize(), changed=self._edited)
            self.fields[name].offer(self._options(name), chosen=getattr(query, name))
        self.with_ages = ipywidgets.Checkbox(
            value=query.age is not None, description="Only ages", indent=False
        )
        chosen = (query.age.low, query.age.high) if query.age else (50, 69)
        self.ages = ipywidgets.IntRangeSlider(
            value=chosen, min=0, max=OLDEST, continuous_update=False, layout={"width": "26em"}
        )
        for widget in (self.with_ages, self.ages):
            widget.observe(lambda change: self._edited(), names="value")

    def _options(self, name: str) -> list[tuple[str, str]]:
        """Return the values of one criterion with their labels: of the vocabulary, or of what sites have."""
        if name == "sites":
            nodes = self._network.nodes
            policies = [node.policy for node in nodes if node.policy is not None]
            if least := min(policies, key=lambda policy: policy.person_budget, default=None):
                self._allowed = f"A site takes {least.person_budget:,} in {least.budget_days} days."
            return [(n.site, f"{n.name} ({n.site})" + ("" if n.online else ", offline")) for n in nodes]
        if name == "manufacturer":
            # Sites write a maker's name in their own way: what can match is what they say they have.
            found = self._network.catalogue.search().facets.get("manufacturer", ())
            return [(value.value, value.value) for value in found]
        concepts = (c for c in vocabulary.CONCEPTS if c.field == name)
        return [(concept.term, concept.label) for concept in concepts]

    def _edited(self) -> None:
        criteria: dict[str, Any] = {name: choices.chosen for name, choices in self.fields.items()}
        if self.with_ages.value:
            criteria["age"] = tuple(self.ages.value)
        query = build_query(**criteria)
        if query == self.query:
            return
        self._cohort = self._network.cohort(**query.model_dump())
        self._count = None
        self.answers.value = ""
        self._show_query()
        self._ask_if_allowed()

    def _toggled(self, change: Any) -> None:
        if change["new"]:
            self._ask_if_allowed()
        elif not self.automatic.disabled:
            self._soon.forget()

    def _ask_if_allowed(self) -> None:
        self._soon.forget()
        if self._count is not None:
            return
        if not self.query.criteria():
            self.status.value = "Choose a criterion, or press Count to count everyone."
        elif not self.automatic.value:
            self.status.value = "Edited. Press Count to ask the sites."
        else:
            self._ask(at_once=False)

    def _ask(self, *, at_once: bool) -> None:
        self.status.value = "Asking the sites …"
        cohort = self._cohort
        self._soon.want(lambda stale: self._counted(cohort, stale), at_once=at_once)

    def _counted(self, cohort: Cohort, stale: Stale) -> None:
        """Count in a thread of its own, and show what is known as it comes."""

        def show(count: Count) -> None:
            if stale():
                raise _Overtaken
            self.answers.value = count._repr_html_()

        try:
            count = cohort.count(stream=show)
            self._left |= count.left
            if not stale():
                self._count = count
                self.answers.value, self.status.value = count._repr_html_(), ""
        except _Overtaken:
            return
        except UnicaError as err:
            if not stale():
                self.status.value = error_html(err)
        self._show_budget()

    def _show_query(self) -> None:
        self.code.value = f"<pre>{escape(self._cohort.code)}</pre>"

    def _show_budget(self) -> None:
        """Say what is left, and leave it to the button where that is little."""
        left = self.left
        low = left is not None and left <= LOW_BUDGET
        self.automatic.disabled = low
        if low:
            self.automatic.value = False
        self.button.description = f"Count (1 of {left:,})" if low else "Count"
        if left is None:
            self.budget.value = f"Each different question costs one of your budget. {self._allowed}"
        else:
            only = ": only the button asks now." if low else "."
            self.budget.value = f"<strong>{left:,}</strong> different questions left{only}"


class _Overtaken(Exception):  # noqa: N818 - no failure: something newer is wanted
    """What is being counted was edited meanwhile."""
