"""Late rows: rows that reached the warehouse after the files of their window were written.

A *look* asks the warehouse which rows were loaded lately: how many, and a fingerprint of their
keys, for each quarter of an hour in which the events were received (the dbt model `arrivals`). It
compares the answer with that of the previous look. If the two differ for a quarter, rows of that
time arrived or were removed. Each written window of that time is then built again, and the
fingerprint of its keys shows whether its rows changed. So the cost of a look depends on the number
of rows that arrived, and a window is built again only if something happened to its rows.

Three rules make sure that no row is missed:

- A run looks before it reads the first window. A row that arrives between the look and the read
  is in the window's files. The next look finds this row too, and builds the window in vain. In the
  other order, a row that arrives between the read and the look would never be found.
- A row may become visible long after its `loaded_at`, because a loader often takes this time when
  its transaction begins. So a look begins `_OVERLAP` before the newest `loaded_at` of the previous
  look, and rows of this overlap are compared twice.
- The ledger records a look in the same transaction as the recounts that follow from it. If a run is
  killed before, the next look finds the same rows again.
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

_INTERVAL = timedelta(hours=1)
"""The time between two looks of runs that build nothing."""
_OVERLAP = timedelta(days=1)
"""How long after its `loaded_at` a row may become visible."""
_QUARTER = timedelta(minutes=15)
_BROADCASTS = "broadcasts"
_LOOKBACK_HOURS = 24  # the default of the dbt var dedupe_lookback_hours

_Groups = dict[str, dict[str, tuple[int, int]]]
"""Number and fingerprint of rows, by raw table and start of the quarter of an hour (ISO 8601)."""


@dataclass(frozen=True)
class Arrivals:
    """The rows that a look found, in the form in which the ledger stores them.

    `undated` are raw tables with rows of the last day that have no `loaded_at`. Late rows of these
    tables cannot be found.
    """

    groups: _Groups = field(default_factory=dict)
    undated: Sequence[str] = ()

    @classmethod
    def of(cls, look: Look | None) -> "Arrivals":
        """Return the arrivals of a look. They are empty if there was no look yet."""
        if look is None:
            return cls()
        stored = json.loads(look.arrivals)
        groups = {
            table: {
                period: (rows, fingerprint) for period, (rows, fingerprint) in by_period.items()
            }
            for table, by_period in stored["groups"].items()
        }
        return cls(groups, stored["undated"])


def is_due(run: Run) -> bool:
    """Return whether a run that builds nothing looks for late rows now."""
    if run.request.resend or run.request.days or run.ledger.is_empty():
        return False
    last = run.ledger.recounts.last_look()
    # If the clock was ahead, the last look is in the future, and must not prevent the next one.
    return last is None or not timedelta(0) <= run.now - last.looked_at < _INTERVAL


def undated(arrivals: Iterable[Arrival]) -> list[str]:
    """Return the raw tables with rows of the last day that have no `loaded_at`."""
    return sorted({arrival.table for arrival in arrivals if arrival.period is None})


def undated_tables(ledger: Ledger) -> Sequence[str]:
    """Return the raw tables that had rows without `loaded_at` at the last look."""
    return Arrivals.of(ledger.recounts.last_look()).undated


def cannot_find(tables: Sequence[str]) -> str:
    """Return the warning for raw tables whose rows have no `loaded_at`."""
    return (
        f"late rows of {', '.join(tables)} cannot be found: loaded_at is missing, or null in rows "
        "of the last day. 'orchestrate load' fills it; for another loader see docs/warehouses.md"
    )


class LateWindows:
    """Finds the windows with late rows, and those to send again."""

    def __init__(self, run: Run, maker: Maker) -> None:
        """Take the run, and its maker, which asks the warehouse for the arrivals."""
        self._run = run
        self._maker = maker
        self._exports = Exports(run.config, Request())  # all, even if the run is of one brand
        self._recounted: list[tuple[Entry, bool]] = []

    def find(self) -> list[LateRows]:
        """Return the windows that have late rows, oldest first.

        Windows that this run has built are left out. Each window is built once for all exports,
        without tests, and no file is written. The look and the recounts are recorded in the ledger.
        If a window cannot be built, a warning reports it, and the next look finds it again.
        """
        try:
            arrivals = self._maker.look()
        except LedgerError:
            raise
        except (ExportError, OSError) as error:  # a failed look does not fail the run
            self._run.warn(f"late rows are not looked for: {error}")
            return []
        if arrivals is None:
            return []
        last = self._run.ledger.recounts.last_look()
        look = _look(arrivals, last, self._run.now)
        if tables := undated(arrivals):
            self._run.warn(cannot_find(tables))
        changed = _changed(arrivals, last, self._lookback, self._run.now) if last else []
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
                look = last or look  # so that the next look finds the same changes
        self._run.ledger.recounts.note(self._recounted, look)
        return found

    def to_resend(self, tried: Collection[tuple[str, Window]]) -> list[Job]:
        """Return the jobs that send windows with late rows again, of exports with `resend`.

        They include windows that an earlier run found and could not send. Exports and windows that
        this run has `tried` are left out.
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
        """Yield a job for each written window that overlaps one of the `changed` times."""
        if not changed:
            return
        for entry in self._run.ledger.recounts.written(changed[0].start):
            owner = self._exports.owner(entry.export)
            if owner is None or (entry.export, entry.window) in self._maker.written:
                continue
            each, brand = owner
            # If the filter of the export changed since, the window has other rows without any late
            # ones, so it cannot be compared.
            is_comparable = brand == EVERY_BRAND or entry.choice == each.export.content.choice
            if is_comparable and any(
                time.start < entry.window.end and entry.window.start < time.end for time in changed
            ):
                yield each.job(entry, brand=brand, forced=True)

    def _compare(self, window: Window, jobs: list[Job], stage: Stage) -> Iterator[LateRows]:
        """Recount the window of each job; yield those with other rows than were written."""
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
        """Yield the jobs; for `*` one job for each brand whose window is not in `known`."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            continuity = Continuity(self._exports, self._run.ledger)
            # `brands` leaves out brands whose rows of this time a separate entry delivered.
            for job in continuity.brands(every, stage.brands, (), Request()):
                is_known = (job.entry.export, job.entry.window) in known
                if job.brand in stage.brands and not is_known:
                    entry = replace(job.entry, choice=job.export.content.choice)
                    yield replace(job, entry=entry)


def _is_late(
    written: Entry, before: Mapping[Kind, int], rows: Mapping[Kind, int], keys: str
) -> bool:
    """Return whether a window has other rows now than were written.

    A release of DuckDB may compute other hashes, so the fingerprint begins with the release. If the
    releases differ, or an earlier release of this program recorded no fingerprint, the window has
    late rows if it has more rows.
    """
    release, _, _ = keys.partition(" ")
    if written.keys.partition(" ")[0] == release:
        # Two rows with the same key cancel out in the fingerprint, so the numbers count too.
        return written.keys != keys or before != rows
    return any(rows[kind] > before[kind] for kind in KINDS)


def _look(arrivals: Sequence[Arrival], last: Look | None, now: datetime) -> Look:
    """Return the look to record: the time at which the next look begins, and the rows since then.

    The next look finds these rows again, and compares them with the record.
    """
    loaded = [each.loaded_from for each in arrivals if each.loaded_from]
    # If the clock of one loader is far ahead, the next look must still find rows of the others.
    newest = min(max(loaded), now + _OVERLAP) if loaded else None
    since = newest - _OVERLAP if newest else last.loaded_since if last else None
    kept = [e for e in arrivals if not e.loaded_from or (since and e.loaded_from >= since)]
    stored = {"groups": _grouped(kept), "undated": undated(arrivals)}
    return Look(now, since, json.dumps(stored, separators=(",", ":")))


def _grouped(arrivals: Sequence[Arrival]) -> _Groups:
    groups: _Groups = defaultdict(dict)
    for each in arrivals:
        if each.period:
            period = each.period.isoformat()
            rows, fingerprint = groups[each.table].get(period, (0, 0))
            groups[each.table][period] = rows + each.rows, fingerprint ^ each.fingerprint
    return groups


def _changed(
    arrivals: Sequence[Arrival], last: Look, lookback: timedelta, now: datetime
) -> list[Window]:
    """Return the times whose windows may have changed since the last look, ordered by their start.

    An event may change its own window, and the windows in the `lookback` after it, from which a
    second receipt of the same event is now left out. A broadcast may change every window since it
    was carried out.
    """
    found = []
    before = Arrivals.of(last).groups
    for table, groups in _grouped(arrivals).items():
        earlier = before.get(table, {})
        if table == _BROADCASTS:
            earlier = _merged(earlier, min(groups))
        for period, counted in groups.items():
            if earlier.get(period) != counted:
                start = datetime.fromisoformat(period)
                end = now if table == _BROADCASTS else start + _QUARTER + lookback
                found.append(Window(start, max(end, start + _QUARTER)))
    return sorted(found, key=lambda window: window.start)


def _merged(groups: Mapping[str, tuple[int, int]], first: str) -> dict[str, tuple[int, int]]:
    """Return groups of broadcasts, in which the groups up to the period `first` became one.

    The first group of a look contains all broadcasts up to its period, and each look begins later
    than the previous one. So the groups of the previous look must be merged before they compare.
    """
    merged: dict[str, tuple[int, int]] = {}
    for period, (rows, fingerprint) in groups.items():
        at = max(period, first)
        before = merged.get(at, (0, 0))
        merged[at] = before[0] + rows, before[1] ^ fingerprint
    return merged
