"""The store under threads, other processes and kill -9; what it refuses to take in."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_world import BUNDLE, World, enrolment, manifest, record

from unica_sdk.errors import ConfigurationError, InvalidRequest, NotFound, SignatureInvalid
from unica_sdk.gateway.keys import ensure_ticket_key, read_public_key, read_ticket_key, write_public_key
from unica_sdk.gateway.store import Store
from unica_sdk.schemas.app import App
from unica_sdk.schemas.contract import sha256
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.signing import SignedDocument

WRITER = """
import sys
from datetime import UTC, datetime
from gateway_world import record
from unica_sdk.gateway.store import Store
store = Store.open(sys.argv[1])
for n in range(10, 10_000_000):
    store.put_records("gr", (record("gr", n=n),), at=datetime.now(UTC))
    print(n, flush=True)
"""


def test_threads_and_processes_write_side_by_side_and_nothing_is_lost(world: World) -> None:
    other = Store.open(f"sqlite:///{world.folder}/gateway.sqlite")
    wrong: list[BaseException] = []

    def write(number: int) -> None:
        store = world.store if number % 2 else other
        try:
            for step in range(10):
                name = f"set-{number}-{step}"
                store.put_records(
                    f"s{number}", (record(f"s{number}", name=name, country="GR"),), at=datetime.now(UTC)
                )
                store.records()
        except BaseException as err:
            wrong.append(err)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert wrong == []
    assert [r.id for r in world.store.records()] == [f"s{number}/set-{number}-9" for number in range(8)]


def test_a_killed_writer_leaves_a_whole_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gateway.sqlite"
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        assert writer.stdout is not None
        with writer, writer.stdout as lines:
            said = [int(lines.readline()) for _ in range(5)]
            writer.send_signal(signal.SIGKILL)
            said.extend(int(line) for line in lines if line.endswith(b"\n"))
        store = Store.open(url)
        found = store.records()[0].patients
        assert found.n in (said[-1], said[-1] + 1), "what was said to be written is there"  # type: ignore[union-attr]
        store.close()
        connection = sqlite3.connect(tmp_path / "gateway.sqlite")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_the_database_is_private_and_of_one_version(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    Store.open(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="version 99"):
        Store.open(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:////no/such/folder/g.sqlite", "nodb://x"]
)
def test_a_database_that_cannot_be_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Store.open(url)
    assert refused.value.hint


def test_records_keep_their_versions_and_go_when_the_site_drops_them(world: World) -> None:
    first, second = record("gr", name="a"), record("gr", name="b")
    now = datetime.now(UTC)
    world.store.put_records("gr", (first, second), at=now)
    later = first.model_copy(update={"issued": now + timedelta(days=1)})
    assert not world.store.differs("gr", (later, second))
    world.store.put_records("gr", (record("gr", name="a", n=900),), at=now)
    assert [(r.id, r.patients.n) for r in world.store.records()] == [("gr/a", 900)]  # type: ignore[union-attr]
    world.store.put_records("gr", (first, second), at=now)
    assert [r.id for r in world.store.records()] == ["gr/a", "gr/b"]
    with world.store._database.read() as connection:
        versions = connection.exec_driver_sql(
            "SELECT id, sequence, current FROM dataset ORDER BY id, sequence"
        ).all()
    assert [tuple(row) for row in versions] == [
        ("gr/a", 1, 0),
        ("gr/a", 2, 0),
        ("gr/a", 3, 1),
        ("gr/b", 1, 0),
        ("gr/b", 2, 1),
    ]


def test_an_app_is_its_bytes(world: World) -> None:
    with pytest.raises(InvalidRequest):
        world.operator.add_app(App(id="sha256:" + "0" * 64, manifest=manifest()), BUNDLE)
    other = App(id=sha256(b"other"), manifest=manifest())
    world.operator.add_app(other, b"other")
    assert world.store.bundle(other.id) == b"other"
    assert world.store.app(world.app.id) == world.app
    with pytest.raises(NotFound):
        world.store.bundle("sha256:" + "0" * 64)


def test_a_permit_is_entered_only_as_the_steward_signed_it(world: World) -> None:
    signed = world.signed_permit(id="p-9")
    widened = signed.model_copy(update={"payload": signed.payload.replace("p-9", "p-8")})
    with pytest.raises(SignatureInvalid):
        world.operator.add_permit(widened)
    older = world.signed_permit(issued=world.now[0] - timedelta(days=2))
    with pytest.raises(InvalidRequest, match="newer"):
        world.operator.add_permit(older)
    with pytest.raises(InvalidRequest, match="somebody else"):
        world.operator.add_permit(world.signed_permit(holder="bob"))
    assert world.operator.add_permit(world.signed_permit(title="Renewed")).title == "Renewed"
    held = world.store.permits("alice")
    assert [Permit.model_validate_json(document.payload).title for document in held] == ["Renewed"]
    assert all(isinstance(document, SignedDocument) for document in held)
    assert world.store.permits("bob") == ()


def test_a_site_may_be_enrolled_again_with_new_keys(world: World) -> None:
    key = Ed25519PrivateKey.generate()
    world.operator.enrol(enrolment("gr", key))
    assert world.store.site("gr").enrolment.signing_key == key.public_key().public_bytes_raw().hex()
    assert world.actions()[-1] == "site.enrolled"
    with pytest.raises(NotFound):
        world.store.site("pt")


def test_the_ticket_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "ticket.key"
    key = ensure_ticket_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_ticket_key(path).private_bytes_raw() == key.private_bytes_raw()
    write_public_key(tmp_path / "gateway.pub", key.public_key())
    assert read_public_key(tmp_path / "gateway.pub") == key.public_key()
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="Others"):
        ensure_ticket_key(path)
    for content in ("", "00", "not hex", "é"):
        (tmp_path / "steward.pub").write_text(content)
        with pytest.raises(ConfigurationError):
            read_public_key(tmp_path / "steward.pub")
    with pytest.raises(ConfigurationError):
        ensure_ticket_key(tmp_path / "no" / "ticket.key")
