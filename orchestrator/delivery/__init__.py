"""Delivery: publish files at their destinations, each complete and exactly once.

The files of a batch are published in order. Batches run at the same time, over one connection per
destination. After a lost connection, the next one continues where the lost one stopped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import (
    Announce,
    Destination,
    LostError,
    UnreachableError,
    Upload,
    UploadProgress,
    announce_nothing,
    connect,
)
from orchestrator.delivery.visits import for_each, run_by_name
from orchestrator.errors import DeliveryError
from orchestrator.progress import Progress, Tally, no_progress

__all__ = [
    "DeliveryRequest",
    "Outcome",
    "Retry",
    "UnreachableError",
    "Upload",
    "deliver_all",
]

_log = logging.getLogger(__name__)

_MEBIBYTE = 1024 * 1024

DeliveryRequest = tuple[DestinationConfig, Sequence[Sequence[Upload]]]
"""A destination, and the batches of uploads for it."""


@dataclass(frozen=True)
class Outcome:
    """The result of one batch: the uploads published, and the error that stopped it, if any.

    `unsure` is the upload whose rename was announced and never confirmed: deliver it again with
    `rename_sent`.
    """

    uploads_done: tuple[Upload, ...]
    error: DeliveryError | None
    unsure: Upload | None = None


@dataclass(frozen=True)
class Retry:
    """The number of attempts in a row without progress, and the pause before each retry.

    The first pause takes `pause` seconds; each next one is `growth` times as long.
    """

    attempts: int = 5
    pause: float = 1.0
    growth: float = 3.0


def deliver_all(
    deliveries: Mapping[str, DeliveryRequest],
    on_published: Callable[[str, Upload], None],
    *,
    on_renaming: Callable[[str, Upload], Awaitable[None]] | None = None,
    retry: Retry | None = None,
    progress: Progress = no_progress,
) -> dict[str, list[Outcome]]:
    """Publish at several destinations at once; one that is down does not delay the others.

    Returns the outcome of each batch, by destination and in the same order. Within a batch, a file
    is started only once the previous file has its final name. A batch stops at its first error; the
    other batches continue.

    The callbacks receive the destination's name and the upload, in the calling thread.
    `on_renaming` is awaited right before each rename, and `on_published` is called after it. If one
    of them raises, the delivery stops. `progress` counts a file once for each destination.
    """
    work: dict[str, list[_Batch]] = {}
    for name, (_, batches) in deliveries.items():
        announce = partial(on_renaming, name) if on_renaming else announce_nothing
        published = partial(on_published, name)
        work[name] = [_Batch(uploads, published, announce) for uploads in batches]
    every = [batch for batches in work.values() for batch in batches]
    sizes = [upload.file.size for batch in every for upload in batch.uploads]
    if sizes:
        progress(
            f"delivering {Tally(files=len(sizes), bytes=sum(sizes))}",
            lambda: f"{_sent(every)} sent",
        )
    jobs = {name: _deliver(deliveries[name][0], work[name], retry) for name in work}
    return run_by_name(jobs)


async def _deliver(
    config: DestinationConfig, work: Sequence["_Batch"], retry: Retry | None
) -> list[Outcome]:
    retry = retry or Retry()
    failures = best = 0
    while waiting := [batch for batch in work if batch.is_open]:
        connected = False
        try:
            async with connect(config) as destination:
                connected = True
                await for_each(waiting, methodcaller("run", destination))
        except LostError as error:
            reached = sum(batch.reached() for batch in work)
            if reached > best:  # some servers close the connection after each file
                failures, best = 0, reached
                _log.info("%s Reconnecting.", error)
                continue
            failures += 1
            if failures < retry.attempts:
                pause = retry.pause * retry.growth ** (failures - 1)
                _log.warning("%s Trying again in %g s.", error, pause)
                await asyncio.sleep(pause)
                continue
            # If the login worked, the server may fail on these files only, so it does not count as
            # unreachable: the run tries it with other files.
            final = (DeliveryError if connected else UnreachableError)(
                f"{error} Gave up after attempt {failures}; the next run continues where this one "
                "stopped. Check host and port, the network, and with the receiver whether the "
                "server is up."
            )
            _fail(waiting, final)
        except DeliveryError as error:
            _fail(waiting, error)
    return [batch.outcome() for batch in work]


@dataclass
class _Batch:
    uploads: Sequence[Upload]
    on_published: Callable[[Upload], None]
    on_renaming: Announce
    done: list[Upload] = field(default_factory=list)
    error: DeliveryError | None = None
    current: UploadProgress | None = None

    @property
    def is_open(self) -> bool:
        return self.error is None and len(self.done) < len(self.uploads)

    async def run(self, destination: Destination) -> None:
        try:
            while self.is_open:
                upload = self.uploads[len(self.done)]
                self.current = self.current or UploadProgress(rename_sent=upload.rename_sent)
                await destination.publish(upload, self.current, on_renaming=self.on_renaming)
                self.current = None
                self.done.append(upload)
                self.on_published(upload)
        except LostError:
            raise
        except DeliveryError as error:
            self.error = error

    def reached(self) -> int:
        """Return a number that grows with every file published and every MiB that is stored."""
        sizes = sum(1 + upload.file.size // _MEBIBYTE for upload in self.done)
        return sizes + (self.current.proven // _MEBIBYTE if self.current else 0)

    def outcome(self) -> Outcome:
        unsure = None
        if len(self.done) < len(self.uploads):
            upload = self.uploads[len(self.done)]
            # If no attempt could look for the part file, what the earlier run left open is open.
            sent = self.current.rename_sent if self.current else upload.rename_sent
            unsure = upload if sent else None
        return Outcome(tuple(self.done), self.error, unsure)


def _sent(batches: Sequence[_Batch]) -> Tally:
    """Return the number of files published, and of all bytes sent, part files included."""
    sizes = [upload.file.size for batch in batches for upload in batch.done]
    parts = [current.sent for batch in batches if (current := batch.current)]
    return Tally(files=len(sizes), bytes=sum(sizes) + sum(parts))


def _fail(batches: Sequence[_Batch], error: DeliveryError) -> None:
    for batch in batches:
        if batch.is_open:
            batch.error = error
