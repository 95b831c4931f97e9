"""What the ledger knows of late rows: the rows that a window had, and has now."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import func, or_, select

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import DELIVERED, Entry
from orchestrator.ledger.statements import each, forget
from orchestrator.ledger.tables import RECOUNTS, WINDOWS, remade, same

_ROWS = ("activity_rows", "broadcast_rows")


class Recounts:
    """Answers which delivered windows to count again, and keeps what was counted.

    Every method raises LedgerError where the database fails.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        """Take the ledger's open database."""
        self._database = database

    def delivered(self, last: int) -> list[Entry]:
        """Return the last so many delivered windows of each export, newest first.

        It is the newest revision with files; `choice` says which rows those hold.
        """
        place = func.row_number().over(
            partition_by=WINDOWS.c.export, order_by=WINDOWS.c.window_start.desc()
        )
        ranked = (
            select(WINDOWS, RECOUNTS.c.choice, place.label("place"))
            .outerjoin(RECOUNTS, same(WINDOWS, RECOUNTS))
            .where(WINDOWS.c.state == DELIVERED, ~remade(WINDOWS))
            .subquery()
        )
        query = (
            select(ranked).where(ranked.c.place <= last).order_by(ranked.c.place, ranked.c.export)
        )
        with self._database.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [replace(records.entry(row), choice=row["choice"] or "") for row in rows]

    def late(self) -> list[tuple[Entry, Entry]]:
        """Return the windows with more rows than were delivered, as delivered and as counted."""
        was = [func.coalesce(WINDOWS.c[name], 0).label(f"{name}_before") for name in _ROWS]
        query = (
            select(RECOUNTS, WINDOWS.c.state, WINDOWS.c.scheduled, *was)
            .outerjoin(WINDOWS, same(RECOUNTS, WINDOWS))
            .where(or_(*(RECOUNTS.c[n] > before for n, before in zip(_ROWS, was, strict=True))))
            .where(~remade(RECOUNTS))
            .order_by(RECOUNTS.c.window_start, RECOUNTS.c.export)
        )
        with self._database.begin() as connection:
            rows = connection.execute(query).mappings().all()
        now = [records.entry(row) for row in rows]
        before = [{name: row[f"{name}_before"] for name in _ROWS} for row in rows]
        return [(replace(entry, **rows), entry) for entry, rows in zip(now, before, strict=True)]

    def note(self, counted: Iterable[Entry]) -> None:
        """Keep what was counted: the entries as they were delivered, with the rows of now."""
        entries = list(counted)
        rows = [
            {
                **records.key(entry),
                "choice": entry.choice,
                "counted_at": datetime.now(UTC),
                "activity_rows": entry.activity_rows,
                "broadcast_rows": entry.broadcast_rows,
            }
            for entry in entries
        ]
        with self._database.begin() as connection:
            forget(connection, RECOUNTS, entries)
            each(connection, RECOUNTS.insert(), rows)
