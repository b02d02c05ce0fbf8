"""Access requests in the client: from a cohort to a document that a steward decides on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unica_sdk.client.counts import answer_words
from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.client.transport import invalid_request
from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.files import write_private
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.application import Application, RequestedDataset, project_named
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CountAnswer, CountResult, Released, Suppressed
from unica_sdk.schemas.identity import Session
from unica_sdk.schemas.permit import OutputKind, Purpose

if TYPE_CHECKING:
    from unica_sdk.client.transport import Gateway
    from unica_sdk.schemas.cohort import CohortQuery


class AccessRequest(Shown):
    """An access request, filled in: look at it, save it, hand it to the steward. It allows nothing yet."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, readable by its owner alone, and return where.

        Raises:
            ConfigurationError: it cannot be written there.
        """
        place = Path(path)
        try:
            write_private(place, self.application.model_dump_json(indent=2).encode() + b"\n")
        except OSError as err:
            raise ConfigurationError(
                f"The request cannot be written: {err.strerror}.", where=str(place)
            ) from err
        return place

    def to_negotiator(self, *, url: str) -> dict[str, Any]:
        """Return the body of the Negotiator's `POST /v3/requests`; `url` is the page it knows us by.

        Nothing is sent: a notebook has no network.

        Raises:
            InvalidRequest: `url` is no web address.
        """
        return self.application.to_negotiator(url=url)

    def to_negotiation(self, *, request: str) -> dict[str, Any]:
        """Return the body of `POST /v3/negotiations`, a draft, for the Negotiator's request with this id."""
        return self.application.to_negotiation(request=request)

    def _table(self) -> Table:
        asked, total = self.application, self.application.total
        most = f"{total.upper:,}" if total.upper is not None else "unknown: a site did not answer"
        rows = [
            ("holder", asked.holder),
            ("project", asked.project),
            ("purpose", asked.purpose.value.replace("_", " ")),
            ("reason", asked.reason or "–"),
            ("query", asked.query.describe()),
            ("people", f"{total.lower:,} to {most}"),
            *((f"  {answer.site}", " · ".join(_with_version(answer))) for answer in total.answers),
            *(("dataset", d.id + (" (SYNTHETIC)" if d.synthetic else "")) for d in asked.datasets),
            ("outputs", joined([kind.value for kind in asked.outputs])),
        ]
        return Table(
            title=f"Access request: {asked.title}",
            columns=("what", "value"),
            rows=tuple(rows),
            empty="",
            note=f"Protected counts of {asked.created:%Y-%m-%d %H:%M} UTC. A steward decides on it.",
        )


def request_access(
    gateway: Gateway,
    query: CohortQuery,
    *,
    title: str,
    purpose: Purpose | str,
    project: str | None = None,
    reason: str = "",
    datasets: Iterable[str] | str | None = None,
    outputs: Iterable[OutputKind | str] | str = (OutputKind.METRICS,),
) -> AccessRequest:
    """Return an access request for a query, with datasets and protected counts filled in.

    No permit is needed. The count is asked again, which is free where it was asked before. By default all
    datasets of the sites that answered are asked for; `datasets` narrows them.

    Raises:
        InvalidRequest: no site answered, a dataset that cannot be asked for, an unknown purpose or output.
        AccessDenied: the token may not count or read the catalogue.
    """
    _known("purpose", [purpose], Purpose)
    kinds = _several(outputs)
    _known("outputs", kinds, OutputKind)
    result = gateway.post("/v1/counts", CountResult, {"query": query.model_dump(mode="json")})
    sites = sorted(a.site for a in result.answers if isinstance(a, Released | Suppressed))
    if not sites:
        raise InvalidRequest(
            "No site said how many people match, so there is nothing to ask for.",
            where="query",
            hint="; ".join(f"{a.site}: {answer_words(a)[1]}" for a in result.answers) + ".",
        )
    found = gateway.get("/v1/datasets", list[DatasetRecord], site=sites)
    with invalid_request(hint="See help(cohort.application)."):
        return AccessRequest(
            Application(
                holder=gateway.get("/v1/me", Session).person.subject,
                project=project or project_named(title),
                title=title,
                purpose=Purpose(purpose),
                reason=reason,
                datasets=_chosen(found, None if datasets is None else _several(datasets)),
                outputs=tuple(OutputKind(kind) for kind in kinds),
                query=query,
                counts=result.answers,
                vocabulary=vocabulary.VERSION,
                created=datetime.now(UTC),
            )
        )


def _chosen(records: Sequence[DatasetRecord], wanted: Sequence[str] | None) -> tuple[RequestedDataset, ...]:
    known = {record.id: record for record in records}
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise InvalidRequest(
            f"These cannot be asked for: {', '.join(unknown)}.",
            where="datasets",
            hint=f"Datasets of the sites that answered: {joined(sorted(known))}.",
        )
    return tuple(
        RequestedDataset(
            id=record.id, title=record.title, description=record.description, synthetic=record.synthetic
        )
        for name, record in sorted(known.items())
        if wanted is None or name in wanted
    )


def _several(words: Iterable[str] | str) -> tuple[str, ...]:
    """Return words in their order, each once; a single one may be given as it is."""
    return tuple(dict.fromkeys([words] if isinstance(words, str) else words))


def _known(where: str, words: Iterable[Any], kind: type[Purpose] | type[OutputKind]) -> None:
    choices = [member.value for member in kind]
    for word in words:
        if word not in choices:
            raise InvalidRequest(
                f"{word!r} is not known.", where=where, hint="Use one of: " + ", ".join(choices) + "."
            )


def _with_version(answer: CountAnswer) -> tuple[str, ...]:
    if isinstance(answer, Released | Suppressed):
        return (*answer_words(answer), f"index version {answer.index_version}")
    return answer_words(answer)
