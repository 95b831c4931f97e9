"""The ledger's tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    FromClause,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    exists,
)

from orchestrator.ledger.records import KEY, PLANNED, WINDOW_KEY


class _Instant(TypeDecorator[datetime]):
    """A moment in UTC, also where the database keeps no zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect  # every database is told UTC
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - its base says so
        del dialect
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _key() -> list[Column[Any]]:
    """Return the columns that name a revision of a window, for one more table."""
    types: dict[str, Any] = {
        "export": String(300),
        "window_start": _Instant,
        "window_end": _Instant,
        "revision": Integer,
    }
    return [Column(name, types[name], primary_key=True) for name in KEY]


METADATA = MetaData()
WINDOWS = Table(
    "windows",
    METADATA,
    *_key(),
    Column("scheduled", Boolean, nullable=False),  # found due, not asked for by date
    Column("state", String(20), nullable=False),
    Column("activity_rows", BigInteger),
    Column("broadcast_rows", BigInteger),
    Column("updated_at", _Instant, nullable=False),
)
DELIVERIES = Table(
    "deliveries",
    METADATA,
    *_key(),
    Column("destination", String(200), primary_key=True),
    Column("path", String(1000), primary_key=True),
    Column("kind", String(20), nullable=False),  # broadcast, activity, ready, manifest
    Column("position", Integer, nullable=False),  # the order of delivery within the window
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    # The rename was sent; whether it took place is known once the file counts as delivered.
    Column("rename_sent", Boolean, nullable=False),
    Column("delivered_at", _Instant),
)
RECOUNTS = Table(  # of each revision that has files
    "recounts",
    METADATA,
    *_key(),
    Column("choice", String(1000), nullable=False),  # which rows the files hold
    # What the views showed later on.
    Column("counted_at", _Instant),
    Column("activity_rows", BigInteger),
    Column("broadcast_rows", BigInteger),
)
REMOVALS = Table(  # what retention need not ask for again, until it is delivered anew
    "removals",
    METADATA,
    Column("destination", String(200), primary_key=True),
    Column("path", String(1000), primary_key=True),
    Column("removed_at", _Instant, nullable=False),
)
ACTIVITIES = Table(  # the rows of each revision's activity file, by activity
    "activities",
    METADATA,
    *_key(),
    Column("activity", String, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    sqlite_with_rowid=False,  # half the room
)
FAILURES = Table(  # what kept a revision from being made or delivered, each reason once
    "failures",
    METADATA,
    *_key(),
    Column("digest", String(64), primary_key=True),  # of status and reason, too long for a key
    Column("status", String(20), nullable=False),  # failed, stopped
    Column("reason", String(1000), nullable=False),
    Column("first_at", _Instant, nullable=False),
    Column("last_at", _Instant, nullable=False),
    Column("times", Integer, nullable=False),
)


def same(one: FromClause, other: FromClause, columns: Sequence[str] = KEY) -> ColumnElement[bool]:
    """Return the condition of rows that are alike in these columns, else of one revision."""
    return and_(*(one.c[name] == other.c[name] for name in columns))


def replaced(table: Table) -> ColumnElement[bool]:
    """Return the condition of rows whose window has a newer revision."""
    newer = WINDOWS.alias()
    return exists().where(same(newer, table, WINDOW_KEY), newer.c.revision > table.c.revision)


def remade(table: Table) -> ColumnElement[bool]:
    """Return the condition of rows whose window has a newer revision with files."""
    newer = WINDOWS.alias()
    later = newer.c.revision > table.c.revision
    return exists().where(same(newer, table, WINDOW_KEY), later, newer.c.state != PLANNED)
