"""What `status` knows: frozen facts, rendered as text, JSON, metrics or a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.windows import Window


class ProblemKind(StrEnum):
    """What is wrong with windows of an export, the worst first."""

    STOPPED = "stopped"  # dbt or a data test did, at the last try
    FAILED = "failed"  # at the last try
    UNDELIVERED = "undelivered"  # made, and not at every destination
    OVERDUE = "overdue"  # due, and not made
    AHEAD = "ahead"  # they end in the future: nothing is due until then
    LATE = "late"  # more rows came in since


@dataclass(frozen=True)
class Problem:
    """What is wrong with so many windows, of which `window` is the oldest.

    `text` is why it failed, which destinations lack files, or the command that mends it. `since`
    and `times` tell from when on, and in how many runs, it failed; else `since` is when the window
    came due.
    """

    kind: ProblemKind
    windows: int
    window: Window
    since: datetime
    text: str = ""
    times: int = 0


@dataclass(frozen=True)
class FileStatus:
    """A file of the last window."""

    kind: str
    path: str
    rows: int | None
    size: int


@dataclass(frozen=True)
class LastWindow:
    """The newest window that was made, as its newest revision.

    `rows` are those of each kind of file, none of `*`; `activities` those of the activity file by
    activity. `delivered` tells since when all
    files are at a destination; None where one is not.
    """

    window: Window
    revision: int
    rows: Mapping[str, int]
    activities: Mapping[str, int]
    files: Sequence[FileStatus]
    delivered: Mapping[str, datetime | None]


@dataclass(frozen=True)
class ExportStatus:
    """How one export of one brand is doing; the brand `*` is all that have no line of their own.

    `lag_seconds` is the time from when a window came due until its first revision was at every
    destination: of the last window, or, where windows are due and are not there yet, of the oldest
    of those until now. None where nothing was to be delivered.
    """

    export: str
    brand: str
    interval: str
    timezone: str
    last: LastWindow | None
    lag_seconds: float | None
    next_due: datetime
    overdue_windows: int = 0  # due, and not at every destination
    failed_windows: int = 0  # those of them that failed or were stopped at the last try
    undelivered_windows: Mapping[str, int] = field(default_factory=dict)  # by destination
    late_rows: Mapping[str, int] = field(default_factory=dict)  # by kind of file, of any window
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Status:
    """How all exports are doing, those with problems first."""

    now: datetime
    exports: Sequence[ExportStatus]
    warnings: Sequence[str] = ()
