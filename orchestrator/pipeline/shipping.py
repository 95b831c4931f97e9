"""Shipping: files of the outbox go to their destinations, and the ledger notes what arrived."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from orchestrator.config.exports import COMPLETION, File
from orchestrator.errors import DeliveryError, ExportError, UsageError
from orchestrator.jobs import Job
from orchestrator.ledger import WRITTEN, Delivery, DeliveryKey, Ledger
from orchestrator.pipeline import Run
from orchestrator.pipeline.window_files import WindowFiles, is_plain

if TYPE_CHECKING:
    import asyncio

    from orchestrator.delivery import Outcome, Upload

_ARRIVALS_EVERY = 1.0  # seconds


class Shipping:
    """Delivers the files of windows. An unreachable destination is not tried again in this run."""

    def __init__(self, run: Run) -> None:
        """Take the run."""
        self._run = run
        self._down: dict[str, DeliveryError] = {}

    def ship(self, windows: Sequence[WindowFiles]) -> list[WindowFiles]:
        """Deliver what is not yet delivered, the files of each window in order.

        Returns the windows as the ledger knows them now, with the error of those that did not
        arrive everywhere.
        """
        from orchestrator.delivery import (  # noqa: PLC0415 - a run with nothing due delivers nothing
            UnreachableError,
        )

        ledger = self._run.ledger
        errors: dict[int, list[DeliveryError]] = {}
        batches: dict[str, dict[int, list[Upload]]] = {}  # by destination and window
        owners: dict[tuple[str, str], int] = {}
        for number, window in enumerate(windows):
            for name, uploads in self._uploads(window).items():
                if name in self._down:
                    errors.setdefault(number, []).append(self._down[name])
                    continue
                batches.setdefault(name, {})[number] = uploads
                owners |= {(name, upload.file.path): number for upload in uploads}

        def place(name: str, upload: "Upload") -> DeliveryKey:
            path = upload.file.path
            return DeliveryKey(windows[owners[name, path]].job.entry, name, path)

        for name, outcomes in self._delivered(batches, place).items():
            for (number, uploads), outcome in zip(batches[name].items(), outcomes, strict=True):
                if outcome.error:
                    error = DeliveryError(f"destination '{name}': {outcome.error}")
                    errors.setdefault(number, []).append(error)
                if kept := {*uploads} - {*outcome.uploads_done, outcome.unsure}:
                    ledger.withdraw(place(name, each) for each in kept)
            if all(isinstance(outcome.error, UnreachableError) for outcome in outcomes):
                self._down[name] = errors[max(batches[name])][-1]
        ledger.finish(w.job.entry for number, w in enumerate(windows) if number not in errors)
        return [
            replace(
                window,
                error=_joined(errors.get(number, ())),
                deliveries=ledger.deliveries(window.job.entry),
            )
            for number, window in enumerate(windows)
        ]

    def _uploads(self, window: WindowFiles) -> dict[str, list["Upload"]]:
        """Return what is to be uploaded for a window, by destination, in the order of delivery."""
        from orchestrator.delivery import Upload  # noqa: PLC0415 - as above

        entry = window.job.entry
        found: dict[str, list[Upload]] = {}
        earlier = self._run.ledger.earlier(entry) if entry.revision > 1 else []
        waiting = [item for item in window.deliveries if item.delivered_at is None]
        for name in dict.fromkeys(item.destination for item in waiting):
            place = self._run.config.destinations[name].place
            here = [item for item in waiting if item.destination == name]
            before = [item for item in earlier if self._is_at(item, name, place)]
            found[name] = [
                Upload(
                    self._run.outbox.path(item.file.path),
                    item.file,
                    # An announcement says nothing about another server or folder.
                    item.rename_sent and item.announced_to in (None, place),
                )
                for item in here
            ]
            # Where each revision has different names, the files of earlier ones stay.
            replaced = [] if window.job.export.names_revisions else before
            found[name][0] = replace(
                found[name][0],
                abandoned=_abandoned(here, before),
                retracted=_retracted(here, replaced, [d.file.path for d in window.deliveries]),
            )
        return found

    def _is_at(self, item: Delivery, name: str, place: str) -> bool:
        """Tell whether a file went to this destination, which may have had another name."""
        is_gone = item.destination not in self._run.config.destinations
        return item.destination == name or (is_gone and item.announced_to == place)

    def _delivered(
        self,
        batches: Mapping[str, Mapping[int, Sequence["Upload"]]],
        place: Callable[[str, "Upload"], DeliveryKey],
    ) -> dict[str, list["Outcome"]]:
        """Deliver batches by destination, and note each file's way in the ledger."""
        from orchestrator.delivery import deliver_all  # noqa: PLC0415 - as above

        destinations = self._run.config.destinations
        places = {name: destinations[name].place for name in batches}
        notes = DeliveryNotes(self._run.ledger, place, places)
        try:
            return deliver_all(
                {name: (destinations[name], [*each.values()]) for name, each in batches.items()},
                notes.published,
                on_renaming=notes.renaming,
                progress=self._run.progress,
            )
        finally:
            notes.close()


def _abandoned(waiting: Sequence[Delivery], earlier: Sequence[Delivery]) -> tuple[File, ...]:
    """Return the files of earlier revisions that never arrived: part files of them may be left."""
    wanted = {(item.file.path, item.file.sha256) for item in waiting}
    never = (item.file for item in earlier if item.delivered_at is None)
    return tuple(file for file in never if (file.path, file.sha256) not in wanted)


def _retracted(
    waiting: Sequence[Delivery], earlier: Sequence[Delivery], paths: Collection[str]
) -> tuple[File, ...]:
    """Return the files to remove before the first data file gets its name, in this order.

    First completion files: those of an earlier delivery would say of the new data files what is
    true of the old ones. Then the data files of earlier revisions whose names are not among the
    `paths` of this one, so that no row of a window is in two files at a receiver.
    """
    if waiting[0].file.kind in COMPLETION:
        return ()
    files = [item.file for item in (*waiting, *earlier) if item.file.kind in COMPLETION]
    files += [
        item.file
        for item in reversed(earlier)
        if (item.delivered_at or item.rename_sent)
        and item.file.kind not in COMPLETION
        and item.file.path not in paths
    ]
    return tuple({file.path: file for file in files}.values())


def _joined(errors: Sequence[DeliveryError]) -> DeliveryError | None:
    """Return one error that names every destination that failed, if any did."""
    return DeliveryError(" And ".join(map(str, errors))) if errors else None


class DeliveryNotes:
    """What one delivery notes in the ledger.

    Each transaction costs a flush of the disk, which is more than a small file takes to upload. So
    uploads that reach the same point at the same time share one.
    """

    def __init__(
        self,
        ledger: Ledger,
        place: Callable[[str, "Upload"], DeliveryKey],
        places: Mapping[str, str],
    ) -> None:
        """Take the ledger, what returns the key of an upload, and the place of each destination."""
        self._ledger = ledger
        self._places = places
        self._place = place
        self._renaming: list[DeliveryKey] = []
        self._arrived: dict[DeliveryKey, datetime] = {}
        self._writing: asyncio.Future[None] | None = None
        self._noted_at = monotonic()

    async def renaming(self, destination: str, upload: "Upload") -> None:
        """Return once the ledger says that this file may get its final name.

        Once a second the same transaction notes which files arrived. Until then the announcement
        says as much: the rename was sent, and the part file is gone.
        """
        import asyncio  # noqa: PLC0415 - a run with nothing due delivers nothing

        self._renaming.append(self._place(destination, upload))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        await asyncio.shield(self._writing)

    def published(self, destination: str, upload: "Upload") -> None:
        """Keep that the file arrived, until the next transaction."""
        self._arrived[self._place(destination, upload)] = datetime.now(UTC)

    def close(self) -> None:
        """Note the files that arrived last."""
        if self._arrived:
            self._ledger.announce([], arrived=self._arrived)

    async def _write(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        await asyncio.sleep(0)  # uploads that reached this point share the transaction
        files, self._renaming, self._writing = self._renaming, [], None
        is_time = monotonic() - self._noted_at >= _ARRIVALS_EVERY
        arrived = self._arrived if is_time else None
        self._ledger.announce(files, places=self._places, arrived=arrived)
        if is_time:
            self._arrived.clear()
            self._noted_at = monotonic()


def resendable(run: Run) -> list[Job]:
    """Return the windows that begin on the request's days and have files, oldest first.

    `resend` delivers the very bytes that were delivered before, as the same revision. Raises
    UsageError where there are none, and ExportError, so that nothing is sent, where the outbox no
    longer has the files of one or `encrypt_for` was set since.
    """
    found = list(_written(run))
    for job in found:
        for item in run.ledger.deliveries(job.entry):
            name = f"{job.entry.export} {job.entry.window}: {item.file.path}"
            if not run.outbox.contains(item.file):
                raise ExportError(
                    f"{name} is no longer in the outbox as it was delivered (keep_local says how "
                    "long it stays); nothing is sent. Build that window again, as the next "
                    f"revision: {job.command()}"
                )
            if is_plain(job.export, item.file):
                raise ExportError(
                    f"{name} was delivered in the clear, and encrypt_for was set since; nothing is "
                    "sent. Build that window again, encrypted, as the next revision: "
                    f"{job.command()}"
                )
    if not found:
        raise UsageError(f"nothing was delivered of windows that begin on {run.request.days}")
    return sorted(found, key=lambda job: (job.entry.window, job.entry.export))


def reopen(run: Run, found: Sequence[Job]) -> None:
    """Note that the files of these jobs are to be delivered again, also after a kill.

    Warns of later revisions that could not be built so far, which are dropped.
    """
    newest = run.ledger.entries(since=min(job.entry.window.start for job in found))
    for job in found:
        later = newest[job.entry.export, job.entry.window].revision
        if later > job.entry.revision:
            run.warn(
                f"{job.entry.export} {job.entry.window}: revision {later}, which was requested and "
                f"could not be built, is dropped; to request it again: {job.command()}"
            )
    run.ledger.reopen((job.entry, job.export.destination) for job in found)


def _written(run: Run) -> Iterator[Job]:
    """Yield the newest revision with files of each window that begins on the request's days."""
    assert run.request.days  # noqa: S101 - the command gives them
    bounds = {line.name: line.export.calendar.bounds(run.request.days) for line in run.exports}
    since = min((begin for begin, _ in bounds.values()), default=None)
    for entry in run.ledger.entries(since=since, written=True).values():
        if owner := run.exports.owner(entry.export):
            line, brand = owner
            begin, end = bounds[line.name]
            if begin <= entry.window.start < end and run.ledger.deliveries(entry):
                yield line.job(replace(entry, state=WRITTEN), brand=brand)
