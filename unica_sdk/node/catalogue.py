"""The records that a site publishes about its datasets: words and protected numbers, nothing exact."""

from __future__ import annotations

from unica_sdk.node.disclosure import decide, protect
from unica_sdk.node.index import DatasetInfo, Index
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import AgeRange, CountAnswer
from unica_sdk.schemas.contract import canonical_json
from unica_sdk.schemas.policy import SitePolicy

_NUMBERS = "SELECT count(DISTINCT patient), count(DISTINCT study) FROM instance WHERE dataset = $dataset"
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
    return tuple(_record(index, info, site, policy, key) for info in index.datasets())


def _record(index: Index, info: DatasetInfo, site: str, policy: SitePolicy, key: SiteKey) -> DatasetRecord:
    identity = f"{site}/{info.name}"
    ((patients, studies),) = index.rows(_NUMBERS, {"dataset": info.name})

    def protected(what: str, number: int) -> CountAnswer:
        return protect(
            number,
            policy=policy,
            site=site,
            key=key,
            question=canonical_json(["catalogue", identity, what]),
            index_version=index.version,
        )

    words = {name: _words(index, sql, info, policy) for name, sql in _WORDS.items()}
    enough = decide(patients, policy=policy).allow
    return DatasetRecord(
        id=identity,
        site=site,
        title=info.title,
        description=info.description,
        synthetic=info.synthetic,
        patients=protected("patients", patients),
        # Each person has a study: a number of studies must not say that there are a few people.
        studies=protected("studies", studies if enough else 0),
        ages=_ages(index, info, policy),
        vocabulary=vocabulary.VERSION,
        index_version=index.version,
        issued=index.created,
        **words,
    )


def _words(index: Index, sql: str, info: DatasetInfo, policy: SitePolicy) -> tuple[str, ...]:
    found = index.rows(sql, {"dataset": info.name})
    return tuple(word for word, people in found if decide(people, policy=policy).allow)


def _ages(index: Index, info: DatasetInfo, policy: SitePolicy) -> AgeRange | None:
    found = index.rows(_DECADES, {"dataset": info.name})
    decades = [decade for decade, people in found if decide(people, policy=policy).allow]
    if not decades:
        return None
    return AgeRange(low=10 * min(decades), high=min(10 * max(decades) + 9, 120))
