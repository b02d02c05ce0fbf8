"""Cohort queries against the index, and the frozen lists of patients that jobs train on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import DataError, NotFound
from unica_sdk.files import write_private
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import PATIENTS, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import CohortQuery
from unica_sdk.schemas.contract import Contract, Keyed, Moment, canonical_json

_ONE_OF = {
    "sex": "list_contains($sex::VARCHAR[], sex)",
    "diagnosis": "list_contains($diagnosis::VARCHAR[], diagnosis)",
    "outcome": "list_contains($outcome::VARCHAR[], outcome)",
    "modality": "list_has_any(modalities, $modality::VARCHAR[])",
    "body_part": "list_has_any(body_parts, $body_part::VARCHAR[])",
    "manufacturer": "list_has_any(manufacturers, $manufacturer::VARCHAR[])",
}
_AGE = "age BETWEEN $age_low AND $age_high"

CLINICAL_CRITERIA = frozenset({"diagnosis", "outcome"})
"""What only a clinical table can say: a site without one does not know these criteria."""


class FrozenList(Contract):
    """A snapshot as the site keeps it: who was frozen, for whom, under which permit, from which data."""

    id: Keyed
    permit: str
    holder: str
    query: CohortQuery
    datasets: tuple[str, ...]
    patients: tuple[str, ...]
    index_version: int
    created: Moment


def condition(query: CohortQuery) -> tuple[str, dict[str, Any]]:
    """Return the query as a condition on the columns of `patient` and `profile`, with its parameters.

    AND between fields, OR inside one; a person of whom the index does not know a value does not match it.

    Example:
        >>> condition(CohortQuery(modality=("MG",)))
        ('list_has_any(modalities, $modality::VARCHAR[])', {'modality': ['MG']})
        >>> condition(CohortQuery())
        ('true', {})
    """
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    for field, sql in _ONE_OF.items():
        if values := getattr(query, field):
            parts.append(sql)
            parameters[field] = list(values)
    if query.age:
        parts.append(_AGE)
        parameters |= {"age_low": query.age.low, "age_high": query.age.high}
    return " AND ".join(parts) or "true", parameters


def unknown_here(index: Index, query: CohortQuery) -> tuple[str, ...]:
    """Return the criteria that no dataset of this site can know, so that they are not answered as zero."""
    if any(dataset.clinical for dataset in index.datasets()):
        return ()
    return tuple(name for name in query.criteria() if name in CLINICAL_CRITERIA)


def count(index: Index, query: CohortQuery) -> int:
    """Return the true number of people who match; it must pass `disclosure.protect` before it leaves."""
    where, parameters = condition(query)
    ((number,),) = index.rows(f"SELECT coalesce(sum(people), 0) FROM profile WHERE {where}", parameters)  # noqa: S608
    return int(number)


def members(index: Index, query: CohortQuery, *, datasets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pseudonyms of those who match by what these datasets alone say of them."""
    where, parameters = condition(query)
    found = index.rows(
        f"SELECT patient FROM ({PATIENTS}) WHERE {where} ORDER BY patient",  # noqa: S608 - our own text
        {**parameters, "datasets": list(datasets)},
    )
    return tuple(patient for (patient,) in found)


def covered(index: Index, *, site: str, permitted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of this site's datasets that a permit's identifiers (`site/name`) cover."""
    return tuple(info.name for info in index.datasets() if f"{site}/{info.name}" in permitted)


def snapshot_id(
    key: SiteKey, *, permit: str, query: CohortQuery, datasets: tuple[str, ...], patients: tuple[str, ...]
) -> str:
    """Return HMAC(site key, permit ‖ canonical question ‖ list), the list being datasets and patients.

    Stable for the same permit, question and data; nobody without the site key can compare two of them.
    """
    parts = canonical_json([permit, query.question().decode(), list(datasets), list(patients)])
    return "hmac:" + key.digest("snapshot", parts).hex()


def freeze(
    home: NodeHome, index: Index, query: CohortQuery, *, permit: str, holder: str, datasets: tuple[str, ...]
) -> FrozenList:
    """Build the list that a permit and a query give on this version; nothing is stored yet."""
    patients = members(index, query, datasets=datasets)
    identity = snapshot_id(home.site_key(), permit=permit, query=query, datasets=datasets, patients=patients)
    return FrozenList(
        id=identity,
        permit=permit,
        holder=holder,
        query=query,
        datasets=datasets,
        patients=patients,
        index_version=index.version,
        created=datetime.now(UTC),
    )


def store(home: NodeHome, frozen: FrozenList) -> FrozenList:
    """Keep a frozen list under its identity and return what is kept: the first one stays as it is."""
    path = _file(home, frozen.id)
    if path.exists():
        return load(home, frozen.id)
    home.snapshot_folder.mkdir(exist_ok=True, mode=0o700)
    write_private(path, frozen.canonical())
    return frozen


def load(home: NodeHome, identity: str) -> FrozenList:
    """Return a frozen list that this site made and that nobody changed since.

    Raises:
        NotFound: the site has no such list.
        DataError: the file does not hold the list that its identity stands for.
    """
    path = _file(home, identity)
    try:
        frozen = FrozenList.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise NotFound("The site has no such frozen cohort.", where=identity[:21]) from err
    except (OSError, ValidationError) as err:
        raise DataError("A frozen cohort cannot be read.", where=str(path)) from err
    expected = snapshot_id(
        home.site_key(),
        permit=frozen.permit,
        query=frozen.query,
        datasets=frozen.datasets,
        patients=frozen.patients,
    )
    if not frozen.id == identity == expected:
        raise DataError("A frozen cohort was changed after it was made.", where=str(path))
    return frozen


def _file(home: NodeHome, identity: str) -> Path:
    return home.snapshot_folder / f"{identity.removeprefix('hmac:')}.json"
