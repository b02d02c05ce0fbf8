"""The gateway's memory: sites, records, permits, apps, cohorts, and the jobs in `jobs`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.sql import ColumnElement

from unica_sdk.errors import InvalidRequest, NotFound
from unica_sdk.gateway import tables
from unica_sdk.gateway.database import Database
from unica_sdk.gateway.job_store import JobStore
from unica_sdk.schemas.app import App
from unica_sdk.schemas.catalogue import DatasetRecord, NodeEnrolment, RecordVersion
from unica_sdk.schemas.cohort import FrozenCohort
from unica_sdk.schemas.contract import canonical_json, sha256
from unica_sdk.schemas.permit import Permit
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import SignedDocument, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """A site as the store knows it: its enrolment, and what its last hello said."""

    enrolment: NodeEnrolment
    last_seen: datetime | None
    audit_head: str | None
    audit_length: int | None
    policy: SitePolicy | None = None


class Store:
    """What the gateway must not forget. Every method is one transaction and safe from any thread.

    Example:
        >>> import tempfile
        >>> store = Store.open(f"sqlite:///{tempfile.mkdtemp()}/gateway.sqlite")
        >>> store.sites()
        {}
        >>> store.close()
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.jobs = JobStore(database)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open the store by its SQLAlchemy URL, making its tables where there are none.

        Raises:
            ConfigurationError: it cannot be opened, or its tables are of another version.
        """
        return cls(Database.open(url))

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    # -- sites and their records

    def enrol(self, enrolment: NodeEnrolment) -> None:
        """Enter a site, or its new names and keys."""
        with self._database.write() as connection:
            document = {"enrolment": enrolment.model_dump_json()}
            _put(connection, tables.site, {"name": enrolment.site}, document)
            _note_change(connection)

    def sites(self) -> dict[str, SiteRow]:
        """Return every enrolled site by its name."""
        with self._database.read() as connection:
            rows = connection.execute(_SITES.order_by(tables.site.c.name)).all()
        return {row.name: _site_row(row) for row in rows}

    def site_names(self) -> tuple[str, ...]:
        """Return the name of every enrolled site, in order."""
        with self._database.read() as connection:
            return tuple(connection.scalars(select(tables.site.c.name).order_by(tables.site.c.name)).all())

    def site(self, name: str) -> SiteRow:
        """Return one site.

        Raises:
            NotFound: it is not enrolled.
        """
        with self._database.read() as connection:
            row = connection.execute(_SITES.where(tables.site.c.name == name)).first()
        if row is None:
            raise NotFound(f"No site is called {name}.", where="site")
        return _site_row(row)

    def heard_from(
        self, site: str, *, at: datetime, audit_head: str, audit_length: int, policy: SitePolicy | None = None
    ) -> None:
        """Keep what a site's hello said of its audit and its policy, and when."""
        with self._database.write() as connection:
            connection.execute(
                update(tables.site)
                .where(tables.site.c.name == site)
                .values(last_seen=at.timestamp(), audit_head=audit_head, audit_length=audit_length)
            )
            if policy is not None:
                document = {"document": policy.model_dump_json()}
                _put(connection, tables.site_policy, {"name": site}, document)

    def records_revision(self) -> str:
        """Return a word that is another one whenever a record or an enrolment changed."""
        with self._database.read() as connection:
            table = tables.meta
            return connection.scalar(select(table.c.value).where(table.c.key == _CHANGE)) or ""

    def record_documents(self) -> list[tuple[str, str]]:
        """Return the id and the current record of every dataset, as the JSON that is stored."""
        with self._database.read() as connection:
            table = tables.dataset
            rows = connection.execute(select(table.c.id, table.c.document).where(table.c.current)).all()
        return [(identity, document) for identity, document in rows]

    def records(self) -> tuple[DatasetRecord, ...]:
        """Return the current record of every dataset."""
        with self._database.read() as connection:
            found = connection.scalars(
                select(tables.dataset.c.document)
                .where(tables.dataset.c.current)
                .order_by(tables.dataset.c.id)
            ).all()
        return tuple(DatasetRecord.model_validate_json(document) for document in found)

    def versions(self, dataset: str) -> tuple[RecordVersion, ...]:
        """Return every version of a dataset's record, the newest first; none of an unknown dataset."""
        table = tables.dataset
        with self._database.read() as connection:
            rows = connection.execute(
                select(table).where(table.c.id == dataset).order_by(table.c.sequence.desc())
            ).all()
        return tuple(
            RecordVersion(
                version=row.sequence,
                received=datetime.fromtimestamp(row.received, UTC),
                current=row.current,
                record=DatasetRecord.model_validate_json(row.document),
            )
            for row in rows
        )

    def record(self, dataset: str) -> DatasetRecord | None:
        """Return the current record of one dataset; None where there is none."""
        table = tables.dataset
        with self._database.read() as connection:
            found = connection.scalar(select(table.c.document).where(table.c.id == dataset, table.c.current))
        return DatasetRecord.model_validate_json(found) if found is not None else None

    def unknown(self, site: str, records: tuple[DatasetRecord, ...]) -> tuple[DatasetRecord, ...]:
        """Return those of a site's records that say something else than the current ones."""
        with self._database.read() as connection:
            known = _current_digests(connection, site)
        return tuple(record for record in records if known.get(record.id) != substance(record))

    def differs(self, site: str, records: tuple[DatasetRecord, ...]) -> bool:
        """Whether a site describes its datasets otherwise than before (a new date alone is no difference)."""
        with self._database.read() as connection:
            return _current_digests(connection, site) != {r.id: substance(r) for r in records}

    def put_records(self, site: str, records: tuple[DatasetRecord, ...], *, at: datetime) -> None:
        """Make these a site's current records; earlier versions are kept."""
        with self._database.write() as connection:
            known = _current_digests(connection, site)
            table = tables.dataset
            for record in records:
                if known.pop(record.id, None) != substance(record):
                    _new_version(connection, record, at=at)
            for gone in known:
                connection.execute(update(table).where(table.c.id == gone).values(current=False))
            _note_change(connection)

    # -- permits and apps

    def add_permit(self, signed: SignedDocument, *, steward_public_key: Ed25519PublicKey) -> Permit:
        """Enter a permit that the steward signed; a newer one of the same id replaces the older.

        Raises:
            SignatureInvalid: the steward did not sign it.
            InvalidRequest: a newer permit of this id is there, or one for somebody else.
        """
        permit = verify(signed, Permit, steward_public_key)
        with self._database.write() as connection:
            found = connection.scalar(
                select(tables.permit.c.document).where(tables.permit.c.id == permit.id).with_for_update()
            )
            if found is not None:
                earlier = SignedDocument.model_validate_json(found)
                _check_renewal(verify(earlier, Permit, steward_public_key), permit)
            values = {"holder": permit.holder, "document": signed.model_dump_json()}
            _put(connection, tables.permit, {"id": permit.id}, values)
        return permit

    def permits(self, holder: str) -> tuple[SignedDocument, ...]:
        """Return somebody's permits as they were signed."""
        with self._database.read() as connection:
            table = tables.permit
            found = connection.scalars(
                select(table.c.document).where(table.c.holder == holder).order_by(table.c.id)
            ).all()
        return tuple(SignedDocument.model_validate_json(document) for document in found)

    def add_app(self, app: App, bundle: bytes) -> None:
        """Enter an app and its bundle.

        Raises:
            InvalidRequest: the bundle's digest is not the app's identity.
        """
        if sha256(bundle) != app.id:
            raise InvalidRequest("The bundle's bytes are not those the app is named after.", where=app.id)
        with self._database.write() as connection:
            values = {"document": app.model_dump_json(), "bundle": bundle}
            _put(connection, tables.app, {"id": app.id}, values)

    def apps(self) -> tuple[App, ...]:
        """Return every app, by name and version."""
        with self._database.read() as connection:
            found = connection.scalars(select(tables.app.c.document)).all()
        apps = [App.model_validate_json(document) for document in found]
        return tuple(sorted(apps, key=lambda app: (app.manifest.name, app.manifest.version, app.id)))

    def app(self, digest: str) -> App:
        """Return one app.

        Raises:
            NotFound: no app has this digest.
        """
        return App.model_validate_json(self._of_app(digest, tables.app.c.document))

    def bundle(self, digest: str) -> bytes:
        """Return an app's bundle.

        Raises:
            NotFound: no app has this digest.
        """
        return bytes(self._of_app(digest, tables.app.c.bundle))

    def _of_app(self, digest: str, column: ColumnElement[Any]) -> Any:
        with self._database.read() as connection:
            found = connection.scalar(select(column).where(tables.app.c.id == digest))
        if found is None:
            raise NotFound(
                "No app has this digest.", where="app", hint="See net.apps for the apps there are."
            )
        return found

    # -- cohorts

    def add_cohort(self, cohort: FrozenCohort) -> None:
        """Keep a frozen cohort; freezing the same again keeps one."""
        with self._database.write() as connection:
            key = {"id": cohort.id, "holder": cohort.holder}
            values = {"document": cohort.model_dump_json(), "created": cohort.created.timestamp()}
            _put(connection, tables.cohort, key, values)

    def cohorts(self, holder: str) -> tuple[FrozenCohort, ...]:
        """Return somebody's frozen cohorts, newest first."""
        table = tables.cohort
        with self._database.read() as connection:
            found = connection.scalars(
                select(table.c.document).where(table.c.holder == holder).order_by(table.c.created.desc())
            ).all()
        return tuple(FrozenCohort.model_validate_json(document) for document in found)

    def cohort(self, cohort_id: str, *, holder: str) -> FrozenCohort:
        """Return one frozen cohort of this person.

        Raises:
            NotFound: there is none, or it is somebody else's.
        """
        table = tables.cohort
        with self._database.read() as connection:
            found = connection.scalar(
                select(table.c.document).where(table.c.id == cohort_id, table.c.holder == holder)
            )
        if found is None:
            raise NotFound(
                "You have no such frozen cohort.",
                where="cohort",
                hint="Freeze one with cohort.freeze(permit=…).",
            )
        return FrozenCohort.model_validate_json(found)


_CHANGE = "records"
"""The row of `meta` that says that records changed."""

_SITES = select(tables.site, tables.site_policy.c.document.label("policy")).select_from(
    tables.site.outerjoin(tables.site_policy, tables.site_policy.c.name == tables.site.c.name)
)


def _note_change(connection: Connection) -> None:
    # A word drawn by chance, not a number: of two writers at once none may repeat what the other wrote.
    _put(connection, tables.meta, {"key": _CHANGE}, {"value": secrets.token_hex(8)})


def _put(connection: Connection, table: Any, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row with this key, or insert it; portable, as the caller holds the write lock."""
    where = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*where).values(values)).rowcount == 0:
        connection.execute(insert(table).values({**key, **values}))


def _site_row(row: Any) -> SiteRow:
    return SiteRow(
        enrolment=NodeEnrolment.model_validate_json(row.enrolment),
        last_seen=datetime.fromtimestamp(row.last_seen, UTC) if row.last_seen is not None else None,
        audit_head=row.audit_head,
        audit_length=row.audit_length,
        policy=_read_policy(row.policy),
    )


def _read_policy(document: str | None) -> SitePolicy | None:
    """Return the policy a site said, or None where another version of this program stored it."""
    try:
        return SitePolicy.model_validate_json(document) if document else None
    except ValidationError:
        return None


def substance(record: DatasetRecord) -> str:
    """Return the digest of what a record says, its date aside."""
    return sha256(canonical_json(record.model_dump(mode="json", exclude={"issued"})))


def _current_digests(connection: Connection, site: str) -> dict[str, str]:
    table = tables.dataset
    rows = connection.execute(
        select(table.c.id, table.c.digest).where(table.c.site == site, table.c.current)
    ).all()
    return {row.id: row.digest for row in rows}


def _new_version(connection: Connection, record: DatasetRecord, *, at: datetime) -> None:
    table = tables.dataset
    last = connection.scalar(select(func.max(table.c.sequence)).where(table.c.id == record.id)) or 0
    connection.execute(update(table).where(table.c.id == record.id).values(current=False))
    connection.execute(
        insert(table).values(
            id=record.id,
            sequence=last + 1,
            site=record.site,
            current=True,
            digest=substance(record),
            document=record.model_dump_json(),
            received=at.timestamp(),
        )
    )


def _check_renewal(earlier: Permit, permit: Permit) -> None:
    if permit.holder != earlier.holder:
        raise InvalidRequest(f"The permit {permit.id} is somebody else's.", where="holder")
    if permit.issued < earlier.issued:
        raise InvalidRequest(f"A newer permit {permit.id} is already there.", where="issued")
