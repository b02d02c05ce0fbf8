"""The catalogue: what each site has, described by the site itself, in protected numbers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from unica_sdk.schemas.cohort import AgeRange, CountAnswer
from unica_sdk.schemas.contract import Contract, Moment, Name, Names
from unica_sdk.schemas.policy import SitePolicy

DATASET_ID = r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}"
"""A dataset's id: its site's name and its own."""


class AccessMode(StrEnum):
    """How data may be used, in the words of EUCAIM's access modes."""

    IN_SITU_PROCESSING = "IN_SITU_PROCESSING"
    REMOTE_PROCESSING = "REMOTE_PROCESSING"


class AccessBody(Contract):
    """The health data access body that decides on access (EHDS Art. 55), where one is designated.

    `contact` is an email address or a web page.
    """

    name: str = Field(min_length=1, max_length=200)
    contact: str = Field(min_length=1, max_length=200)


class DatasetRecord(Contract):
    """One dataset as its site describes it. Every number passed the site's disclosure decision.

    `tier` is EUCAIM's (1 to 3), `missing` says what the next one asks for besides. `variables` are the fields
    of the clinical data that enough people have. Words of the vocabulary stand in `modalities`, `body_parts`,
    `conditions` and `sexes`; a value stands there only where enough people have it. `condition` is the
    cancer that the dataset is about; `contact` an email address or a web page.
    """

    id: str = Field(pattern=f"^{DATASET_ID}$")
    site: Name
    title: str
    description: str
    keywords: Names = ()
    publisher: str = ""
    country: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    contact: str = ""
    provenance: str = ""
    collection_method: str = ""
    legal_basis: str = ""
    access_body: AccessBody | None = None
    condition: str = ""
    synthetic: bool
    patients: CountAnswer
    studies: CountAnswer
    modalities: Names
    body_parts: Names
    manufacturers: Names
    conditions: Names = ()
    sexes: Names = ()
    variables: Names = ()
    ages: AgeRange | None
    access: AccessMode = AccessMode.IN_SITU_PROCESSING
    tier: int = Field(default=1, ge=1, le=3)
    missing: tuple[str, ...] = ()
    vocabulary: str
    index_version: int
    issued: Moment


class RecordProblem(Contract):
    """What keeps a dataset's record out of the catalogue, or could be better: which property, and the fix.

    `property` is the profile's, such as `dct:provenance`; what is only recommended is not `required`.
    """

    dataset: str
    property: str
    text: str
    required: bool = True


class RecordVersion(Contract):
    """One version of a dataset's record as the hub received it; versions count from 1."""

    version: int = Field(ge=1)
    received: Moment
    current: bool
    record: DatasetRecord


class NodeStatus(Contract):
    """A site as the network sees it; `policy` is what it last said that it insists on.

    `problems` say which of its records the hub refused, and why; the last good one of each stays.
    """

    site: Name
    name: str
    country: str = Field(pattern=r"^[A-Z]{2}$")
    online: bool
    last_seen: Moment | None
    datasets: tuple[str, ...] = ()
    policy: SitePolicy | None = None
    problems: tuple[RecordProblem, ...] = ()


class NodeEnrolment(Contract):
    """What the hub's operator enters about a new site: its names and public keys.

    `signing_key` is the site's raw Ed25519 key in hex; `engine_key` its key for the engine in OpenSSH form.
    """

    site: Name
    name: str
    country: str = Field(pattern=r"^[A-Z]{2}$")
    signing_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    engine_key: str


class Indicators(Contract):
    """What a project manager sees of the federation: released aggregates and states, with their date."""

    at: Moment
    goal_cases: int
    cases_lower: int
    cases_upper: int | None
    nodes: tuple[NodeStatus, ...]
    datasets: tuple[DatasetRecord, ...]
    jobs: dict[str, int]
    isolation: str
