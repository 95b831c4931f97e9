"""The past in the ledger: failures, history, recounts and removals, each an attribute of `Ledger`.

Every method raises LedgerError if the database fails. If the ledger of an older release lacks a
table, the table reads as empty.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Delivery, Entry, Failure, Look, NewestWindow, OldFile
from orchestrator.windows import Window

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_REASONS = 20
"""Reasons that are kept of one window. A limit is needed: some reasons differ in every run."""


@dataclass(frozen=True)
class Failures:
    """Why windows were not built or delivered, and how often."""

    database: LedgerDatabase

    def note(self, failures: Iterable[Failure]) -> None:
        """Record each reason once, with a count; only the newest reasons of a window are kept."""
        rows = [records.failure_row(failure) for failure in failures]
        with self.database.begin() as session:
            session.executemany("put_failure", rows)
            session.executemany(
                "forget_old_failures", [{**row, "kept": _REASONS - 1} for row in rows]
            )

    def since(self, moment: datetime) -> list[Failure]:
        """Return the failures since a moment, newest first."""
        rows = self.database.stream("failures", "failures_since", since=moment)
        return [*map(records.failure, rows)]

    def failing(self) -> list[Failure]:
        """Return the failures of windows that are still not delivered, the newest at the end.

        A brand whose name cannot be part of a file name has failures but no window in the ledger.
        Its failures are returned too.
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
                _complete_at(revisions.values()),
            )
        return found

    def rows(self, since: datetime) -> Iterator[tuple[str, datetime, Mapping[str, int]]]:
        """Yield export, start and number of rows by activity of each window since a moment."""
        for row in self.database.stream("activities", "activity_rows", since=since):
            yield row["export"], row["window_start"], json.loads(row["activities"])

    def completions(self, since: datetime) -> Iterator[tuple[str, Window, datetime]]:
        """Yield the time at which each scheduled window since a moment was at every destination.

        The first revision that was complete counts. Windows that were requested by date are left
        out: they were requested long after they were due, so their lag says nothing.
        """
        for row in self.database.stream("deliveries", "completions", since=since):
            yield row["export"], records.window(row), row["complete_at"]

    def recent(self, since: datetime, *, most: int) -> Iterator[Entry]:
        """Yield the newest revisions of at most `most` windows of each export, oldest first."""
        rows = self.database.stream("windows", "recent_entries", since=since, most=most)
        yield from map(records.entry, rows)


@dataclass(frozen=True)
class Recounts:
    """The looks for late rows, and the rows of each window: as written, and as counted later."""

    database: LedgerDatabase

    def last_look(self) -> Look | None:
        """Return the last look for late rows, or None before the first one."""
        rows = [*self.database.stream("looks", "last_look")]
        return Look(**rows[0]) if rows else None

    def written(self, since: datetime) -> list[Entry]:
        """Return the newest written revision of each window that ends after a moment.

        The fields `choice` and `keys` are set; they identify the rows in the files. The oldest
        window is first.
        """
        rows = self.database.rows(
            "written_since", since=since, earliest=since - records.LONGEST_WINDOW
        )
        return [
            replace(records.entry(row), choice=row["choice"] or "", keys=row["keys"] or "")
            for row in rows
        ]

    def late(self) -> list[tuple[Entry, Entry]]:
        """Return the windows whose rows changed after delivery: as delivered, and as recounted."""
        found = []
        for row in self.database.stream("is_late", "late"):
            now = replace(records.entry(row), choice=row["choice"])
            rows = row["activity_rows_before"], row["broadcast_rows_before"]
            found.append((replace(now, activity_rows=rows[0], broadcast_rows=rows[1]), now))
        return found

    def note(self, recounted: Iterable[tuple[Entry, bool]], look: Look) -> None:
        """Record a look and its recounts in one transaction.

        A recount is the entry of a written window with its present numbers of rows, and whether
        rows are late.
        """
        rows = [
            {
                **records.recount_row(entry),
                "counted_at": look.looked_at,
                "activity_rows": entry.activity_rows,
                "broadcast_rows": entry.broadcast_rows,
                "is_late": is_late,
            }
            for entry, is_late in recounted
        ]
        with self.database.begin() as session:
            session.executemany("put_recount", rows)
            session.executemany("forget_looks", [{}])
            session.executemany("put_look", [vars(look)])


@dataclass(frozen=True)
class Removals:
    """The delivered files that are old enough to be removed, and those that were removed.

    Three kinds of files are never old: those whose path a later delivery wrote again, those whose
    path a later delivery will write, and those of the newest window of their export. `destination`
    is None for the outbox, where a file is old only if it was delivered to every destination.
    """

    database: LedgerDatabase

    def destinations(self) -> dict[str, str | None]:
        """Return the host and folder of each destination that has files, by its name.

        The value is None if an earlier release, which did not record it, delivered the newest file.
        """
        return {
            row["destination"]: row["announced_to"] for row in self.database.rows("destinations")
        }

    def old(
        self, destination: str | None, before: datetime, *, most: int, renamed: str | None = None
    ) -> Iterator[list[OldFile]]:
        """Yield batches of files that were delivered before a moment and not removed since.

        `destination` is the name under which the files were delivered, `renamed` the name that this
        destination has in exports.yml now, if it changed.

        A batch consists of the old files among the next `most` files by time of delivery, so that
        every batch takes about the same time, however long the ledger is. Files with one time of
        delivery are never split. A batch is ordered by window, and the files of a window are in the
        reverse of their order of delivery.
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
        """Record that retention has finished with files.

        They were removed, or they are no longer the files that were delivered.
        """
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
        self.database.executemany("tidied" if destination is None else "removed", rows)

    def silence(self, until: datetime) -> timedelta:
        """Return the time from the last record of a window before a moment to that moment.

        It is zero if there is no such record.
        """
        (last,) = self.database.rows("last_noted", until=until)
        return until - last["updated_at"] if last["updated_at"] else timedelta(0)


def _complete_at(revisions: Iterable[Sequence[Delivery]]) -> datetime | None:
    """Return the time at which one of these revisions was first at every destination, or None."""
    moments = [[item.delivered_at for item in files] for files in revisions]
    complete = [max(filter(None, found)) for found in moments if found and all(found)]
    return min(complete, default=None)
