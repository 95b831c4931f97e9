"""The ledger on a PostgreSQL server."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from orchestrator import system
from orchestrator.ledger.session import LedgerSession, Row

ERROR = psycopg.Error
_LOCK = 0x45424558  # one lock for a database, whatever the schema; the number is "EBEX" in ASCII
_AT_ONCE = 10_000
"""Rows that are in memory at a time."""
_PATIENCE = {  # seconds, except the last: milliseconds; libpq, "Parameter Key Words"
    "connect_timeout": "10",
    "keepalives_idle": "60",  # while dbt works for hours, firewalls drop idle connections
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "60000",
}


class PostgresqlSession(LedgerSession):
    """A connection that gives up an unreachable server, and names this process to the server."""

    words: ClassVar = {
        "moment": "timestamp with time zone",
        "compact": "",
        "json_object": "json_object_agg",
    }

    def __init__(self, server: Mapping[str, str]) -> None:
        """Connect with libpq's parameters."""
        who = {"application_name": f"orchestrate, {system.this_process()}"}
        wanted = make_conninfo(**{**_PATIENCE, **who, **server})
        super().__init__(psycopg.connect(wanted, autocommit=True, row_factory=dict_row))
        self._connection.execute("set time zone 'UTC'")

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return bool(self._connection.closed)

    def lock(self, where: str) -> None:
        """Take the lock, which ends with this session. Raises LockedError where it is taken."""
        self.run("postgresql/session")
        (lock,) = self.rows("postgresql/lock", lock=_LOCK)
        if lock["held"]:
            return
        holder = next(self.rows("postgresql/holder", lock=_LOCK), None)
        name = holder["application_name"] if holder else ""
        if holder and holder["backend_start"]:
            name += f" since {holder['backend_start']:%Y-%m-%d %H:%M %Z}"
        raise system.locked(name, where)

    def transaction(self) -> AbstractContextManager[object]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""
        found: AbstractContextManager[object] = self._connection.transaction()
        return found

    def has(self, name: str, *, column: str | None = None) -> bool:
        """Tell whether a table or an index exists, or a column of a table."""
        if column:
            return any(self.rows("postgresql/has_column", table=name, name=column))
        return any(self.rows("postgresql/has_table", name=name))

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Keep the rows on the server, in a cursor, and fetch a part at a time."""
        with self._connection.cursor("rows") as cursor:
            cursor.itersize = _AT_ONCE
            yield from self._found(cursor, statement, parameters)

    def _text(self, statement: str) -> str:
        return re.sub(r":(\w+)", r"%(\1)s", super()._text(statement))
