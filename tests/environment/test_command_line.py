"""The command line: what operators, stewards and auditors do with it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.environment import operator
from unica_sdk.environment.layout import Layout
from unica_sdk.errors import AuditBroken, ConfigurationError, DataError, SignatureInvalid
from unica_sdk.gateway import keys
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A state folder with a hub that knows a steward, as `unica up` leaves it."""
    layout = Layout(tmp_path / "state")
    layout.create()
    steward = run("permit", "key", tmp_path / "steward.key").strip()
    (layout.gateway / "steward.pub").write_text(steward)
    keys.ensure_ticket_key(layout.gateway / "ticket.key")
    return layout


def permit_file(folder: Path, **changes: object) -> Path:
    now = datetime.now(UTC)
    permit = {
        "id": "study-1", "holder": "ada", "project": "study", "title": "A study",
        "purpose": "scientific_research", "legal_basis": "none: synthetic", "datasets": ["gr/mammograms"],
        "apps": [], "issued": now.isoformat(), "expires": (now + timedelta(days=30)).isoformat(), **changes,
    }  # fmt: skip
    path = folder / "permit.json"
    path.write_text(json.dumps(permit))
    return path


def test_a_node_is_made_enrolled_and_told_whom_to_trust(layout: Layout, tmp_path: Path) -> None:
    home = layout.node("gr")
    made = run("node", "init", home, "--site", "gr", "--name", "Aegean", "--country", "GR")
    assert json.loads(made)["site"] == "gr"
    enrolment = tmp_path / "gr.json"
    enrolment.write_text(made)
    told = run("hub", "enrol", enrolment, "--state", layout.state)
    options = told.split("--home FOLDER ")[1].split()
    run("node", "trust", "--home", home, *options)
    ticket_key = keys.read_ticket_key(layout.gateway / "ticket.key").public_key()
    assert NodeHome.open(home).gateway_key().public_bytes_raw() == ticket_key.public_bytes_raw()
    digest = "sha256:" + "a" * 64
    run("node", "approve", digest, "--home", home)
    assert NodeHome.open(home).policy().approved_apps == (digest,)
    assert "gr: " in run("audit", "verify", "--state", layout.state)


def test_ingest_lists_every_file_it_left_out(tmp_path: Path) -> None:
    home, folder = tmp_path / "gr", tmp_path / "dicom"
    folder.mkdir()
    bundled = Path(pydicom.data.__file__).parent / "test_files"
    shutil.copy(bundled / "CT_small.dcm", folder)
    (folder / "truncated.dcm").write_bytes((bundled / "MR_small.dcm").read_bytes()[:4000])
    (folder / "notes.txt").write_text("not an image")
    run("node", "init", home, "--site", "gr", "--name", "Aegean", "--country", "GR")
    report = json.loads(run("node", "ingest", folder, "--home", home, "--dataset", "ct", "--json"))
    assert report["indexed"] == 1
    left_out = {Path(skip["path"]).name: skip["reason"] for skip in report["skipped"]}
    assert left_out == {"truncated.dcm": "truncated", "notes.txt": "not_dicom"}
    shown = run("node", "ingest", folder, "--home", home, "--dataset", "ct")
    assert "2 in quarantine" in shown


def test_a_folder_is_ingested_again_as_last_time_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    home, folder, table = tmp_path / "gr", tmp_path / "dicom", tmp_path / "people.csv"
    folder.mkdir()
    shutil.copy(Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm", folder)
    table.write_text("patient_id,outcome,diagnosis\n1CT1,negative,none\n")
    run("node", "init", home, "--site", "gr", "--name", "Aegean", "--country", "GR")
    again = ("node", "ingest", folder, "--home", home, "--dataset", "ct", "--json")
    run(*again, "--title", "Chests", "--clinical", table, "--synthetic")

    def there() -> tuple[Any, ...]:
        with Index.open(home / "index") as index:
            (info,) = index.datasets()
            return info.title, info.synthetic, index.rows("SELECT outcome FROM clinical")

    assert there() == ("Chests", True, [("negative",)])
    run(*again)
    assert there() == ("Chests", True, [("negative",)])
    run(*again, "--title", "Lungs", "--no-clinical")
    assert there() == ("Lungs", True, [])
    before = (home / "index" / "CURRENT").read_text()
    (folder / "CT_small.dcm").unlink()
    refused = CliRunner().invoke(app, [*map(str, again)])
    assert refused.exit_code != 0
    assert (home / "index" / "CURRENT").read_text() == before
    assert json.loads(run(*again, "--emptied"))["indexed"] == 0


def test_a_permit_is_signed_shown_and_entered(layout: Layout, tmp_path: Path) -> None:
    signed = tmp_path / "signed.json"
    signed.write_text(run("permit", "sign", permit_file(tmp_path), "--key", tmp_path / "steward.key"))
    steward = (layout.gateway / "steward.pub").read_text()
    assert json.loads(run("permit", "show", signed, "--steward", steward))["holder"] == "ada"
    assert "study-1 of ada" in run("permit", "add", signed, "--state", layout.state)
    with operator.opened(layout) as (store, _):
        assert len(store.permits("ada")) == 1


def test_a_strangers_permit_is_not_entered(layout: Layout, tmp_path: Path) -> None:
    signed = tmp_path / "signed.json"
    run("permit", "key", tmp_path / "stranger.key")
    signed.write_text(run("permit", "sign", permit_file(tmp_path), "--key", tmp_path / "stranger.key"))
    with pytest.raises(SignatureInvalid):
        run("permit", "add", signed, "--state", layout.state)


def test_what_is_not_a_permit_is_not_signed(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="purpose"):
        path = permit_file(tmp_path, purpose="marketing")
        run("permit", "sign", path, "--key", tmp_path / "steward.key")


def test_the_stewards_key_is_the_stewards_alone(tmp_path: Path) -> None:
    first = run("permit", "key", tmp_path / "steward.key")
    assert run("permit", "key", tmp_path / "steward.key") == first
    assert (tmp_path / "steward.key").stat().st_mode & 0o777 == 0o600


def test_a_changed_audit_is_found(layout: Layout, tmp_path: Path) -> None:
    enrolment = tmp_path / "gr.json"
    home = layout.node("gr")
    enrolment.write_text(run("node", "init", home, "--site", "gr", "--name", "Aegean", "--country", "GR"))
    for _ in range(2):
        run("hub", "enrol", enrolment, "--state", layout.state)
    assert "gateway: 2 entries, chained" in run("audit", "verify", "--state", layout.state)
    path = layout.gateway / "audit.jsonl"
    path.write_text(path.read_text().replace("site.enrolled", "site.expelled", 1))
    with pytest.raises(AuditBroken):
        run("audit", "verify", "--state", layout.state)


def test_an_audit_that_lost_what_it_told_the_other_side_is_found(layout: Layout, tmp_path: Path) -> None:
    enrolment = tmp_path / "gr.json"
    home = layout.node("gr")
    enrolment.write_text(run("node", "init", home, "--site", "gr", "--name", "Aegean", "--country", "GR"))
    run("hub", "enrol", enrolment, "--state", layout.state)
    head, length = operator.hub_audit(layout).head()
    (home / "hub-audit.json").write_text(json.dumps({"audit_head": head, "audit_length": length}))
    assert "gr and gateway agree" in run("audit", "verify", "--state", layout.state)
    (layout.gateway / "audit.jsonl").write_text("")
    with pytest.raises(AuditBroken, match="the hub's audit was rewritten or cut"):
        run("audit", "verify", "--state", layout.state)


def test_operators_commands_need_an_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no hub in this state folder"):
        run("audit", "verify", "--state", tmp_path)


def test_status_of_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--json", "--state", str(tmp_path)])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["state"] == "stopped"
    assert "Nothing was running" in run("down", "--state", tmp_path)
