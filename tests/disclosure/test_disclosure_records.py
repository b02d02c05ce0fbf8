"""Records: measured once for a published version, paid for by the site, and no draw of noise for nothing."""

from pathlib import Path

import pytest
from node_records import drafts

from unica_sdk.errors import AuditBroken
from unica_sdk.node.answers import Answerer
from unica_sdk.node.budget import RECORD_COST
from unica_sdk.node.consent import ConsentRegistry, Mode
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import DatasetInfo, InstanceRow, publish
from unica_sdk.node.publishing import RecordKeeper
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.exchange import CountQuestion

APP = "sha256:" + "a" * 64


def _put(home: NodeHome, people: int, *, dataset: str = "one") -> None:
    key = home.site_key()
    rows = [
        InstanceRow(
            path=f"/{dataset}/{n}", patient=key.name("patient", f"P{n}".encode()), study=f"s{n}",
            series=f"r{n}", instance=f"{dataset}{n}", modality="MG", body_part="breast", manufacturer="acme",
            sex="female", age=60, rows=8, columns=8, frames=1, samples=1,
            transfer_syntax="1.2.840.10008.1.2.1",
        )
        for n in range(people)
    ]  # fmt: skip
    info = DatasetInfo(name=dataset, title="t", description="d", synthetic=True)
    publish(home.index_folder, info=info, source="/a", instances=rows, clinical=[])


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    folder = tmp_path / "gr"
    folder.mkdir()
    (folder / "site.key").write_bytes(bytes(range(32)))
    home = NodeHome.create(folder, site="gr", name="x", country="GR")
    _put(home, 300)
    return home


def _records(home: NodeHome) -> tuple[DatasetRecord, ...]:
    """What a process that was just started says."""
    return drafts(home)


def _site_has_left(home: NodeHome) -> int:
    """Ask the same question as somebody new each time: only what the site has left is less than a budget."""
    answer = Answerer(home).answer(CountQuestion(id="q", query={"sex": ["male"]}, asker="looker"))
    assert answer.left is not None
    return answer.left


def _narrow(home: NodeHome, site_budget: int) -> None:
    path = home.folder / "policy.toml"
    text = path.read_text().replace("site_budget = 100", f"site_budget = {site_budget}")
    path.write_text(text.replace("person_budget = 50", f"person_budget = {site_budget}"))


def test_whoever_watches_the_catalogue_while_people_withdraw_sees_one_draw(home: NodeHome) -> None:
    """Version by version for nothing would be an average over as many draws as there are opt-outs."""
    first = _records(home)
    registry = ConsentRegistry.of(home)
    for number in range(20):
        registry.withdraw([f"P{number}"])
        assert _records(home) == first
    counted = Answerer(home).answer(CountQuestion(id="q", query={}, asker="a")).count
    assert counted.index_version == 21
    _put(home, 301)
    (fresh,) = _records(home)
    assert fresh.index_version == 22
    assert fresh != first[0]


def test_what_is_declared_of_consent_acts_on_the_record_at_once(home: NodeHome) -> None:
    (before,) = _records(home)
    assert before.patients.status == "released"
    ConsentRegistry.of(home).declare("one", Mode.OPT_IN)
    assert _records(home)[0].patients.status == "suppressed"


def test_the_site_pays_for_each_dataset_and_version_and_not_for_a_restart(home: NodeHome) -> None:
    _narrow(home, 40)
    _records(home)
    assert _site_has_left(home) == 40 - RECORD_COST - 1
    (home.folder / "records" / "measures.json").unlink()
    _records(home)
    assert _site_has_left(home) == 40 - RECORD_COST - 1
    _put(home, 200, dataset="two")
    assert [record.id for record in _records(home)] == ["gr/one", "gr/two"]
    # The question above is another one on another version, too.
    assert _site_has_left(home) == 40 - 3 * RECORD_COST - 2


def test_an_approved_app_is_no_other_policy_and_other_noise_is(home: NodeHome) -> None:
    first = _records(home)
    ConsentRegistry.of(home).withdraw(["P1"])
    home.approve(APP)
    assert _records(home) == first
    path = home.folder / "policy.toml"
    path.write_text(path.read_text().replace("noise = 10.0", "noise = 20.0"))
    (changed,) = _records(home)
    assert changed.index_version == 2
    assert changed.patients != first[0].patients


def test_where_the_budget_is_spent_the_old_records_stand(
    home: NodeHome, caplog: pytest.LogCaptureFixture
) -> None:
    _narrow(home, RECORD_COST + 2)
    first = _records(home)
    _put(home, 310)
    keeper = RecordKeeper(home)
    assert keeper.current().drafts == keeper.current().drafts == first
    told = [record.message for record in caplog.records if record.name.endswith("standing")]
    assert told == ["The budget of questions does not pay for new records: the old ones stand."]


def test_new_records_are_in_the_audit_before_they_are_made_and_not_without_one(home: NodeHome) -> None:
    _records(home)
    (entry,) = [entry for entry in home.audit.entries() if entry.action == "records"]
    assert (entry.actor, entry.action, entry.detail["datasets"]) == ("node", "records", ["one"])
    _put(home, 310)
    (home.folder / "audit.jsonl").write_text("not an entry\n")
    with pytest.raises(AuditBroken):
        _records(home)
