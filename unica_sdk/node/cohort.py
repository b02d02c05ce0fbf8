"""Cohort queries against the index, and the frozen lists of patients that jobs train on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unica_sdk.errors import DataError, NotFound
from unica_sdk.files import write_private
from unica_sdk.node.admitted import AdmittedIndex
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import PATIENTS
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import CohortQuery
from unica_sdk.schemas.contract import Contract, Keyed, Moment, canonical_json, sorted_unique

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
    """A snapshot as the site keeps it: who was frozen, for whom, under which permit, from which data.

    People stand in it by the names that their project alone has for them, so that the lists of two projects
    cannot be compared, not even by somebody who gets hold of both.
    """

    id: Keyed
    permit: str
    project: str
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


def unknown_here(index: AdmittedIndex, query: CohortQuery, *facets: str) -> tuple[str, ...]:
    """Return the criteria and facets that no dataset of this site can know: they are not answered as zero."""
    clinical = sorted_unique(tuple({*query.criteria(), *facets} & CLINICAL_CRITERIA))
    if not clinical or any(dataset.clinical for dataset in index.datasets()):
        return ()
    return clinical


def count(index: AdmittedIndex, query: CohortQuery) -> int:
    """Return the true number of people who match; it must pass `disclosure.protect` before it leaves."""
    where, parameters = condition(query)
    ((number,),) = index.rows(f"SELECT coalesce(sum(people), 0) FROM profile WHERE {where}", parameters)  # noqa: S608
    return int(number)


def members(index: AdmittedIndex, query: CohortQuery, *, datasets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pseudonyms of those who match by what these datasets alone say of them."""
    where, parameters = condition(query)
    found = index.rows(
        f"SELECT patient FROM ({PATIENTS}) WHERE {where} ORDER BY patient",  # noqa: S608 - our own text
        {**parameters, "datasets": list(datasets)},
    )
    return tuple(patient for (patient,) in found)


def covered(index: AdmittedIndex, *, site: str, permitted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of this site's datasets that a permit's identifiers (`site/name`) cover."""
    return tuple(info.name for info in index.datasets() if f"{site}/{info.name}" in permitted)


def question_about(query: CohortQuery, *, datasets: tuple[str, ...] | None = None) -> bytes:
    """Return the canonical bytes of "how many match", over all of the site's datasets or over some.

    The two are different questions even where the datasets are all: their numbers need not be the same.

    Example:
        >>> question_about(CohortQuery()) == question_about(CohortQuery(), datasets=("screening",))
        False
    """
    asked = query.question().decode()
    return canonical_json(["count", asked] if datasets is None else ["freeze", asked, list(datasets)])


def snapshot_id(
    key: SiteKey,
    *,
    permit: str,
    query: CohortQuery,
    datasets: tuple[str, ...],
    patients: tuple[str, ...],
    index_version: int,
) -> str:
    """Return HMAC(site key, permit ‖ canonical question ‖ version ‖ datasets ‖ patients).

    Stable for the same permit, question and version; nobody without the site key can compare two of them.
    The version is part of it: an identity that stayed would say that of those who came or withdrew nobody
    matches, without any noise.
    """
    parts = canonical_json([permit, query.question().decode(), index_version, list(datasets), list(patients)])
    return "hmac:" + key.digest("snapshot", parts).hex()


def project_name(key: SiteKey, project: str, patient: str) -> str:
    """Return HMAC(site key, project ‖ site pseudonym): what a project's snapshots call a patient.

    Example:
        >>> key = SiteKey(bytes(32))
        >>> project_name(key, "a", "5f01") == project_name(key, "b", "5f01")
        False
    """
    return key.name("project", f"{project}\0{patient}".encode())


def people_of(key: SiteKey, index: AdmittedIndex, frozen: FrozenList) -> tuple[str, ...]:
    """Return the site pseudonyms of those a snapshot froze, as far as the published version has them.

    Those are among them who do not allow it any more: what is read through the index leaves them out.
    """
    wanted = set(frozen.patients)
    there = index.everyone(frozen.datasets)
    return tuple(patient for patient in there if project_name(key, frozen.project, patient) in wanted)


def freeze(
    home: NodeHome,
    index: AdmittedIndex,
    query: CohortQuery,
    *,
    permit: str,
    project: str,
    holder: str,
    datasets: tuple[str, ...],
) -> FrozenList:
    """Build the list that a permit and a query give on this version; nothing is stored yet."""
    key = home.site_key()
    found = members(index, query, datasets=datasets)
    patients = tuple(sorted(project_name(key, project, patient) for patient in found))
    identity = snapshot_id(
        key,
        permit=permit,
        query=query,
        datasets=datasets,
        patients=patients,
        index_version=index.version,
    )
    return FrozenList(
        id=identity,
        permit=permit,
        project=project,
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
        index_version=frozen.index_version,
    )
    if not frozen.id == identity == expected:
        raise DataError("A frozen cohort was changed after it was made.", where=str(path))
    return frozen


def _file(home: NodeHome, identity: str) -> Path:
    return home.snapshot_folder / f"{identity.removeprefix('hmac:')}.json"
