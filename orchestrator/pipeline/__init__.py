"""The pipeline: a run builds windows, writes and delivers their files, and notes each step."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from orchestrator.config import Config
from orchestrator.errors import ExportError
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import Exports, Request
from orchestrator.ledger import Ledger
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse.project import Project

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What every step of one run works with.

    `now` is the moment at which the run began: all steps decide by the same one. `warnings` are
    those of the run so far; `waited` says of which windows the `wait` is over, `unsettled` which
    windows wait that no entry of exports.yml delivers.
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
        """The exports that the request is about."""
        return Exports(self.config, self.request)

    def check_ledger(self) -> None:
        """Raise ExportError where the ledger is empty and the outbox is not.

        Then the ledger was lost, or `state` names another one. Scheduled windows that were
        delivered would be delivered again, and others would be left out.
        """
        if self.ledger.is_empty() and (found := self.outbox.any_file()):
            raise ExportError(
                f"the ledger {self.config.state.name} is empty, but the outbox has files of "
                f"earlier runs, such as {found}. No window is exported until you decide: restore "
                "the ledger, correct 'state' in exports.yml, or go on without it: move the files "
                "out of the outbox, and see that 'start' of each export is the first day that the "
                "receiver lacks (docs/running.md, 'Back up the ledger')"
            )

    def warn(self, message: str) -> None:
        """Log a warning and keep it for the result; one that applies to every window, once."""
        if message not in self.warnings:
            self.warnings.append(message)
            _log.warning("%s", message)
