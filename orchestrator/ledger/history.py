"""What the ledger remembers of the past, in groups. Each is an attribute of `Ledger`.

Every method raises LedgerError where the database fails. A table that an older ledger lacks reads
as empty.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Delivery, Entry, Failure, NewestWindow, OldFile
from orchestrator.ledger.session import Row
from orchestrator.windows import Window

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
        activities: dict[tuple[str, Window, int], dict[str, int]] = {}
        for row in self.database.stream("activities", "newest_activities"):
            key = row["export"], records.window(row), row["revision"]
            activities.setdefault(key, {})[row["activity"]] = row["rows"]
        found = {}
        for entry in map(records.entry, self.database.stream("windows", "newest_entries")):
            revisions = files.get((entry.export, entry.window), {})
            found[entry.export] = NewestWindow(
                entry,
                revisions.get(entry.revision, ()),
                activities.get((entry.export, entry.window, entry.revision), {}),
                records.complete_at(revisions.values()),
            )
        return found

    def rows(self, since: datetime) -> Iterator[tuple[str, datetime, Mapping[str, int]]]:
        """Yield export, start and rows by activity of each window since a moment.

        The database returns one row for each window: Python takes its time for every row.
        """
        for row in self.database.stream("activities", "activity_rows", since=since):
            yield row["export"], row["window_start"], json.loads(row["rows_by_activity"])

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
    """The rows that a window had when it was delivered, and those that the views have now."""

    database: LedgerDatabase

    def delivered(self, last: int) -> list[Entry]:
        """Return the newest delivered windows of each export, `last` at most, newest first.

        Each is the newest revision with files; `choice` says which rows those contain.
        """
        rows = self.database.rows("last_delivered", last=last)
        return [replace(records.entry(row), choice=row["choice"] or "") for row in rows]

    def late(self) -> list[tuple[Entry, Entry]]:
        """Return windows with more rows than were delivered: as delivered, and as recounted."""
        found = []
        for row in self.database.rows("late"):
            now = records.entry(row)
            rows = row["activity_rows_before"], row["broadcast_rows_before"]
            found.append((replace(now, activity_rows=rows[0], broadcast_rows=rows[1]), now))
        return found

    def note(self, recounted: Iterable[Entry]) -> None:
        """Keep recounts: the entries as they were delivered, with the rows of now."""
        rows = [
            {
                **records.chosen(entry),
                "counted_at": datetime.now(UTC),
                "activity_rows": entry.activity_rows,
                "broadcast_rows": entry.broadcast_rows,
            }
            for entry in recounted
        ]
        self.database.each("put_recount", rows)


@dataclass(frozen=True)
class Removals:
    """Which delivered files are old, and which were removed.

    A file is never old where its path was written again later, or is about to be, nor in the
    newest window of its export.
    """

    database: LedgerDatabase

    def outdated(self, before: datetime, destination: str) -> list[OldFile]:
        """Return the files that were delivered before a moment, and not removed since."""
        rows = self.database.rows("outdated", destination=destination, before=before)
        return self._lasting(rows, before, destination)

    def delivered(self, paths: Iterable[str]) -> list[OldFile]:
        """Return those of these paths that have been delivered to all their destinations.

        They are old by the same rule, except that the time of delivery does not matter.
        """
        # At a server a path may start at the root.
        names = {name: None for path in paths for name in (path, f"/{path}")}
        if not names:
            return []
        asked = json.dumps(names, ensure_ascii=False)
        return self._lasting(self.database.rows("files_at_paths", paths=asked))

    def note(self, destination: str, paths: Iterable[str]) -> None:
        """Note that files are removed from a destination, or are not the delivered ones now."""
        now = datetime.now(UTC)
        rows = [{"destination": destination, "path": path, "removed_at": now} for path in paths]
        self.database.each("put_removal", rows)

    def silence(self, until: datetime) -> timedelta:
        """Return for how long, up to a moment, no window was noted; zero where none is known."""
        (last,) = self.database.rows("last_noted", until=until)
        return until - last["updated_at"] if last["updated_at"] else timedelta(0)

    def _lasting(
        self, files: Sequence[Row], before: datetime | None = None, destination: str | None = None
    ) -> list[OldFile]:
        by_path: dict[str, list[Row]] = {}
        for row in files:
            by_path.setdefault(row["path"].lstrip("/"), []).append(row)
        newest: dict[str, datetime] = {}
        for row in self.database.rows("newest_ends") if by_path else ():
            if destination in (None, row["destination"]):
                end = row["window_end"]
                newest[row["export"]] = max(end, newest.get(row["export"], end))
        return [old for rows in by_path.values() for old in _last(rows, before, newest)]


def _last(
    rows: Iterable[Row], before: datetime | None, newest: Mapping[str, datetime]
) -> Iterator[OldFile]:
    """Yield the file that is at a path, unless one waits to go there or came since `before`."""
    # The rows come in the order of revisions, and the last one of a window counts.
    revisions = {
        (row["export"], row["window_start"], row["window_end"], row["destination"]): row
        for row in rows
    }
    moments = [row["delivered_at"] for row in revisions.values()]
    if any(moment is None or (before and moment >= before) for moment in moments):
        return
    row = max(revisions.values(), key=lambda row: row["delivered_at"])
    if row["window_end"] < newest[row["export"]]:
        yield records.old_file(row)
