"""What the ledger knows of failures: why windows were not made or delivered, and how often."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import RowMapping, and_, or_, select

from orchestrator.errors import on_one_line
from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import DELIVERED, Entry
from orchestrator.ledger.statements import streamed
from orchestrator.ledger.tables import FAILURES, WINDOWS, replaced, same
from orchestrator.windows import Window

_REASONS = 20
"""Of one window: a reason may tell something that is new each time."""
_LENGTH = 500
"""Characters of a reason."""


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


class Failures:
    """Keeps what failed, and answers about it.

    Every method raises LedgerError where the database fails. An older ledger, which has no table
    of failures, knows of none.
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

    def since(self, moment: datetime) -> list[Failure]:
        """Return what failed since a moment, newest first."""
        query = select(FAILURES).where(FAILURES.c.last_at >= moment)
        return [
            _failure(row)
            for row in streamed(self._database, query.order_by(FAILURES.c.last_at.desc()))
        ]

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
        return [_failure(row) for row in streamed(self._database, query)]


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
