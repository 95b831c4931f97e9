"""What the ledger knows of age: which files were delivered long ago, and when nothing was."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.config.exports import File
from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.session import Row
from orchestrator.windows import Window


@dataclass(frozen=True)
class Sent:
    """A file as it was delivered last; `position` is its place in the order of its window."""

    export: str
    window: Window
    position: int
    file: File
    delivered_at: datetime


class Ages:
    """Answers about the age of deliveries.

    Every method raises LedgerError where the database fails.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        """Take the ledger's open database."""
        self._database = database

    def outdated(self, before: datetime, destination: str) -> list[Sent]:
        """Return the files that were delivered there before a moment, and not removed since.

        Not among them: a path that a later revision or window wrote again or is to write, and the
        newest window of each export.
        """
        found = self._database.rows("outdated", destination=destination, before=before)
        return self._lasting(found, before, destination)

    def delivered(self, paths: Iterable[str]) -> list[Sent]:
        """Return which of these paths are at every destination they are for, by the same rule.

        How long ago does not matter.
        """
        # On a server a path may start at its root.
        names = {name: None for path in paths for name in (path, f"/{path}")}
        if not names:
            return []
        asked = json.dumps(names, ensure_ascii=False)
        return self._lasting(self._database.rows("files_at_paths", paths=asked))

    def removed(self, destination: str, paths: Iterable[str]) -> None:
        """Note that files are there no more, or are not ours any more."""
        now = datetime.now(UTC)
        rows = [{"destination": destination, "path": path, "removed_at": now} for path in paths]
        self._database.each("put_removal", rows)

    def silence(self, until: datetime) -> timedelta:
        """Return for how long, up to a moment, no window was noted; zero where none is known."""
        (last,) = self._database.rows("last_noted", until=until)
        return until - last["updated_at"] if last["updated_at"] else timedelta(0)

    def _lasting(
        self, files: Sequence[Row], before: datetime | None = None, destination: str | None = None
    ) -> list[Sent]:
        by_path: dict[str, list[Row]] = {}
        for row in files:
            by_path.setdefault(row["path"].lstrip("/"), []).append(row)
        newest: dict[str, datetime] = {}
        for row in self._database.rows("newest_ends") if by_path else ():
            if destination in (None, row["destination"]):
                end = row["window_end"]
                newest[row["export"]] = max(end, newest.get(row["export"], end))
        return [sent for rows in by_path.values() for sent in _last(rows, before, newest)]


def _last(
    rows: Iterable[Row], before: datetime | None, newest: dict[str, datetime]
) -> Iterator[Sent]:
    """Yield what lies at a path, if nothing waits to go there, or came since that moment."""
    revisions = {
        (row["export"], row["window_start"], row["window_end"], row["destination"]): row
        for row in rows  # the newest of a window stands last, and counts
    }
    moments = [row["delivered_at"] for row in revisions.values()]
    if any(moment is None or (before and moment >= before) for moment in moments):
        return
    row = max(revisions.values(), key=lambda row: row["delivered_at"])
    if row["window_end"] < newest[row["export"]]:
        yield Sent(
            row["export"],
            records.window(row),
            row["position"],
            records.file_of(row),
            row["delivered_at"],
        )
