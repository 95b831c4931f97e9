"""What the ledger knows of the past: newest windows, rows by activity, delays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, case, func, select

from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import PLANNED, Delivery, Entry
from orchestrator.ledger.statements import streamed
from orchestrator.ledger.tables import ACTIVITIES, DELIVERIES, WINDOWS, remade, same
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
        made = WINDOWS.c.state != PLANNED
        last = (
            select(WINDOWS.c.export, func.max(WINDOWS.c.window_start).label("window_start"))
            .where(made)
            .group_by(WINDOWS.c.export)
            .subquery()
        )

        def of(table: Table) -> Select[Any]:
            here = same(table, last, ("export", "window_start"))
            return select(table).join(last, here).order_by(table.c.window_end, table.c.revision)

        files: dict[tuple[str, Window], dict[int, list[Delivery]]] = {}
        for row in streamed(self._database, of(DELIVERIES).order_by(DELIVERIES.c.position)):
            revisions = files.setdefault((row["export"], records.window(row)), {})
            revisions.setdefault(row["revision"], []).append(records.delivery(row))
        activities: dict[tuple[str, Window, int], dict[str, int]] = {}
        for row in streamed(self._database, of(ACTIVITIES)):
            key = row["export"], records.window(row), row["revision"]
            activities.setdefault(key, {})[row["activity"]] = row["rows"]
        found = {}
        for entry in map(records.entry, streamed(self._database, of(WINDOWS).where(made))):
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
        code = ACTIVITIES.c.activity
        codes = [row["activity"] for row in streamed(self._database, select(code).distinct())]
        named = {name: f"rows_{number}" for number, name in enumerate(codes)}
        window = [ACTIVITIES.c[name] for name in records.WINDOW_KEY]
        numbers = (
            func.max(case((code == name, ACTIVITIES.c.rows), else_=0)).label(label)
            for name, label in named.items()
        )
        recent = select(*window[:2], *numbers).group_by(*window)
        recent = recent.where(ACTIVITIES.c.window_start >= since, ~remade(ACTIVITIES))
        for row in streamed(self._database, recent):
            yield row["export"], row["window_start"], {k: row[at] for k, at in named.items()}

    def completions(self, since: datetime) -> Iterator[tuple[str, Window, datetime]]:
        """Yield when each window since a moment was at every destination for the first time."""
        at = func.max(DELIVERIES.c.delivered_at).label("at")
        whole = (
            select(*(DELIVERIES.c[name] for name in records.WINDOW_KEY), at)
            .where(DELIVERIES.c.window_start >= since)
            .group_by(*(DELIVERIES.c[name] for name in records.KEY))
            .having(func.count() == func.count(DELIVERIES.c.delivered_at))
            .subquery()
        )
        window = [whole.c[name] for name in records.WINDOW_KEY]
        for row in streamed(
            self._database, select(*window, func.min(whole.c.at).label("at")).group_by(*window)
        ):
            yield row["export"], records.window(row), row["at"]


def _complete_at(revisions: Iterable[Sequence[Delivery]]) -> datetime | None:
    """Return when the first of these revisions was at every destination, if one is."""
    moments = [[item.delivered_at for item in files] for files in revisions]
    whole = [max(filter(None, found)) for found in moments if found and all(found)]
    return min(whole, default=None)
