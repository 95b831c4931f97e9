"""Shipping: deliver files of the outbox to their destinations, and record what arrived."""

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

_ARRIVALS_INTERVAL = 1.0  # seconds


class Shipping:
    """Delivers the files of windows. An unreachable destination is not tried again in this run."""

    def __init__(self, run: Run) -> None:
        """Take the run."""
        self._run = run
        self._unreachable: dict[str, DeliveryError] = {}

    def ship(self, windows: Sequence[WindowFiles]) -> list[WindowFiles]:
        """Deliver the files that are not delivered yet, those of each window in order.

        Returns the windows with their deliveries as the ledger has them now, and with an error if a
        file did not arrive at one of its destinations.
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
                if name in self._unreachable:
                    errors.setdefault(number, []).append(self._unreachable[name])
                    continue
                batches.setdefault(name, {})[number] = uploads
                owners |= {(name, upload.file.path): number for upload in uploads}

        def key_of(name: str, upload: "Upload") -> DeliveryKey:
            path = upload.file.path
            return DeliveryKey(windows[owners[name, path]].job.entry, name, path)

        for name, outcomes in self._deliver(batches, key_of).items():
            for (number, uploads), outcome in zip(batches[name].items(), outcomes, strict=True):
                if outcome.error:
                    error = DeliveryError(f"destination '{name}': {outcome.error}")
                    errors.setdefault(number, []).append(error)
                # If their announcements remained, the next run could treat them as delivered.
                if not_renamed := {*uploads} - {*outcome.uploads_done, outcome.unsure}:
                    ledger.withdraw(key_of(name, each) for each in not_renamed)
            if all(isinstance(outcome.error, UnreachableError) for outcome in outcomes):
                self._unreachable[name] = errors[max(batches[name])][-1]
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
        """Return the uploads of a window, by destination, in the order of delivery."""
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
                    # An announcement for another host or folder says nothing about this one.
                    item.rename_sent and item.announced_to in (None, place),
                )
                for item in here
            ]
            # If each revision has different names, the files of earlier revisions stay.
            replaced = [] if window.job.export.names_revisions else before
            found[name][0] = replace(
                found[name][0],
                abandoned=_abandoned(here, before),
                retracted=_retracted(here, replaced, [d.file.path for d in window.deliveries]),
            )
        return found

    def _is_at(self, item: Delivery, name: str, place: str) -> bool:
        """Return whether a file went to this destination, which may have had another name then."""
        was_renamed = item.destination not in self._run.config.destinations
        return item.destination == name or (was_renamed and item.announced_to == place)

    def _deliver(
        self,
        batches: Mapping[str, Mapping[int, Sequence["Upload"]]],
        key_of: Callable[[str, "Upload"], DeliveryKey],
    ) -> dict[str, list["Outcome"]]:
        """Deliver batches by destination, and record the steps of each file in the ledger."""
        from orchestrator.delivery import deliver_all  # noqa: PLC0415 - as above

        destinations = self._run.config.destinations
        places = {name: destinations[name].place for name in batches}
        notes = DeliveryNotes(self._run.ledger, key_of, places)
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
    """Return the files of earlier revisions that never arrived, of which part files may be left."""
    wanted = {(item.file.path, item.file.sha256) for item in waiting}
    undelivered = (item.file for item in earlier if item.delivered_at is None)
    return tuple(file for file in undelivered if (file.path, file.sha256) not in wanted)


def _retracted(
    waiting: Sequence[Delivery], earlier: Sequence[Delivery], paths: Collection[str]
) -> tuple[File, ...]:
    """Return the files to remove before the first data file gets its final name, in this order.

    First come the completion files: until they are removed, they announce the old data files, and a
    receiver would apply them to the new ones. Then come the data files of earlier revisions whose
    names are not among the `paths` of this revision, so that no row of a window is in two files at
    a receiver.
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
    """Records the steps of uploads in the ledger: the announcement of a rename, and the arrival.

    Up to 32 uploads are in progress at once, in one event loop. The ledger must have the
    announcement before the rename (see `orchestrator/ledger/__init__.py`), and its transaction ends
    with a flush of the disk, which can take longer than the upload of a small file. So uploads that
    reach this point at the same time share a transaction: the first one starts a task that writes
    it, later ones add their announcement until the task begins, and all of them await the task.
    Arrivals are less urgent, because the announcement is enough to find out later that a file
    arrived. Once a second they are added to a transaction of announcements, and `close` records the
    last ones.
    """

    def __init__(
        self,
        ledger: Ledger,
        key_of: Callable[[str, "Upload"], DeliveryKey],
        places: Mapping[str, str],
    ) -> None:
        """Take the ledger, a function that returns the ledger's key of an upload, and `places`.

        `places` has the host and folder of each destination, by its name.
        """
        self._ledger = ledger
        self._places = places
        self._key_of = key_of
        self._renaming: list[DeliveryKey] = []
        self._arrived: dict[DeliveryKey, datetime] = {}
        self._writing: asyncio.Future[None] | None = None
        self._arrivals_written = monotonic()

    async def renaming(self, destination: str, upload: "Upload") -> None:
        """Return once the ledger has the announcement that this file may get its final name."""
        import asyncio  # noqa: PLC0415 - a run with nothing due delivers nothing

        self._renaming.append(self._key_of(destination, upload))
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        await asyncio.shield(self._writing)  # others await it too: no upload may cancel it

    def published(self, destination: str, upload: "Upload") -> None:
        """Remember the arrival of the file until the next transaction that records arrivals."""
        self._arrived[self._key_of(destination, upload)] = datetime.now(UTC)

    def close(self) -> None:
        """Record the arrivals since the last transaction that recorded arrivals."""
        if self._arrived:
            self._ledger.announce([], arrived=self._arrived)

    async def _write(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        await asyncio.sleep(0)  # uploads that reached this point meanwhile share the transaction
        files, self._renaming, self._writing = self._renaming, [], None
        is_time = monotonic() - self._arrivals_written >= _ARRIVALS_INTERVAL
        arrived = self._arrived if is_time else None
        self._ledger.announce(files, places=self._places, arrived=arrived)
        if is_time:
            self._arrived.clear()
            self._arrivals_written = monotonic()


def resendable(run: Run) -> list[Job]:
    """Return a job for each window with files that begins on the request's days, oldest first.

    `resend` delivers exactly the bytes that were delivered before, as the same revision. Raises
    UsageError if there is no such window. Raises ExportError, so that nothing is sent, if a file is
    no longer in the outbox or is unencrypted although `encrypt_for` was set since.
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
                    f"{name} was delivered unencrypted, and encrypt_for was set since; nothing is "
                    "sent. Build that window again, encrypted, as the next revision: "
                    f"{job.command()}"
                )
    if not found:
        raise UsageError(f"nothing was delivered of windows that begin on {run.request.days}")
    return sorted(found, key=lambda job: (job.entry.window, job.entry.export))


def reopen(run: Run, found: Sequence[Job]) -> None:
    """Record that the files of these jobs must be delivered again, so that a kill changes nothing.

    Warns of later revisions that could not be built so far. They are dropped.
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
    assert run.request.days  # noqa: S101 - the command requires them
    bounds = {line.name: line.export.calendar.bounds(run.request.days) for line in run.exports}
    since = min((begin for begin, _ in bounds.values()), default=None)
    for entry in run.ledger.entries(since=since, written=True).values():
        if owner := run.exports.owner(entry.export):
            line, brand = owner
            begin, end = bounds[line.name]
            if begin <= entry.window.start < end and run.ledger.deliveries(entry):
                yield line.job(replace(entry, state=WRITTEN), brand=brand)
