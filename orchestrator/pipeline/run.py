"""A run: due windows -> dbt -> stage -> files -> delivery -> ledger."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from orchestrator import system
from orchestrator.config import Config
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import ExportError, LedgerError, LockedError, UsageError
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import due
from orchestrator.jobs.job import Job, Request
from orchestrator.ledger import Ledger
from orchestrator.ledger.failures import Failures
from orchestrator.pipeline import resending, window_files
from orchestrator.pipeline.audit import Audit, Late
from orchestrator.pipeline.making import Production
from orchestrator.pipeline.result import RunResult, WindowResult
from orchestrator.pipeline.retention import Retention
from orchestrator.pipeline.shipping import Shipping
from orchestrator.pipeline.window_files import WindowFiles
from orchestrator.warehouse import engines
from orchestrator.warehouse.project import Project
from orchestrator.windows import Window

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Is told what is being done now."""


def foresee(config: Config, project: Project, request: Request, *, now: datetime) -> RunResult:
    """Return what a run would do, and do nothing (`--dry-run`)."""
    engines.check(project)
    with closing(Ledger(config.state, read_only=True)) as ledger:
        jobs, warnings = _wanted(config, request, ledger, now)
        return RunResult([window_files.foreseen(job) for job in jobs], warnings)


def run(
    config: Config, project: Project, request: Request, *, now: datetime, progress: Progress
) -> RunResult:
    """Make and deliver every due window, oldest first, and remember it.

    A window or a destination that fails does not stop the others; the result tells. A run that
    made something looks for late rows too; one that has nothing to make opens no warehouse, and
    does not. Raises UsageError where nothing can be done at all, LockedError where another run is
    at work.
    """
    engines.check(project)
    outbox = Outbox(config.outbox)
    with (
        outbox.open(),
        closing(Ledger(config.state)) as ledger,
        closing(Production(config, project, outbox=outbox, ledger=ledger, now=now)) as production,
    ):
        shipping = Shipping(config, outbox=outbox, ledger=ledger)
        work = _Work(request, ledger, Failures(ledger.database), production, shipping, progress)
        jobs, warnings = _wanted(config, request, ledger, now)
        if request.resend:
            warnings += resending.reopen(jobs, ledger)
        results = work.carry_out(jobs)
        late: list[Late] = []
        if production.warehouse:
            progress("looking for late rows")
            audit = Audit(config, request, ledger=ledger, warehouse=production.warehouse)
            made = {(result.export, result.window) for result in results}
            made |= {(job.entry.export, job.entry.window) for job in jobs}
            late = audit.late(made)
            warnings += audit.warnings
            results += work.carry_out([found.job for found in late if found.job])
        retention = Retention(config, outbox=outbox, ledger=ledger, now=now)
        pruned = retention.prune(destinations=request.deliver)
    warnings += [*production.warnings, *pruned.warnings]
    return RunResult(results, warnings, [found.rows for found in late])


def _wanted(
    config: Config, request: Request, ledger: Ledger, now: datetime
) -> tuple[list[Job], list[str]]:
    """Return what the request is about, and what somebody should know beforehand."""
    if request.resend:
        return resending.jobs(config, request, ledger=ledger, outbox=Outbox(config.outbox)), []
    jobs = due.jobs(config, ledger, request, now)
    warnings = [] if request.days else due.ahead(config, ledger, request, now)
    for warning in warnings:
        _log.warning("%s", warning)
    return jobs, warnings


@dataclass(frozen=True)
class _Work:
    """What a run works with."""

    request: Request
    ledger: Ledger
    failures: Failures
    production: Production
    shipping: Shipping
    progress: Progress

    def carry_out(self, jobs: Sequence[Job]) -> list[WindowResult]:
        """Make and deliver the files of jobs, which stand window by window."""
        deliver = self.request.deliver
        results: list[WindowResult] = []
        self.ledger.plan(job.entry for job in jobs)
        for window, group in itertools.groupby(jobs, key=lambda job: job.entry.window):
            todo = list(group)
            made: list[WindowFiles] = []
            for batch in self._batches(window, todo):
                if deliver:
                    self.progress(f"window {window}: delivering")
                made += self._shipped(batch) if deliver else batch
            found = [window_files.result(product, deliver=deliver) for product in made]
            found += map(window_files.foreseen, self._finish_every_brand(todo, made))
            self.failures.note(window_files.failures(found))
            results += found
        return results

    def _batches(self, window: Window, jobs: Sequence[Job]) -> Iterator[list[WindowFiles]]:
        """Yield the files that an earlier run has made, then, once those are away, the others."""
        ready = {job.entry.export: self.production.finished(job) for job in jobs}
        if waiting := [product for product in ready.values() if product]:
            yield waiting
        to_make = [job for job in jobs if not ready[job.entry.export]]
        if not to_make:
            return
        self.progress(f"window {window}: making files")
        try:
            brands = self.request.brands
            yield self.production.make(window, to_make, brands=brands, taken=set(ready))
        except (LockedError, LedgerError):
            raise  # nothing else could be made either
        except UsageError as error:  # the same
            results = [
                window_files.result(WindowFiles(job, error=error), deliver=True) for job in to_make
            ]
            self.failures.note(window_files.failures(results))
            raise
        except ExportError as error:
            yield [WindowFiles(job, error=error) for job in to_make]
        except OSError as error:  # the disk is full, or a folder forbids
            place = error.filename or "the outbox"
            reason = system.disk_full(error, place) or ExportError(f"{place}: {error.strerror}")
            yield [WindowFiles(job, error=reason) for job in to_make]

    def _shipped(self, made: list[WindowFiles]) -> list[WindowFiles]:
        failed = [product for product in made if product.error]
        return failed + self.shipping.ship([product for product in made if not product.error])

    def _finish_every_brand(self, jobs: Iterable[Job], made: Iterable[WindowFiles]) -> list[Job]:
        """Note a window of `*` as delivered when each of its brands is.

        Returns the jobs of `*` that stay due, for the warehouse has no brand yet.
        """
        failed = {product.job.export.brand for product in made if product.error}
        every = [job for job in jobs if job.brand == EVERY_BRAND]
        if EVERY_BRAND in failed:
            return []
        if not self.production.brands:
            return every
        if self.request.deliver and not self.request.brands:
            self.ledger.finish(job.entry for job in every)
        return []
