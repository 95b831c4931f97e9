"""Products: the files of one brand's window that lie in the outbox, and where each is to go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import ExportError, GateError
from orchestrator.exports import KINDS, Kind
from orchestrator.files import WrittenFile
from orchestrator.jobs import Job
from orchestrator.ledger import WRITTEN, Delivery, Ledger
from orchestrator.outbox import Outbox
from orchestrator.result import FileResult, Status, WindowResult


@dataclass(frozen=True)
class Product:
    """One brand's window with its files in the outbox, or why there are none."""

    job: Job
    deliveries: Sequence[Delivery] = ()
    error: ExportError | None = None


def finished(job: Job, *, outbox: Outbox, ledger: Ledger) -> Product | None:
    """Return the files that an earlier run made and did not deliver everywhere.

    They go to the destinations that the export has now. None where there are none, or the outbox
    does not hold those very bytes any more.
    """
    if job.forced or job.entry.state != WRITTEN:
        return None
    known = ledger.deliveries(job.entry)
    wanted = job.export.destination
    deliveries = [item for item in known if item.delivered_at or item.destination in wanted]
    files = {item.kind: item for item in known}
    for name in wanted:
        if all(item.destination != name for item in known):
            deliveries += [
                replace(files[kind], destination=name, delivered_at=None, rename_sent=False)
                for kind in KINDS
                if kind in files
            ]
    waiting = [item for item in deliveries if item.delivered_at is None]
    if not all(outbox.holds(item.path, item.size, item.sha256) for item in waiting):
        return None
    if deliveries != known:
        ledger.write([(job.entry, deliveries)])
    return Product(job, deliveries)


def publish(
    job: Job, made: Mapping[Kind, WrittenFile], *, outbox: Outbox, ledger: Ledger
) -> Product:
    """Move whole files to their places in the outbox and say where they are to go.

    What an earlier run has delivered of the same bytes stays delivered. Where it has recorded
    other bytes, these are the next revision; where the receiver may have those, it gets both files.
    """
    rows = {kind: made[kind].rows for kind in KINDS}
    entry = replace(
        job.entry,
        state=WRITTEN,
        activity_rows=rows["activity"],
        broadcast_rows=rows["broadcast"],
        choice=job.export.choice,
    )
    if job.export.empty == "skip" and not any(rows.values()):
        return Product(replace(job, entry=entry))
    paths = {kind: job.export.path(kind, brand=job.brand, window=entry.window) for kind in KINDS}
    outbox.publish([(made[kind].path, paths[kind]) for kind in KINDS])
    fresh = [
        Delivery(kind, name, paths[kind], made[kind].size, made[kind].sha256)
        for name in job.export.destination
        for kind in KINDS
    ]
    earlier = {_identity(item): item for item in ledger.deliveries(entry)}
    kept = {_identity(item) for item in fresh}
    other = [
        item
        for identity, item in earlier.items()
        if item.destination in job.export.destination and identity not in kept
    ]
    if other:
        entry = replace(entry, revision=entry.revision + 1)
    if any(item.delivered_at or item.rename_sent for item in other):
        return Product(replace(job, entry=entry), fresh)
    deliveries = [earlier.get(_identity(item), item) for item in fresh]
    return Product(replace(job, entry=entry), deliveries)


def foreseen(job: Job) -> WindowResult:
    """Return what would become of a job."""
    window = job.entry.window
    files = [
        FileResult(kind, job.export.path(kind, brand=job.brand, window=window)) for kind in KINDS
    ]
    return WindowResult(**job.subject, status=Status.DUE, files=files)


def result(product: Product, *, deliver: bool) -> WindowResult:
    """Return what became of a product, in a run that was to deliver it or not."""
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
        status = Status.DELIVERED if deliver else Status.WRITTEN
    error = str(product.error) if product.error else None
    return WindowResult(
        **product.job.subject, status=status, files=list(files.values()), error=error
    )


def _identity(item: Delivery) -> tuple[str, str, str]:
    return item.destination, item.path, item.sha256
