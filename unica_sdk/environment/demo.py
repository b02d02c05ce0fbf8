"""`unica demo`: the whole job of a researcher, from a terminal, against the running environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from unica_sdk.client.display import figure
from unica_sdk.client.network import Network, connect
from unica_sdk.environment import service_user
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import NotSignedIn, PermitProblem
from unica_sdk.schemas.app import App
from unica_sdk.schemas.job import Job
from unica_sdk.schemas.metrics import Estimate

APP = "breast-screen"
MODALITY = "MG"


@dataclass(frozen=True)
class DemoOutcome:
    """How the job ended."""

    job: Job

    @property
    def has_result(self) -> bool:
        """Whether there are metrics."""
        return self.job.state.has_result and self.job.metrics is not None

    def document(self) -> dict[str, Any]:
        """Return what `unica demo --json` prints."""
        metrics = self.job.metrics
        pooled = metrics.pooled if metrics else None
        sites = metrics.sites if metrics else {}
        document: dict[str, Any] = {
            "job": self.job.id,
            "state": self.job.state.value,
            "participants": [{"site": one.site, "state": one.state.value} for one in self.job.participants],
            "rounds": len(self.job.history),
            "metrics": {
                "pooled": {"auc": _figures(pooled.auc)} if pooled else None,
                "sites": {site: {"auc": _figures(one.auc)} for site, one in sorted(sites.items())},
            },
            "cohort": self.job.cohort,
            "app": self.job.app,
        }
        if failure := self.job.failure:
            document["failure"] = {"code": failure.code.value, "site": failure.site, "hint": failure.hint}
        return document

    def table(self) -> Table:
        """Return the same for people."""
        table = Table(
            "Site", "State", "Rounds", "AUC (95 % interval)", "Cases",
            title=f"Job {self.job.id}: {self.job.state.value}", title_justify="left",
        )  # fmt: skip
        metrics = self.job.metrics
        for one in self.job.participants:
            found = metrics.sites.get(one.site) if metrics else None
            state = f"{one.state.value} ({one.failure.code.value})" if one.failure else one.state.value
            table.add_row(one.site, state, str(one.rounds), *_words(found.auc if found else None))
        pooled = metrics.pooled if metrics else None
        table.add_section()
        table.add_row("all sites", "", str(len(self.job.history)), *_words(pooled.auc if pooled else None))
        if self.job.failure:
            table.caption = f"{self.job.failure.code.value}: {self.job.failure.hint}"
        return table


def run_demo(layout: Layout, *, rounds: int, console: Console) -> DemoOutcome:
    """Search, count, freeze, train and evaluate; progress goes to `console`.

    Raises:
        UnicaError: the environment does not run, or a step was refused.
    """
    service_user.become_owner(layout)
    try:
        token = layout.token.read_text().strip()
    except OSError as err:
        raise NotSignedIn(
            "There is no token for the terminal.",
            where=str(layout.token),
            hint="Run `unica up`, as the user that runs `unica demo`.",
        ) from err
    with connect(f"unix://{layout.gateway_socket}", token=token) as network:
        return _study(network, rounds=rounds, console=console)


def _study(network: Network, *, rounds: int, console: Console) -> DemoOutcome:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(repr(network))
    datasets = network.catalogue.search("mammography", modality=MODALITY)
    say("Search     " + ", ".join(one.id for one in datasets) + " (synthetic mammograms)")
    cohort = network.cohort(modality=MODALITY)
    count = cohort.count()
    upper = "unknown" if count.upper is None else f"{count.upper:,}"
    say(f"Count      {cohort.query.describe()}: {count.lower:,} to {upper} people")
    frozen = cohort.freeze()
    say(f"Freeze     {frozen.id[:17]}… at {', '.join(frozen.sites)} under {frozen.permit}")
    job = network.submit(_permitted_app(network), cohort=frozen, rounds=rounds)
    say(f"Submit     {APP} as job {job.id}, {rounds} rounds")
    job.watch(console=console)
    return DemoOutcome(job.refresh())


def _permitted_app(network: Network) -> App:
    """Return the newest app of the demonstration's name that a permit covers; older ones stay in the list."""
    covered = {app for summary in network.permits if summary.active for app in summary.permit.apps}
    apps = [app for app in network.apps if app.manifest.name == APP and app.id in covered]
    if not apps:
        raise PermitProblem(f"No permit covers the app {APP}.", hint="Run `unica down` and `unica up` again.")
    return max(apps, key=lambda app: tuple(map(int, app.manifest.version.split("."))))


def _figures(estimate: Estimate) -> dict[str, float | int]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _words(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "–", "–"
    return figure(estimate.value, estimate.low, estimate.high), f"{estimate.n:,}"
