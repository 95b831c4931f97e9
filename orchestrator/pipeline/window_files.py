"""The files of one brand's window: in the outbox, in delivery, and in the result of a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.config import openpgp
from orchestrator.config.dialect import COMPRESSION_SUFFIXES
from orchestrator.config.exports import COMPLETION, KINDS, Export, File, Kind
from orchestrator.errors import ExportError, GateError, escaped
from orchestrator.files import completion
from orchestrator.files.packing import WrittenFile
from orchestrator.jobs import Job, brand_of
from orchestrator.ledger import WRITTEN, Delivery, Entry, Failure, ManifestLinks
from orchestrator.pipeline import FileResult, Hold, Run, Status, WindowResult


@dataclass(frozen=True)
class WindowFiles:
    """One brand's window with its files in the outbox, or the reason that it has none.

    The reason is an `error` or a `hold`. A window with neither and without files was skipped.
    """

    job: Job
    deliveries: Sequence[Delivery] = ()
    error: ExportError | None = None
    hold: Hold | None = None

    def result(self, *, deliver: bool) -> WindowResult:
        """Return the result of the window; `deliver` is false with `--no-deliver`."""
        rows = self.job.entry.rows
        destinations: dict[File, list[str]] = {}  # those that have the file, by file
        for item in self.deliveries:
            file = replace(item.file, rows=rows.get(item.file.kind))
            having = destinations.setdefault(file, [])
            if item.delivered_at:
                having.append(item.destination)
        if isinstance(self.error, GateError):
            status = Status.STOPPED
        elif self.error:
            status = Status.FAILED
        elif self.hold:
            status = Status.HELD
        elif not destinations:
            status = Status.SKIPPED
        else:
            status = Status.DELIVERED if deliver else Status.WRITTEN
        return WindowResult(
            **self.job.subject,
            status=status,
            files=[
                FileResult(**vars(file), destinations=having)
                for file, having in destinations.items()
            ],
            error=str(self.error) if self.error else None,
            hold=self.hold,
        )


def foreseen(job: Job) -> WindowResult:
    """Return the result of a job that is due and was not executed."""
    files = [FileResult(kind, path) for kind, path in job.files()]
    return WindowResult(**job.subject, status=Status.DUE, files=files)


def note_failures(run: Run, results: Sequence[WindowResult]) -> None:
    """Record in the ledger why windows failed, were stopped or are held, for `status`."""
    run.ledger.failures.note(
        Failure(found.export, found.window, found.revision, found.status, reason)
        for found in results
        if (reason := found.error or (found.hold and found.hold.reason))
    )


def finished(run: Run, job: Job) -> WindowFiles | None:
    """Return the files that an earlier run wrote and did not deliver everywhere.

    They are delivered to the destinations that the export has now. Returns None if the window must
    be built: there are no such files, the outbox no longer has exactly their bytes, or they are
    unencrypted and `encrypt_for` was set since.
    """
    if job.forced or job.entry.state != WRITTEN:
        return None
    recorded = run.ledger.deliveries(job.entry)
    wanted = job.export.destination
    known = _with_current_names(run, recorded, wanted)
    deliveries = [item for item in known if item.delivered_at or item.destination in wanted]
    dropped = {i.destination for i in known if not i.delivered_at} - {*wanted}
    for name in sorted(dropped):
        run.warn(
            f"{escaped(job.entry.export)} {job.entry.window}: its files waited for destination "
            f"'{name}', which the export no longer has; they are delivered only to "
            f"{', '.join(wanted)}"
        )
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
    if not all(run.outbox.contains(item.file) for item in waiting):
        return None
    if deliveries != recorded:
        run.ledger.write([(job.entry, deliveries)])
    return WindowFiles(job, deliveries)


def _with_current_names(
    run: Run, known: Sequence[Delivery], wanted: Sequence[str]
) -> list[Delivery]:
    """Return deliveries with the names that their destinations have in exports.yml now.

    If exports.yml no longer has the name of a destination, but one of the `wanted` destinations is
    at the same host and folder, it was renamed. Without the new name, files that were delivered
    there would be sent again.
    """
    destinations = run.config.destinations
    taken = {item.destination for item in known}
    places = {destinations[name].place: name for name in wanted if name not in taken}
    names = {
        item.destination: places[item.announced_to]
        for item in known
        if item.destination not in destinations and item.announced_to in places
    }
    return [replace(i, destination=names.get(i.destination, i.destination)) for i in known]


def publish(run: Run, job: Job, written: Mapping[Kind, WrittenFile]) -> WindowFiles:
    """Rename complete files into the outbox, and return them with a delivery per destination.

    The ledger may have files of this revision from a run that was killed. If the bytes are the
    same, the deliveries of that run still count. If they differ, because rows arrived since, a
    receiver may have the earlier bytes; so the new bytes become the next revision. One revision
    never has two contents.
    """
    rows = {kind: written[kind].file.rows for kind in KINDS}
    entry = replace(
        job.entry,
        state=WRITTEN,
        activity_rows=rows["activity"],
        broadcast_rows=rows["broadcast"],
        choice=job.export.content.choice,
    )
    # A later revision without rows replaces files that were delivered, so it is not skipped.
    if job.export.empty == "skip" and not any(rows.values()) and not delivered_before(run, entry):
        return WindowFiles(replace(job, entry=entry))
    earlier = {_identity(item): item for item in run.ledger.deliveries(entry)}
    files, deliveries = _completed(run, replace(job, entry=entry), written)
    kept = {_identity(item) for item in deliveries}
    other = [
        item
        for identity, item in earlier.items()
        if item.destination in job.export.destination and identity not in kept
    ]
    if other:
        entry = replace(entry, revision=entry.revision + 1)
        files, deliveries = _completed(run, replace(job, entry=entry), written)
    # The next line gives the files these names in the outbox, and the delivery at destinations.
    if error := run.ledger.claim(entry, [file.file for file in files]):
        return WindowFiles(replace(job, entry=entry), error=error)
    run.outbox.publish([(file.local, file.file.path) for file in files])
    if not any(item.delivered_at or item.rename_sent for item in other):
        run.outbox.remove({item.file.path for item in other} - {file.file.path for file in files})
        deliveries = [earlier.get(_identity(item), item) for item in deliveries]
    return WindowFiles(replace(job, entry=entry), deliveries)


def delivered_before(run: Run, entry: Entry) -> list[File]:
    """Return the files of this window that a receiver has or may have, oldest revision first."""
    known = [*run.ledger.earlier(entry), *run.ledger.deliveries(entry)]
    return [item.file for item in known if item.delivered_at or item.rename_sent]


def keeping_names(run: Run, job: Job) -> Job:
    """Return the job with the file names of the window's first revision that was delivered.

    A revision replaces the earlier ones, so its files get the same names, even if the patterns in
    exports.yml changed: under new names a receiver would load the rows of a window twice. There are
    two exceptions. If compression or encryption was switched on or off, the old names would have
    the wrong suffix; the new names are used, and the delivery removes the old files
    (`pipeline/shipping.py`). If the patterns contain `{revision}`, each revision has different
    names, and the files of earlier revisions stay.

    After a change of `timezone`, an earlier window of the brand can have the same names. Then the
    names get the time in UTC.
    """
    kept: dict[Kind, str] = {}
    before = [] if job.export.names_revisions else delivered_before(run, job.entry)
    for file in before:
        for kind in KINDS:
            if file.kind == kind and packed_suffix(file.path) == job.export.dialect.packed_suffix:
                kept.setdefault(kind, file.path)
    if len(kept) == len(KINDS):
        return replace(job, kept=kept)
    taken = run.ledger.taken(job.entry, {path: kind for kind, path in job.files()})
    if taken and brand_of(taken[1]) == job.brand:
        return replace(job, kept={kind: job.repeated_path(kind) for kind in KINDS})
    return job


def packed_suffix(path: str) -> str:
    """Return the suffix of a path that compression and encryption added, such as `.gz.pgp`."""
    packings = "|".join(re.escape(suffix) for suffix in COMPRESSION_SUFFIXES.values() if suffix)
    encrypted = re.escape(openpgp.OPENPGP_SUFFIX)
    found = re.search(f"(?:{packings})?(?:{encrypted})?$", path)
    return found[0] if found else ""


def is_plain(export: Export, file: File) -> bool:
    """Return whether a data file is unencrypted although the export has `encrypt_for` now."""
    plain = file.kind not in COMPLETION and not file.path.endswith(openpgp.OPENPGP_SUFFIX)
    return plain and export.dialect.encrypt_for is not None


def _completed(
    run: Run, job: Job, written: Mapping[Kind, WrittenFile]
) -> tuple[list[WrittenFile], list[Delivery]]:
    """Return all files of a revision, with its completion files, and the deliveries to make."""
    entry, links = job.entry, ManifestLinks(job.entry.export)
    if job.export.has_manifest:
        links = run.ledger.manifest_links(entry)
    # `publish` may have raised the revision since the files were written, which changes the paths.
    written = {
        kind: replace(found, file=replace(found.file, path=job.path(kind)))
        for kind, found in written.items()
    }
    files = completion.files(
        job.export, job.brand, entry.window, written, revision=entry.revision, links=links
    )
    places = job.export.destination
    return files, [Delivery(file.file, place) for place in places for file in files]


def _identity(item: Delivery) -> tuple[str, str, str]:
    return item.destination, item.file.path, item.file.sha256
