"""Jobs in the gateway's database: each change is one transaction, and a final state never changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from unica_sdk.errors import NotFound
from unica_sdk.gateway import tables
from unica_sdk.gateway.database import Database
from unica_sdk.gateway.lifecycle import Step
from unica_sdk.schemas.job import Job, JobEvent, JobOrder, JobRequest, JobState


class JobStore:
    """The jobs and their events. Every method is one transaction and safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, step: Step, request: JobRequest, *, due: datetime) -> None:
        """Enter a new job with its first event; `due` is when somebody must have ended it."""
        job = step.job
        with self._database.write() as connection:
            connection.execute(
                insert(tables.job).values(
                    id=job.id,
                    holder=job.holder,
                    state=job.state.value,
                    document=job.model_dump_json(),
                    request=request.model_dump_json(),
                    due=due.timestamp(),
                    created=job.created.timestamp(),
                )
            )
            _add_event(connection, job.id, step.event)

    def change(
        self,
        job_id: str,
        change: Callable[[Job], Step | None],
        *,
        order: JobOrder | None = None,
        due: datetime | None = None,
    ) -> tuple[Job, bool]:
        """Change one job alone among all writers; return it and whether it changed.

        `change` gets the job as it stands and says what it becomes. It is not asked about a job that is over,
        which never changes.

        Raises:
            NotFound: no such job.
        """
        with self._database.write() as connection:
            table = tables.job
            document = connection.scalar(
                select(table.c.document).where(table.c.id == job_id).with_for_update()
            )
            job = _job(document)
            step = None if job.state.final else change(job)
            if step is None:
                return job, False
            values: dict[str, Any] = {"state": step.job.state.value, "document": step.job.model_dump_json()}
            if order is not None:
                values["order"] = order.model_dump_json()
            if due is not None:
                values["due"] = due.timestamp()
            connection.execute(update(table).where(table.c.id == job_id).values(values))
            _add_event(connection, job_id, step.event)
            return step.job, True

    def get(self, job_id: str, *, holder: str | None = None) -> Job:
        """Return one job, of this person where `holder` is given.

        Raises:
            NotFound: there is none, or it is somebody else's.
        """
        table = tables.job
        mine = [table.c.holder == holder] if holder is not None else []
        with self._database.read() as connection:
            return _job(connection.scalar(select(table.c.document).where(table.c.id == job_id, *mine)))

    def of(self, holder: str) -> tuple[Job, ...]:
        """Return somebody's jobs, newest first."""
        table = tables.job
        with self._database.read() as connection:
            found = connection.scalars(
                select(table.c.document).where(table.c.holder == holder).order_by(table.c.created.desc())
            ).all()
        return tuple(_job(document) for document in found)

    def request(self, job_id: str) -> JobRequest:
        """Return what was submitted.

        Raises:
            NotFound: no such job.
        """
        with self._database.read() as connection:
            found = connection.scalar(select(tables.job.c.request).where(tables.job.c.id == job_id))
        if found is None:
            raise _no_job()
        return JobRequest.model_validate_json(found)

    def order(self, job_id: str) -> JobOrder:
        """Return the order of a job that is under way.

        Raises:
            NotFound: no such job, not yet checked, or over.
        """
        table = tables.job
        with self._database.read() as connection:
            row = connection.execute(select(table.c.order, table.c.state).where(table.c.id == job_id)).first()
        if row is None or row.order is None or JobState(row.state).final:
            raise NotFound("No such job is under way.", where="job")
        return JobOrder.model_validate_json(row.order)

    def events(self, job_id: str, *, after: int) -> tuple[JobEvent, ...]:
        """Return a job's events with a number above `after`, in order."""
        table = tables.event
        with self._database.read() as connection:
            found = connection.scalars(
                select(table.c.document)
                .where(table.c.job == job_id, table.c.sequence > after)
                .order_by(table.c.sequence)
            ).all()
        return tuple(JobEvent.model_validate_json(document) for document in found)

    def unfinished(
        self, *, states: tuple[JobState, ...] = (), due: datetime | None = None
    ) -> tuple[str, ...]:
        """Return the jobs that are not over: those in certain states, those due by a time."""
        table = tables.job
        wanted = states or tuple(state for state in JobState if not state.final)
        query = select(table.c.id).where(table.c.state.in_([state.value for state in wanted]))
        if due is not None:
            query = query.where(table.c.due < due.timestamp())
        with self._database.read() as connection:
            return tuple(connection.scalars(query.order_by(table.c.created)).all())

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state, of all people together."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(tables.job.c.state, func.count()).group_by(tables.job.c.state)
            ).all()
        return dict(sorted((row[0], row[1]) for row in rows))


def _job(document: str | None) -> Job:
    if document is None:
        raise _no_job()
    return Job.model_validate_json(document)


def _no_job() -> NotFound:
    return NotFound("You have no such job.", where="job", hint="See net.jobs for your jobs.")


def _add_event(connection: Connection, job_id: str, event: JobEvent) -> None:
    table = tables.event
    last = connection.scalar(select(func.max(table.c.sequence)).where(table.c.job == job_id)) or 0
    numbered = event.model_copy(update={"sequence": last + 1})
    connection.execute(
        insert(table).values(job=job_id, sequence=numbered.sequence, document=numbered.model_dump_json())
    )
