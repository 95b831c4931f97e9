"""Destination: what every kind of destination can do, the kinds, and work on many at once."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol, TypeVar

from orchestrator.config.destinations import DestinationConfig, Directory, Sftp
from orchestrator.delivery.uploads import Announce, LostError, Upload, UploadProgress
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")

_AT_ONCE = 32  # at one destination: on an SFTP channel, more is no faster at 20 ms round trip

_MODULES: Mapping[type[DestinationConfig], str] = {
    Directory: "orchestrator.delivery.directory",
    Sftp: "orchestrator.delivery.sftp",
}
"""The registry of kinds: the module of each, whose function `connect` opens a destination."""


class StoredKind(StrEnum):
    """What has a name at a destination."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a link, a device …
    UNKNOWN = "unknown"  # it exists or may exist, and the server does not say what it is


@dataclass(frozen=True)
class Stored:
    """What is at a destination under a name, as far as the destination says.

    `size` is in bytes, `modified_at` in seconds since 1970 by the destination's own clock.
    """

    kind: StoredKind
    size: int | None = None
    modified_at: float | None = None
    sha256: str | None = None

    def is_same(self, upload: Upload) -> bool:
        """Return whether this can be the file that was delivered: every known property matches."""
        return (
            self.kind in (StoredKind.FILE, StoredKind.UNKNOWN)
            and self.size == upload.file.size
            and self.sha256 in (None, upload.file.sha256)
        )


class Destination(Protocol):
    """An open destination. CONTRIBUTING.md shows how to add a kind.

    Paths are relative to the destination's folder, or absolute where the kind allows it. Every
    method raises LostError if the connection is lost, and DeliveryError if it is refused.
    """

    label: str
    """The start of messages about a path: the path follows without a space."""

    async def publish(
        self, upload: Upload, progress: UploadProgress, *, on_renaming: Announce
    ) -> None:
        """Write the part file, await `on_renaming`, and rename the part file to the final name.

        Continues where an earlier attempt stopped, creates missing folders below the destination's
        own, and replaces a file of that name.
        """

    async def find(self, path: str, *, digest: bool = False) -> Stored | None:
        """Return what has this name, None if nothing has.

        With `digest` the hash of a file is included, where the destination can compute it.
        """

    async def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove a file, or an empty folder. Raises FileNotFoundError if it does not exist."""

    async def probe(self, path: str) -> Collection[str]:
        """Return what the destination cannot do or prove, tried on a file published before."""


def connect(config: DestinationConfig) -> AbstractAsyncContextManager[Destination]:
    """Open a destination; the `with` block closes it.

    Entering raises LostError if another attempt may succeed, else UnreachableError.
    """
    # Imported at need: asyncssh takes a quarter of a second, which folders need not wait for.
    module = import_module(_MODULES[type(config)])
    opened: AbstractAsyncContextManager[Destination] = module.connect(config)
    return opened


async def visit(
    config: DestinationConfig,
    items: Iterable[_T],
    work: Callable[[Destination, _T], Awaitable[None]],
) -> list[DeliveryError]:
    """Open a destination and do some work for every item. Return the errors, and raise none.

    A refusal ends the work on its item, a lost connection the work on all items.
    """
    errors: list[DeliveryError] = []
    try:
        async with connect(config) as destination:

            async def attempt(item: _T) -> None:
                try:
                    await work(destination, item)
                except LostError:
                    raise
                except DeliveryError as error:
                    errors.append(error)

            await for_each(items, attempt)
    except DeliveryError as error:
        errors.append(error)
    return errors


async def for_each(items: Iterable[_T], work: Callable[[_T], Awaitable[None]]) -> None:
    """Await `work` for every item, some tens at a time, started in their order."""
    queue = deque(items)

    async def serve() -> None:
        while queue:
            await work(queue.popleft())

    await _together(serve() for _ in range(min(_AT_ONCE, len(queue))))


async def by_name(jobs: Mapping[str, Coroutine[Any, Any, _T]]) -> dict[str, _T]:
    """Return what each job returns, under its name. The first that raises cancels the others."""
    return dict(zip(jobs, await _together(jobs.values()), strict=True))


async def _together(jobs: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    # Not asyncio.TaskGroup: it would wrap the error that callers catch in an ExceptionGroup.
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
