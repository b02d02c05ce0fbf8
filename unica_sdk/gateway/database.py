"""Connections to the gateway's database, and the two kinds of transactions it needs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import SQLAlchemyError

from unica_sdk.errors import ConfigurationError, Unavailable
from unica_sdk.gateway import tables

BUSY_SECONDS = 30
"""How long a writer waits for another one."""


class Database:
    """Reads and writes in transactions; a write holds the database's write lock from its start.

    SQLite runs in WAL mode: readers never wait, writers queue, and a process that is killed loses at most the
    transaction it was in.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Database:
        """Open a database by its SQLAlchemy URL, making its tables where there are none.

        Raises:
            ConfigurationError: it cannot be opened, is in memory, or has tables of another version.
        """
        try:
            engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
            if engine.dialect.name == "sqlite":
                _prepare_sqlite(engine)
            database = cls(engine)
            database._make_tables()
        except (SQLAlchemyError, ImportError) as err:
            raise ConfigurationError(
                "The gateway's database cannot be opened.",
                where=url.rsplit("@", 1)[-1],
                hint="Check that the folder exists and belongs to the service user.",
            ) from err
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that is alone in writing; it is undone where the block raises."""
        with _translated(), self._engine.connect() as connection:
            alone = connection.execution_options(unica_write=True)
            with alone.begin():
                yield alone

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _make_tables(self) -> None:
        with self.write() as connection:
            tables.metadata.create_all(connection)
            found = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.key == "schema"))
            if found is None:
                connection.execute(insert(tables.meta).values(key="schema", value=str(tables.SCHEMA)))
            elif found != str(tables.SCHEMA):
                raise ConfigurationError(
                    f"The database has tables of version {found}, this gateway needs {tables.SCHEMA}.",
                    hint="Run the version of UNICA that made them, or start with an empty state folder.",
                )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as err:
        # The driver's text may hold values of the statement, so it stays in the cause.
        raise Unavailable(
            "The gateway's database did not answer.", hint="Tell the hub's operator; its disk may be full."
        ) from err


def _prepare_sqlite(engine: Engine) -> None:
    path = engine.url.database
    if not path or path == ":memory:":
        raise ConfigurationError("The gateway keeps its state in a file.", hint="Use sqlite:///<path>.")
    try:
        # Made here so that it is private from its first byte; WAL files take the same mode.
        os.close(os.open(Path(path), os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as err:
        raise ConfigurationError(
            "The gateway's database cannot be written.",
            where=path,
            hint="Check that the folder exists and belongs to the service user.",
        ) from err

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        # SQLAlchemy's "begin" below says when a transaction starts, not Python's driver.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("unica_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
