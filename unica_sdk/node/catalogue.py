"""The records that a site publishes about its datasets: words and protected numbers, nothing exact.

A record has two halves: `measure` asks the index, `described` adds what people say. Every number of people
goes through one call of `protect`, words included: a word stands in a record where the number of people who
have it is released far above the threshold. Ages are the decades that hold so many people, never anybody's
own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unica_sdk.node.about import About
from unica_sdk.node.disclosure import named, protect, suppressed_below
from unica_sdk.node.index import DatasetInfo, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.records.tiers import Facts, tier
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import AgeRange, CountAnswer, Released, Suppressed
from unica_sdk.schemas.contract import Contract, Moment, Names, canonical_json
from unica_sdk.schemas.policy import SitePolicy

STUDIES_A_PERSON = 4
"""The most studies of one person that count; noise and threshold of studies are as many times as large."""

_NUMBERS = """
SELECT count(*), coalesce(sum(least(studies, $most)), 0) FROM (
    SELECT patient, count(DISTINCT study) AS studies FROM instance WHERE dataset = $dataset GROUP BY patient)
"""
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


def measure(index: Index, info: DatasetInfo, *, site: str, policy: SitePolicy, key: SiteKey) -> Measures:
    """Ask the index what a record says of a dataset.

    Raises:
        DataError: the index cannot be read.
    """
    return _Measuring(index, info, site=site, policy=policy, key=key).made()


class _Measuring:
    """One dataset's measures in the making."""

    def __init__(
        self, index: Index, info: DatasetInfo, *, site: str, policy: SitePolicy, key: SiteKey
    ) -> None:
        self._index, self._info, self._site, self._policy, self._key = index, info, site, policy, key
        self._id = f"{site}/{info.name}"

    def made(self) -> Measures:
        ((patients, studies),) = self._rows(_NUMBERS, most=STUDIES_A_PERSON)
        ((outside,),) = self._rows(_OUTSIDE, other="OT")
        people = self._number("patients", patients, times=1)
        # Each person has a study: a number of studies must not say that there are a few people.
        known = isinstance(people, Released)
        return Measures(
            dataset=self._info.name,
            patients=people,
            studies=self._number("studies", studies, times=STUDIES_A_PERSON, known=known),
            modalities=self._words("modality", _OF_IMAGES.format(column="modality")),
            body_parts=self._words("body_part", _OF_IMAGES.format(column="body_part")),
            manufacturers=self._words("manufacturer", _OF_IMAGES.format(column="manufacturer")),
            conditions=self._words("diagnosis", _OF_PEOPLE.format(column="diagnosis")),
            sexes=self._words("sex", _OF_PEOPLE.format(column="sex")),
            variables=self._variables(),
            ages=_ages(self._words("age", _OF_PEOPLE.format(column="age // 10"))),
            outside=self._enough("outside", "", outside),
            vocabulary=vocabulary.VERSION,
            index_version=self._index.version,
            issued=self._index.created,
        )

    def _rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        return self._index.rows(sql, {"dataset": self._info.name, **values})

    def _number(self, what: str, n: int, *, times: int, known: bool = True) -> Released | Suppressed:
        """Protect a number of which one person may account for some: threshold and noise grow as much."""
        scaled = {"threshold": self._policy.threshold * times, "noise": self._policy.noise * times}
        policy = self._policy.model_copy(update=scaled)
        if not known:
            below = suppressed_below(policy)
            return Suppressed(site=self._site, below=below, index_version=self._index.version)
        return protect(
            n,
            policy=policy,
            site=self._site,
            key=self._key,
            question=canonical_json(["catalogue", self._id, what]),
            index_version=self._index.version,
        )

    def _enough(self, field: str, value: object, people: int) -> bool:
        return named(
            people,
            policy=self._policy,
            key=self._key,
            question=canonical_json(["catalogue", self._id, field, value]),
            index_version=self._index.version,
        )

    def _words(self, field: str, sql: str) -> tuple[str, ...]:
        return tuple(str(word) for word, people in self._rows(sql) if self._enough(field, word, people))

    def _variables(self) -> tuple[str, ...]:
        """Return the fields of the clinical data that enough people have."""
        there: list[tuple[Any, ...]] = self._rows(_EXTRA)
        for column in _COLUMNS:
            ((people,),) = self._rows(_VARIABLE.format(column=column))
            there.append((column, people))
        enough = (str(name) for name, people in there if self._enough("variable", name, people))
        return tuple(dict.fromkeys(enough))


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


def _ages(decades: Iterable[str]) -> AgeRange | None:
    numbers = sorted(map(int, decades))
    return AgeRange(low=10 * numbers[0], high=min(10 * numbers[-1] + 9, 120)) if numbers else None


def _condition(conditions: Iterable[str]) -> str:
    """Return the one cancer that the index names; of several, people say which one the dataset is about."""
    cancers = [word for word in conditions if word != "none"]
    return cancers[0] if len(cancers) == 1 else ""
