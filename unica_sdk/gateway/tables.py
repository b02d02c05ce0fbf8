"""The gateway's tables: contracts as JSON documents, with the columns they are looked up by."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA = 1
"""The version of these tables; another version is refused, never guessed at."""

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("value", String(255), nullable=False),
)

site = Table(
    "site",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("enrolment", Text, nullable=False),
    Column("last_seen", Float),
    Column("audit_head", String(80)),
    Column("audit_length", Integer),
)

site_policy = Table(
    "site_policy",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("document", Text, nullable=False),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", String(130), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("site", String(63), nullable=False, index=True),
    Column("current", Boolean, nullable=False, index=True),
    Column("digest", String(80), nullable=False),
    Column("document", Text, nullable=False),
    Column("received", Float, nullable=False),
)

permit = Table(
    "permit",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("holder", String(255), nullable=False, index=True),
    Column("document", Text, nullable=False),
)

app = Table(
    "app",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("document", Text, nullable=False),
    Column("bundle", LargeBinary, nullable=False),
)

cohort = Table(
    "cohort",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("holder", String(255), primary_key=True),
    Column("document", Text, nullable=False),
    Column("created", Float, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("holder", String(255), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("order", Text),
    Column("due", Float, nullable=False),
    Column("created", Float, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("job", String(63), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("document", Text, nullable=False),
)
