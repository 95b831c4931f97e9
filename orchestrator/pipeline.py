"""A run: due windows -> dbt -> stage -> files -> delivery -> ledger."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from orchestrator import due, engines
from orchestrator.config import Config
from orchestrator.due import Job, Request
from orchestrator.errors import ExportError, GateError, LockedError, UsageError
from orchestrator.exports import EVERY_BRAND, KINDS
from orchestrator.ledger import Ledger
from orchestrator.outbox import Outbox
from orchestrator.production import Production
from orchestrator.products import Product
from orchestrator.project import Project
from orchestrator.result import FileResult, RunResult, Status, WindowResult
from orchestrator.shipping import Shipping
from orchestrator.windows import Window

Progress = Callable[[str], None]
"""Is told what is being done now."""


def foresee(config: Config, project: Project, request: Request, *, now: datetime) -> RunResult:
    """Return what a run would do, and do nothing (`--dry-run`)."""
    engines.check(project)
    ledger = Ledger(config.state, read_only=True)
    try:
        return RunResult([_foreseen(job) for job in due.jobs(config, ledger, request, now)])
    finally:
        ledger.close()


def run(
    config: Config, project: Project, request: Request, *, now: datetime, progress: Progress
) -> RunResult:
    """Make and deliver every due window, oldest first, and remember it.

    A window or a destination that fails does not stop the others; the result tells. Raises
    UsageError where nothing can be done at all, LockedError where another run is at work.
    """
    engines.check(project)
    outbox = Outbox(config.outbox)
    results: list[WindowResult] = []
    with outbox.open():
        ledger = Ledger(config.state)
        production = Production(config, project, outbox=outbox, ledger=ledger)
        shipping = Shipping(config, outbox=outbox, ledger=ledger)
        try:
            jobs = due.jobs(config, ledger, request, now)
            ledger.plan(job.entry for job in jobs)
            for window, group in itertools.groupby(jobs, key=lambda job: job.entry.window):
                todo = list(group)
                progress(f"window {window}: making files")
                products: list[Product] = []
                for batch in _batches(production, window, todo, request):
                    if request.deliver:
                        progress(f"window {window}: delivering")
                    products += _shipped(shipping, batch) if request.deliver else batch
                if request.deliver:
                    _finish_every_brand(ledger, todo, products, request)
                results += [_result(product, request) for product in products]
            outbox.tidy(ledger, keep=config.keep_local, now=now)
        finally:
            production.close()
            ledger.close()
    return RunResult(results, production.warnings)


def _batches(
    production: Production, window: Window, jobs: Sequence[Job], request: Request
) -> Iterator[list[Product]]:
    """Yield the files that an earlier run has made, then, once those are away, the others."""
    ready = {job.entry.export: production.finished(job) for job in jobs}
    if waiting := [product for product in ready.values() if product]:
        yield waiting
    to_make = [job for job in jobs if not ready[job.entry.export]]
    if not to_make:
        return
    try:
        yield production.make(window, to_make, brands=request.brands, taken=set(ready))
    except (UsageError, LockedError):
        raise  # nothing else could be made either
    except ExportError as error:
        yield [Product(job, error=error) for job in to_make]
    except OSError as error:  # the disk is full, or a folder forbids
        reason = ExportError(f"{error.filename or 'the outbox'}: {error.strerror}")
        yield [Product(job, error=reason) for job in to_make]


def _shipped(shipping: Shipping, products: list[Product]) -> list[Product]:
    failed = [product for product in products if product.error]
    return failed + shipping.ship([product for product in products if not product.error])


def _finish_every_brand(
    ledger: Ledger, jobs: Iterable[Job], products: Iterable[Product], request: Request
) -> None:
    """Note a window of `*` as delivered when each of its brands is."""
    failed = {product.job.export.brand for product in products if product.error}
    if EVERY_BRAND not in failed and not request.brands:
        ledger.finish(job.entry for job in jobs if job.brand == EVERY_BRAND)


def _foreseen(job: Job) -> WindowResult:
    window = job.entry.window
    files = [
        FileResult(kind, job.export.path(kind, brand=job.brand, window=window)) for kind in KINDS
    ]
    return _window_result(job, Status.DUE, files)


def _result(product: Product, request: Request) -> WindowResult:
    entry = product.job.entry
    rows = {"activity": entry.activity_rows, "broadcast": entry.broadcast_rows}
    files: dict[str, FileResult] = {}
    for item in product.deliveries:
        there = files[item.path].destinations if item.path in files else ()
        files[item.path] = FileResult(
            item.kind,
            item.path,
            rows[item.kind],
            item.size,
            item.sha256,
            [*there, item.destination] if item.delivered_at else there,
        )
    if isinstance(product.error, GateError):
        status = Status.STOPPED
    elif product.error:
        status = Status.FAILED
    elif not files:
        status = Status.SKIPPED
    else:
        status = Status.DELIVERED if request.deliver else Status.WRITTEN
    error = str(product.error) if product.error else None
    return _window_result(product.job, status, list(files.values()), error)


def _window_result(
    job: Job, status: Status, files: list[FileResult], error: str | None = None
) -> WindowResult:
    return WindowResult(
        export=job.entry.export,
        brand=job.brand,
        interval=job.export.interval.value,
        timezone=job.export.timezone.key,
        window=job.entry.window,
        revision=job.entry.revision,
        status=status,
        files=files,
        error=error,
    )
