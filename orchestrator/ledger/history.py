"""What the ledger knows of the past: newest windows, rows by activity, delays."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Delivery, Entry
from orchestrator.windows import Window


@dataclass(frozen=True)
class Made:
    """The newest revision of a window that has files, and those; `activities` are its rows.

    `complete_at` is when the first of the window's revisions was at every destination.
    """

    entry: Entry
    deliveries: Sequence[Delivery]
    activities: Mapping[str, int]
    complete_at: datetime | None


class History:
    """Answers about what was.

    Every method raises LedgerError where the database fails. A table that an older ledger lacks
    is empty.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        """Take the ledger's open database."""
        self._database = database

    def newest(self) -> dict[str, Made]:
        """Return the newest window of each export that was made."""
        files: dict[tuple[str, Window], dict[int, list[Delivery]]] = {}
        for row in self._database.stream("deliveries", "newest_files"):
            revisions = files.setdefault((row["export"], records.window(row)), {})
            revisions.setdefault(row["revision"], []).append(records.delivery(row))
        activities: dict[tuple[str, Window, int], dict[str, int]] = {}
        for row in self._database.stream("activities", "newest_activities"):
            key = row["export"], records.window(row), row["revision"]
            activities.setdefault(key, {})[row["activity"]] = row["rows"]
        found = {}
        for entry in map(records.entry, self._database.stream("windows", "newest_entries")):
            revisions = files.get((entry.export, entry.window), {})
            found[entry.export] = Made(
                entry,
                revisions.get(entry.revision, ()),
                activities.get((entry.export, entry.window, entry.revision), {}),
                _complete_at(revisions.values()),
            )
        return found

    def rows(self, since: datetime) -> Iterator[tuple[str, datetime, Mapping[str, int]]]:
        """Yield export, start and rows by activity of each window since a moment.

        The database makes one row of each window: Python takes its time for each that it reads.
        """
        for row in self._database.stream("activities", "activity_rows", since=since):
            yield row["export"], row["window_start"], json.loads(row["rows_by_activity"])

    def completions(self, since: datetime) -> Iterator[tuple[str, Window, datetime]]:
        """Yield when each window since a moment was at every destination for the first time."""
        for row in self._database.stream("deliveries", "completions", since=since):
            yield row["export"], records.window(row), row["complete_at"]


def _complete_at(revisions: Iterable[Sequence[Delivery]]) -> datetime | None:
    """Return when the first of these revisions was at every destination, if one is."""
    moments = [[item.delivered_at for item in files] for files in revisions]
    whole = [max(filter(None, found)) for found in moments if found and all(found)]
    return min(whole, default=None)
