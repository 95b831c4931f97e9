"""The audit: windows that were delivered are counted again, for rows that came in late."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator.config.exports import EVERY_BRAND, KINDS, Kind
from orchestrator.errors import ExportError, LedgerError
from orchestrator.jobs import Job
from orchestrator.ledger import Entry
from orchestrator.pipeline import Run, holding
from orchestrator.pipeline.making import Maker
from orchestrator.pipeline.result import LateRows
from orchestrator.warehouse.stage import Stage
from orchestrator.windows import Window

_MOST = 35 * 24 * 4
"""How many windows of each export are looked through for those that shipped incomplete."""


@dataclass(frozen=True)
class Late:
    """A window with late rows, and the job that sends it again where `late_rows` says so."""

    rows: LateRows
    job: Job | None


class Audit:
    """Recounts the last `audit_windows` delivered windows of the exports of a request."""

    def __init__(self, run: Run, maker: Maker) -> None:
        """Take the run, and the maker, which has the warehouse open."""
        assert maker.warehouse  # noqa: S101 - a run that built nothing does not look
        self._run = run
        self._maker = maker
        self._lines = run.exports
        self._ledger = run.ledger
        self._recounts = run.ledger.recounts
        self._warehouse = maker.warehouse

    def late(self, made: Collection[tuple[str, Window]]) -> list[Late]:
        """Return the windows with more rows now than were delivered, oldest first.

        Those that this run has `made` are passed over. Each window is built once for all exports,
        without tests, and no file is written. What was counted is kept in the ledger. A window
        that cannot be built is told in the warnings.
        """
        by_window: dict[Window, list[Job]] = {}
        for job in self._candidates(made):
            by_window.setdefault(job.entry.window, []).append(job)
        found: list[Late] = []
        for window, jobs in sorted(by_window.items(), key=lambda item: item[0]):
            try:
                stage, _ = self._warehouse.stage(window, tested=False)
                found += self._compare(window, jobs, stage)
            except LedgerError:
                raise
            except ExportError as error:
                self._run.warn(f"{window}: not looked at for late rows: {error}")
        return found

    def _candidates(self, made: Collection[tuple[str, Window]]) -> Iterator[Job]:
        most = max((line.export.audit_windows for line in self._lines), default=0)
        incomplete = holding.incomplete(self._ledger, self._run.now)
        if incomplete:
            most = max(most, _MOST)
        if not most:
            return
        just_made = Counter(export for export, _ in made)
        seen: Counter[str] = Counter()
        for entry in self._recounts.delivered(most + max(just_made.values(), default=0)):
            owner = self._lines.owner(entry)
            if owner is None or (entry.export, entry.window) in made:
                continue
            line, brand = owner
            seen[entry.export] += 1
            every = brand == EVERY_BRAND
            # Where the export now chooses other rows than it did, the counts say nothing.
            names = {(entry.export, entry.window, entry.revision)}
            names.add((line.name, entry.window, entry.revision))
            is_recent = seen[entry.export] <= line.export.audit_windows
            if (is_recent or names & incomplete) and (
                every or entry.choice == line.export.content.choice
            ):
                yield line.job(entry, brand=brand, forced=True)

    def _compare(self, window: Window, jobs: list[Job], stage: Stage) -> Iterator[Late]:
        known = self._ledger.entries(window=window)
        counts: dict[str, Mapping[str, int]] = {}
        recounted: list[Entry] = []
        for job in self._by_brand(jobs, known, stage):
            delivered, now = job.entry, {}
            for kind in KINDS:
                condition = self._maker.format(job.export, kind).condition()
                if (name := f"{kind} {condition}") not in counts:
                    counts[name] = stage.counts(kind, condition=condition)
                now[kind] = counts[name].get(job.brand, 0)
            recounted.append(
                replace(delivered, activity_rows=now["activity"], broadcast_rows=now["broadcast"])
            )
            before = _rows(delivered)
            if any(now[kind] > before[kind] for kind in KINDS):
                again = None
                if job.export.late_rows == "resend":
                    again = job.revised(known.get((delivered.export, window)))
                yield Late(_late_rows(job, before, now, resent=again is not None), again)
        self._recounts.note(recounted)

    def _by_brand(
        self, jobs: list[Job], known: Mapping[tuple[str, Window], Entry], stage: Stage
    ) -> Iterator[Job]:
        """Yield the jobs; that of `*` stands for the brands of which the ledger knows nothing."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            for brand in filter(self._lines.star_includes, stage.brands):
                job = every.of_brand(brand)
                if (job.entry.export, job.entry.window) not in known:
                    entry = replace(job.entry, choice=job.export.content.choice)
                    yield replace(job, entry=entry)


def _rows(entry: Entry) -> dict[Kind, int]:
    return {"broadcast": entry.broadcast_rows or 0, "activity": entry.activity_rows or 0}


def _late_rows(
    job: Job, before: Mapping[Kind, int], now: Mapping[Kind, int], *, resent: bool
) -> LateRows:
    command = None if resent else job.command()
    return LateRows(**job.subject, delivered=before, now=now, command=command)
