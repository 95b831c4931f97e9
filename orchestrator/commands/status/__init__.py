"""Status: how each export is doing, by exports.yml and the ledger alone.

Nothing is locked and nothing is written, so it may be asked for while a run is at work.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

from orchestrator.commands.status.facts import (
    ExportStatus,
    FileStatus,
    LastWindow,
    Problem,
    ProblemKind,
    Status,
)
from orchestrator.commands.status.problems import Problems
from orchestrator.config import Config
from orchestrator.errors import UsageError, did_you_mean
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import due
from orchestrator.jobs.job import ExportEntry, Exports, Job, Request
from orchestrator.ledger import WRITTEN, Entry, Ledger
from orchestrator.ledger.history import History, Made
from orchestrator.pipeline.retention import Retention
from orchestrator.windows import Window


def read(config: Config, request: Request, ledger: Ledger, *, now: datetime) -> Status:
    """Return how the exports of a request are doing.

    Raises UsageError for a brand that neither an export names nor, where one is for every brand,
    the ledger knows; LedgerError where the ledger cannot be read.
    """
    found = list(_Facts(config, request, ledger, now).exports())
    worst = list(ProblemKind)
    found.sort(
        key=lambda item: (
            min((worst.index(problem.kind) for problem in item.problems), default=len(worst)),
            -item.lag_seconds if item.overdue_windows and item.lag_seconds else 0,
            item.export,
        )
    )
    retention = Retention(config, outbox=Outbox(config.outbox), ledger=ledger, now=now)
    return Status(now, found, retention.doubts())


class _Facts:
    """What the ledger says about the exports of a request."""

    def __init__(self, config: Config, request: Request, ledger: Ledger, now: datetime) -> None:
        self._now = now
        self._lines = Exports(config, request)
        self._holders = ledger.holders()
        self._newest = History(ledger.database).newest()
        self._spans = ledger.spans()
        self._coming = due.coming(self._lines, ledger, now)
        self._wrong = Problems(self._lines, ledger)
        self._waiting: dict[str, list[Job]] = defaultdict(list)
        for job in due.jobs(config, ledger, request, now):
            self._waiting[job.entry.export].append(job)
        self._known = {*self._newest, *self._waiting} | self._wrong.exports
        self._refuse_strangers(config, request)

    def _refuse_strangers(self, config: Config, request: Request) -> None:
        every = Exports(config, Request())
        if strangers := [brand for brand in request.brands if brand not in every.own]:
            moment = Window(self._now, self._now)
            names = self._known | self._spans.keys()
            owners = (every.owner(Entry(name, moment, 1)) for name in names)
            brands = {owner[1] for owner in owners if owner} | every.own
            for brand in strangers:
                if brand not in brands:
                    raise UsageError(
                        f"{config.source.path}: no export of brand '{brand}', and none that the "
                        f"ledger knows{did_you_mean(brand, brands)}"
                    )

    def exports(self) -> Iterator[ExportStatus]:
        """Yield the exports: each line, and each brand that `*` is known to stand for."""
        names = {line.name: (line, line.export.brand) for line in self._lines}
        for name in self._known - names.keys():
            if owner := self._lines.owner(Entry(name, Window(self._now, self._now), 1)):
                names[name] = owner
        told: dict[str, set[Window]] = defaultdict(set)
        for name, (line, _) in names.items():
            if name != line.name:
                told[line.name] |= {job.entry.window for job in self._waiting[name]}
                told[line.name] |= self._wrong.failing(name).keys()
        for name, (line, brand) in names.items():
            found = self._export(name, line, brand, told[name])
            # A brand that no file could be made for, and that is no more, is not shown.
            if found.last or found.problems or name == line.name:
                yield found

    def _export(self, name: str, line: ExportEntry, brand: str, told: set[Window]) -> ExportStatus:
        """Return how an export is doing; of windows that its brands tell of it says nothing."""
        waiting, made = self._waiting[name], self._newest.get(name)
        lacking = {job.entry.window: self._lacking(job) for job in waiting}
        overdue = set(lacking)
        if name != line.name:  # what waits for every brand waits for this one, too
            every = {job.entry.window for job in self._waiting[line.name]}
            overdue |= {w for w in every if not made or made.entry.window < w}
        waits = {window: places for window, places in lacking.items() if window not in told}
        problems = list(self._problems(name, line, brand, waits))
        where = Counter(place for places in lacking.values() for place in places)
        return ExportStatus(
            export=name,
            brand=brand,
            interval=line.export.interval.value,
            timezone=line.export.timezone.key,
            last=_last(made) if made else None,
            lag_seconds=self._lag(line, made, overdue),
            next_due=self._coming[line.name],
            overdue_windows=len(overdue),
            failed_windows=sum(p.windows for p in problems if p.times),
            undelivered_windows={place: where[place] for place in line.export.destination},
            late_rows=self._wrong.late_rows(name),
            problems=sorted(problems, key=lambda problem: list(ProblemKind).index(problem.kind)),
        )

    def _lacking(self, job: Job) -> list[str]:
        """Return the destinations that do not have the files of a window, which are made."""
        if job.entry.state != WRITTEN:
            return []
        there = self._holders.get((job.entry.export, job.entry.window), ())
        return [name for name in job.export.destination if name not in there]

    def _lag(self, line: ExportEntry, made: Made | None, overdue: set[Window]) -> float | None:
        calendar = line.export.calendar
        if overdue:
            lag = self._now - min(map(calendar.due, overdue))
        elif made and made.complete_at:
            lag = made.complete_at - calendar.due(made.entry.window)
        else:
            return None
        return max(lag.total_seconds(), 0.0)  # somebody may ask for a window before it is due

    def _problems(
        self, name: str, line: ExportEntry, brand: str, lacking: dict[Window, list[str]]
    ) -> Iterator[Problem]:
        yield from self._wrong.waiting(name, line, lacking, self._waiting[line.name])
        span = self._spans.get(line.name)
        if name == line.name and span and span.end > self._now:
            yield Problem(ProblemKind.AHEAD, 1, span, span.end)
        yield from self._wrong.late(name, line, brand)


def _last(made: Made) -> LastWindow:
    entry = made.entry
    counts = {"broadcast": entry.broadcast_rows, "activity": entry.activity_rows}
    rows = {kind: number for kind, number in counts.items() if number is not None}
    files = {
        item.file.path: FileStatus(
            item.file.kind, item.file.path, rows.get(item.file.kind), item.file.size
        )
        for item in made.deliveries
    }
    moments: dict[str, list[datetime | None]] = defaultdict(list)
    for item in made.deliveries:
        moments[item.destination].append(item.delivered_at)
    there = {
        name: max(filter(None, found)) if all(found) else None for name, found in moments.items()
    }
    return LastWindow(
        entry.window, entry.revision, rows, made.activities, list(files.values()), there
    )
