"""Statements of the ledger that are made once, and carried out for many rows.

One that is made anew each time costs ten times as much.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    inspect,
)

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Entry
from orchestrator.ledger.tables import ACTIVITIES, DELIVERIES, RECOUNTS, WINDOWS


def is_named(table: Table, *columns: str) -> ColumnElement[bool]:
    """Return the condition of rows whose columns are the parameters of records.named."""
    return and_(*(table.c[name] == bindparam(f"its_{name}") for name in columns))


OF_REVISION = {
    table: is_named(table, *records.KEY) for table in (WINDOWS, DELIVERIES, RECOUNTS, ACTIVITIES)
}
"""By table: the condition of a revision's rows."""
_AT_ONCE = 10_000
"""Rows in memory at a time."""


def each(connection: Connection, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Carry out a statement for each of the rows, if there are any."""
    if rows:
        connection.execute(statement, rows)


def forget(connection: Connection, table: Table, entries: Sequence[Entry]) -> None:
    """Remove a table's rows of these revisions."""
    gone = table.delete().where(OF_REVISION[table])
    each(connection, gone, [records.named(entry) for entry in entries])


def streamed(database: LedgerDatabase, query: Select[Any]) -> Iterator[RowMapping]:
    """Yield rows as they come, for there may be millions; none of a table that an old ledger lacks.

    Raises LedgerError where the database fails.
    """
    with database.begin() as connection:
        known = inspect(connection)
        tables = (found for found in query.columns_clause_froms if isinstance(found, Table))
        if all(known.has_table(table.name) for table in tables):
            found = query.execution_options(yield_per=_AT_ONCE)
            yield from connection.execute(found).mappings()
