"""The records that a site publishes about its datasets: words and protected numbers, nothing exact.

A record has two halves: `measure` asks the index, `described` adds what people say. Every number of people
goes through one call of `protect`, words included: a word stands in a record where the number of people who
have it is released far above the threshold. Ages are the decades that hold so many people, never anybody's
own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from unica_sdk.node.about import About
from unica_sdk.node.disclosure import protect
from unica_sdk.node.index import DatasetInfo, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.records.tiers import Facts, tier
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import AgeRange, CountAnswer, Released, Suppressed
from unica_sdk.schemas.contract import Contract, Moment, Names, canonical_json
from unica_sdk.schemas.policy import SitePolicy

STUDIES_A_PERSON = 4
"""Studies of one person that are counted: what one more person changes has a bound, and noise covers it."""

SURE = 2.0
"""A word is named where the number's lower end is this many standard deviations of the noise above the
threshold: four for the number itself, so that a word of fewer people than the threshold is named once in
30,000 draws. A rare device can name a person, and each index version is another draw."""

_PEOPLE = "SELECT count(DISTINCT patient) FROM instance WHERE dataset = $dataset"
_STUDIES = (
    "SELECT coalesce(sum(least(studies, $most)), 0) FROM (SELECT count(DISTINCT study) AS studies"
    " FROM instance WHERE dataset = $dataset GROUP BY patient)"
)
_OUTSIDE = (
    "SELECT count(DISTINCT patient) FROM instance"
    " WHERE dataset = $dataset AND (body_part IS NULL OR modality = $other)"
)
_OF_IMAGES = (
    "SELECT {column}, count(DISTINCT patient) FROM instance"
    " WHERE dataset = $dataset AND {column} IS NOT NULL GROUP BY ALL"
)
_OF_PEOPLE = (
    "SELECT {column}, count(*) FROM patient"
    " WHERE list_contains(datasets, $dataset) AND {column} IS NOT NULL GROUP BY ALL"
)
_VARIABLE = "SELECT count(DISTINCT patient) FROM clinical WHERE dataset = $dataset AND {column} IS NOT NULL"
_EXTRA = (
    "SELECT name, count(DISTINCT patient) FROM (SELECT patient, unnest(json_keys(extra)) AS name"
    " FROM clinical WHERE dataset = $dataset AND extra IS NOT NULL) GROUP BY ALL"
)
_COLUMNS = ("sex", "age", "diagnosis", "outcome")

Protected = Callable[[object, int], Released | Suppressed]
"""What was asked, and the true number, to the number as it may leave the site."""


class Measures(Contract):
    """What the index says of one dataset, as it may leave the site; `outside` as in `records.tiers.Facts`."""

    dataset: str
    patients: CountAnswer
    studies: CountAnswer
    modalities: Names
    body_parts: Names
    manufacturers: Names
    conditions: Names
    sexes: Names
    variables: Names
    ages: AgeRange | None
    outside: bool
    vocabulary: str
    index_version: int
    issued: Moment


def records(index: Index, *, site: str, policy: SitePolicy, key: SiteKey) -> tuple[DatasetRecord, ...]:
    """Return one record per dataset, as the policy lets it be seen, before people said anything."""
    return tuple(
        described(measure(index, info, site=site, policy=policy, key=key), info, About(), site=site)
        for info in index.datasets()
    )


def measure(index: Index, info: DatasetInfo, *, site: str, policy: SitePolicy, key: SiteKey) -> Measures:
    """Ask the index what a record says of a dataset.

    Raises:
        DataError: the index cannot be read.
    """

    def protected(what: object, number: int) -> Released | Suppressed:
        return protect(
            number,
            policy=policy,
            site=site,
            key=key,
            question=canonical_json(["catalogue", f"{site}/{info.name}", what]),
            index_version=index.version,
        )

    def named(what: str, sql: str, **values: object) -> tuple[str, ...]:
        found = index.rows(sql, {"dataset": info.name, **values})
        return tuple(str(word) for word, people in found if _sure(protected([what, word], people), policy))

    ((patients,),) = index.rows(_PEOPLE, {"dataset": info.name})
    ((outside,),) = index.rows(_OUTSIDE, {"dataset": info.name, "other": "OT"})
    return Measures(
        dataset=info.name,
        patients=protected("patients", patients),
        studies=_studies(index, info, protected),
        modalities=named("modality", _OF_IMAGES.format(column="modality")),
        body_parts=named("body_part", _OF_IMAGES.format(column="body_part")),
        manufacturers=named("manufacturer", _OF_IMAGES.format(column="manufacturer")),
        conditions=named("diagnosis", _OF_PEOPLE.format(column="diagnosis")),
        sexes=named("sex", _OF_PEOPLE.format(column="sex")),
        variables=_variables(index, info, lambda what, n: _sure(protected(what, n), policy)),
        ages=_ages(named("age", _OF_PEOPLE.format(column="age // 10"))),
        outside=_sure(protected("outside", outside), policy),
        vocabulary=vocabulary.VERSION,
        index_version=index.version,
        issued=index.created,
    )


def described(
    measures: Measures, info: DatasetInfo, about: About, *, site: str, name: str = "", country: str = ""
) -> DatasetRecord:
    """Put together what the index and what people say of a dataset.

    Args:
        measures: What the index says.
        info: How the ingest named the dataset.
        about: What people say.
        site: The site's short name.
        name: The site's full name: the publisher, where people name no other.
        country: The site's, in two letters.
    """
    reached, missing = tier(_facts(measures))
    measured = measures.model_dump(exclude={"dataset", "outside"})
    said = about.model_dump(exclude={"title", "description", "publisher", "condition"})
    return DatasetRecord.model_validate(
        {
            **measured,
            **said,
            "id": f"{site}/{info.name}",
            "site": site,
            "title": about.title or info.title,
            "description": about.description or info.description,
            "publisher": about.publisher or name,
            "country": country,
            "condition": about.condition or _condition(measures.conditions),
            "synthetic": info.synthetic,
            "tier": reached,
            "missing": missing,
        }
    )


def _facts(measures: Measures) -> Facts:
    words = {
        "modality": measures.modalities,
        "body_part": measures.body_parts,
        "sex": measures.sexes,
    }
    return Facts(
        named=frozenset(field for field, there in words.items() if there),
        outside=measures.outside,
        variables=frozenset(measures.variables),
        screening_negative=measures.conditions == ("none",),
    )


def _sure(answer: Released | Suppressed, policy: SitePolicy) -> bool:
    return isinstance(answer, Released) and answer.low >= policy.threshold + SURE * policy.noise


def _studies(index: Index, info: DatasetInfo, protected: Protected) -> Released | Suppressed:
    """Return the number of studies, those of one person up to a bound.

    In units of that bound one person changes the number by one at most, which is what `protect` is made for.
    """
    ((studies,),) = index.rows(_STUDIES, {"dataset": info.name, "most": STUDIES_A_PERSON})
    times = STUDIES_A_PERSON
    answer = protected("studies", int(studies) // times)
    if isinstance(answer, Suppressed):
        return answer.model_copy(update={"below": times * answer.below})
    high = times * (answer.high + 1) - 1
    return answer.model_copy(update={"n": times * answer.n, "low": times * answer.low, "high": high})


def _variables(index: Index, info: DatasetInfo, sure: Callable[[object, int], bool]) -> tuple[str, ...]:
    """Return the fields of the clinical data that enough people have."""
    there: list[tuple[str, int]] = list(index.rows(_EXTRA, {"dataset": info.name}))
    for column in _COLUMNS:
        ((people,),) = index.rows(_VARIABLE.format(column=column), {"dataset": info.name})
        there.append((column, people))
    return tuple(dict.fromkeys(name for name, people in there if sure(["variable", name], people)))


def _ages(decades: Iterable[str]) -> AgeRange | None:
    numbers = sorted(map(int, decades))
    return AgeRange(low=10 * numbers[0], high=min(10 * numbers[-1] + 9, 120)) if numbers else None


def _condition(conditions: Iterable[str]) -> str:
    """Return the one cancer that the index names; of several, people say which one the dataset is about."""
    cancers = [word for word in conditions if word != "none"]
    return cancers[0] if len(cancers) == 1 else ""
