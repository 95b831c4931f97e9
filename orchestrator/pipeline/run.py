"""A run: due windows -> dbt -> stage -> files -> delivery -> ledger."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime

from orchestrator import system
from orchestrator.config import Config
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import ExportError, LedgerError, LockedError, UsageError
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import Job, Request, due, unsettled
from orchestrator.ledger import Ledger
from orchestrator.pipeline import (
    LateRows,
    Run,
    RunResult,
    WindowResult,
    holding,
    shipping,
    window_files,
)
from orchestrator.pipeline.late import LateWindows, is_due
from orchestrator.pipeline.making import Maker
from orchestrator.pipeline.retention import Retention
from orchestrator.pipeline.shipping import Shipping
from orchestrator.pipeline.window_files import WindowFiles
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse import check_target
from orchestrator.warehouse.project import Project
from orchestrator.windows import Window


def foresee(config: Config, project: Project, request: Request, *, now: datetime) -> RunResult:
    """Return the windows that a run would build or hold; nothing is built (`--dry-run`)."""
    check_target(project)
    with closing(Ledger(config.state, read_only=True)) as ledger:
        run = Run(config, project, request, Outbox(config.outbox), ledger, now)
        jobs = _requested(run)
        with system.private_folder() as folder:
            scratch = Outbox(folder)
            with scratch.open(), closing(Maker(replace(run, outbox=scratch))) as maker:
                waiting = held(run, maker, jobs)
        found = {(r.export, r.window): r for r in map(window_files.foreseen, jobs)}
        found |= {(r.export, r.window): r for r in (f.result(deliver=False) for f in waiting)}
        return RunResult(
            [*found.values()], run.warnings, waited=run.waited, unsettled=run.unsettled
        )


def run(
    config: Config,
    project: Project,
    request: Request,
    *,
    now: datetime,
    progress: Progress = no_progress,
) -> RunResult:
    """Build and deliver every due window, oldest first, and record each step in the ledger.

    A window or a destination that fails does not stop the others; the result has its error. After
    the windows, the run looks for late rows. If it built no window, it does so at most once an
    hour, and otherwise it does not open the warehouse, because that takes seconds.

    Raises UsageError if the config, the project or the request is wrong for all windows, and
    LockedError if another run is at work.
    """
    check_target(project)
    outbox = Outbox(config.outbox)
    with outbox.open(), closing(Ledger(config.state)) as ledger:
        this = Run(config, project, request, outbox, ledger, now, progress)
        with closing(Maker(this)) as maker:
            jobs = _requested(this)
            if request.resend:
                shipping.reopen(this, jobs)
            runner = _JobRunner(this, maker)
            results = runner.execute(jobs)
            late: list[LateRows] = []
            if maker.has_looked or (not maker.is_refused and is_due(this)):
                progress("looking for late rows")
                windows = LateWindows(this, maker)
                late = windows.find()
                tried = {(result.export, result.window) for result in results}
                tried |= {(job.entry.export, job.entry.window) for job in jobs}
                results += runner.execute(windows.to_resend(tried))
        pruned = Retention(config, outbox=outbox, ledger=ledger, now=now).prune(
            destinations=request.deliver
        )
    warnings = [*this.warnings, *pruned.warnings]
    return RunResult(results, warnings, late, waited=this.waited, unsettled=this.unsettled)


def held(run: Run, maker: Maker, jobs: Sequence[Job]) -> list[WindowFiles]:
    """Return those of `jobs` that wait until the warehouse is complete.

    Returns none if the warehouse cannot answer. If it cannot be opened, the build of the first
    window reports the error; otherwise a warning says that no window waits.
    """
    candidates = holding.candidates(run, jobs)
    if not candidates:
        return []
    try:
        return holding.held(run, maker.open(), candidates)
    except LedgerError:
        raise
    except (ExportError, OSError) as error:
        if maker.warehouse:
            run.warn(f"no window waits for the warehouse to be complete: {error}")
        return []


def _requested(run: Run) -> list[Job]:
    """Return the jobs of the request in the order of their execution, and warn of its problems."""
    if run.request.resend:
        return shipping.resendable(run)
    run.check_ledger()
    jobs = due.jobs(run.config, run.ledger, run.request, run.now)
    if run.request.days:
        for warning in unsettled.repeated(run.config, run.ledger, jobs):
            run.warn(warning)
    else:
        jobs, postponed = due.in_turns(jobs)
        ahead = due.future_warnings(run.config, run.ledger, run.request, run.now)
        for warning in (*ahead, *postponed):
            run.warn(warning)
    run.unsettled.extend(unsettled.waiting(unsettled.unowned(run.config, run.ledger)))
    for warning in (*run.unsettled, *unsettled.replaced(run.config, run.ledger)):
        run.warn(warning)
    return jobs


class _JobRunner:
    """Executes jobs: builds windows, writes and delivers their files, and records failures."""

    def __init__(self, run: Run, maker: Maker) -> None:
        self._run = run
        self._maker = maker
        self._shipping = Shipping(run)

    def execute(self, jobs: Sequence[Job]) -> list[WindowResult]:
        """Build and deliver the files of jobs, which are ordered by window."""
        deliver = self._run.request.deliver
        # Held windows are planned too: the next run starts after the last window in the ledger.
        self._run.ledger.plan(job.entry for job in jobs)
        waiting = held(self._run, self._maker, jobs)
        results = [files.result(deliver=deliver) for files in waiting]
        window_files.note_failures(self._run, results)
        names = {(found.export, found.window) for found in results}
        released = [job for job in jobs if (job.entry.export, job.entry.window) not in names]
        for window, group in itertools.groupby(released, key=lambda job: job.entry.window):
            of_window = list(group)
            done: list[WindowFiles] = []
            for batch in self._batches(window, of_window):
                done += self._shipped(batch) if deliver else batch
            found = [each.result(deliver=deliver) for each in done]
            found += map(window_files.foreseen, self._finish_every_brand(of_window, done))
            window_files.note_failures(self._run, found)
            results += found
        return results

    def _batches(self, window: Window, jobs: Sequence[Job]) -> Iterator[list[WindowFiles]]:
        """Yield the files that an earlier run wrote, then build and yield those of other jobs.

        The caller delivers each batch before it asks for the next one. So files that exist already
        are delivered even if the build fails.
        """
        written = {job.entry.export: window_files.finished(self._run, job) for job in jobs}
        if waiting := [files for files in written.values() if files]:
            yield waiting
        to_build = [job for job in jobs if not written[job.entry.export]]
        if not to_build:
            return
        try:
            yield self._maker.make(window, to_build, taken=set(written))
        except (LockedError, LedgerError):
            raise  # no other window could be built either
        except UsageError as error:
            failed = [WindowFiles(job, error=error).result(deliver=True) for job in to_build]
            window_files.note_failures(self._run, failed)
            raise  # as above
        except ExportError as error:
            yield [WindowFiles(job, error=error) for job in to_build]
        except OSError as error:
            reason = system.os_error(error, "the outbox")
            yield [WindowFiles(job, error=reason) for job in to_build]

    def _shipped(self, batch: Sequence[WindowFiles]) -> list[WindowFiles]:
        rest = [files for files in batch if files.error or files.hold]
        return rest + self._shipping.ship([f for f in batch if not f.error and not f.hold])

    def _finish_every_brand(self, jobs: Iterable[Job], done: Iterable[WindowFiles]) -> list[Job]:
        """Record a window of `*` as delivered if each of its brands is.

        Returns the jobs of `*` that remain due because the warehouse has no brand yet.
        """
        failed = {files.job.export.brand for files in done if files.error}
        every = [job for job in jobs if job.brand == EVERY_BRAND]
        if EVERY_BRAND in failed:
            return []
        if not self._maker.brands:
            return every
        if self._run.request.deliver and not self._run.request.brands:
            self._run.ledger.finish(job.entry for job in every)
        return []
