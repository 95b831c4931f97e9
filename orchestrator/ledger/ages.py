"""What the ledger knows of age: which files were delivered long ago, and when nothing was."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, RowMapping, exists, func, select

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.tables import DELIVERIES, REMOVALS, WINDOWS, replaced
from orchestrator.windows import Window

_AT_ONCE = 1000
"""Names in one question: a database takes some ten thousand."""


@dataclass(frozen=True)
class Sent:
    """A file as it was delivered last; `position` is its place in the order of its window."""

    export: str
    window: Window
    position: int
    path: str
    size: int
    sha256: str
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
        removed = exists().where(
            REMOVALS.c.destination == DELIVERIES.c.destination,
            REMOVALS.c.path == DELIVERIES.c.path,
            REMOVALS.c.removed_at >= DELIVERIES.c.delivered_at,
        )
        here = DELIVERIES.c.destination == destination
        paths = select(DELIVERIES.c.path).where(here, DELIVERIES.c.delivered_at < before, ~removed)
        return self._outdated(before, DELIVERIES.c.path.in_(paths), here)

    def delivered(self, paths: Iterable[str]) -> list[Sent]:
        """Return which of these paths are at every destination they are for, by the same rule.

        How long ago does not matter.
        """
        found = []
        left = iter(paths)
        while some := list(islice(left, _AT_ONCE)):
            rooted = [f"/{path}" for path in some]  # on a server a path may start at its root
            found += self._outdated(None, DELIVERIES.c.path.in_([*some, *rooted]))
        return found

    def removed(self, destination: str, paths: Iterable[str]) -> None:
        """Note that files are there no more, or are not ours any more."""
        with self._database.begin() as connection:
            for path in paths:
                key = {"destination": destination, "path": path}
                connection.execute(REMOVALS.delete().filter_by(**key))
                connection.execute(REMOVALS.insert().values(**key, removed_at=datetime.now(UTC)))

    def silence(self, until: datetime) -> timedelta:
        """Return for how long, up to a moment, no window was noted; zero where none is known."""
        query = select(func.max(WINDOWS.c.updated_at)).where(WINDOWS.c.updated_at < until)
        with self._database.begin() as connection:
            last = connection.scalar(query)
        return until - last if last else timedelta(0)

    def _outdated(self, before: datetime | None, *conditions: ColumnElement[bool]) -> list[Sent]:
        by_path: dict[str, list[RowMapping]] = {}
        with self._database.begin() as connection:
            # What an earlier revision did not deliver waits no more.
            known = DELIVERIES.c.delivered_at.is_not(None) | ~replaced(DELIVERIES)
            files = select(DELIVERIES).where(*conditions, known).order_by(DELIVERIES.c.revision)
            for row in connection.execute(files).mappings():
                by_path.setdefault(row["path"].lstrip("/"), []).append(row)
            if not by_path:
                return []
            delivered = select(DELIVERIES.c.export, func.max(DELIVERIES.c.window_end)).where(
                DELIVERIES.c.delivered_at.is_not(None), *conditions[1:]
            )
            ends = connection.execute(delivered.group_by(DELIVERIES.c.export))
            newest = {row[0]: row[1] for row in ends}
        return [sent for rows in by_path.values() for sent in _last(rows, before, newest)]


def _last(
    rows: Iterable[RowMapping], before: datetime | None, newest: dict[str, datetime]
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
            row["path"],
            row["bytes"],
            row["sha256"],
            row["delivered_at"],
        )
