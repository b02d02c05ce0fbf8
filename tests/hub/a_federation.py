"""A small federation of synthetic datasets, as its indicators say it."""

from datetime import UTC, datetime

from unica_sdk.schemas.catalogue import DatasetRecord, Indicators, NodeStatus
from unica_sdk.schemas.cohort import AgeRange, Released, Suppressed

AT = datetime(2030, 5, 17, 12, 30, tzinfo=UTC)


def dataset(site: str, *, title: str = "Phantom mammograms") -> DatasetRecord:
    """Return a synthetic dataset's record with about 800 patients and few studies."""
    return DatasetRecord(
        id=f"{site}/mammograms",
        site=site,
        title=title,
        description="Drawn by a computer.",
        synthetic=True,
        patients=Released(site=site, n=800, low=795, high=805, index_version=1),
        studies=Suppressed(site=site, below=10, index_version=1),
        modalities=("MG",),
        body_parts=("BREAST",),
        manufacturers=("ACME",),
        ages=AgeRange(low=40, high=74),
        vocabulary="1",
        index_version=1,
        issued=AT,
    )


def federation(**changes: object) -> Indicators:
    """Return the indicators of a small federation, one of its nodes offline."""
    facts: dict[str, object] = {
        "at": AT,
        "goal_cases": 100_000,
        "cases_lower": 1590,
        "cases_upper": 1610,
        "nodes": (
            NodeStatus(
                site="gr", name="Greece", country="GR", online=True, last_seen=AT, datasets=("gr/mammograms",)
            ),
            NodeStatus(site="pt", name="Portugal", country="PT", online=False, last_seen=None),
        ),
        "datasets": (dataset("gr"), dataset("pt", title="Chest <script>alert(1)</script> & breast")),
        "jobs": {"completed": 3, "failed": 1},
        "isolation": "none",
    }
    return Indicators.model_validate({**facts, **changes})
