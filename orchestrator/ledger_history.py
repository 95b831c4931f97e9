"""What the ledger knows of the past: newest windows, rows by activity, delays, what failed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, Select, Table, and_, func, inspect, or_, select

from orchestrator import ledger_records as records
from orchestrator.errors import on_one_line
from orchestrator.ledger_database import LedgerDatabase
from orchestrator.ledger_records import DELIVERED, PLANNED, Delivery, Entry
from orchestrator.ledger_tables import (
    ACTIVITIES,
    DELIVERIES,
    FAILURES,
    WINDOWS,
    remade,
    replaced,
    same,
)
from orchestrator.windows import Window

_REASONS = 20
"""Of one window: a reason may tell something that is new each time."""
_LENGTH = 500
"""Characters of a reason."""
_AT_ONCE = 10_000
"""Rows in memory at a time."""


@dataclass(frozen=True)
class Failure:
    """Why a revision was not made or delivered, from when to when, and in how many runs.

    `status` is that of orchestrator.result: failed or stopped.
    """

    export: str
    window: Window
    revision: int
    status: str
    reason: str
    first_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: int = 1


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
    """Keeps what failed, and answers about what was.

    Every method raises LedgerError where the database fails. A table that an older ledger lacks
    is empty.
    """

    def __init__(self, database: LedgerDatabase) -> None:
        """Take the ledger's open database."""
        self._database = database

    def note(self, failures: Iterable[Failure]) -> None:
        """Keep what failed, each reason once, with how often; a window keeps its newest reasons."""
        found = list(failures)
        if not found:
            return
        with self._database.begin() as connection:
            for failure in found:
                told = _told(failure.reason)
                digest = hashlib.sha256(f"{failure.status} {told}".encode()).hexdigest()
                revision = Entry(failure.export, failure.window, failure.revision)
                key = {**records.key(revision), "digest": digest}
                again = FAILURES.update().filter_by(**key)
                times = FAILURES.c.times + failure.times
                if connection.execute(again.values(last_at=failure.last_at, times=times)).rowcount:
                    continue
                connection.execute(
                    FAILURES.insert().values(
                        **key,
                        status=failure.status,
                        reason=told,
                        first_at=failure.first_at,
                        last_at=failure.last_at,
                        times=failure.times,
                    )
                )
                window = {name: key[name] for name in records.WINDOW_KEY}
                newest = select(FAILURES.c.last_at).filter_by(**window)
                newest = newest.order_by(FAILURES.c.last_at.desc()).offset(_REASONS - 1).limit(1)
                old = FAILURES.delete().filter_by(**window)
                connection.execute(old.where(FAILURES.c.last_at < newest.scalar_subquery()))

    def failures(self, since: datetime) -> list[Failure]:
        """Return what failed since a moment, newest first."""
        query = select(FAILURES).where(FAILURES.c.last_at >= since)
        return [_failure(row) for row in self._rows(query.order_by(FAILURES.c.last_at.desc()))]

    def failing(self) -> list[Failure]:
        """Return why windows that were tried are not delivered, the last reason at the end.

        A brand whose name no file can have is never noted as due; it is among them too.
        """
        open_now = and_(WINDOWS.c.state != DELIVERED, FAILURES.c.last_at >= WINDOWS.c.updated_at)
        query = (
            select(FAILURES)
            .outerjoin(WINDOWS, same(WINDOWS, FAILURES))
            .where(or_(WINDOWS.c.export.is_(None), open_now), ~replaced(FAILURES))
            .order_by(FAILURES.c.last_at)
        )
        return [_failure(row) for row in self._rows(query)]

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
        for row in self._rows(of(DELIVERIES).order_by(DELIVERIES.c.position)):
            revisions = files.setdefault((row["export"], records.window(row)), {})
            revisions.setdefault(row["revision"], []).append(records.delivery(row))
        activities: dict[tuple[str, Window, int], dict[str, int]] = {}
        for row in self._rows(of(ACTIVITIES)):
            key = row["export"], records.window(row), row["revision"]
            activities.setdefault(key, {})[row["activity"]] = row["rows"]
        found = {}
        for entry in map(records.entry, self._rows(of(WINDOWS).where(made))):
            revisions = files.get((entry.export, entry.window), {})
            found[entry.export] = Made(
                entry,
                revisions.get(entry.revision, ()),
                activities.get((entry.export, entry.window, entry.revision), {}),
                _complete_at(revisions.values()),
            )
        return found

    def rows(self, since: datetime) -> Iterator[tuple[str, datetime, str, int]]:
        """Yield export, start of the window, activity and rows of the windows since a moment."""
        columns = [ACTIVITIES.c[n] for n in ("export", "window_start", "activity", "rows")]
        recent = select(*columns).where(ACTIVITIES.c.window_start >= since, ~remade(ACTIVITIES))
        for row in self._rows(recent):
            yield row["export"], row["window_start"], row["activity"], row["rows"]

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
        for row in self._rows(select(*window, func.min(whole.c.at).label("at")).group_by(*window)):
            yield row["export"], records.window(row), row["at"]

    def _rows(self, query: Select[Any]) -> Iterator[RowMapping]:
        """Yield rows as they come: six weeks of many exports are millions."""
        with self._database.begin() as connection:
            known = inspect(connection)
            tables = (found for found in query.columns_clause_froms if isinstance(found, Table))
            if all(known.has_table(table.name) for table in tables):
                streamed = query.execution_options(yield_per=_AT_ONCE)
                yield from connection.execute(streamed).mappings()


def _told(reason: str) -> str:
    """Return a reason on one line of bounded length."""
    text = on_one_line(" ".join(reason.split()))
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"


def _failure(row: RowMapping) -> Failure:
    return Failure(
        row["export"],
        records.window(row),
        row["revision"],
        row["status"],
        row["reason"],
        row["first_at"],
        row["last_at"],
        row["times"],
    )


def _complete_at(revisions: Iterable[Sequence[Delivery]]) -> datetime | None:
    """Return when the first of these revisions was at every destination, if one is."""
    moments = [[item.delivered_at for item in files] for files in revisions]
    whole = [max(filter(None, found)) for found in moments if found and all(found)]
    return min(whole, default=None)
