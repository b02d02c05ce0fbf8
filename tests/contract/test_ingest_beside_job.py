"""A real job on the real engine while its site ingests: the site changes, what the job is given does not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_environment import PATIENTS

import unica_sdk as unica
from unica_sdk.client.cohorts import FrozenCohort
from unica_sdk.client.jobs import JobHandle
from unica_sdk.client.network import Network
from unica_sdk.node.home import NodeHome
from unica_sdk.pilots.phantom import write_collection
from unica_sdk.schemas.job import JobState
from unica_sdk.schemas.metrics import Metrics

ROUNDS = 4


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A network of its own, with one site whose folder is at hand."""
    with unica.LocalNetwork(nodes=1, patients=PATIENTS, folder=tmp_path) as network:
        yield network


def _submit(network: Network, cohort: FrozenCohort) -> JobHandle:
    return network.submit("breast-screen", cohort=cohort, rounds=ROUNDS, quorum=1, seed=7)


def _figures(metrics: Metrics) -> list[tuple[float, float, float]]:
    sets = [metrics.pooled, *metrics.sites.values()]
    return [(one.auc.value, one.auc.low, one.auc.high) for one in sets if one is not None]


def test_a_job_beside_an_ingest_gives_what_it_gives_alone(network: Network, tmp_path: Path) -> None:
    cohort = network.cohort(modality="MG").freeze()
    more = write_collection(tmp_path / "more", site="gr", patients=60, seed=99)
    home = NodeHome.open(tmp_path / "nodes" / "gr")
    alone = _submit(network, cohort).result()
    words = ["--home", str(home.folder), "--dataset", "more", "--clinical", str(more.clinical), "--synthetic"]
    command = [sys.executable, "-m", "unica_sdk.cli", "node", "ingest", str(more.dicom), *words]
    job = _submit(network, cohort)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        beside = job.result()
    assert process.returncode == 0
    assert beside.job.state is JobState.COMPLETED
    # The number of people beside a figure is drawn anew for another version; the figure itself is the same.
    assert _figures(beside.metrics) == _figures(alone.metrics)
    read = [
        entry.detail["index_version"]
        for entry in home.audit.entries()
        if (entry.action, entry.subject) == ("cases", beside.job.id)
    ]
    assert set(read) == {1, 2}
