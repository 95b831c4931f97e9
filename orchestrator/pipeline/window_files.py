"""Products: the files of one brand's window that lie in the outbox, and where each is to go."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.config import public_key
from orchestrator.config.exports import COMPLETION, KINDS, Export, File, Kind
from orchestrator.errors import ExportError, GateError
from orchestrator.files import completion
from orchestrator.files.outbox import Outbox
from orchestrator.files.writing import WrittenFile
from orchestrator.jobs.job import Job
from orchestrator.ledger import WRITTEN, Delivery, Ledger
from orchestrator.ledger.failures import Failure
from orchestrator.pipeline.result import FileResult, Status, WindowResult


@dataclass(frozen=True)
class WindowFiles:
    """One brand's window with its files in the outbox, or why there are none."""

    job: Job
    deliveries: Sequence[Delivery] = ()
    error: ExportError | None = None


def finished(job: Job, *, outbox: Outbox, ledger: Ledger) -> WindowFiles | None:
    """Return the files that an earlier run made and did not deliver everywhere.

    They go to the destinations that the export has now. None where there are none, the outbox does
    not hold those very bytes any more, or they are to be encrypted by now.
    """
    if job.forced or job.entry.state != WRITTEN:
        return None
    known = ledger.deliveries(job.entry)
    wanted = job.export.destination
    deliveries = [item for item in known if item.delivered_at or item.destination in wanted]
    files = {item.file.path: item for item in known}
    for name in wanted:
        if all(item.destination != name for item in known):
            deliveries += [
                replace(item, destination=name, delivered_at=None, rename_sent=False)
                for item in files.values()
            ]
    waiting = [item for item in deliveries if item.delivered_at is None]
    if any(is_plain(job.export, item.file) for item in waiting):
        return None
    if not all(outbox.holds(item.file) for item in waiting):
        return None
    if deliveries != known:
        ledger.write([(job.entry, deliveries)])
    return WindowFiles(job, deliveries)


def publish(
    job: Job, made: Mapping[Kind, WrittenFile], *, outbox: Outbox, ledger: Ledger
) -> WindowFiles:
    """Move whole files to their places in the outbox and say where they are to go.

    What an earlier run has delivered of the same bytes stays delivered. Where it has recorded
    other bytes, these are the next revision; where the receiver may have those, it gets both files.
    """
    rows = {kind: made[kind].file.rows for kind in KINDS}
    entry = replace(
        job.entry,
        state=WRITTEN,
        activity_rows=rows["activity"],
        broadcast_rows=rows["broadcast"],
        choice=job.export.content.choice,
    )
    if job.export.empty == "skip" and not any(rows.values()):
        return WindowFiles(replace(job, entry=entry))
    earlier = {_identity(item): item for item in ledger.deliveries(entry)}
    files = completion.files(job.export, job.brand, job.entry.window, made, revision=entry.revision)
    kept = {_identity(item) for item in _deliveries(job, files)}
    other = [
        item
        for identity, item in earlier.items()
        if item.destination in job.export.destination and identity not in kept
    ]
    if other:
        entry = replace(entry, revision=entry.revision + 1)
        files = completion.files(
            job.export, job.brand, job.entry.window, made, revision=entry.revision
        )
    outbox.publish([(written.local, written.file.path) for written in files])
    deliveries = _deliveries(job, files)
    if not any(item.delivered_at or item.rename_sent for item in other):
        outbox.tidy({item.file.path for item in other} - {written.file.path for written in files})
        deliveries = [earlier.get(_identity(item), item) for item in deliveries]
    return WindowFiles(replace(job, entry=entry), deliveries)


def foreseen(job: Job) -> WindowResult:
    """Return what would become of a job."""
    window = job.entry.window
    files = [FileResult(*file) for file in job.export.files(brand=job.brand, window=window)]
    return WindowResult(**job.subject, status=Status.DUE, files=files)


def result(product: WindowFiles, *, deliver: bool) -> WindowResult:
    """Return what became of a product, in a run that was to deliver it or not."""
    entry = product.job.entry
    rows = {"activity": entry.activity_rows, "broadcast": entry.broadcast_rows}
    having: dict[File, list[str]] = {}
    for item in product.deliveries:
        file = replace(item.file, rows=rows.get(item.file.kind))
        having.setdefault(file, []).extend([item.destination] if item.delivered_at else [])
    files = [FileResult(**vars(file), destinations=names) for file, names in having.items()]
    if isinstance(product.error, GateError):
        status = Status.STOPPED
    elif product.error:
        status = Status.FAILED
    elif not files:
        status = Status.SKIPPED
    else:
        status = Status.DELIVERED if deliver else Status.WRITTEN
    error = str(product.error) if product.error else None
    return WindowResult(**product.job.subject, status=status, files=files, error=error)


def failures(results: Iterable[WindowResult]) -> Iterator[Failure]:
    """Yield what the ledger keeps of those that failed or were stopped."""
    for found in results:
        if found.error:
            yield Failure(found.export, found.window, found.revision, found.status, found.error)


def _identity(item: Delivery) -> tuple[str, str, str]:
    return item.destination, item.file.path, item.file.sha256


def _deliveries(job: Job, files: Sequence[WrittenFile]) -> list[Delivery]:
    return [Delivery(written.file, name) for name in job.export.destination for written in files]


def is_plain(export: Export, file: File) -> bool:
    """Tell whether a file was written in the clear that the export would encrypt by now."""
    plain = file.kind not in COMPLETION and not file.path.endswith(public_key.OPENPGP_SUFFIX)
    return plain and export.dialect.encrypt_for is not None
