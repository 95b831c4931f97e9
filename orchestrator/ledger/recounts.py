"""What the ledger knows of late rows: the rows that a window had, and has now."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Entry


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
        rows = self._database.rows("last_delivered", last=last)
        return [replace(records.entry(row), choice=row["choice"] or "") for row in rows]

    def late(self) -> list[tuple[Entry, Entry]]:
        """Return the windows with more rows than were delivered, as delivered and as counted."""
        found = []
        for row in self._database.rows("late"):
            now = records.entry(row)
            before = row["activity_rows_before"], row["broadcast_rows_before"]
            was = replace(now, activity_rows=before[0], broadcast_rows=before[1])
            found.append((was, now))
        return found

    def note(self, counted: Iterable[Entry]) -> None:
        """Keep what was counted: the entries as they were delivered, with the rows of now."""
        rows = [
            {
                **records.chosen(entry),
                "counted_at": datetime.now(UTC),
                "activity_rows": entry.activity_rows,
                "broadcast_rows": entry.broadcast_rows,
            }
            for entry in counted
        ]
        self._database.each("put_recount", rows)
