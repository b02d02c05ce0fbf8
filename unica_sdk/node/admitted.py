"""The index as consent leaves it: everything that answers, freezes or trains reads through here.

A view of one published version at one revision of the consent registry. Under the names `patient`, `profile`,
`instance` and `clinical` it shows only what people allow, so that no query can forget to ask. A person whose
datasets differ in what they admit is counted by the admitted ones alone.

Its version is the published version plus the registry's revision. Both only ever grow, so each change of
either gives a version that was never there before, and a withdrawal is a new version at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from unica_sdk.errors import DataError, Unavailable
from unica_sdk.node.consent import Consent, ConsentRegistry, Mode, rotating
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import PATIENTS, PROFILES, DatasetInfo, Index, current_version

_ATTEMPTS = 20
"""How often an index is opened that is replaced while it is."""

_WITHHELD = """
CREATE TEMP TABLE withheld AS
SELECT here.patient, here.dataset, here.imaged FROM (
    SELECT patient, dataset, bool_or(of_image) AS imaged FROM (
        SELECT patient, unnest(datasets) AS dataset, true AS of_image
        FROM {base}.patient {only_those_who_spoke}
        UNION ALL
        SELECT patient, dataset, false FROM {base}.clinical {only_those_who_spoke}
    ) GROUP BY ALL
) AS here LEFT JOIN said ON said.patient = here.patient AND said.dataset = here.dataset
WHERE NOT coalesce(said.granted, here.dataset IN (SELECT unnest($opt_out::VARCHAR[])))
"""
"""Whose data of which dataset is shut: a table may speak of people of whom the dataset has no image."""
_IN_PART = """
CREATE TEMP TABLE in_part AS
SELECT patient FROM (
    SELECT patient, count(*) FILTER (imaged) AS closed FROM withheld GROUP BY patient
)
JOIN {base}.patient USING (patient) WHERE closed < len(datasets)
"""
_ROWS = """
CREATE OR REPLACE TEMP VIEW {table} AS
SELECT * FROM {base}.{table} AS r
WHERE NOT EXISTS (SELECT 1 FROM withheld AS w WHERE w.patient = r.patient AND w.dataset = r.dataset)
"""
_OF_SOME = " AND r.patient IN (SELECT patient FROM in_part)"
_CLOSED = """
CREATE TEMP TABLE closed AS
SELECT rowid AS place FROM {base}.patient WHERE patient IN (SELECT patient FROM withheld)
"""
_PEOPLE = """
CREATE TEMP VIEW patient AS
SELECT * FROM {base}.patient AS r WHERE r.rowid NOT IN (SELECT place FROM closed)
UNION ALL BY NAME SELECT * FROM partly
"""
_PARTLY = f"CREATE TEMP TABLE partly AS {PATIENTS}"
_PROFILES = """
CREATE TEMP VIEW profile AS
SELECT * EXCLUDE (people), sum(people) AS people FROM (
    SELECT * FROM {base}.profile
    UNION ALL BY NAME SELECT * REPLACE (-people AS people) FROM ({shut})
    UNION ALL BY NAME {partly}
) GROUP BY ALL HAVING sum(people) > 0
"""
"""What was published, less the people who are closed: of a million, a few have withdrawn."""


class AdmittedIndex(Index):
    """A published version at one revision of the consent registry; use it in a `with` statement.

    Attributes:
        published: The published version's own number.
        revision: The registry's.
        version: Their sum, which is what answers name.
    """

    published: int
    revision: int
    file = ""
    _restricted = False
    _datasets: tuple[DatasetInfo, ...] | None = None

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def apply(self, consent: Consent) -> None:
        """Show only what this consent admits; called once, before anything is read.

        Raises:
            DataError: the index cannot be read.
        """
        self.published, self.revision = self.version, consent.revision
        self.version += consent.revision
        try:
            names = self._connection.execute("SELECT current_database()").fetchone()
            self._base = '"{}".main'.format(str(names[0] if names else "").replace('"', '""'))
            if consent.said or any(mode is not Mode.OPT_OUT for mode in consent.modes.values()):
                self._withhold(consent)
        except duckdb.Error as err:
            raise DataError("The index cannot be read.", hint=str(err)[:200]) from err

    def datasets(self) -> list[DatasetInfo]:
        """Return the datasets of this version, those of which nobody is admitted included."""
        if self._datasets is None:
            # Each count asks; the view does not change, and looking through all instances costs more than it.
            found = self.rows(
                f"SELECT name, title, description, synthetic, clinical FROM {self._base}.dataset"  # noqa: S608
                f" WHERE name IN (SELECT dataset FROM {self._base}.instance) ORDER BY name"
            )
            self._datasets = tuple(
                DatasetInfo(name=n, title=t, description=d, synthetic=s, clinical=c)
                for n, t, d, s, c in found
            )
        return list(self._datasets)

    def withheld(self, patients: Sequence[str], datasets: Sequence[str]) -> int:
        """Return how many of these people do not allow all that these datasets have of them."""
        if not self._restricted:
            return 0
        ((number,),) = self.rows(
            "SELECT count(DISTINCT patient) FROM withheld"
            " WHERE patient IN (SELECT unnest($patients::VARCHAR[]))"
            " AND dataset IN (SELECT unnest($datasets::VARCHAR[]))",
            {"patients": list(patients), "datasets": list(datasets)},
        )
        return int(number)

    def settle(self) -> None:
        """Work out what counts run on, once for the many counts that come.

        Raises:
            DataError: the index cannot be read.
        """
        if self._restricted:
            self.rows("CREATE TEMP TABLE settled AS FROM profile")
            self.rows("CREATE OR REPLACE TEMP VIEW profile AS FROM settled")

    def _withhold(self, consent: Consent) -> None:
        connection = self._connection
        datasets = [str(name) for (name,) in connection.execute("SELECT name FROM dataset").fetchall()]
        said = [
            (person, dataset, granted)
            for person in consent.said
            for dataset in datasets
            if (granted := consent.granted(person, dataset)) is not None
        ]
        columns = [list(column) for column in zip(*said, strict=True)] or [[], [], []]
        connection.execute(
            "CREATE TEMP TABLE said AS SELECT unnest(?::VARCHAR[]) AS patient,"
            " unnest(?::VARCHAR[]) AS dataset, unnest(?::BOOLEAN[]) AS granted",
            columns,
        )
        opt_out = [name for name in datasets if consent.mode(name) is Mode.OPT_OUT]
        only = "WHERE patient IN (SELECT patient FROM said)" if opt_out == datasets else ""
        connection.execute(_WITHHELD.format(base=self._base, only_those_who_spoke=only), {"opt_out": opt_out})
        digest = connection.execute(
            "SELECT count(*), bit_xor(md5_number(patient || ' ' || dataset)) FROM withheld"
        ).fetchone()
        if digest is None or not digest[0]:
            return
        self._restricted = True
        # What hangs on the content, such as prepared images, hangs on who is in it.
        self.content = "sha256:" + hashlib.sha256(f"{self.content} {digest}".encode()).hexdigest()
        connection.execute(_IN_PART.format(base=self._base))
        self._show_rows(_ROWS + _OF_SOME)
        # Few people, so that nobody has to be put together anew for whom nothing changed.
        connection.execute(_PARTLY, {"datasets": datasets})
        self._show_rows(_ROWS)
        for people in (_CLOSED, _PEOPLE):
            connection.execute(people.format(base=self._base))
        shut = f"(FROM {self._base}.patient WHERE rowid IN (SELECT place FROM closed))"  # noqa: S608
        counted = {"shut": PROFILES.format(people=shut), "partly": PROFILES.format(people="partly")}
        connection.execute(_PROFILES.format(base=self._base, **counted))

    def _show_rows(self, rows: str) -> None:
        for table in ("instance", "clinical"):
            self._connection.execute(rows.format(base=self._base, table=table))


def open_admitted(home: NodeHome) -> AdmittedIndex:
    """Open the current version as consent leaves it now.

    Raises:
        NotFound: nothing has been published yet.
        DataError: the index or the registry cannot be read.
        Unavailable: the site key is being changed.
    """
    registry = ConsentRegistry.of(home)
    for _ in range(_ATTEMPTS):
        _refuse_while_rotating(home.folder)
        name = current_version(home.index_folder)
        index = AdmittedIndex.open(home.index_folder)
        try:
            consent = registry.state()
            # Version and revision must have been current at one moment, or their sum would mean two things.
            if current_version(home.index_folder) == name:
                index.apply(consent)
                index.file = name
                return index
        except BaseException:
            index.close()
            raise
        index.close()
    raise Unavailable("The index changes faster than it can be opened.", where=str(home.index_folder))


class AdmittedViews:
    """Opens the current view and keeps it until the index or the registry changes; safe in threads."""

    def __init__(self, home: NodeHome) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._index: AdmittedIndex | None = None

    @contextmanager
    def open(self) -> Iterator[AdmittedIndex]:
        """Yield the view as of now; one thread at a time.

        Raises:
            NotFound: nothing has been published yet.
            DataError: the index or the registry cannot be read.
            Unavailable: the site key is being changed.
        """
        with self._lock:
            yield self._current()

    def _current(self) -> AdmittedIndex:
        _refuse_while_rotating(self._home.folder)
        name = current_version(self._home.index_folder)
        revision = ConsentRegistry.of(self._home).revision()
        kept = self._index
        if kept is not None and (kept.file, kept.revision) == (name, revision):
            return kept
        if kept is not None:
            kept.close()
            self._index = None
        self._index = open_admitted(self._home)
        self._index.settle()
        return self._index


def _refuse_while_rotating(folder: Path) -> None:
    if rotating(folder):
        raise Unavailable(
            "The site key is being changed.",
            where=str(folder),
            hint="Run `unica node key rotate` until it is done.",
        )
