"""Whole jobs through the real engine: SuperLink, coordinator and three sites, each a process on loopback."""

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from federation import Federation, free_port, wait_for
from test_executor import alive
from world import APPS, SITES, Authority, markers, site_from

from unica_sdk.errors import Unavailable
from unica_sdk.federation import adapter, bundle
from unica_sdk.federation.bundle import Bundle
from unica_sdk.federation.hub.engine import FlowerEngine
from unica_sdk.federation.hub.superlink import prepare
from unica_sdk.schemas.job import FailureCode, JobOrder, JobState, ParticipantState


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, app: Bundle) -> Iterator[Federation]:
    """The whole federation, started once for all tests here."""
    made = Federation(tmp_path_factory.mktemp("federation"), Authority(), frozenset([app.id]))
    try:
        made.start()
        yield made
    finally:
        made.stop()
    assert not [p for p in psutil.Process().children(recursive=True) if str(made.state) in _command(p)]


@pytest.fixture
def federation(running: Federation) -> Iterator[Federation]:
    """The federation with all of its parts there, and no traces of an earlier test."""
    for name in ("superlink", "coordinator", *SITES):
        assert running.processes[name].poll() is None, f"{name} died"
    for trace in running.markers.iterdir():
        trace.unlink()
    running.wait_online(*SITES)
    yield running
    # Whatever still waits at a gate may go.
    (running.markers / "go").touch()


def order(federation: Federation, app: Bundle, **wanted: object) -> JobOrder:
    return federation.authority.order(app, sites=federation.keys, **wanted)  # type: ignore[arg-type]


def test_a_job_completes_with_three_sites(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, rounds=2)
    federation.submit(job, app.content)
    last = federation.finish(job.job)
    assert last.state is JobState.COMPLETED
    assert [p.state for p in last.participants or ()] == [ParticipantState.COMPLETED] * 3
    assert last.metrics and last.metrics.pooled and last.metrics.pooled.auc.value > 0.6
    assert [u.round.round for u in federation.face.updates[job.job] if u.round] == [1, 2]
    assert federation.traces() == 2 * 2 * 3
    site = site_from(federation.state / "authority.json", "gr", federation.state / "nodes")
    assert site.actions()[-4:] == ["job.admitted", "job.answered"] * 2


def test_a_killed_site_is_named_and_the_others_finish(federation: Federation, app: Bundle) -> None:
    enough = order(federation, app, rounds=1, quorum=2, behaviour="gate")
    lacking = order(federation, app, rounds=1, quorum=3, behaviour="gate")
    federation.submit(enough, app.content)
    federation.submit(lacking, app.content)
    wait_for(lambda: federation.traces("asleep") == 3, why="all three sites to work")
    federation.kill("lt")
    (federation.markers / "go").touch()
    degraded, failed = federation.finish(enough.job), federation.finish(lacking.job)
    federation.start_site("lt")
    assert degraded.state is JobState.DEGRADED
    assert degraded.failure and degraded.failure.site == "lt"
    assert degraded.failure.code is FailureCode.SITE_OFFLINE
    assert degraded.metrics and set(degraded.metrics.sites) == {"gr", "pt"}
    assert failed.state is JobState.FAILED
    assert failed.failure and failed.failure.code is FailureCode.BELOW_QUORUM
    assert failed.failure.site == "lt"


def test_a_site_that_restarts_at_once_is_not_waited_for(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, rounds=1, quorum=2, behaviour="gate")
    federation.submit(job, app.content)
    wait_for(lambda: federation.traces("asleep") == 3, why="all three sites to work")
    federation.kill("pt")
    federation.start_site("pt")
    (federation.markers / "go").touch()
    last = federation.finish(job.job)
    assert last.state is JobState.DEGRADED
    assert last.failure and last.failure.site == "pt"


def test_an_unapproved_app_runs_no_line_anywhere(federation: Federation, tmp_path: Path, app: Bundle) -> None:
    folder = shutil.copytree(APPS / "threshold", tmp_path / "threshold")
    with (folder / "threshold_app" / "client_app.py").open("a") as file:
        file.write("# one more line\n")
    other = bundle.build(folder)
    job = order(federation, other)
    federation.submit(job, other.content)
    last = federation.finish(job.job)
    assert last.state is JobState.FAILED
    assert last.failure and last.failure.code is FailureCode.APP_NOT_APPROVED
    assert last.failure.site in SITES and last.failure.hint
    assert federation.traces() == 0


def test_a_forged_ticket_runs_no_line_anywhere(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, signer=federation.authority.steward)
    federation.submit(job, app.content)
    last = federation.finish(job.job)
    assert last.failure and last.failure.code is FailureCode.TICKET_INVALID
    assert last.failure.site in SITES and last.failure.hint
    assert federation.traces() == 0


@pytest.mark.parametrize("job", ["", "a job nobody knows", "job-known"])
def test_a_strangers_run_runs_nothing_at_the_hub_or_anywhere(
    federation: Federation, app: Bundle, job: str
) -> None:
    marker = federation.markers / "imported-at-the-hub"
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\napp = None\n".encode()
    project = bundle._project(app.manifest, "evil.client:app", [])
    project["tool"]["flwr"]["app"]["components"]["serverapp"] = "evil.server:app"
    files = {"evil/__init__.py": code, "evil/server.py": code, "evil/client.py": code}
    foreign = adapter.build_fab(files | {"pyproject.toml": adapter.toml(project)})
    if job == "job-known":
        known = order(federation, app)
        federation.face.orders[known.job] = known
        job = known.job
    with adapter.Control(federation.superlink, _certificate(federation)) as control:
        run = control.start(foreign, job)
        wait_for(lambda: next(r for r in control.runs() if r.id == run).finished, why="the run to end")
    assert federation.traces() == 0
    assert federation.face.updates.get(job, []) == []


def test_a_job_runs_once(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, rounds=1)
    federation.submit(job, app.content)
    federation.finish(job.job)
    said = len(federation.face.updates[job.job])
    with adapter.Control(federation.superlink, _certificate(federation)) as control:
        again = control.start(app.content, job.job)
        wait_for(lambda: next(r for r in control.runs() if r.id == again).finished, why="the run to end")
    assert len(federation.face.updates[job.job]) == said


def test_an_apps_words_stay_at_the_site(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, behaviour="raise")
    federation.submit(job, app.content)
    last = federation.finish(job.job)
    assert last.failure and last.failure.code is FailureCode.APP_FAILED
    words = b"patient 4711"
    assert words in (federation.state / "gr.log").read_bytes()
    for path in [*federation.state.glob("engine/superlink.db*"), federation.state / "coordinator.log"]:
        assert words not in path.read_bytes()
    assert "4711" not in "".join(u.model_dump_json() for u in federation.face.updates[job.job])


@pytest.mark.parametrize(
    ("behaviour", "code"), [("die", FailureCode.APP_CRASHED), ("sleep", FailureCode.APP_TIMEOUT)]
)
def test_an_app_that_dies_or_hangs_ends_in_its_code(
    federation: Federation, app: Bundle, behaviour: str, code: FailureCode
) -> None:
    job = order(federation, app, behaviour=behaviour)
    federation.submit(job, app.content)
    last = federation.finish(job.job)
    assert last.failure and last.failure.code is code


def test_stopping_a_job_ends_its_code_at_the_sites(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, behaviour="gate")
    federation.submit(job, app.content)
    wait_for(lambda: federation.traces("asleep") == 3, why="all three sites to work")
    working = [int(re.sub(r"\D", "", name)) for name in markers(federation.markers, "asleep")]
    assert all(alive(number) for number in working)
    federation.engine.stop(job.job)
    wait_for(lambda: not any(alive(number) for number in working), why="the app to be ended")
    assert not federation.ended(job.job)
    federation.engine.stop(job.job)
    federation.engine.stop("a job nobody knows")


def test_a_job_outlives_nothing_it_should_not(federation: Federation, app: Bundle) -> None:
    job = order(federation, app, behaviour="gate")
    federation.submit(job, app.content)
    wait_for(lambda: federation.traces("asleep") == 3, why="all three sites to work")
    federation.kill("coordinator")
    federation.start_coordinator()
    last = federation.finish(job.job)
    assert last.state is JobState.FAILED
    assert last.failure and last.failure.code is FailureCode.ENGINE


def test_the_sites_come_back_after_the_engine_does(federation: Federation, app: Bundle) -> None:
    federation.kill("superlink")
    federation.start_engine()
    federation.wait_online(*SITES)
    job = order(federation, app, rounds=1)
    federation.submit(job, app.content)
    assert federation.finish(job.job).state is JobState.COMPLETED


def test_a_key_that_is_not_enrolled_is_refused(federation: Federation) -> None:
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    stranger = adapter.Fleet(
        federation.superlink, certificate=_certificate(federation), key=key, stop=threading.Event()
    )
    with pytest.raises(adapter.EngineRefused):
        stranger.activate(None)
    stranger.close()


def test_nobody_takes_a_server_task_without_the_secret(federation: Federation) -> None:
    queue = adapter.TaskQueue(federation.superlink, _certificate(federation), b"x" * 32)
    with pytest.raises(adapter.EngineRefused):
        queue.take()
    queue.close()


def test_the_secret_stands_in_no_command_line_and_is_the_owners(federation: Federation) -> None:
    for name in ("superexec.secret", "superlink.key"):
        assert (federation.state / "engine" / name).stat().st_mode & 0o077 == 0
    secret = (federation.state / "engine" / "superexec.secret").read_bytes()
    for process in federation.processes.values():
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_the_engine_listens_on_loopback_alone(federation: Federation) -> None:
    listening = [
        c
        for c in psutil.Process(federation.processes["superlink"].pid).net_connections()
        if c.status == psutil.CONN_LISTEN
    ]
    assert listening and all(c.laddr.ip == "127.0.0.1" for c in listening)


def test_an_engine_that_is_not_there_is_unavailable(app: Bundle, tmp_path: Path) -> None:
    engine = FlowerEngine(f"127.0.0.1:{free_port()}", certificate=tmp_path / "superlink.crt")
    job = Authority().order(app, sites=dict.fromkeys(SITES, ""))
    with pytest.raises(Unavailable):
        engine.start(job, app.content)
    prepare(tmp_path)
    with pytest.raises(Unavailable):
        engine.start(job, app.content)


def _certificate(federation: Federation) -> bytes:
    return (federation.state / "engine" / "superlink.crt").read_bytes()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
