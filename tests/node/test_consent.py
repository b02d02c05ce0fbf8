"""The registry of consent: what people said, who is in, that it acts at once and names nobody."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from node_people import fixed_key, told
from node_records import drafts

from unica_sdk.errors import AuditBroken, ConfigurationError, DataError, InvalidRequest, Unavailable
from unica_sdk.node import cohort
from unica_sdk.node.admitted import AdmittedViews, open_admitted
from unica_sdk.node.answers import Answerer
from unica_sdk.node.consent import Consent, ConsentRegistry, Mode
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import PROFILES, ClinicalFact, DatasetInfo, Index, InstanceRow, publish
from unica_sdk.node.keys import SiteKey
from unica_sdk.schemas.cohort import CohortQuery, Refused
from unica_sdk.schemas.exchange import CountQuestion

EVERYONE = CohortQuery()


def _put(
    home: NodeHome, dataset: str, people: list[str], *, outcome: str = "negative", folder: str = "/a"
) -> int:
    """Publish one image and one fact of each of these people, by their hospital identifiers."""
    key = home.site_key()
    names = [key.name("patient", person.encode()) for person in people]
    rows = [
        InstanceRow(
            path=f"{folder}/{dataset}/{name}", patient=name, study=f"s{name}", series=f"r{name}",
            instance=f"{dataset}{name}", modality="MG", body_part="breast", sex="female",
            manufacturer=f"maker of {dataset}",
            age=60, rows=8, columns=8, frames=1, samples=1, transfer_syntax="1.2.840.10008.1.2.1",
        )
        for name in names
    ]  # fmt: skip
    info = DatasetInfo(name=dataset, title="t", description="d", synthetic=True)
    facts = [ClinicalFact(patient=n, outcome=outcome, diagnosis=None, sex=None, age=None) for n in names]
    return publish(home.index_folder, info=info, source=folder, instances=rows, clinical=facts).version


def _profiles(index: Index, sql: str) -> list[str]:
    return sorted(map(repr, index.rows(sql)))


def _count(home: NodeHome, **query: Any) -> int:
    with open_admitted(home) as index:
        return cohort.count(index, CohortQuery(**query))


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    fixed_key(tmp_path / "gr")
    home = NodeHome.create(tmp_path / "gr", site="gr", name="x", country="GR")
    _put(home, "one", [f"P{n}" for n in range(30)])
    return home


@pytest.fixture
def registry(home: NodeHome) -> ConsentRegistry:
    return ConsentRegistry.of(home)


TRUTH = [
    # mode, what was said last, whether the person is in
    (Mode.OPT_OUT, None, True),
    (Mode.OPT_OUT, "add", True),
    (Mode.OPT_OUT, "withdraw", False),
    (Mode.OPT_IN, None, False),
    (Mode.OPT_IN, "add", True),
    (Mode.OPT_IN, "withdraw", False),
    (Mode.ALTRUISM, None, False),
    (Mode.ALTRUISM, "add", True),
    (Mode.ALTRUISM, "withdraw", False),
]


@pytest.mark.parametrize(("mode", "said", "in_"), TRUTH)
@pytest.mark.parametrize("dataset", [None, "one"], ids=["of everything", "of the dataset"])
def test_who_is_in(
    home: NodeHome, registry: ConsentRegistry, mode: Mode, said: str | None, in_: bool, dataset: str | None
) -> None:
    registry.declare("one", mode)
    if said:
        getattr(registry, said)(["P1"], dataset=dataset)
    others = 29 if mode is Mode.OPT_OUT else 0
    assert _count(home) == others + in_
    with open_admitted(home) as index:
        members = cohort.members(index, EVERYONE, datasets=("one",))
    assert (registry.pseudonym("P1") in members) is in_
    assert registry.state().admits(registry.pseudonym("P1"), "one") is in_


def test_an_undeclared_dataset_is_opt_out(registry: ConsentRegistry) -> None:
    assert registry.state() == Consent()
    assert not registry.path.exists()
    assert Consent().admits("anybody", "any") is True


@pytest.mark.parametrize(
    ("words", "one", "other"),
    [
        ([("withdraw", None), ("add", "one")], True, False),
        ([("withdraw", "one"), ("add", None)], True, True),
        ([("add", None), ("withdraw", "one")], False, True),
        ([("withdraw", "one"), ("withdraw", None), ("add", "other")], False, True),
    ],
)
def test_the_last_word_that_covers_a_dataset_counts(
    registry: ConsentRegistry, words: list[tuple[str, str | None]], one: bool, other: bool
) -> None:
    for word, dataset in words:
        getattr(registry, word)(["P1"], dataset=dataset)
    state, person = registry.state(), registry.pseudonym("P1")
    assert (state.admits(person, "one"), state.admits(person, "other")) == (one, other)


def test_somebody_in_two_datasets_counts_by_what_is_left(home: NodeHome, registry: ConsentRegistry) -> None:
    _put(home, "two", ["P1", "P2", "X"], outcome="screen_detected")
    # P1 and P2 are contradictory while both datasets count.
    assert (
        _count(home),
        _count(home, outcome=("screen_detected",)),
        _count(home, outcome=("negative",)),
    ) == (31, 1, 28)
    registry.withdraw(["P1"], dataset="two")
    registry.withdraw(["P2"], dataset="one")
    assert (
        _count(home),
        _count(home, outcome=("screen_detected",)),
        _count(home, outcome=("negative",)),
    ) == (31, 2, 29)
    registry.declare("two", Mode.OPT_IN)
    assert (
        _count(home),
        _count(home, outcome=("screen_detected",)),
        _count(home, outcome=("negative",)),
    ) == (29, 0, 29)
    with open_admitted(home) as index:
        assert [info.name for info in index.datasets()] == ["one", "two"]
        assert (
            index.rows("SELECT count(*) FROM instance")
            == index.rows("SELECT count(*) FROM clinical")
            == [(29,)]
        )


@pytest.mark.parametrize("shut", ["withdrawn", "not asked"])
def test_what_a_table_says_of_people_without_images_there_is_theirs_to_withhold(
    home: NodeHome, registry: ConsentRegistry, shut: str
) -> None:
    people = [registry.pseudonym(f"P{n}") for n in range(20)]
    facts = [
        ClinicalFact(patient=n, outcome=None, diagnosis="breast_cancer", sex=None, age=None) for n in people
    ]
    info = DatasetInfo(name="registry", title="t", description="d", synthetic=True)
    publish(home.index_folder, info=info, source="/b", instances=[], clinical=facts)
    assert _count(home, diagnosis=["breast_cancer"]) == 20
    if shut == "withdrawn":
        registry.withdraw([f"P{n}" for n in range(5)], dataset="registry")
    else:
        registry.declare("registry", Mode.OPT_IN)
        registry.add([f"P{n}" for n in range(5, 20)], dataset="registry")
    with open_admitted(home) as index:
        told = {
            patient for (patient,) in index.rows("SELECT patient FROM clinical WHERE diagnosis IS NOT NULL")
        }
        assert told == set(people[5:])
        assert index.withheld(people, ["registry"]) == 5
        assert _profiles(index, "SELECT * FROM profile") == _profiles(
            index, PROFILES.format(people="patient")
        )
    assert _count(home, diagnosis=["breast_cancer"]) == 15
    assert _count(home) == 30


def test_a_withdrawal_acts_on_the_next_answer_with_a_version_of_its_own(
    home: NodeHome, registry: ConsentRegistry
) -> None:
    answerer = Answerer(home)

    def ask() -> Any:
        return answerer.answer(CountQuestion(id="q", query={}, asker="alice")).count

    assert ask() == told(home, 30)
    (record,) = drafts(home)
    assert registry.withdraw([f"P{n}" for n in range(5)]) == 5
    assert ask() == told(home, 25, version=2)
    # Records would show the difference that one opt-out makes: they wait, see test_disclosure_records.
    assert drafts(home) == (record,)
    assert registry.withdraw([f"P{n}" for n in range(3)]) == 0
    assert ask().index_version == 2
    registry.withdraw([f"P{n}" for n in range(20, 30)])
    registry.withdraw([f"P{n}" for n in range(5, 20)])
    assert ask() == told(home, 0, version=4)
    assert registry.add([f"P{n}" for n in range(30)]) == 30
    assert ask() == told(home, 30, version=5)
    assert _put(home, "one", ["Q1"], folder="/b") == 2
    assert ask().index_version == 6


def test_the_content_that_caches_hang_on_changes_with_who_is_in(
    home: NodeHome, registry: ConsentRegistry
) -> None:
    def content() -> str:
        with open_admitted(home) as index:
            return index.content

    first = content()
    registry.withdraw(["nobody here"])
    assert content() == first
    registry.withdraw(["P1"])
    second = content()
    registry.withdraw(["P2"])
    assert len({first, second, content()}) == 3
    registry.add(["P1", "P2"])
    assert content() == first


def test_identifiers_are_nowhere_in_the_clear_and_the_file_is_the_owners(
    home: NodeHome, registry: ConsentRegistry
) -> None:
    secret = ["HOSPITAL-4711-JANE", "Ä" * 64]
    registry.withdraw(secret)
    registry.add(secret, dataset="one")
    assert stat.S_IMODE(registry.path.stat().st_mode) == 0o600
    everything = b"".join(p.read_bytes() for p in home.folder.rglob("*") if p.is_file())
    assert not any(name.encode() in everything for name in secret)
    with sqlite3.connect(registry.path) as connection:
        sealed = [content for (content,) in connection.execute("SELECT sealed FROM person")]
    connection.close()
    assert len({len(content) for content in sealed}) == 2  # 128 and 256: by the pad, not by the letter
    assert [(e.identifier, e.dataset, e.word) for e in registry.entries()] == [
        (name, dataset, word) for name in secret for dataset, word in ((None, "withdraw"), ("one", "add"))
    ]
    assert {e.identifier for e in registry.entries(secret[:1])} == {secret[0]}
    assert registry.entries(["unknown"]) == []


def test_every_change_is_audited_under_the_pseudonym(home: NodeHome, registry: ConsentRegistry) -> None:
    before = home.audit.verify()
    registry.withdraw(["P1"])
    registry.withdraw(["P1"])
    registry.add(["P1"], dataset="one")
    registry.declare("one", Mode.OPT_IN)
    name = registry.pseudonym("P1")
    assert [(e.actor, e.action, e.subject) for e in list(home.audit.entries())[before:]] == [
        ("operator", "consent_withdraw", name),
        ("operator", "consent_add", name),
        ("operator", "consent_declare", "one"),
    ]


def test_without_an_audit_nothing_is_recorded(home: NodeHome, registry: ConsentRegistry) -> None:
    registry.withdraw(["P1"])
    (home.folder / "audit.jsonl").write_text("not an entry\n")
    for change in (lambda: registry.add(["P1"]), lambda: registry.declare("one", Mode.OPT_IN)):
        with pytest.raises(AuditBroken):
            change()
    assert registry.revision() == 1
    assert _count(home) == 29


@pytest.mark.parametrize("wrong", ["", "  ", "\0", "x" * 2000])
def test_one_wrong_identifier_stops_the_whole_list(registry: ConsentRegistry, wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        registry.withdraw(["P1", wrong])
    with pytest.raises(InvalidRequest):
        registry.withdraw(["P1"], dataset="../x")
    assert registry.revision() == 0


def test_blanks_around_an_identifier_do_not_make_another_person(registry: ConsentRegistry) -> None:
    assert registry.withdraw([" P1 ", "P1", "P1\0"]) == 1


def test_entries_can_be_added_and_never_changed(registry: ConsentRegistry) -> None:
    registry.withdraw(["P1"])
    connection = sqlite3.connect(registry.path)
    for statement in (
        "UPDATE entry SET kind = 'add'",
        "DELETE FROM entry",
        "DELETE FROM person",
        "UPDATE key SET proof = ''",
    ):
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_a_registry_that_cannot_be_read_stops_every_answer(home: NodeHome, registry: ConsentRegistry) -> None:
    registry.withdraw(["P1"])
    content = registry.path.read_bytes()
    registry.path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(DataError):
        open_admitted(home)
    assert Answerer(home).answer(CountQuestion(id="q", query={}, asker="alice")).count == Refused(
        site="gr", code="unavailable"
    )
    registry.path.unlink()
    with pytest.raises(DataError, match="gone"):
        open_admitted(home)
    registry.path.write_bytes(content)
    (home.folder / "site.key").write_bytes(os.urandom(32))
    with pytest.raises(ConfigurationError, match="another site key"):
        open_admitted(home)


def test_nobody_reads_or_writes_while_the_key_changes(home: NodeHome, registry: ConsentRegistry) -> None:
    views = AdmittedViews(home)
    with views.open() as index:
        assert cohort.count(index, EVERYONE) == 30
    (home.folder / "rotation.json").write_text("{}")
    with pytest.raises(Unavailable):
        open_admitted(home)
    with pytest.raises(Unavailable), views.open():
        pass
    with pytest.raises(Unavailable):
        registry.withdraw(["P1"])


def test_a_sealed_identifier_opens_under_its_own_pseudonym_only(registry: ConsentRegistry) -> None:
    registry.withdraw(["P1", "P2"])
    connection = sqlite3.connect(registry.path)
    names = [name for (name,) in connection.execute("SELECT pseudonym FROM person ORDER BY pseudonym")]
    connection.executescript("DROP TRIGGER person_UPDATE")
    contents = [c for (c,) in connection.execute("SELECT sealed FROM person ORDER BY pseudonym")]
    connection.execute("UPDATE person SET sealed = ? WHERE pseudonym = ?", (contents[1], names[0]))
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="changed"):
        registry.entries()


def test_a_registry_is_rekeyed_with_all_it_holds(
    home: NodeHome, registry: ConsentRegistry, tmp_path: Path
) -> None:
    registry.withdraw(["P1", "P2"])
    registry.add(["P2"], dataset="one")
    registry.declare("one", Mode.OPT_IN)
    new = SiteKey(os.urandom(32))
    (tmp_path / "other").mkdir()
    target = tmp_path / "other" / "consent.sqlite"
    with registry.rekeyed(new, target):
        pass
    other = ConsentRegistry(tmp_path / "other", new, home.audit)
    old, fresh = registry.state(), other.state()
    assert (fresh.revision, fresh.modes) == (old.revision + 1, old.modes)
    assert not set(fresh.said) & set(old.said)
    for identifier in ("P1", "P2"):
        assert fresh.said[other.pseudonym(identifier)] == old.said[registry.pseudonym(identifier)]
    assert [(e.identifier, e.word) for e in other.entries()] == [
        (e.identifier, e.word) for e in registry.entries()
    ]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


KILLED = """
import sys
from pathlib import Path
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
registry = ConsentRegistry.of(NodeHome.open(Path(sys.argv[1])))
for n in range(10_000):
    registry.withdraw([f"K{n}"])
    print(n, flush=True)
"""


def test_what_a_killed_writer_said_it_recorded_is_there(home: NodeHome, registry: ConsentRegistry) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home.folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(5)]
        process.kill()
        told += [int(line) for line in process.stdout.read().split()]
    state = registry.state()
    assert all(not state.admits(registry.pseudonym(f"K{n}"), "one") for n in told)
    assert registry.withdraw(["after"]) == 1
    assert home.audit.verify() > 0


def test_writers_at_once_lose_no_word(home: NodeHome) -> None:
    def write(number: int) -> None:
        own = ConsentRegistry.of(home)
        for n in range(5):
            own.withdraw([f"W{number}-{n}"])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = ConsentRegistry.of(home).state()
    assert (state.revision, len(state.said)) == (20, 20)


def test_whoever_withdrew_before_a_count_began_is_not_in_it(home: NodeHome) -> None:
    """Counts, withdrawals, publications at once: a `withdraw` that returned holds for all after it."""
    people = [f"P{n}" for n in range(30)]
    gone: list[str] = []
    stop = threading.Event()
    wrong: list[str] = []
    counted = 0

    def count() -> None:
        nonlocal counted
        views, registry = AdmittedViews(home), ConsentRegistry.of(home)
        while not stop.is_set():
            before = {registry.pseudonym(person) for person in gone}
            with views.open() as index:
                there = set(cohort.members(index, EVERYONE, datasets=("one",)))
                number = cohort.count(index, EVERYONE)
            wrong.extend(before & there)
            if number > 30 + 3 - len(before) or number != len(there):
                wrong.append(f"{number} of {len(there)}")
            counted += 1

    counters = [threading.Thread(target=count) for _ in range(2)]
    for counter in counters:
        counter.start()
    registry = ConsentRegistry.of(home)
    for number, person in enumerate(people[:24]):
        registry.withdraw([person])
        gone.append(person)
        if number % 8 == 0:
            _put(home, "one", [f"Q{number}"], folder=f"/q{number}")
    stop.set()
    for counter in counters:
        counter.join()
    assert (wrong, _count(home)) == ([], 9)
    assert counted > 2


PEOPLE = ["A", "B", "C", "D"]
DATASETS = ["one", "two"]
BELONGS = {"one": ["A", "B", "C"], "two": ["B", "C", "D"]}


class Interleaved(RuleBasedStateMachine):
    """Words, declarations, publications and answers in any order, against a model in four lines."""

    @initialize(folder=st.integers(0, 2**60))
    def begin(self, folder: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory(prefix="consent")
        self.home = NodeHome.create(Path(self.folder.name) / "gr", site="gr", name="x", country="GR")
        self.registry = ConsentRegistry.of(self.home)
        self.views = AdmittedViews(self.home)
        self.said: dict[tuple[str, str], bool] = {}
        self.modes = dict.fromkeys(DATASETS, Mode.OPT_OUT)
        self.round = 0
        self.versions: list[int] = []
        for name in DATASETS:
            _put(self.home, name, BELONGS[name])

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(
        people=st.sets(st.sampled_from(PEOPLE), min_size=1),
        dataset=st.sampled_from([None, *DATASETS]),
        add=st.booleans(),
    )
    def say(self, people: set[str], dataset: str | None, add: bool) -> None:
        (self.registry.add if add else self.registry.withdraw)(sorted(people), dataset=dataset)
        for person in people:
            self.said |= {(person, name): add for name in DATASETS if dataset in (None, name)}

    @rule(dataset=st.sampled_from(DATASETS), mode=st.sampled_from(Mode))
    def declare(self, dataset: str, mode: Mode) -> None:
        self.registry.declare(dataset, mode)
        self.modes[dataset] = mode

    @rule()
    def ingest(self) -> None:
        self.round += 1
        _put(self.home, "one", [f"Z{self.round}"], folder=f"/z{self.round}")
        self.said[f"Z{self.round}", "one"] = True
        self.registry.add([f"Z{self.round}"], dataset="one")

    @invariant()
    def only_the_admitted_are_there(self) -> None:
        strangers = [f"Z{n}" for n in range(1, self.round + 1)]
        expected = {
            person
            for name in DATASETS
            for person in (*BELONGS[name], *(strangers if name == "one" else ()))
            if self.modes[name].admits(self.said.get((person, name)))
        }
        names = {self.registry.pseudonym(person) for person in expected}
        with self.views.open() as index:
            self.versions.append(index.version)
            assert cohort.count(index, EVERYONE) == len(expected)
            assert set(cohort.members(index, EVERYONE, datasets=tuple(DATASETS))) == names
            assert {p for (p,) in index.rows("SELECT patient FROM patient")} == names
            assert _profiles(index, "FROM profile") == _profiles(index, PROFILES.format(people="patient"))
        with open_admitted(self.home) as index:
            assert _profiles(index, "FROM profile") == _profiles(index, PROFILES.format(people="patient"))
        assert self.versions == sorted(self.versions)


Interleaved.TestCase.settings = settings(
    max_examples=12, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInterleaved = Interleaved.TestCase


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([None, "one", "two"]), st.booleans()), max_size=20
    ),
    st.sampled_from(Mode),
)
def test_the_meaning_of_a_sequence_is_its_last_covering_word(
    words: list[tuple[str, str | None, bool]], mode: Mode
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    from unica_sdk.node import consent_file as file

    connection.executescript(file._SCHEMA)
    for revision, (person, dataset, add) in enumerate(words, 1):
        file.append(connection, revision, "add" if add else "withdraw", person=person, dataset=dataset)
    file.append(connection, len(words) + 1, "declare", dataset="one", mode=mode)
    state = file.read_state(connection)
    connection.close()
    for person in "ab":
        for dataset in ("one", "two"):
            covering = [add for p, d, add in words if p == person and d in (None, dataset)]
            expected = (mode if dataset == "one" else Mode.OPT_OUT).admits(covering[-1] if covering else None)
            assert state.admits(person, dataset) is expected


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("consent.sqlite-*"))
