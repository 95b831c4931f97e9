"""The ledger: what was delivered, when, to where, byte for byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import DELIVERED, PLANNED, WRITTEN, Delivery, DeliveryKey, Entry
from orchestrator.windows import Window

__all__ = ["DELIVERED", "PLANNED", "WRITTEN", "Delivery", "DeliveryKey", "Entry", "Ledger"]

_EVER = datetime.min.replace(tzinfo=UTC)


class Ledger:
    """Remembers windows and deliveries, in SQLite or PostgreSQL; one run at a time writes to it.

    Every method raises LedgerError where the database fails.
    """

    def __init__(self, url: LedgerUrl, *, read_only: bool = False) -> None:
        """Open and lock the ledger, and make its tables where there are none.

        With `read_only` it is not locked, and one that does not exist is empty, and stays away.
        Raises LockedError where another run holds it.
        """
        self.database = LedgerDatabase(url, read_only=read_only)

    def close(self) -> None:
        """Close and free the ledger."""
        self.database.close()

    def spans(self) -> dict[str, Window]:
        """Return, by export, the time from its first scheduled window to the end of its last."""
        rows = self.database.rows("spans")
        return {row["export"]: records.window(row) for row in rows}

    def open_entries(self) -> list[Entry]:
        """Return the newest revisions that are planned or written, and not everywhere yet."""
        return [records.entry(row) for row in self.database.rows("open_entries")]

    def holders(self) -> dict[tuple[str, Window], set[str]]:
        """Return, by export and window, which destinations have all files of what is written."""
        there: dict[tuple[str, Window], set[str]] = {}
        lacking: dict[tuple[str, Window], set[str]] = {}
        for row in self.database.rows("files_of_written"):
            found = there if row["delivered_at"] else lacking
            found.setdefault((row["export"], records.window(row)), set()).add(row["destination"])
        return {key: names - lacking.get(key, set()) for key, names in there.items()}

    def entries(
        self, *, window: Window | None = None, since: datetime | None = None, made: bool = False
    ) -> dict[tuple[str, Window], Entry]:
        """Return the newest revision of each export's window: of one window, or since a moment.

        With `made` it is the newest whose files were made.
        """
        if window:
            bounds = {"window_start": window.start, "window_end": window.end}
            rows = self.database.rows("entries_of_window", **bounds)
        else:
            rows = self.database.rows("entries_since", since=since or _EVER)
        found = [entry for entry in map(records.entry, rows) if not made or entry.state != PLANNED]
        return {(entry.export, entry.window): entry for entry in found}

    def deliveries(self, entry: Entry) -> list[Delivery]:
        """Return the files of an entry, in the order of their delivery."""
        return [*map(records.delivery, self.database.rows("files", **records.key(entry)))]

    def earlier(self, entry: Entry) -> list[Delivery]:
        """Return the files of earlier revisions of this window."""
        rows = self.database.rows("files_of_earlier_revisions", **records.key(entry))
        return [*map(records.delivery, rows)]

    def plan(self, entries: Iterable[Entry]) -> None:
        """Note what is due, so that what fails is caught up later.

        What was asked for by date and comes due as well counts as scheduled from then on.
        """
        self.database.each("plan", [records.values(entry) for entry in entries])

    def write(self, entries: Iterable[tuple[Entry, Sequence[Delivery]]]) -> None:
        """Note the files of revisions before the first of them is delivered."""
        written = list(entries)
        made = [entry for entry, _ in written if entry.choice]
        files = [
            {**records.key(entry), "position": position, **records.file(delivery)}
            for entry, deliveries in written
            for position, delivery in enumerate(deliveries)
        ]
        counted = [
            {**records.key(entry), "activity": activity, "rows": rows}
            for entry in made
            for activity, rows in entry.activities.items()
        ]
        with self.database.begin() as session:
            session.each("put_entry", [records.values(entry) for entry, _ in written])
            session.each("forget_files", [records.key(entry) for entry, _ in written])
            session.each("put_file", files)
            session.each("put_recount", [records.chosen(entry) for entry in made])
            session.each("forget_activities", [records.key(entry) for entry in made])
            session.each("put_activity", counted)

    def reopen(self, entries: Iterable[tuple[Entry, Sequence[str]]]) -> None:
        """Note that the files of these revisions are to go to these destinations again.

        A later revision that was never made is given up.
        """
        keys = [(records.key(entry), destinations) for entry, destinations in entries]
        there = [{**key, "destination": name} for key, names in keys for name in names]
        with self.database.begin() as session:
            session.each("reopen_files", there)
            session.each("reopen_entry", [key for key, _ in keys])
            session.each("give_up_plans", [key for key, _ in keys])

    def renaming(
        self,
        files: Iterable[DeliveryKey],
        *,
        sent: bool,
        arrived: Mapping[DeliveryKey, datetime] | None = None,
    ) -> None:
        """Note that files may have got their final names, or that they have not.

        Those that have `arrived`, and when, are noted in the same transaction, which is flushed
        once.
        """
        arrivals = [{**_at(file), "delivered_at": at} for file, at in (arrived or {}).items()]
        with self.database.begin() as session:
            session.each("arrived", arrivals)
            session.each("renaming", [{**_at(file), "rename_sent": sent} for file in files])

    def finish(self, entries: Iterable[Entry]) -> None:
        """Note that every file of these entries is at every destination."""
        delivered = [records.values(replace(entry, state=DELIVERED)) for entry in entries]
        self.database.each("put_entry", delivered)


def _at(file: DeliveryKey) -> dict[str, object]:
    return {**records.key(file.entry), "destination": file.destination, "path": file.path}
