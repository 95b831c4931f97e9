"""Late rows: those that reached the warehouse after their window was written.

A *look* asks the warehouse how many rows it has received lately, by the quarter of an hour that
they belong to (the dbt model `arrivals`), and compares the answer with that of the look before.
Where the two differ, rows arrived or were removed. If a window of that time was written before,
it is built again, and a fingerprint of its keys shows whether it has other rows now. So a look
costs what arrived, and a window is built again only if something happened to its rows.

Three rules make sure that no row is missed:

- A run looks before it reads the first window. A row that arrives between the look and the read
  is in the window's files, and the next look finds it once more, in vain. The other order would
  lose such a row.
- A row may become visible long after its `loaded_at`: a loader often takes that moment when its
  transaction begins. So a look goes back `_OVERLAP` before the newest `loaded_at` of the look
  before, and compares what it finds twice.
- What a look found is noted in the ledger in the same transaction as the recounts that follow
  from it. After a kill the next look finds the same again.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.config.exports import EVERY_BRAND, KINDS, Kind
from orchestrator.errors import ExportError, LedgerError
from orchestrator.jobs import Exports, Job, Request
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import Entry, Ledger, Look
from orchestrator.pipeline import LateRows, Run
from orchestrator.pipeline.making import Maker
from orchestrator.warehouse import Arrival
from orchestrator.warehouse.stage import Stage
from orchestrator.windows import Window

_EVERY = timedelta(hours=1)
"""How often a run that builds nothing looks."""
_OVERLAP = timedelta(days=1)
"""How long after its `loaded_at` a row may become visible."""
_QUARTER = timedelta(minutes=15)
_BROADCASTS = "broadcasts"
_LOOKBACK_HOURS = 24  # of the dbt var's default

_Groups = dict[str, dict[str, tuple[int, int]]]
"""By raw table and start of the quarter of an hour (ISO 8601): rows, and their fingerprint."""


@dataclass(frozen=True)
class Arrivals:
    """Which rows a look found, in the form in which the ledger keeps them.

    `undated` are raw tables with rows of the last day that do not say when they were loaded: late
    rows of those cannot be found.
    """

    groups: _Groups = field(default_factory=dict)
    undated: Sequence[str] = ()

    @classmethod
    def of(cls, look: Look | None) -> "Arrivals":
        """Return what a look found; nothing before the first look."""
        if look is None:
            return cls()
        found = json.loads(look.arrivals)
        groups = {
            table: {period: (rows, mark) for period, (rows, mark) in by_period.items()}
            for table, by_period in found["groups"].items()
        }
        return cls(groups, found["undated"])


def is_due(run: Run) -> bool:
    """Tell whether a scheduled run that builds nothing looks for late rows."""
    if run.request.resend or run.request.days or run.ledger.is_empty():
        return False
    last = run.ledger.recounts.last_look()
    # A clock that was ahead must not stop the looks.
    return last is None or not timedelta(0) <= run.now - last.looked_at < _EVERY


def undated(arrivals: Iterable[Arrival]) -> list[str]:
    """Return the raw tables with rows of the last day that do not say when they were loaded."""
    return sorted({arrival.table for arrival in arrivals if arrival.period is None})


def undated_tables(ledger: Ledger) -> Sequence[str]:
    """Return the raw tables that did not say when their rows were loaded, at the last look."""
    return Arrivals.of(ledger.recounts.last_look()).undated


def cannot_find(tables: Sequence[str]) -> str:
    """Return the warning for raw tables that do not say when their rows were loaded."""
    return (
        f"late rows of {', '.join(tables)} cannot be found: loaded_at is missing, or null in rows "
        "of the last day. 'orchestrate load' fills it; for another loader see docs/warehouses.md"
    )


class LateWindows:
    """Finds the windows with late rows, and those to send again."""

    def __init__(self, run: Run, maker: Maker) -> None:
        """Take the run, and the maker, which has looked at the arrivals or does so now."""
        self._run = run
        self._maker = maker
        self._exports = Exports(run.config, Request())  # a look concerns every export
        self._recounted: list[tuple[Entry, bool]] = []

    def find(self) -> list[LateRows]:
        """Return the windows that were found to have late rows, oldest first.

        Those that this run has built are left out. Each window is built once for all exports,
        without tests, and no file is written. The look and the recounts are noted in the ledger.
        A window that cannot be built is reported in the warnings, and looked at again next time.
        """
        try:
            seen = self._maker.look()
        except LedgerError:
            raise
        except (ExportError, OSError) as error:  # a run with nothing to build does not fail by it
            self._run.warn(f"late rows are not looked for: {error}")
            return []
        if seen is None:
            return []
        last = self._run.ledger.recounts.last_look()
        look = _look(seen, last, self._run.now)
        if tables := undated(seen):
            self._run.warn(cannot_find(tables))
        changed = _changed(seen, last, self._lookback, self._run.now) if last else []
        by_window: dict[Window, list[Job]] = defaultdict(list)
        for job in self._candidates(changed):
            by_window[job.entry.window].append(job)
        found: list[LateRows] = []
        for window, jobs in sorted(by_window.items(), key=lambda item: item[0]):
            self._run.progress(f"{window}: counting late rows")
            try:
                stage, _ = self._maker.open().stage(window, tested=False)
                found += self._compare(window, jobs, stage)
            except LedgerError:
                raise
            except ExportError as error:
                self._run.warn(f"{window}: not looked at for late rows: {error}")
                look = last or look
        self._run.ledger.recounts.note(self._recounted, look)
        return found

    def to_resend(self, tried: Collection[tuple[str, Window]]) -> list[Job]:
        """Return the jobs that send windows with late rows again where `late_rows` says so.

        Also those that an earlier run found and could not send. Those that this run has `tried`
        are left out.
        """
        late = [(before.export, before.window) for before, _ in self._run.ledger.recounts.late()]
        if not late:
            return []
        known = self._run.ledger.entries(since=min(window.start for _, window in late))
        jobs: list[Job] = []
        for export, window in late:
            entry = known.get((export, window)) or Entry(export, window, 1)
            owner = self._run.exports.owner(export)
            if owner and owner[0].export.late_rows == "resend" and (export, window) not in tried:
                each, brand = owner
                job = each.job(entry, brand=brand, forced=True)
                jobs += filter(None, [job.revised(known.get((export, window)))])
        return jobs

    @property
    def _lookback(self) -> timedelta:
        hours = self._run.project.variables.get("dedupe_lookback_hours", _LOOKBACK_HOURS)
        return timedelta(hours=float(hours))

    def _candidates(self, changed: Sequence[Window]) -> Iterator[Job]:
        """Yield a job for each window that was written and overlaps a time of changes."""
        if not changed:
            return
        for entry in self._run.ledger.recounts.written(changed[0].start):
            owner = self._exports.owner(entry.export)
            if owner is None or (entry.export, entry.window) in self._maker.written:
                continue
            each, brand = owner
            # Where the export now chooses other rows than it did, the fingerprint says nothing.
            is_alike = brand == EVERY_BRAND or entry.choice == each.export.content.choice
            if is_alike and any(
                time.start < entry.window.end and entry.window.start < time.end for time in changed
            ):
                yield each.job(entry, brand=brand, forced=True)

    def _compare(self, window: Window, jobs: list[Job], stage: Stage) -> Iterator[LateRows]:
        known = self._run.ledger.entries(window=window)
        for job in self._by_brand(jobs, known, stage):
            now = self._maker.summaries(stage, job)
            written = job.entry
            rows: dict[Kind, int] = {kind: now[kind].rows for kind in KINDS}
            before: dict[Kind, int] = {kind: written.rows.get(kind, 0) for kind in KINDS}
            is_late = _is_late(written, before, rows, stage.fingerprint(now))
            counted = replace(
                written, activity_rows=rows["activity"], broadcast_rows=rows["broadcast"]
            )
            self._recounted.append((counted, is_late))
            if is_late:
                is_resent = job.export.late_rows == "resend" and bool(
                    self._run.exports.owner(written.export)
                )
                command = None if is_resent else job.command()
                yield LateRows(**job.subject, delivered=before, now=rows, command=command)

    def _by_brand(
        self, jobs: list[Job], known: Mapping[tuple[str, Window], Entry], stage: Stage
    ) -> Iterator[Job]:
        """Yield the jobs; for `*` one for each brand of which the ledger knows nothing."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            continuity = Continuity(self._exports, self._run.ledger)
            # A brand that a separate entry delivered in this time has no late rows here.
            for job in continuity.brands(every, stage.brands, (), Request()):
                is_known = (job.entry.export, job.entry.window) in known
                if job.brand in stage.brands and not is_known:
                    entry = replace(job.entry, choice=job.export.content.choice)
                    yield replace(job, entry=entry)


def _is_late(
    written: Entry, before: Mapping[Kind, int], rows: Mapping[Kind, int], keys: str
) -> bool:
    """Tell whether a window has other rows now than were written.

    DuckDB may hash differently in each release. Then the numbers of rows decide, as they do for
    files that an earlier release of ours wrote.
    """
    release, _, _ = keys.partition(" ")
    if written.keys.partition(" ")[0] == release:
        return written.keys != keys or before != rows  # a row that is doubled cancels itself out
    return any(rows[kind] > before[kind] for kind in KINDS)


def _look(seen: Sequence[Arrival], last: Look | None, now: datetime) -> Look:
    """Return what the next look compares with: the rows that it will see again."""
    loaded = [each.loaded_from for each in seen if each.loaded_from]
    # A loader's clock that is far ahead must not hide what others load.
    newest = min(max(loaded), now + _OVERLAP) if loaded else None
    since = newest - _OVERLAP if newest else last.loaded_since if last else None
    kept = [e for e in seen if not e.loaded_from or (since and e.loaded_from >= since)]
    arrivals = {"groups": _grouped(kept), "undated": undated(seen)}
    return Look(now, since, json.dumps(arrivals, separators=(",", ":")))


def _grouped(arrivals: Sequence[Arrival]) -> _Groups:
    groups: _Groups = defaultdict(dict)
    for each in arrivals:
        if each.period:
            rows, mark = groups[each.table].get(each.period.isoformat(), (0, 0))
            groups[each.table][each.period.isoformat()] = (
                rows + each.rows,
                mark ^ each.fingerprint,
            )
    return groups


def _changed(
    seen: Sequence[Arrival], last: Look, lookback: timedelta, now: datetime
) -> list[Window]:
    """Return the times whose windows may have changed since the last look, by their start.

    An event may change its own window and those of the `lookback` after it: a second receipt of
    it there is left out from now on. A broadcast may be in the file of every window since it was
    carried out.
    """
    found = []
    before = Arrivals.of(last).groups
    for table, groups in _grouped(seen).items():
        earlier = before.get(table, {})
        if table == _BROADCASTS:
            earlier = _folded(earlier, min(groups))
        for period, counted in groups.items():
            if earlier.get(period) != counted:
                start = datetime.fromisoformat(period)
                end = now if table == _BROADCASTS else start + _QUARTER + lookback
                found.append(Window(start, max(end, start + _QUARTER)))
    return sorted(found, key=lambda window: window.start)


def _folded(groups: Mapping[str, tuple[int, int]], first: str) -> dict[str, tuple[int, int]]:
    """Return groups of broadcasts of which those up to the first period are one.

    The first period of a look stands for all broadcasts before it, and moves on with the time.
    """
    folded: dict[str, tuple[int, int]] = {}
    for period, (rows, mark) in groups.items():
        at = max(period, first)
        folded[at] = (folded.get(at, (0, 0))[0] + rows, folded.get(at, (0, 0))[1] ^ mark)
    return folded
