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
_LOCK = 0x45424558  # of this database, whatever the schema; nobody else's number
_AT_ONCE = 10_000
"""Rows in memory at a time."""
_PATIENCE = {  # seconds, but for the last; libpq, "Parameter Key Words"
    "connect_timeout": "10",
    "keepalives_idle": "60",  # dbt may work for hours, and a firewall forgets
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "60000",
}


class PostgresqlSession(LedgerSession):
    """A connection that gives up a server that is gone, and tells it who is connected."""

    words: ClassVar = {
        "moment": "timestamp with time zone",
        "compact": "",
        "json_object": "json_object_agg",
    }

    def __init__(self, server: Mapping[str, str]) -> None:
        """Connect by libpq's parameters."""
        who = {"application_name": f"orchestrate, {system.this_process()}"}
        wanted = make_conninfo(**{**_PATIENCE, **who, **server})
        super().__init__(psycopg.connect(wanted, autocommit=True, row_factory=dict_row))
        self._connection.execute("set time zone 'UTC'")

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return bool(self._connection.closed)

    def lock(self, where: str) -> None:
        """Take the lock that this session holds. Raises LockedError where another one does."""
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
        """Begin; commit at the end, or roll back where that is an error."""
        found: AbstractContextManager[object] = self._connection.transaction()
        return found

    def has(self, table: str) -> bool:
        """Tell whether there is such a table."""
        return any(self.rows("postgresql/has_table", name=table))

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Have the server keep what it finds, and ask for a part at a time."""
        with self._connection.cursor("rows") as cursor:
            cursor.itersize = _AT_ONCE
            yield from self._found(cursor, statement, parameters)

    def _text(self, statement: str) -> str:
        return re.sub(r":(\w+)", r"%(\1)s", super()._text(statement))
