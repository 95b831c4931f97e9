"""The ledger: what was delivered, when, to where, byte for byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import URL, Connection, bindparam, func, select

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import DELIVERED, PLANNED, WRITTEN, Delivery, Entry, Place
from orchestrator.ledger.statements import OF_REVISION, each, forget, is_named
from orchestrator.ledger.tables import (
    ACTIVITIES,
    DELIVERIES,
    RECOUNTS,
    WINDOWS,
    replaced,
    same,
)
from orchestrator.windows import Window

__all__ = ["DELIVERED", "PLANNED", "WRITTEN", "Delivery", "Entry", "Ledger", "Place"]

_FILES = select(DELIVERIES).where(OF_REVISION[DELIVERIES]).order_by(DELIVERIES.c.position)
_EARLIER = (
    select(DELIVERIES)
    .where(is_named(DELIVERIES, *records.WINDOW_KEY))
    .where(DELIVERIES.c.revision < bindparam("its_revision"))
)
_SCHEDULED = select(WINDOWS.c.scheduled).where(OF_REVISION[WINDOWS])
_FILE = DELIVERIES.update().where(is_named(DELIVERIES, *records.KEY, "destination", "path"))
_ARRIVED = _FILE.values(delivered_at=bindparam("noted"))
_RENAMING = _FILE.values(rename_sent=bindparam("noted"))


class Ledger:
    """Remembers windows and deliveries, in SQLite or PostgreSQL; one run at a time writes to it.

    Every method raises LedgerError where the database fails.
    """

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        """Open and lock the ledger, and make its tables where there are none.

        With `read_only` it is not locked, and one that does not exist is empty, and stays away.
        Raises LockedError where another run holds it.
        """
        self.database = LedgerDatabase(url, read_only=read_only)
        self._begin = self.database.begin

    def close(self) -> None:
        """Close and free the ledger."""
        self.database.close()

    def spans(self) -> dict[str, Window]:
        """Return, by export, the time from its first scheduled window to the end of its last."""
        start, end = func.min(WINDOWS.c.window_start), func.max(WINDOWS.c.window_end)
        query = select(WINDOWS.c.export, start, end).where(WINDOWS.c.scheduled)
        with self._begin() as connection:
            rows = connection.execute(query.group_by(WINDOWS.c.export)).all()
        return {str(row[0]): Window(row[1], row[2]) for row in rows}

    def open_entries(self) -> list[Entry]:
        """Return the newest revisions that are planned or written, and not everywhere yet."""
        query = select(WINDOWS).where(WINDOWS.c.state != DELIVERED, ~replaced(WINDOWS))
        with self._begin() as connection:
            return [records.entry(row) for row in connection.execute(query).mappings()]

    def holders(self) -> dict[tuple[str, Window], set[str]]:
        """Return, by export and window, which destinations have all files of what is written."""
        both = WINDOWS.join(DELIVERIES, same(WINDOWS, DELIVERIES))
        query = select(DELIVERIES).select_from(both)
        waiting = query.where(WINDOWS.c.state == WRITTEN, ~replaced(WINDOWS))
        there: dict[tuple[str, Window], set[str]] = {}
        lacking: dict[tuple[str, Window], set[str]] = {}
        with self._begin() as connection:
            for row in connection.execute(waiting).mappings():
                found = there if row["delivered_at"] else lacking
                found.setdefault((row["export"], records.window(row)), set()).add(
                    row["destination"]
                )
        return {key: names - lacking.get(key, set()) for key, names in there.items()}

    def entries(
        self, *, window: Window | None = None, since: datetime | None = None, made: bool = False
    ) -> dict[tuple[str, Window], Entry]:
        """Return the newest revision of each export's window: of one window, or since a moment.

        With `made` it is the newest whose files were made.
        """
        query = select(WINDOWS).order_by(WINDOWS.c.revision)
        if made:
            query = query.where(WINDOWS.c.state != PLANNED)
        if window:
            query = query.filter_by(window_start=window.start, window_end=window.end)
        if since:
            query = query.where(WINDOWS.c.window_end > since)
        with self._begin() as connection:
            found = [records.entry(row) for row in connection.execute(query).mappings()]
        return {(entry.export, entry.window): entry for entry in found}

    def deliveries(self, entry: Entry) -> list[Delivery]:
        """Return the files of an entry, in the order of their delivery."""
        with self._begin() as connection:
            rows = connection.execute(_FILES, records.named(entry)).mappings()
            return [records.delivery(row) for row in rows]

    def earlier(self, entry: Entry) -> list[Delivery]:
        """Return the files of earlier revisions of this window."""
        with self._begin() as connection:
            rows = connection.execute(_EARLIER, records.named(entry)).mappings()
            return [records.delivery(row) for row in rows]

    def plan(self, entries: Iterable[Entry]) -> None:
        """Note what is due, so that what fails is caught up later.

        What was asked for by date and comes due as well counts as scheduled from then on.
        """
        with self._begin() as connection:
            for entry in entries:
                scheduled = connection.scalar(_SCHEDULED, records.named(entry))
                if scheduled is None:
                    connection.execute(WINDOWS.insert(), records.values(entry))
                elif entry.scheduled and not scheduled:
                    raised = WINDOWS.update().filter_by(**records.key(entry)).values(scheduled=True)
                    connection.execute(raised)

    def write(self, entries: Iterable[tuple[Entry, Sequence[Delivery]]]) -> None:
        """Note the files of revisions before the first of them is delivered."""
        written = list(entries)
        files = [
            {
                **records.key(entry),
                "kind": delivery.kind,
                "destination": delivery.destination,
                "path": delivery.path,
                "position": position,
                "bytes": delivery.size,
                "sha256": delivery.sha256,
                "delivered_at": delivery.delivered_at,
                "rename_sent": delivery.rename_sent,
            }
            for entry, deliveries in written
            for position, delivery in enumerate(deliveries)
        ]
        made = [entry for entry, _ in written if entry.choice]
        chosen = [{**records.key(entry), "choice": entry.choice} for entry in made]
        counted = [
            {**records.key(entry), "activity": activity, "rows": rows}
            for entry in made
            for activity, rows in entry.activities.items()
        ]
        with self._begin() as connection:
            _replace(connection, [entry for entry, _ in written])
            forget(connection, DELIVERIES, [entry for entry, _ in written])
            each(connection, DELIVERIES.insert(), files)
            for table, rows in ((RECOUNTS, chosen), (ACTIVITIES, counted)):
                forget(connection, table, made)
                each(connection, table.insert(), rows)

    def reopen(self, entries: Iterable[tuple[Entry, Sequence[str]]]) -> None:
        """Note that the files of these revisions are to go to these destinations again.

        A later revision that was never made is given up.
        """
        with self._begin() as connection:
            for entry, destinations in entries:
                key = records.key(entry)
                again = DELIVERIES.update().filter_by(**key)
                again = again.where(DELIVERIES.c.destination.in_(destinations))
                connection.execute(again.values(delivered_at=None, rename_sent=False))
                connection.execute(WINDOWS.update().filter_by(**key).values(state=WRITTEN))
                later = WINDOWS.delete().where(WINDOWS.c.revision > key.pop("revision"))
                connection.execute(later.filter_by(**key, state=PLANNED))

    def renaming(
        self, files: Iterable[Place], *, sent: bool, arrived: Mapping[Place, datetime] | None = None
    ) -> None:
        """Note that files may have got their final names, or that they have not.

        Those that have `arrived`, and when, are noted in the same transaction, which is flushed
        once.
        """
        arrivals = [_noted(file, at) for file, at in (arrived or {}).items()]
        with self._begin() as connection:
            each(connection, _ARRIVED, arrivals)
            each(connection, _RENAMING, [_noted(file, sent) for file in files])

    def finish(self, entries: Iterable[Entry]) -> None:
        """Note that every file of these entries is at every destination."""
        with self._begin() as connection:
            _replace(connection, [replace(entry, state=DELIVERED) for entry in entries])


def _replace(connection: Connection, entries: Sequence[Entry]) -> None:
    forget(connection, WINDOWS, entries)
    each(connection, WINDOWS.insert(), [records.values(entry) for entry in entries])


def _noted(file: Place, what: datetime | bool) -> dict[str, Any]:  # noqa: FBT001 - a value
    of_file = records.named(file.entry, destination=file.destination, path=file.path)
    return {**of_file, "noted": what}
