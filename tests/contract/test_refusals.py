"""What a site refuses, through the real guard and the real runner: no line of the app runs there."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from unica_sdk.client.network import Network
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import JobFailed
from unica_sdk.node.home import NodeHome
from unica_sdk.schemas.job import FailureCode, JobState, ParticipantState
from unica_sdk.testing.stack import LocalStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalStack, Network]]:
    """Two sites in one process, and their client."""
    token = secrets.token_urlsafe()
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"), sites=("gr", "lt"), patients=800, seed=3, token=token
    )
    transport = stack.start(lambda step: None)
    gateway = Gateway(base_url="http://gateway", token=token, transport=transport, where="test")
    try:
        with Network(gateway) as network:
            yield stack, network
    finally:
        stack.close()


def _unapprove(home: NodeHome) -> None:
    policy = home.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("sha256:", "sha256:" + "0" * 64 + '", #'))


def _actions(home: NodeHome, job: str) -> list[str]:
    return [entry.action for entry in home.audit.entries() if job in (entry.subject, entry.detail.get("job"))]


@pytest.fixture
def approvals(stack: tuple[LocalStack, Network]) -> Iterator[dict[str, NodeHome]]:
    """The sites' homes; their policies stand again as they were afterwards."""
    homes = stack[0].homes
    texts = {site: (home.folder / "policy.toml").read_text() for site, home in homes.items()}
    yield homes
    for site, text in texts.items():
        Path(homes[site].folder / "policy.toml").write_text(text)


def test_one_site_that_did_not_approve_is_named_and_runs_nothing(
    stack: tuple[LocalStack, Network], approvals: dict[str, NodeHome]
) -> None:
    network = stack[1]
    cohort = network.cohort(modality="MG").freeze()
    _unapprove(approvals["gr"])
    result = network.submit("breast-screen", cohort=cohort, rounds=1, quorum=1).result()
    assert result.job.state is JobState.DEGRADED
    gr, lt = sorted(result.participants, key=lambda p: p.site)
    assert gr.state is ParticipantState.REFUSED
    assert gr.failure is not None
    assert (gr.failure.code, gr.failure.site) == (FailureCode.APP_NOT_APPROVED, "gr")
    assert gr.failure.hint
    assert lt.state is ParticipantState.COMPLETED
    assert sorted(result.sites) == ["lt"]
    assert "cases" not in _actions(approvals["gr"], result.job.id)
    assert "cases" in _actions(approvals["lt"], result.job.id)


def test_where_no_site_approved_the_job_fails_with_code_and_hint(
    stack: tuple[LocalStack, Network], approvals: dict[str, NodeHome]
) -> None:
    network = stack[1]
    cohort = network.cohort(modality="MG").freeze()
    for home in approvals.values():
        _unapprove(home)
    job = network.submit("breast-screen", cohort=cohort, rounds=1, quorum=2)
    with pytest.raises(JobFailed, match="app_not_approved") as raised:
        job.result()
    assert raised.value.hint
    for home in approvals.values():
        assert "cases" not in _actions(home, job.id)


def test_few_people_of_one_class_train_but_give_no_figure(
    stack: tuple[LocalStack, Network], approvals: dict[str, NodeHome]
) -> None:
    network = stack[1]
    cohort = network.cohort(modality="MG").freeze()
    gr = approvals["gr"].folder / "policy.toml"
    gr.write_text(gr.read_text().replace("threshold = 10", "threshold = 150"))
    result = network.submit("breast-screen", cohort=cohort, rounds=1, quorum=1).result()
    assert sorted(result.sites) == ["lt"]
