"""The pipeline: a run builds windows, writes and delivers their files, and records each step.

This module has the two ends of a run: `Run`, which every step reads, and `RunResult`, from which
the command line reports what the run did.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from orchestrator.config import Config
from orchestrator.config.exports import Kind
from orchestrator.errors import ExportError
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import Exports, Request, Subject
from orchestrator.ledger import Ledger
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse.project import Project

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The inputs of one run, which every step shares, and the warnings so far.

    `now` is the moment at which the run began; all steps compare with the same moment. `waited` has
    a text for each window whose `wait` is over, and `unsettled` one for each export whose windows
    wait although exports.yml no longer has an entry that delivers them.
    """

    config: Config
    project: Project
    request: Request
    outbox: Outbox
    ledger: Ledger
    now: datetime
    progress: Progress = no_progress
    warnings: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    @cached_property
    def exports(self) -> Exports:
        """The entries of exports.yml that the request selects."""
        return Exports(self.config, self.request)

    def check_ledger(self) -> None:
        """Raise ExportError if the ledger is empty and the outbox is not.

        Then the ledger was lost, or `state` names another one. A run without it would deliver some
        windows a second time and leave others out.
        """
        if self.ledger.is_empty() and (found := self.outbox.any_file()):
            raise ExportError(
                f"the ledger {self.config.state.name} is empty, but the outbox has files of "
                f"earlier runs, such as {found}. No window is exported until you decide: restore "
                "the ledger, correct 'state' in exports.yml, or continue without it: move the "
                "files out of the outbox, and set 'start' of each export to the first day that "
                "the receiver lacks (docs/running.md, 'Back up the ledger')"
            )

    def warn(self, message: str) -> None:
        """Log a warning and keep it for the result; the same warning is logged once per run."""
        if message not in self.warnings:
            self.warnings.append(message)
            _log.warning("%s", message)


class Status(StrEnum):
    """The state of a brand's window after a run."""

    HELD = "held"  # until the warehouse is complete, see Hold
    DUE = "due"  # in a dry run, or of `*` while the warehouse has no brand
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
class Hold:
    """Why a window waits for rows, since when, and until when its `wait` lasts.

    `is_new` is true in the first run that holds it.
    """

    reason: str
    since: datetime
    until: datetime
    is_new: bool = True


@dataclass(frozen=True)
class WindowResult(Subject):
    """The result of a run for one window of one brand."""

    status: Status
    files: Sequence[FileResult] = ()
    error: str | None = None
    hold: Hold | None = None


@dataclass(frozen=True)
class LateRows(Subject):
    """A brand's window that has other rows now than were delivered, by kind of file.

    `command` is the command that sends the window again; None if this run sends it again.
    """

    delivered: Mapping[Kind, int]
    now: Mapping[Kind, int]
    command: str | None


@dataclass(frozen=True)
class RunResult:
    """The results of a run, window by window."""

    windows: Sequence[WindowResult] = ()
    warnings: Sequence[str] = field(default=())
    late: Sequence[LateRows] = ()
    waited: Sequence[str] = ()
    """For each window whose `wait` is over: which rows may be missing, and why."""
    unsettled: Sequence[str] = ()
    """For each export with windows that wait and no entry of exports.yml: what to do."""

    @property
    def exit_code(self) -> int:
        """0: success. 4: dbt or a data test stopped a window. 1: all failed. 3: some failed.

        It is 3 too if the `wait` of a window is over (it was delivered with the rows that there
        are, or it is held because there are none), and if windows wait that no entry of exports.yml
        delivers.
        """
        statuses = {result.status for result in self.windows}
        if Status.STOPPED in statuses:
            return 4
        if Status.FAILED not in statuses:
            return 3 if self.waited or self.unsettled else 0
        arrived = any(file.destinations for result in self.windows for file in result.files)
        return 3 if arrived or statuses != {Status.FAILED} else 1
