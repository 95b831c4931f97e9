"""What a run did: frozen facts, rendered once by report.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.config.exports import Kind
from orchestrator.jobs import Subject


class Status(StrEnum):
    """How a brand's window ended."""

    HELD = "held"  # until the warehouse is complete, see Hold
    DUE = "due"  # a dry run, or the warehouse has no brand yet
    WRITTEN = "written"  # in the outbox, not delivered
    DELIVERED = "delivered"
    SKIPPED = "skipped"  # no rows, and `empty: skip`
    STOPPED = "stopped"  # by dbt or its data tests
    FAILED = "failed"


@dataclass(frozen=True)
class FileResult:
    """One file of a brand's window; `destinations` are those that have it now."""

    kind: str
    path: str
    rows: int | None = None
    size: int | None = None
    sha256: str | None = None
    destinations: Sequence[str] = ()


@dataclass(frozen=True)
class WindowResult(Subject):
    """What became of one brand's window."""

    status: Status
    files: Sequence[FileResult] = ()
    error: str | None = None
    hold: "Hold | None" = None


@dataclass(frozen=True)
class Hold:
    """Why a window waits for rows, since when, and until when its `wait` lasts.

    `is_new` is true in the first run that holds it.
    """

    reason: str
    since: datetime
    until: datetime
    is_new: bool = True


@dataclass(frozen=True)
class LateRows(Subject):
    """A brand's window with more rows now than were delivered, by kind of file.

    `command` sends it again; None where this run does so itself.
    """

    delivered: Mapping[Kind, int]
    now: Mapping[Kind, int]
    command: str | None


@dataclass(frozen=True)
class RunResult:
    """What a run did, window by window."""

    windows: Sequence[WindowResult] = ()
    warnings: Sequence[str] = field(default=())
    late: Sequence[LateRows] = ()
    waited: Sequence[str] = ()
    """Of each window whose `wait` is over: which rows may be missing, and why."""
    unsettled: Sequence[str] = ()
    """Of each export with windows that wait and no entry of exports.yml: what to do."""

    @property
    def exit_code(self) -> int:
        """0 all well; 4 the data tests stopped something; 3 something arrived; 1 nothing did.

        It is 3 too where the `wait` of a window is over: it was delivered with what there is, or is
        held because there is nothing; and where windows wait that no entry of exports.yml delivers.
        """
        statuses = {result.status for result in self.windows}
        if Status.STOPPED in statuses:
            return 4
        if Status.FAILED not in statuses:
            return 3 if self.waited or self.unsettled else 0
        arrived = any(file.destinations for result in self.windows for file in result.files)
        return 3 if arrived or statuses != {Status.FAILED} else 1
