"""Status of each export, read from exports.yml and the ledger only.

Reading it needs no lock and writes nothing, so it works during a run too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.config import Config
from orchestrator.config.exports import KINDS, File
from orchestrator.errors import UsageError, did_you_mean
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import ExportEntry, Exports, Job, Request, due, unsettled
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import WRITTEN, Entry, Failure, Ledger, NewestWindow
from orchestrator.pipeline.late import cannot_find, undated_tables
from orchestrator.pipeline.retention import Retention
from orchestrator.windows import Window


class ProblemKind(StrEnum):
    """The kinds of problems that windows of an export can have, the worst first."""

    STOPPED = "stopped"  # dbt or a data test stopped the last attempt
    FAILED = "failed"  # the last attempt failed
    UNDELIVERED = "undelivered"  # written, but not at every destination
    HELD = "held"  # due, and waiting until the warehouse is complete
    OVERDUE = "overdue"  # due, and not written
    AHEAD = "ahead"  # the newest window in the ledger ends in the future: nothing is due before
    LATE = "late"  # rows arrived after the delivery


_WORST = list(ProblemKind)


@dataclass(frozen=True)
class Problem:
    """One problem that a number of `windows` have; `window` is the oldest of them.

    `text` is the reason of a failure, the destinations that lack files, or the command to run.
    For a failure, `since` is the time of the first failed attempt, and `times` the number of failed
    runs. Otherwise `since` is the time at which the window was due.
    """

    kind: ProblemKind
    windows: int
    window: Window
    since: datetime
    text: str = ""
    times: int = 0


@dataclass(frozen=True)
class LastWindow:
    """The newest window that was written, in its newest revision.

    `rows` has the number of rows by kind of file (empty for `*`), `activities` the number of rows
    of the activity file by activity. `delivered` has, by destination, the time at which the last
    file arrived; None if a file is not delivered yet.
    """

    window: Window
    revision: int
    rows: Mapping[str, int]
    activities: Mapping[str, int]
    files: Sequence[File]
    delivered: Mapping[str, datetime | None]


@dataclass(frozen=True)
class ExportStatus:
    """Status of one export of one brand; the brand `*` is all brands without their own entry.

    `lag_seconds` is the time from when the last window was due until its first revision was at
    every destination. If windows are overdue, it is the time since the oldest of them was due. None
    if there was nothing to deliver.
    """

    export: str
    brand: str
    interval: str
    timezone: str
    last: LastWindow | None
    lag_seconds: float | None
    next_due: datetime
    overdue_windows: int = 0  # due, and not at every destination
    failed_windows: int = 0  # overdue windows whose last attempt failed or was stopped
    held_windows: int = 0  # overdue windows that wait until the warehouse is complete
    undelivered_windows: Mapping[str, int] = field(default_factory=dict)  # by destination
    late_rows: Mapping[str, int] = field(default_factory=dict)  # by kind of file, of any window
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class StatusResult:
    """Status of all exports, those with problems first."""

    now: datetime
    exports: Sequence[ExportStatus]
    warnings: Sequence[str] = ()
    unsettled_windows: Mapping[str, int] = field(default_factory=dict)
    """The number of waiting windows of each export that exports.yml no longer has."""
    exit_code: int = 0  # also if there are problems: the status could be read


def read_status(config: Config, request: Request, ledger: Ledger, *, now: datetime) -> StatusResult:
    """Return the status of the exports of a request.

    Raises UsageError for an unknown brand: exports.yml does not name it, and the ledger has no
    window of it that `*` delivers. Raises LedgerError if the ledger cannot be read.
    """
    found = sorted(
        _StatusReader(config, request, ledger, now).exports(),
        key=lambda item: (
            min((_WORST.index(problem.kind) for problem in item.problems), default=len(_WORST)),
            -item.lag_seconds if item.overdue_windows and item.lag_seconds else 0,
            item.export,
        ),
    )
    retention = Retention(config, outbox=Outbox(config.outbox), ledger=ledger, now=now)
    unowned = unsettled.unowned(config, ledger)
    warnings = [*unsettled.waiting(unowned), *unsettled.replaced(config, ledger)]
    warnings += retention.doubts()
    if tables := undated_tables(ledger):
        warnings.append(cannot_find(tables))
    numbers = {name: len(entries) for name, entries in unowned.items()}
    return StatusResult(now, found, warnings, numbers)


class _StatusReader:
    """Reads everything about the exports of a request at once, and returns the status of each."""

    def __init__(self, config: Config, request: Request, ledger: Ledger, now: datetime) -> None:
        self._now = now
        self._entries = Exports(config, request)
        self._holders = ledger.holders()
        self._newest = ledger.history.newest()
        self._spans = ledger.spans(entry.name for entry in self._entries)
        self._continuity = Continuity(self._entries, ledger)
        self._next_due = due.next_due(self._entries, ledger, now)
        self._failing: dict[str, dict[Window, Failure]] = defaultdict(dict)
        for failure in ledger.failures.failing():
            self._failing[failure.export][failure.window] = failure
        self._late = late_windows(self._entries, ledger)
        self._waiting: dict[str, list[Job]] = defaultdict(list)
        for job in due.jobs(config, ledger, request, now):
            self._waiting[job.entry.export].append(job)
        self._known = {*self._newest, *self._waiting, *self._failing, *self._late}
        self._refuse_unknown_brands(config, request)

    def _refuse_unknown_brands(self, config: Config, request: Request) -> None:
        every = Exports(config, Request())
        unknown = [brand for brand in request.brands if brand not in every.listed]
        if not unknown:
            return
        names = self._known | self._spans.keys()
        owners = (every.owner(name) for name in names)
        brands = {owner[1] for owner in owners if owner} | every.listed
        for brand in unknown:
            if brand not in brands:
                raise UsageError(
                    f"{config.source.path}: no export of brand '{brand}', and none that the "
                    f"ledger knows{did_you_mean(brand, brands)}"
                )

    def exports(self) -> Iterator[ExportStatus]:
        """Yield the exports: each entry of exports.yml, and each known brand of `*`."""
        names = {entry.name: (entry, entry.export.brand) for entry in self._entries}
        for name in self._known - names.keys():
            if owner := self._entries.owner(name):
                names[name] = owner
            elif name in self._waiting and (heir := self._continuity.heir(name)):
                names[name] = heir
        # A problem of a window is reported for `*` only if none of its brands reports it.
        reported: dict[str, set[Window]] = defaultdict(set)
        for name, (entry, _) in names.items():
            if name != entry.name:
                reported[entry.name] |= {job.entry.window for job in self._waiting[name]}
                reported[entry.name] |= self._failing.get(name, {}).keys()
        for name, (entry, brand) in names.items():
            found = self._export(name, entry, brand, reported[name])
            # A brand without written files and without problems is left out.
            if found.last or found.problems or name == entry.name:
                yield found

    def _export(
        self, name: str, entry: ExportEntry, brand: str, reported: set[Window]
    ) -> ExportStatus:
        waiting, newest = self._waiting[name], self._newest.get(name)
        lacking = {job.entry.window: self._lacking(job) for job in waiting}
        overdue = set(lacking)
        if name != entry.name:  # a waiting window of `*` waits for this brand too
            every = {job.entry.window for job in self._waiting[entry.name]}
            overdue |= {w for w in every if not newest or newest.entry.window < w}
        unreported = {w: places for w, places in lacking.items() if w not in reported}
        problems = list(self._problems(name, entry, brand, unreported))
        counts = Counter(place for places in lacking.values() for place in places)
        return ExportStatus(
            export=name,
            brand=brand,
            interval=entry.export.interval.value,
            timezone=entry.export.timezone.key,
            last=_last(newest) if newest else None,
            lag_seconds=self._lag(entry, newest, overdue),
            next_due=self._next_due[entry.name],
            overdue_windows=len(overdue),
            failed_windows=sum(p.windows for p in problems if p.times),
            held_windows=sum(p.windows for p in problems if p.kind is ProblemKind.HELD),
            undelivered_windows={place: counts[place] for place in entry.export.destination},
            late_rows=self._late_rows(name),
            problems=sorted(problems, key=lambda problem: _WORST.index(problem.kind)),
        )

    def _lacking(self, job: Job) -> list[str]:
        """Return the destinations that lack files of a written window."""
        if job.entry.state != WRITTEN:
            return []
        holders = self._holders.get((job.entry.export, job.entry.window), ())
        return [name for name in job.export.destination if name not in holders]

    def _lag(
        self, entry: ExportEntry, newest: NewestWindow | None, overdue: set[Window]
    ) -> float | None:
        calendar = entry.export.calendar
        if overdue:
            lag = self._now - min(map(calendar.due, overdue))
        elif newest and newest.complete_at:
            lag = newest.complete_at - calendar.due(newest.entry.window)
        else:
            return None
        return max(lag.total_seconds(), 0.0)  # negative if the window was requested before

    def _late_rows(self, name: str) -> dict[str, int]:
        return {
            kind: sum(
                max(now.rows.get(kind, 0) - before.rows.get(kind, 0), 0)
                for before, now in self._late.get(name, ())
            )
            for kind in KINDS
        }

    def _problems(
        self,
        name: str,
        entry: ExportEntry,
        brand: str,
        lacking: Mapping[Window, Sequence[str]],
    ) -> Iterator[Problem]:
        yield from self._waiting_windows(name, entry, lacking)
        span = self._spans.get(entry.name)
        if name == entry.name and span and span.end > self._now:
            yield Problem(ProblemKind.AHEAD, 1, span, span.end)
        if late := self._late.get(name):
            oldest = late[0][1]
            since = entry.export.calendar.due(oldest.window)
            command = entry.job(oldest, brand=brand).command()
            yield Problem(ProblemKind.LATE, len(late), oldest.window, since, command)

    def _waiting_windows(
        self, name: str, entry: ExportEntry, lacking: Mapping[Window, Sequence[str]]
    ) -> Iterator[Problem]:
        """Yield the problems of due windows; windows with the same problem share one."""
        same: dict[tuple[ProblemKind, str], list[Problem]] = defaultdict(list)
        failing = self._failing.get(name, {})
        for window in sorted(lacking):
            since = entry.export.calendar.due(window)
            failure = failing.get(window)
            if failure and failure.status == ProblemKind.HELD:
                found = Problem(ProblemKind.HELD, 1, window, since, failure.reason)
            elif failure:
                found = _failed(failure)
            elif places := lacking[window]:
                found = Problem(ProblemKind.UNDELIVERED, 1, window, since, ", ".join(places))
            else:
                found = Problem(ProblemKind.OVERDUE, 1, window, since)
            same[found.kind, found.text].append(found)
        for job in self._waiting[entry.name]:
            # A brand whose name no file name can contain has no job, only a failure.
            window = job.entry.window
            if name != entry.name and window in failing and window not in lacking:
                same[ProblemKind.FAILED, failing[window].reason].append(_failed(failing[window]))
        for problems in same.values():
            since = min(problem.since for problem in problems)
            times = max(problem.times for problem in problems)
            yield replace(problems[0], windows=len(problems), since=since, times=times)


def late_windows(entries: Exports, ledger: Ledger) -> dict[str, list[tuple[Entry, Entry]]]:
    """Return the windows with late rows by export, each as it was delivered and as recounted."""
    found: dict[str, list[tuple[Entry, Entry]]] = defaultdict(list)
    for before, counted in ledger.recounts.late():
        if entries.owner(counted.export):
            found[counted.export].append((before, counted))
    return found


def _failed(found: Failure) -> Problem:
    kind = ProblemKind(found.status)
    return Problem(kind, 1, found.window, found.first_at, found.reason, found.times)


def _last(newest: NewestWindow) -> LastWindow:
    entry = newest.entry
    rows = entry.rows
    files = {
        item.file.path: replace(item.file, rows=rows.get(item.file.kind))
        for item in newest.deliveries
    }
    moments: dict[str, list[datetime | None]] = defaultdict(list)
    for item in newest.deliveries:
        moments[item.destination].append(item.delivered_at)
    delivered = {
        name: max(filter(None, found)) if all(found) else None for name, found in moments.items()
    }
    return LastWindow(
        entry.window, entry.revision, rows, newest.activities, list(files.values()), delivered
    )
