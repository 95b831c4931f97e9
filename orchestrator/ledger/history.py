"""What the ledger remembers of the past, in groups. Each is an attribute of `Ledger`.

Every method raises LedgerError where the database fails. A table that an older ledger lacks reads
as empty.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Delivery, Entry, Failure, Look, NewestWindow, OldFile
from orchestrator.windows import Window

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_REASONS = 20
"""Reasons kept of one window: a reason may contain something that is new each time."""


@dataclass(frozen=True)
class Failures:
    """Why windows were not built or delivered, and how often."""

    database: LedgerDatabase

    def note(self, failures: Iterable[Failure]) -> None:
        """Keep each reason once, with how often it came; a window keeps its newest reasons."""
        rows = [records.failed(failure) for failure in failures]
        with self.database.begin() as session:
            session.each("put_failure", rows)
            session.each("forget_old_failures", [{**row, "kept": _REASONS - 1} for row in rows])

    def since(self, moment: datetime) -> list[Failure]:
        """Return what failed since a moment, newest first."""
        rows = self.database.stream("failures", "failures_since", since=moment)
        return [*map(records.failure, rows)]

    def failing(self) -> list[Failure]:
        """Return why windows that were tried are not delivered, the last reason at the end.

        A brand whose name cannot be in a file name is never planned; it is among them too.
        """
        return [*map(records.failure, self.database.stream("failures", "failing"))]


@dataclass(frozen=True)
class History:
    """The newest windows, and rows and delays by day."""

    database: LedgerDatabase

    def newest(self) -> dict[str, NewestWindow]:
        """Return the newest window of each export that has files."""
        files: dict[tuple[str, Window], dict[int, list[Delivery]]] = {}
        for row in self.database.stream("deliveries", "newest_files"):
            revisions = files.setdefault((row["export"], records.window(row)), {})
            revisions.setdefault(row["revision"], []).append(records.delivery(row))
        found = {}
        for row in self.database.stream("windows", "newest_entries"):
            entry = records.entry(row)
            revisions = files.get((entry.export, entry.window), {})
            found[entry.export] = NewestWindow(
                entry,
                revisions.get(entry.revision, ()),
                json.loads(row.get("activities") or "{}"),  # an older ledger lacks the column
                records.complete_at(revisions.values()),
            )
        return found

    def rows(self, since: datetime) -> Iterator[tuple[str, datetime, Mapping[str, int]]]:
        """Yield export, start and rows by activity of each window since a moment."""
        for row in self.database.stream("activities", "activity_rows", since=since):
            yield row["export"], row["window_start"], json.loads(row["activities"])

    def completions(self, since: datetime) -> Iterator[tuple[str, Window, datetime]]:
        """Yield when each scheduled window since a moment was first at every destination.

        A window that was requested by date has no lag: it was requested long after it was due.
        """
        for row in self.database.stream("deliveries", "completions", since=since):
            yield row["export"], records.window(row), row["complete_at"]

    def recent(self, since: datetime, *, most: int) -> Iterator[Entry]:
        """Yield the newest revision of at most so many windows of each export, oldest first."""
        rows = self.database.stream("windows", "recent_entries", since=since, most=most)
        yield from map(records.entry, rows)


@dataclass(frozen=True)
class Recounts:
    """Which rows a window had when it was written, and which of them were late."""

    database: LedgerDatabase

    def last_look(self) -> Look | None:
        """Return the last look for late rows, None before the first."""
        rows = [*self.database.stream("looks", "last_look")]
        return Look(**rows[0]) if rows else None

    def written(self, since: datetime) -> list[Entry]:
        """Return the newest revisions with files of windows that end after a moment.

        Their `choice` and `keys` say which rows the files contain. The oldest window is first.
        """
        rows = self.database.rows(
            "written_since", since=since, earliest=since - records.LONGEST_WINDOW
        )
        return [
            replace(records.entry(row), choice=row["choice"] or "", keys=row["keys"] or "")
            for row in rows
        ]

    def late(self) -> list[tuple[Entry, Entry]]:
        """Return windows with other rows than were delivered: as delivered, and as recounted."""
        found = []
        for row in self.database.stream("is_late", "late"):
            now = replace(records.entry(row), choice=row["choice"])
            rows = row["activity_rows_before"], row["broadcast_rows_before"]
            found.append((replace(now, activity_rows=rows[0], broadcast_rows=rows[1]), now))
        return found

    def note(self, recounted: Iterable[tuple[Entry, bool]], look: Look) -> None:
        """Keep a look and its recounts.

        Those are entries as they were written, with the rows of now, and whether rows are late.
        """
        rows = [
            {
                **records.chosen(entry),
                "counted_at": look.looked_at,
                "activity_rows": entry.activity_rows,
                "broadcast_rows": entry.broadcast_rows,
                "is_late": is_late,
            }
            for entry, is_late in recounted
        ]
        with self.database.begin() as session:
            session.each("put_recount", rows)
            session.each("forget_looks", [{}])
            session.each("put_look", [vars(look)])


@dataclass(frozen=True)
class Removals:
    """Which delivered files are old, and which were removed.

    A file is never old where its path was written again later, or is about to be, nor in the
    newest window of its export. `destination` is None for the outbox: there a file is old once it
    was delivered everywhere.
    """

    database: LedgerDatabase

    def destinations(self) -> dict[str, str | None]:
        """Return the names of destinations that have files, and where each is.

        The host and folder are None where an earlier release delivered the newest file.
        """
        return {
            row["destination"]: row["announced_to"] for row in self.database.rows("destinations")
        }

    def old(
        self, destination: str | None, before: datetime, *, most: int, renamed: str | None = None
    ) -> Iterator[list[OldFile]]:
        """Yield files that were delivered before a moment and not removed since, in pieces.

        `renamed` is the name that the destination has by now, where that is another one.

        A piece is found among the next `most` files by their time of delivery (more, where files
        were delivered at one moment), so no piece costs more than another. Within a piece they
        come window by window, each window's in the reverse of their order of delivery.
        """
        place = {} if destination is None else {"destination": destination}
        names = {"renamed": renamed or destination} if destination else {}
        files, limit = "old_files", "old_files_until"
        if destination is None:
            files, limit = "old_outbox_files", "old_outbox_files_until"
        after = _FIRST
        while True:
            bounds = {**place, "after": after, "before": before, "most": most}
            ((until,),) = (row.values() for row in self.database.rows(limit, **bounds))
            if until is None:
                return
            rows = self.database.rows(files, **bounds, **names, until=until)
            if found := [*map(records.old_file, rows)]:
                yield found
            after = until

    def note(self, destination: str | None, paths: Iterable[str]) -> None:
        """Note that retention is done with files: removed, or not the delivered ones any more."""
        now = datetime.now(UTC)
        rows = [
            {
                "destination": destination,
                "path": path,
                "path_key": records.path_key(path),
                "removed_at": now,
            }
            for path in paths
        ]
        self.database.each("tidied" if destination is None else "removed", rows)

    def silence(self, until: datetime) -> timedelta:
        """Return for how long, up to a moment, no window was noted; zero where none is known."""
        (last,) = self.database.rows("last_noted", until=until)
        return until - last["updated_at"] if last["updated_at"] else timedelta(0)
