"""Deliver batches: files in order within a batch, batches side by side, and again after a cut."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery import directory
from orchestrator.delivery.tasks import for_each
from orchestrator.delivery.uploads import (
    Announce,
    LostError,
    Outcome,
    UnreachableError,
    Upload,
    UploadProgress,
)
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Retry:
    """How often a lost server is tried in a row without getting any further, and the pauses.

    `pause` is in seconds; each next one is `growth` times as long.
    """

    attempts: int = 5
    pause: float = 1.0
    growth: float = 3.0


async def ignore(upload: Upload) -> None:
    """Take note of nothing."""
    del upload


async def deliver_async(
    destination: Sftp | Directory,
    batches: Sequence[Sequence[Upload]],
    on_published: Callable[[Upload], None],
    *,
    on_renaming: Announce = ignore,
    retry: Retry | None = None,
) -> list[Outcome]:
    """Publish every batch and return what became of each, in the same order.

    Within a batch a file is begun only once the one before it has its final name. A batch that
    fails stops there; the others go on. `on_published` is called after each rename, and
    `on_renaming` is awaited right before it, both in the thread of the event loop; what they raise
    stops the delivery.
    """
    work = [_Batch(uploads) for uploads in batches]
    if isinstance(destination, Directory):
        publish = partial(directory.publish, destination, on_renaming=on_renaming)
        await _run(work, publish, on_published)
    else:
        await _deliver_sftp(
            destination, work, on_published, on_renaming=on_renaming, retry=retry or Retry()
        )
    return [batch.outcome() for batch in work]


class _Publish(Protocol):
    async def __call__(self, upload: Upload, track: UploadProgress, /) -> None: ...


@dataclass
class _Batch:
    uploads: Sequence[Upload]
    done: list[Upload] = field(default_factory=list)
    error: DeliveryError | None = None
    track: UploadProgress | None = None

    @property
    def is_open(self) -> bool:
        return self.error is None and len(self.done) < len(self.uploads)

    async def run(self, publish: _Publish, on_published: Callable[[Upload], None]) -> None:
        try:
            while self.is_open:
                upload = self.uploads[len(self.done)]
                self.track = self.track or UploadProgress(rename_sent=upload.rename_sent)
                await publish(upload, self.track)
                self.track = None
                self.done.append(upload)
                on_published(upload)
        except LostError:
            raise
        except DeliveryError as error:
            self.error = error

    def progress(self) -> int:
        """Return a number that grows with every file published and every MiB that a server kept."""
        sizes = sum(1 + upload.file.size // _MEBIBYTE for upload in self.done)
        return sizes + (self.track.proven // _MEBIBYTE if self.track else 0)

    def outcome(self) -> Outcome:
        unsure = None
        if len(self.done) < len(self.uploads):
            upload = self.uploads[len(self.done)]
            # What an earlier run left unsure stays so where nobody could ask.
            sent = self.track.rename_sent if self.track else upload.rename_sent
            unsure = upload if sent else None
        return Outcome(tuple(self.done), self.error, unsure)


async def _run(
    work: Iterable[_Batch], publish: _Publish, on_published: Callable[[Upload], None]
) -> None:
    left = [batch for batch in work if batch.is_open]
    await for_each(left, lambda batch: batch.run(publish, on_published))


async def _deliver_sftp(
    destination: Sftp,
    work: Sequence[_Batch],
    on_published: Callable[[Upload], None],
    *,
    on_renaming: Announce,
    retry: Retry,
) -> None:
    from orchestrator.delivery.sftp.publish import publish as publish_over_sftp  # noqa: PLC0415 - asyncssh, which folders do not need
    from orchestrator.delivery.sftp.session import Session  # noqa: PLC0415 - the same

    failures = best = 0
    while any(batch.is_open for batch in work):
        reached = False
        try:
            async with Session.open(destination) as session:
                reached = True
                publish = partial(publish_over_sftp, session, on_renaming=on_renaming)
                await _run(work, publish, on_published)
        except LostError as error:
            progress = sum(batch.progress() for batch in work)
            if progress > best:  # some servers hang up after each file
                failures, best = 0, progress
                _log.info("%s Connecting anew.", error)
                continue
            failures += 1
            if failures >= retry.attempts:
                # Who still lets us in may only mind these files: others are tried.
                given_up = (DeliveryError if reached else UnreachableError)(
                    f"{error} Given up at attempt {failures}; the next run goes on where this one "
                    "stopped. Check host and port, the network, and with the receiver whether the "
                    "server is up."
                )
                _give_up(work, given_up)
                return
            pause = retry.pause * retry.growth ** (failures - 1)
            _log.warning("%s Trying again in %g s.", error, pause)
            await asyncio.sleep(pause)
        except DeliveryError as error:
            _give_up(work, error)


def _give_up(work: Iterable[_Batch], error: DeliveryError) -> None:
    for batch in work:
        if batch.is_open:
            batch.error = error
