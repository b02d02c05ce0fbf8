"""The network as a researcher has it in hand."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from unica_sdk.client.catalogue import Catalogue
from unica_sdk.client.cohorts import Cohort, Frozen, build_query
from unica_sdk.client.jobs import JobHandle, Jobs
from unica_sdk.client.listings import Apps, Permits
from unica_sdk.client.nodes import Node, Nodes
from unica_sdk.client.transport import Gateway, invalid_request, open_gateway
from unica_sdk.schemas.app import App
from unica_sdk.schemas.identity import Session
from unica_sdk.schemas.job import Job, JobRequest
from unica_sdk.schemas.permit import Permit, PermitSummary

if TYPE_CHECKING:
    from unica_sdk.client.builder import CohortBuilder

ISOLATION_WORDS = {"none": "not isolated"}


def connect(gateway: str | None = None, *, token: str | None = None) -> Network:
    """Return the network, signed in with the token your server already holds.

    Inside the environment no argument is needed. From a terminal on the same machine the socket and the token
    file of the state folder are used.

    Raises:
        ConfigurationError: there is no gateway to connect to.
        NotSignedIn: there is no token, or the hub does not know it.
        Unavailable: the gateway did not answer.
    """
    network = Network(open_gateway(gateway, token))
    _ = network.me
    return network


class Network:
    """Everything a researcher does, in the order it is done: find, count, freeze, submit, read."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def me(self) -> Session:
        """Who the gateway takes you for."""
        return self._gateway.get("/v1/me", Session)

    @property
    def nodes(self) -> Nodes:
        """The sites, online or not: `net.nodes["gr"].policy` is what a site insists on."""
        return Nodes(self._gateway.get("/v1/nodes", list[Node]))

    @property
    def catalogue(self) -> Catalogue:
        """What the sites have: `net.catalogue.search("mammography")`."""
        return Catalogue(self._gateway)

    @property
    def permits(self) -> Permits:
        """Your permits."""
        return Permits(self._gateway.get("/v1/permits", list[PermitSummary]))

    @property
    def apps(self) -> Apps:
        """The apps you may submit: `net.apps["breast-screen"]`."""
        return Apps(self._gateway.get("/v1/apps", list[App]))

    @property
    def jobs(self) -> Jobs:
        """Your jobs, newest first: `net.jobs["…"]`."""
        return Jobs([JobHandle(job, self._gateway) for job in self._gateway.get("/v1/jobs", list[Job])])

    def cohort(self, **criteria: Any) -> Cohort:
        """Say who is meant: AND between criteria, OR inside one.

        Criteria: `sex`, `diagnosis`, `outcome`, `modality`, `body_part`, `manufacturer` (a word or a list of
        words), `age=(low, high)` in years, `sites` (where to ask).

        Raises:
            InvalidRequest: an unknown criterion or word.
        """
        return Cohort(query=build_query(**criteria), gateway=self._gateway, permits=_LazyPermits(self))

    def cohort_builder(self, **criteria: Any) -> CohortBuilder:
        """Return a form for a notebook to say who is meant, which shows the count as it is edited.

        Counts use up the budget that each site keeps for you; the form shows what is left, and asks only when
        told to once little is. Criteria as in `cohort`.

        Raises:
            ConfigurationError: ipywidgets is not installed.
            InvalidRequest: an unknown criterion or word.
        """
        from unica_sdk.client.builder import CohortBuilder

        return CohortBuilder(self.cohort(**criteria), network=self)

    def submit(
        self,
        app: App | str,
        *,
        cohort: Frozen,
        parameters: dict[str, Any] | None = None,
        rounds: int = 3,
        quorum: int | None = None,
        deadline: float = 900,
        seed: int = 0,
    ) -> JobHandle:
        """Submit a job and return at once; then `watch()` it or ask for its `result()`.

        `quorum` is how many sites must stay to the end (by default all but one, and at least two where there
        are two). `deadline` is seconds from the start.

        Raises:
            InvalidRequest: parameters out of bounds, or a quorum that cannot be met.
            PermitProblem: the permit does not cover the app or the data.
        """
        chosen = self._app(app, cohort.permit) if isinstance(app, str) else app
        sites = len(cohort.sites)
        with invalid_request():
            request = JobRequest(
                app=chosen.id,
                cohort=cohort.id,
                permit=cohort.permit,
                parameters=parameters or {},
                rounds=rounds,
                quorum=quorum if quorum is not None else max(min(sites, 2), sites - 1),
                deadline=deadline,
                seed=seed,
            )
        return JobHandle(self._gateway.post("/v1/jobs", Job, request.model_dump(mode="json")), self._gateway)

    def _app(self, name: str, permit: str) -> App:
        covered = {app for held in self.permits if held.permit.id == permit for app in held.permit.apps}
        return self.apps.newest(name, covered=covered)

    def close(self) -> None:
        """Close the connection."""
        self._gateway.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _summary(self) -> tuple[str, str]:
        me, nodes = self.me, self.nodes
        online = sum(node.online for node in nodes)
        return (
            f"UNICA network as {me.person.subject}: {online} of {len(nodes)} nodes online",
            ISOLATION_WORDS[me.isolation],
        )

    def __repr__(self) -> str:
        return " · ".join(self._summary())

    def _repr_html_(self) -> str:
        text, isolation = self._summary()
        return f"<div><strong>{escape(text)}</strong> · <em>{escape(isolation)}</em></div>"


class _LazyPermits(Iterable[Permit]):
    """The holder's active permits, asked for only when a freeze needs them."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __iter__(self) -> Any:
        return iter([summary.permit for summary in self._network.permits if summary.active])
