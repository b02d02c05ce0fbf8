"""The records that a site publishes about its datasets: words and protected numbers, nothing exact."""

from __future__ import annotations

from unica_sdk.node.disclosure import named, protect, suppressed_below
from unica_sdk.node.index import DatasetInfo, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import AgeRange, Released, Suppressed
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.policy import SitePolicy

STUDIES = 4
"""The most studies of one person that count; noise and threshold of studies are as many times as large."""

_NUMBERS = """
SELECT count(*), coalesce(sum(least(studies, $most)), 0) FROM (
    SELECT patient, count(DISTINCT study) AS studies FROM instance WHERE dataset = $dataset GROUP BY patient)
"""
_WORDS = {
    "modalities": "SELECT modality, count(DISTINCT patient) FROM instance"
    " WHERE dataset = $dataset GROUP BY ALL",
    "body_parts": "SELECT body_part, count(DISTINCT patient) FROM instance"
    " WHERE dataset = $dataset AND body_part IS NOT NULL GROUP BY ALL",
    "manufacturers": "SELECT manufacturer, count(DISTINCT patient) FROM instance"
    " WHERE dataset = $dataset AND manufacturer IS NOT NULL GROUP BY ALL",
}
_DECADES = (
    "SELECT age // 10, count(*) FROM patient"
    " WHERE list_contains(datasets, $dataset) AND age IS NOT NULL GROUP BY ALL"
)


def records(index: Index, *, site: str, policy: SitePolicy, key: SiteKey) -> tuple[DatasetRecord, ...]:
    """Return one record per dataset of the index, as the policy lets it be seen.

    A modality, body part or manufacturer is named only where enough people have it, since a rare device can
    name a person. Ages are the decades that hold enough people, never anybody's own.
    """
    return tuple(_Record(index, info, site=site, policy=policy, key=key).made() for info in index.datasets())


class _Record:
    """One dataset's record in the making."""

    def __init__(
        self, index: Index, info: DatasetInfo, *, site: str, policy: SitePolicy, key: SiteKey
    ) -> None:
        self._index, self._info, self._site, self._policy, self._key = index, info, site, policy, key
        self._id = f"{site}/{info.name}"

    def made(self) -> DatasetRecord:
        ((patients, studies),) = self._index.rows(_NUMBERS, {"dataset": self._info.name, "most": STUDIES})
        people = self._number("patients", patients, times=1)
        known = isinstance(people, Released)
        return DatasetRecord(
            id=self._id,
            site=self._site,
            title=self._info.title,
            description=self._info.description,
            synthetic=self._info.synthetic,
            patients=people,
            # Each person has a study: a number of studies must not say that there are a few people.
            studies=self._number("studies", studies, times=STUDIES, known=known),
            ages=self._ages(),
            vocabulary=vocabulary.VERSION,
            index_version=self._index.version,
            issued=self._index.created,
            **{name: self._words(name, sql) for name, sql in _WORDS.items()},
        )

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
        found = self._index.rows(sql, {"dataset": self._info.name})
        return tuple(word for word, people in found if self._enough(field, word, people))

    def _ages(self) -> AgeRange | None:
        found = self._index.rows(_DECADES, {"dataset": self._info.name})
        decades = [decade for decade, people in found if self._enough("ages", decade, people)]
        if not decades:
            return None
        return AgeRange(low=10 * min(decades), high=min(10 * max(decades) + 9, 120))
