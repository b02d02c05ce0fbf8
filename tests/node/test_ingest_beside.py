"""An ingest in a process of its own, beside a live agent that answers and a running job that reads.

Whatever the moment, and also if the ingest is killed: each answer is one version's in full, each image a job
gets is the right one, and the index is in the end what an ingest makes of the same folder while nobody looks.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from dicom_files import write_clinical, write_dicom
from gateway_face import GatewayFace, Serving
from node_people import APP, People
from numpy.typing import NDArray

from unica_sdk.federation.ports import Admission, Cases
from unica_sdk.node import cohort
from unica_sdk.node.agent import Agent
from unica_sdk.node.answers import Answerer
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.preparation import Preparation, prepare_values
from unica_sdk.node.index import Index, current_version
from unica_sdk.node.ingest import ingest
from unica_sdk.node.site import LocalSite
from unica_sdk.node.store import Store
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CohortQuery, CountAnswer
from unica_sdk.schemas.exchange import Answer, CountQuestion
from unica_sdk.schemas.signing import sign
from unica_sdk.schemas.ticket import Ticket, parameters_digest

PATIENCE = 60
QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"modality": ["MG"]},
    {"age": {"low": 40, "high": 59}},
    {"outcome": ["screen_detected"]},
    {"diagnosis": ["none"], "age": {"low": 50, "high": 79}},
)
WORDS = {"dataset": "screening", "title": "t", "description": "d", "synthetic": True}


def _write(folder: Path, numbers: range, *, edition: int) -> None:
    for number in numbers:
        rng = np.random.default_rng([number, edition])
        write_dicom(
            folder / f"{number:04d}.dcm",
            patient=f"P{number:04d}",
            number=number + 1,
            pixels=rng.integers(0, 4096, (16, 20)).astype(np.uint16),
            PatientAge=f"{40 + number % 40:03d}Y",
        )


@dataclass
class World:
    """A node at work, the folder it is fed from, and what others said of it."""

    home: NodeHome
    images: Path
    clinical: Path
    twin: NodeHome
    admission: Admission
    manifest: AppManifest
    answers: list[Answer] = field(default_factory=list)
    records: list[tuple[DatasetRecord, ...]] = field(default_factory=list)
    cases: list[Cases] = field(default_factory=list)
    wrong: list[BaseException] = field(default_factory=list)

    def change(self, turn: int) -> None:
        """Let the hospital's folder be another one: images gone, images anew, images that come."""
        for number in range(turn * 5, turn * 5 + 5):
            (self.images / f"{number:04d}.dcm").unlink()
        _write(self.images, range(turn * 20, turn * 20 + 20), edition=turn)
        _write(self.images, range(200 * turn, 200 * turn + 60), edition=0)

    def command(self) -> list[str]:
        words = [str(self.images), "--home", str(self.home.folder), "--dataset", "screening", "--title", "t"]
        words += ["--description", "d", "--synthetic", "--clinical", str(self.clinical), "--json"]
        return [sys.executable, "-m", "unica_sdk.cli", "node", "ingest", *words]

    def quiet(self) -> "Expected":
        """What an ingest of the folder as it is now makes of a twin that nobody asks anything."""
        ingest(self.twin, self.images, **WORDS, clinical=self.clinical)
        return Expected.of(self.twin, self.admission, self.manifest)


@dataclass
class Expected:
    """All that one version answers, and the values of the images that a job gets of it."""

    version: int
    counts: list[CountAnswer | None]
    records: tuple[DatasetRecord, ...]
    cases: Cases
    values: NDArray[np.float32]

    def has(self, found: Cases) -> bool:
        """Whether these are the cases of this version, at whatever resolution they were asked for."""
        if len(found.images) != len(self.values) or found.tested != self.cases.tested:
            return False
        preparation = Preparation(rows=found.images.shape[1], columns=found.images.shape[2])
        images = [prepare_values(values, preparation) for values in self.values]
        return (
            np.allclose(found.images, images, atol=1e-4)
            and np.array_equal(found.labels, self.cases.labels)
            and np.array_equal(found.held_out, self.cases.held_out)
        )

    @classmethod
    def of(cls, home: NodeHome, admission: Admission, manifest: AppManifest) -> "Expected":
        answerer = Answerer(home)
        counts = [answerer.answer(CountQuestion(id=str(n), query=q)).count for n, q in enumerate(QUERIES)]
        with Index.open(home.index_folder) as index:
            version = index.version
        cases = LocalSite(home).cases(admission, manifest)
        people = cohort.load(home, admission.snapshot).patients
        values = open_cases(home, modality="MG", patients=people).read(range(len(cases.images)))
        return cls(version, counts, answerer.records(), cases, values)


@pytest.fixture
def world(tmp_path: Path, people: People, manifest: AppManifest) -> World:
    images = tmp_path / "dicom"
    _write(images, range(100), edition=0)
    rows = [
        {
            "patient_id": f"P{number:04d}",
            "outcome": "negative" if number % 4 else "screen_detected",
            "diagnosis": "none" if number % 4 else "breast_cancer",
        }
        for number in range(1000)
    ]
    clinical = write_clinical(tmp_path / "clinical.csv", rows)
    home = NodeHome.create(tmp_path / "gr", site="gr", name="Aegean Breast Centre", country="GR")
    home.pin(people.steward.public_key().public_bytes_raw(), people.gateway.public_key().public_bytes_raw())
    (home.folder / "policy.toml").write_text(f'threshold = 3\nrounding = 1\napproved_apps = ["{APP}"]\n')
    ingest(home, images, **WORDS, clinical=clinical)
    admission = _admitted(home, people, manifest)
    twin = NodeHome.open(shutil.copytree(home.folder, tmp_path / "twin"))
    # Its ledger and its index name its own copies, as if it had made them itself.
    shutil.rmtree(twin.index_folder)
    twin.index_folder.mkdir()
    (twin.folder / "ledger.sqlite").unlink()
    return World(home, images, clinical, twin, admission, manifest)


def _admitted(home: NodeHome, people: People, manifest: AppManifest) -> Admission:
    with Index.open(home.index_folder) as index:
        frozen = cohort.freeze(
            home, index, CohortQuery(), permit="permit-1", holder="alice", datasets=("screening",)
        )
    snapshot = cohort.store(home, frozen).id
    now = datetime.now(UTC)
    ticket = Ticket(
        job="job-1", holder="alice", app=APP, parameters=parameters_digest({}), cohort={"gr": snapshot},
        permit=people.permit(), rounds=3, issued=now - timedelta(seconds=1), expires=now + timedelta(hours=1),
    )  # fmt: skip
    return LocalSite(home).admit(
        task="train", ticket=sign(ticket, people.gateway), app=APP, manifest=manifest, parameters={}
    )


@contextmanager
def _at_work(world: World) -> Iterator[None]:
    """Ask the node's agent one question after the other, and let a job read its cases again and again."""
    face = GatewayFace(world.home.enrolment().signing_key)
    serving = Serving(face.app())
    stop = threading.Event()

    def ask() -> None:
        number = 0
        while not stop.is_set():
            query = QUERIES[number % len(QUERIES)]
            face.questions.put(CountQuestion(id=str(number % len(QUERIES)), query=query))
            world.answers.append(face.answers.get(timeout=PATIENCE))
            number += 1

    def job() -> None:
        while not stop.is_set():
            # At a resolution of its own each time, so that the images are read and not remembered.
            shape = {"rows": 4 + len(world.cases), "columns": 10}
            image = world.manifest.image.model_copy(update=shape)
            manifest = world.manifest.model_copy(update={"image": image})
            world.cases.append(LocalSite(world.home).cases(world.admission, manifest))

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as err:
            world.wrong.append(err)

    with httpx.Client(base_url=f"http://127.0.0.1:{serving.port}") as client:
        agent_stop = threading.Event()
        agent = Agent(world.home, client, hello_seconds=0.05, wait_seconds=1)
        running = threading.Thread(target=agent.run, args=(agent_stop,))
        others = [threading.Thread(target=guarded, args=(work,)) for work in (ask, job)]
        for thread in (running, *others):
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in others:
                thread.join()
            agent_stop.set()  # only now: a question that is asked is answered
            running.join()
            serving.close()
    while not face.hellos.empty():
        world.records.append(face.hellos.get().datasets)


def _wait(world: World, *, more: int) -> None:
    """Let the others do some more."""
    answers, cases = len(world.answers) + more, len(world.cases) + 1
    while not world.wrong and (len(world.answers) < answers or len(world.cases) < cases):
        threading.Event().wait(0.01)


def _check(world: World, *versions: Expected) -> None:
    assert world.wrong == []
    by_version = {one.version: one for one in versions}
    seen = []
    for answer in world.answers:
        count = answer.count
        assert count is not None and count.status == "released", count
        assert count == by_version[count.index_version].counts[int(answer.question)]
        seen.append(count.index_version)
    assert seen == sorted(seen)
    assert set(seen) == by_version.keys()
    said = [_undated(one.records) for one in versions]
    assert all(_undated(records) in said for records in world.records)
    for found in world.cases:
        assert any(one.has(found) for one in versions)
    assert versions[-1].has(world.cases[-1])


def _undated(records: tuple[DatasetRecord, ...]) -> list[dict[str, Any]]:
    return [record.model_dump(exclude={"issued"}) for record in records]


def _content(home: NodeHome) -> list[tuple]:
    with Index.open(home.index_folder) as index:
        rows = index.rows("FROM instance ORDER BY ALL") + index.rows("FROM patient ORDER BY ALL")
    return [tuple(str(value).replace(str(home.folder), "HOME") for value in row) for row in rows]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


def test_versions_come_while_questions_are_answered_and_a_job_reads(world: World) -> None:
    expected = [world.quiet()]
    with _at_work(world):
        for turn in (1, 2):
            _wait(world, more=10)
            world.change(turn)
            _run(world.command())
            expected.append(world.quiet())
        _wait(world, more=10)
    _check(world, *expected)
    assert [one.version for one in expected] == [1, 2, 3]
    assert _content(world.home) == _content(world.twin)
    assert set(Store(world.home.folder / "store").names()) >= set(Store(world.twin.folder / "store").names())


def test_an_ingest_that_is_killed_beside_them_is_not_noticed_and_the_next_one_ends_it(world: World) -> None:
    expected = [world.quiet()]
    store = Store(world.home.folder / "store")
    with _at_work(world):
        _wait(world, more=5)
        world.change(1)
        before = len(set(store.names()))
        with subprocess.Popen(
            world.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and len(set(store.names())) < before + 5:
                threading.Event().wait(0.002)
            others = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert current_version(world.home.index_folder) == "v0001.duckdb"
        # Its processes hold the site key: they end with it.
        assert psutil.wait_procs(others, timeout=PATIENCE)[1] == []
        _wait(world, more=10)
        _run(world.command())
        expected.append(world.quiet())
        _wait(world, more=10)
    _check(world, *expected)
    assert _content(world.home) == _content(world.twin)
    assert set(store.names()) == set(Store(world.twin.folder / "store").names())
    assert not [path for path in world.home.folder.rglob("*.partial*") if os.access(path, os.F_OK)]
