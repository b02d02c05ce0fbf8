"""The line to the gateway: only "there is no such thing" means that there is none."""

from collections.abc import Iterator

import pytest
from federation import SECRET, EngineFace, serving
from world import SITES, Authority

from unica_sdk.errors import ConfigurationError, InvalidRequest, Unavailable
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.hub.link import GatewayLink
from unica_sdk.schemas.job import JobOrder, JobUpdate

STEP = JobUpdate(text="A step.")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineFace, str]]:
    face, path = EngineFace(), tmp_path_factory.mktemp("face") / "engine.sock"
    with serving(face.app(), path):
        yield face, f"unix://{path}"


@pytest.fixture
def face(served: tuple[EngineFace, str]) -> Iterator[EngineFace]:
    face = served[0]
    yield face
    face.failing = None
    for told in (face.orders, face.updates, face.unwanted):
        told.clear()


@pytest.fixture
def link(served: tuple[EngineFace, str]) -> Iterator[GatewayLink]:
    with GatewayLink(served[1], SECRET) as made:
        yield made


@pytest.fixture
def order(app: Bundle, face: EngineFace) -> JobOrder:
    made = Authority().order(app, sites=dict.fromkeys(SITES, ""))
    face.orders[made.job] = made
    return made


def test_a_known_job_is_told_and_wanted(link: GatewayLink, order: JobOrder, face: EngineFace) -> None:
    assert link.order(order.job) == order
    assert link.report(order.job, STEP)
    face.unwanted.add(order.job)
    assert not link.report(order.job, STEP)


@pytest.mark.parametrize("job", ["job-unknown", "", "a job nobody knows", "../nodes", "x/order?"])
def test_an_unknown_job_is_no_job(link: GatewayLink, face: EngineFace, job: str) -> None:
    assert link.order(job) is None
    assert not link.report(job, STEP)
    assert not any(face.updates.values())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ConfigurationError),
        (403, ConfigurationError),
        (422, InvalidRequest),
        (413, InvalidRequest),
        (503, Unavailable),
    ],
)
def test_a_failure_is_never_an_answer(
    link: GatewayLink, order: JobOrder, face: EngineFace, status: int, error: type[Exception]
) -> None:
    face.failing = status
    with pytest.raises(error):
        link.report(order.job, STEP, patience=0.0)
    with pytest.raises(error):
        link.nodes()
    if status != 503:
        with pytest.raises(error):
            link.order(order.job)


def test_a_wrong_secret_is_told_as_one(served: tuple[EngineFace, str], order: JobOrder) -> None:
    with (
        GatewayLink(served[1], "another") as link,
        pytest.raises(ConfigurationError, match="secret"),
    ):
        link.order(order.job)
