"""What the ledger knows of failures: why windows were not made or delivered, and how often."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.errors import escaped
from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.records import Entry
from orchestrator.ledger.session import Row
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
        found = [_row(failure) for failure in failures]
        with self._database.begin() as session:
            session.each("put_failure", found)
            session.each("forget_old_failures", [{**row, "kept": _REASONS - 1} for row in found])

    def since(self, moment: datetime) -> list[Failure]:
        """Return what failed since a moment, newest first."""
        return [*map(_failure, self._database.stream("failures", "failures_since", since=moment))]

    def failing(self) -> list[Failure]:
        """Return why windows that were tried are not delivered, the last reason at the end.

        A brand whose name no file can have is never noted as due; it is among them too.
        """
        return [*map(_failure, self._database.stream("failures", "failing"))]


def _row(failure: Failure) -> dict[str, object]:
    told = _told(failure.reason)
    return {
        **records.key(Entry(failure.export, failure.window, failure.revision)),
        "digest": hashlib.sha256(f"{failure.status} {told}".encode()).hexdigest(),
        "status": failure.status,
        "reason": told,
        "first_at": failure.first_at,
        "last_at": failure.last_at,
        "times": failure.times,
    }


def _told(reason: str) -> str:
    """Return a reason on one line of bounded length."""
    return escaped(" ".join(reason.split()), _LENGTH)


def _failure(row: Row) -> Failure:
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
