"""The problems of exports: windows that failed, that wait, or that more rows came in for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.commands.status.facts import Problem, ProblemKind
from orchestrator.config.exports import KINDS
from orchestrator.jobs.job import ExportEntry, Exports, Job
from orchestrator.ledger import Entry, Ledger
from orchestrator.ledger.failures import Failure, Failures
from orchestrator.ledger.recounts import Recounts
from orchestrator.windows import Window


class Problems:
    """What the ledger says went wrong with the exports of a request."""

    def __init__(self, lines: Exports, ledger: Ledger) -> None:
        """Read it. Raises LedgerError where the ledger cannot be read."""
        self._failing: dict[str, dict[Window, Failure]] = defaultdict(dict)
        for failure in Failures(ledger.database).failing():
            self._failing[failure.export][failure.window] = failure
        self._late: dict[str, list[tuple[Entry, Entry]]] = defaultdict(list)
        recounts = Recounts(ledger.database)
        most = max((line.export.audit_windows for line in lines), default=0)
        # What is not counted again any more was told for so many windows: it is left at that.
        audited = {(entry.export, entry.window) for entry in recounts.delivered(most)}
        for before, counted in recounts.late():
            if (counted.export, counted.window) in audited:
                self._late[counted.export].append((before, counted))

    @property
    def exports(self) -> set[str]:
        """The exports with windows that fail, or have late rows."""
        return {*self._failing, *self._late}

    def failing(self, name: str) -> Mapping[Window, Failure]:
        """Return the windows of an export that failed at the last try."""
        return self._failing.get(name, {})

    def late_rows(self, name: str) -> dict[str, int]:
        """Return how many rows came in late, by kind of file."""
        return {
            kind: sum(
                max((getattr(now, f"{kind}_rows") or 0) - getattr(before, f"{kind}_rows"), 0)
                for before, now in self._late.get(name, ())
            )
            for kind in KINDS
        }

    def waiting(
        self,
        name: str,
        line: ExportEntry,
        lacking: Mapping[Window, Sequence[str]],
        of_line: Sequence[Job],
    ) -> Iterator[Problem]:
        """Yield what is wrong with windows that are due, alike ones as one.

        `lacking` are those of the export, each with the destinations that lack its files, and
        `of_line` what waits for every brand of its line.
        """
        alike: dict[tuple[ProblemKind, str], list[Problem]] = defaultdict(list)
        failing = self.failing(name)
        for window in sorted(lacking):
            since = line.export.calendar.due(window)
            if failure := failing.get(window):
                found = _failed(failure)
            elif places := lacking[window]:
                found = Problem(ProblemKind.UNDELIVERED, 1, window, since, ", ".join(places))
            else:
                found = Problem(ProblemKind.OVERDUE, 1, window, since)
            alike[found.kind, found.text].append(found)
        for job in of_line:
            # A brand with a name that no file can have never waits by itself.
            window = job.entry.window
            if name != line.name and window in failing and window not in lacking:
                alike[ProblemKind.FAILED, failing[window].reason].append(_failed(failing[window]))
        for same in alike.values():
            since = min(found.since for found in same)
            times = max(found.times for found in same)
            yield replace(same[0], windows=len(same), since=since, times=times)

    def late(self, name: str, line: ExportEntry, brand: str) -> Iterator[Problem]:
        """Yield one, where more rows came in since."""
        if late := self._late.get(name):
            entry = late[0][1]  # the oldest
            command = line.job(entry, brand=brand).command()
            since = line.export.calendar.due(entry.window)
            yield Problem(ProblemKind.LATE, len(late), entry.window, since, command)


def _failed(found: Failure) -> Problem:
    kind = ProblemKind(found.status)
    return Problem(kind, 1, found.window, found.first_at, found.reason, found.times)
