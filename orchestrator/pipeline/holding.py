"""Holding: a scheduled window waits until the warehouse contains rows from after its end.

A loader brings rows into the warehouse, and it can be late or down. If a window were delivered
before its rows are loaded, its files would contain nothing but headers, and nobody would notice.
So before a run builds a scheduled window, it asks the warehouse when the newest event, of any brand
and table, was received. If that was before the window's end, the loader has not reached the end,
and the window is held. A night without events looks the same as a loader that is down; therefore no
window is held for longer than `wait`.

Three kinds of windows are never held: those that were requested by date (`--date`, `backfill`),
second and later revisions, and windows whose files an earlier run has written.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import did_you_mean, escaped
from orchestrator.jobs import Job
from orchestrator.ledger import PLANNED
from orchestrator.pipeline import Hold, Run, Status
from orchestrator.pipeline.window_files import WindowFiles
from orchestrator.warehouse import Warehouse
from orchestrator.windows import Window

NO_BRANDS = (
    "the warehouse has no brand yet: nothing is exported for '*'; "
    "load rows, or check the dbt vars raw_database and raw_schema"
)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def candidates(run: Run, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that are held if the warehouse is not complete."""
    return [
        job
        for job in jobs
        if not run.request.resend
        and (job.entry.state, job.entry.revision) == (PLANNED, 1)
        and job.export.wait
    ]


def held(run: Run, warehouse: Warehouse, jobs: Sequence[Job]) -> list[WindowFiles]:
    """Return those of `jobs` that must wait, each with the reason. `jobs` is from `candidates`.

    Warns of windows that are delivered although rows may be missing: their `wait` is over, or they
    were requested by date. Raises GateError if dbt cannot query the warehouse.
    """
    newest = warehouse.newest_event(min(job.entry.window.end for job in jobs))
    stale = _stale(run, warehouse)
    behind = [job for job in jobs if stale or newest is None or newest < job.entry.window.end]
    if behind and newest is None:
        newest = warehouse.newest_event(_LONG_AGO)
    held_before = _held_before(run) if behind else set()
    found = []
    incomplete: dict[str, list[str]] = {}  # windows by reason, so that one cause is reported once
    for job in behind:
        end = job.entry.window.end
        reason = stale if newest and newest >= end else _behind(newest, run.now)
        hold = _hold(job, reason, held_before)
        if run.request.days or hold.until <= run.now:
            name = f"{job.entry.export} {job.entry.window}"
            incomplete.setdefault(reason, []).append(name)
            if not run.request.days:
                run.waited.append(f"{name}: rows may be missing: {reason}")
        else:
            found.append(WindowFiles(job, hold=hold))
    for reason, names in incomplete.items():
        more = f" and {len(names) - 1:,} more windows" if names[1:] else ""
        run.warn(f"{names[0]}{more}: rows may be missing: {reason}")
    return found


def unknown_brands(
    run: Run, warehouse: Warehouse, jobs: Sequence[Job], known: Collection[str]
) -> dict[str, WindowFiles]:
    """Return, by export, the jobs that must wait because the warehouse has no row of their brand.

    Otherwise a brand that is misspelled in exports.yml would get files without rows every day.
    `known` are brands that are known to have rows; the warehouse is asked about the others.
    """
    named = [
        job
        for job in candidates(run, jobs)
        if job.export.brand != EVERY_BRAND and job.brand not in known
    ]
    if run.request.days or not named:
        return {}
    in_warehouse = warehouse.known_brands({job.brand for job in named})
    held_before = _held_before(run)
    found = {}
    for job in named:
        if job.brand not in in_warehouse:
            hold = _hold(job, unknown(job.brand, known), held_before)
            found[job.entry.export] = WindowFiles(job, hold=hold)
            if hold.until <= run.now:
                run.waited.append(f"{job.entry.export} {job.entry.window}: {hold.reason}")
    return found


def unknown(brand: str, known: Collection[str]) -> str:
    """Return a warning that the warehouse has no row of a brand, with the most similar name."""
    hint = escaped(did_you_mean(brand, known))
    return f"the warehouse knows no brand '{brand}'{hint}; correct it, or load its rows"


def _hold(job: Job, reason: str, held_before: Collection[tuple[str, Window]]) -> Hold:
    since = job.export.calendar.due(job.entry.window)
    is_new = (job.entry.export, job.entry.window) not in held_before
    return Hold(reason, since, since + job.export.wait, is_new)


def _held_before(run: Run) -> set[tuple[str, Window]]:
    """Return the exports and windows that an earlier run held."""
    failing = run.ledger.failures.failing()
    return {(each.export, each.window) for each in failing if each.status == Status.HELD}


def _behind(newest: datetime | None, now: datetime) -> str:
    if newest is None:
        return (
            "the warehouse has no event yet; load rows, or check the dbt vars raw_database and "
            "raw_schema"
        )
    age = timedelta(seconds=int((now - newest).total_seconds()))
    return (
        f"the newest event in the warehouse came in at {newest:%Y-%m-%d %H:%M:%S} UTC, {age} ago; "
        "check that its loader works"
    )


def _stale(run: Run, warehouse: Warehouse) -> str:
    """Return a text with the raw tables past dbt's `error_after`; warn of those past `warn_after`.

    The text is empty if there are none.
    """
    ages = warehouse.dbt.freshness()
    texts = {
        age.table: f"the raw table {age.table} is past its freshness ({age.status}_after): its "
        f"newest row was loaded at {age.newest:%Y-%m-%d %H:%M:%S} UTC"
        for age in ages
    }
    for age in ages:
        if age.status == "warn":
            run.warn(texts[age.table])
    return "; ".join(texts[age.table] for age in ages if age.status == "error")
