"""A record that says everything, of synthetic data, and records of every kind for property tests."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import AccessBody, DatasetRecord
from unica_sdk.schemas.clinical import FIELDS
from unica_sdk.schemas.cohort import AgeRange, Released, Suppressed

MANY = Released(site="gr", n=800, low=780, high=820, index_version=3)
FEW = Suppressed(site="gr", below=50, index_version=3)
AT = datetime(2027, 1, 4, 9, 30, tzinfo=UTC)


def record(**changed: Any) -> DatasetRecord:
    values: dict[str, Any] = {
        "id": "gr/mammograms",
        "site": "gr",
        "title": "Screening mammograms",
        "description": "Drawn by a program. SYNTHETIC.",
        "keywords": ("screening",),
        "publisher": "Aegean Breast Centre",
        "country": "GR",
        "contact": "data@hospital.example",
        "provenance": "Drawn by a program: no person is behind any image.",
        "collection_method": "patient_based",
        "legal_basis": "consent",
        "access_body": AccessBody(name="Access body", contact="https://access.example/ask"),
        "condition": "breast_cancer",
        "synthetic": True,
        "patients": MANY,
        "studies": MANY,
        "modalities": ("MG",),
        "body_parts": ("breast",),
        "manufacturers": ("hologic, inc.", "acme"),
        "conditions": ("breast_cancer", "none"),
        "sexes": ("female",),
        "variables": ("age", "birads", "interval_cancer", "sex"),
        "ages": AgeRange(low=40, high=79),
        "tier": 2,
        "missing": ("Segmentations as DICOM-SEG.",),
        "vocabulary": vocabulary.VERSION,
        "index_version": 3,
        "issued": AT,
    }
    return DatasetRecord.model_validate({**values, **changed})


_said = st.text(max_size=60)
_counts = st.one_of(
    st.tuples(st.integers(0, 10**6), st.integers(0, 100)).map(
        lambda n: Released(site="gr", n=n[0], low=max(0, n[0] - n[1]), high=n[0] + n[1], index_version=1)
    ),
    st.integers(1, 500).map(lambda below: Suppressed(site="gr", below=below, index_version=1)),
)


def _words(field: vocabulary.Field) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(vocabulary.terms(field)), max_size=4).map(tuple)


ages = st.tuples(st.integers(0, 120), st.integers(0, 120)).map(
    lambda both: AgeRange(low=min(both), high=max(both))
)
records = st.builds(
    DatasetRecord,
    id=st.sampled_from(["gr/a", "gr/b.ttl", "gr/c-1_2"]),
    site=st.just("gr"),
    title=_said,
    description=st.text(max_size=300),
    keywords=st.lists(_said, max_size=3).map(tuple),
    publisher=_said,
    country=st.sampled_from(["", "GR", "LT", "ZZ"]),
    contact=st.sampled_from(["", "a@b.example", "mailto:a@b.example", "https://a.example/x"]) | _said,
    provenance=_said,
    collection_method=st.sampled_from(["", *vocabulary.terms("collection_method")]) | _said,
    legal_basis=st.sampled_from(["", *vocabulary.terms("legal_basis")]) | _said,
    access_body=st.none()
    | st.builds(AccessBody, name=st.text(min_size=1, max_size=40), contact=st.just("a@b.example")),
    condition=st.sampled_from(["", *vocabulary.terms("diagnosis")]) | _said,
    synthetic=st.booleans(),
    patients=_counts,
    studies=_counts,
    modalities=_words("modality") | st.lists(_said, max_size=2).map(tuple),
    body_parts=_words("body_part"),
    manufacturers=st.lists(_said, max_size=3).map(tuple),
    conditions=_words("diagnosis"),
    sexes=_words("sex"),
    variables=st.lists(st.sampled_from(FIELDS) | _said, max_size=4).map(tuple),
    ages=st.none() | ages,
    tier=st.integers(1, 3),
    missing=st.lists(_said, max_size=2).map(tuple),
    vocabulary=st.just("2027.01"),
    index_version=st.integers(0, 10**6),
    issued=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),
)
"""Records of every kind, with words from people that say anything."""
