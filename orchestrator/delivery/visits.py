"""Visits: work at several destinations at once, over one connection each, other than deliveries.

Files are looked up, old files are removed, and destinations are tried out.
"""

import asyncio
import secrets
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import (
    Destination,
    LostError,
    StoredKind,
    Upload,
    UploadProgress,
    announce_nothing,
    connect,
)
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")

CLOCK_FILE = ".orchestrate-clock"
"""A file that is published to learn the destination's time, and removed at once."""

_AT_ONCE = 32  # at one destination: on an SFTP channel, more is no faster at 20 ms round trip


async def visit(
    config: DestinationConfig,
    items: Iterable[_T],
    work: Callable[[Destination, _T], Awaitable[None]],
) -> list[DeliveryError]:
    """Open a destination and await `work` for every item. Return the errors, and raise none.

    If the destination refuses an item, the others continue; a lost connection ends all of them.
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
    """Await `work` for every item, up to 32 at a time, started in the order of the items."""
    queue = deque(items)

    async def serve() -> None:
        while queue:
            await work(queue.popleft())

    await _together(serve() for _ in range(min(_AT_ONCE, len(queue))))


def run_by_name(jobs: Mapping[str, Coroutine[Any, Any, _T]]) -> dict[str, _T]:
    """Run the jobs at the same time, and return the result of each under its name.

    The first job that raises cancels the others.
    """

    async def run() -> list[_T]:
        return await _together(jobs.values())

    return dict(zip(jobs, asyncio.run(run()), strict=True))


async def _together(jobs: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    # Not asyncio.TaskGroup: it would wrap the error that callers catch in an ExceptionGroup.
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def find_any(requests: Mapping[str, tuple[DestinationConfig, Collection[str]]]) -> dict[str, str]:
    """Return, by destination, one of the given paths at which a file exists; raise nothing.

    A destination that has a file at none of its paths, or that cannot be reached, is left out.
    """

    async def find(config: DestinationConfig, paths: Collection[str]) -> set[str]:
        found: set[str] = set()

        async def look(destination: Destination, path: str) -> None:
            stored = await destination.find(path)
            if stored and stored.kind is StoredKind.FILE:
                found.add(path)

        await visit(config, paths, look)
        return found

    found = run_by_name({name: find(*request) for name, request in requests.items()})
    return {name: min(paths) for name, paths in found.items() if paths}


class Found(StrEnum):
    """The outcomes for a file that was to be removed."""

    REMOVED = "removed"
    GONE = "gone"  # the receiver has moved it
    CHANGED = "changed"  # it is not the file that was delivered, and stays
    RECENT = "recent"  # it is not old by the destination's own clock, and stays


@dataclass(frozen=True)
class RemovalResult:
    """The outcome for each file of one destination, by remote path, and the errors."""

    found: Mapping[str, Found]
    errors: Sequence[DeliveryError]


RemovalRequest = tuple[DestinationConfig, timedelta, Sequence[Sequence[Upload]]]
"""A destination, the age from which on files are removed, and batches of files in order."""


def remove_all(requests: Mapping[str, RemovalRequest]) -> dict[str, RemovalResult]:
    """Remove old files at several destinations; raise nothing.

    A file is removed if it is still the file that was delivered (same size, in a folder also the
    same hash) and older than the age. The age is measured by the destination's clock, which also
    dated the file, so a wrong clock on this machine removes nothing. An unreachable destination is
    tried once.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock_file = Upload.write(Path(folder) / "clock", b"\n")
        return run_by_name(
            {name: _remove(*request, clock_file) for name, request in requests.items()}
        )


async def _remove(
    config: DestinationConfig,
    age: timedelta,
    batches: Sequence[Sequence[Upload]],
    clock_file: Upload,
) -> RemovalResult:
    found: dict[str, Found] = {}
    clock = _Clock(clock_file)

    async def remove(destination: Destination, batch: Sequence[Upload]) -> None:
        for upload in batch:
            found[upload.file.path] = await _remove_one(destination, upload, age, clock)

    errors = await visit(config, batches, remove)
    return RemovalResult(found, errors)


async def _remove_one(
    destination: Destination, upload: Upload, age: timedelta, clock: "_Clock"
) -> Found:
    stored = await destination.find(upload.file.path, digest=True)
    if stored is None:
        return Found.GONE
    if stored.size is not None and not stored.is_same(upload.file):
        return Found.CHANGED
    if stored.size is None or stored.modified_at is None:
        raise DeliveryError(
            f"{destination.label}{upload.file.path}: the destination does not show its size or "
            "age, so it is not removed. Leave out the destination's retention in exports.yml."
        )
    now = await clock.read(destination, PurePosixPath(upload.file.path).parent)
    if now - stored.modified_at < age.total_seconds():
        return Found.RECENT
    try:
        await destination.remove(upload.file.path)
    except FileNotFoundError:
        return Found.GONE
    return Found.REMOVED


class _Clock:
    """The clock of one destination, read once: the time that it gives to a new file."""

    def __init__(self, clock_file: Upload) -> None:
        self._file = clock_file
        self._now: float | None = None
        self._reading = asyncio.Lock()

    async def read(self, destination: Destination, folder: PurePosixPath) -> float:
        async with self._reading:
            if self._now is None:
                self._now = await self._read(destination, folder)
            return self._now

    async def _read(self, destination: Destination, folder: PurePosixPath) -> float:
        path = str(folder / CLOCK_FILE)
        await destination.publish(
            self._file.to(path), UploadProgress(), on_renaming=announce_nothing
        )
        stored = await destination.find(path)
        with suppress(FileNotFoundError):
            await destination.remove(path)
        if stored is None or stored.modified_at is None:
            raise DeliveryError(
                f"{destination.label}{path}: the destination does not show when this file was "
                "written, so it shows the age of no file, and nothing is removed."
            )
        return stored.modified_at


@dataclass(frozen=True)
class ProbeRequest:
    """A destination to try out, in which folders, and whether runs will remove files from it."""

    config: DestinationConfig
    folders: Collection[str]
    removes: bool = False


@dataclass(frozen=True)
class ProbeResult:
    """The errors that a delivery would meet at a destination, and notes on what it lacks."""

    errors: Sequence[DeliveryError]
    notes: Collection[str]


def probe_all(requests: Mapping[str, ProbeRequest]) -> dict[str, ProbeResult]:
    """Try several destinations out, with hidden files that are removed again; raise nothing.

    In every folder a hidden file is published, replaced, and removed. If a folder does not exist
    yet, it is not created. Then a hidden folder, created where the missing folder would be, is
    tried instead. No other file is touched.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Two files of different length: the second one replaces the first.
        uploads = [
            Upload.write(Path(folder) / content, content.encode())
            for content in ("first", "second one")
        ]
        return run_by_name({name: _probe(request, uploads) for name, request in requests.items()})


async def _probe(request: ProbeRequest, uploads: Sequence[Upload]) -> ProbeResult:
    notes: set[str] = set()
    work = partial(_probe_folder, uploads=uploads, removes=request.removes, notes=notes)
    errors = await visit(request.config, request.folders, work)
    return ProbeResult(errors, notes)


async def _probe_folder(
    destination: Destination,
    folder: str,
    *,
    uploads: Sequence[Upload],
    removes: bool,
    notes: set[str],
) -> None:
    existing = await _nearest_folder(destination, PurePosixPath(folder))
    hidden = existing / f".orchestrate-{secrets.token_hex(4)}"
    is_new = existing != PurePosixPath(folder)
    path = str(hidden / hidden.name if is_new else hidden)
    ours = [upload.to(path) for upload in uploads]
    to_remove = [path, *(upload.part for upload in ours)]
    try:
        for upload in ours:
            await destination.publish(upload, UploadProgress(), on_renaming=announce_nothing)
        notes.update(await destination.probe(path))
        to_remove.remove(
            path
        )  # first, so that the handler below sees that only this removal failed
        with suppress(FileNotFoundError):  # the receiver may have moved it already
            await destination.remove(path)
    except LostError:
        raise
    except DeliveryError as error:
        if removes or path in to_remove:
            raise
        notes.add(f"{error} The file of this check stays at the destination.")
    finally:
        with suppress(DeliveryError):
            for each in to_remove:
                with suppress(FileNotFoundError):
                    await destination.remove(each)
            if is_new:
                with suppress(FileNotFoundError):
                    await destination.remove(str(hidden), folder=True)


async def _nearest_folder(destination: Destination, folder: PurePosixPath) -> PurePosixPath:
    """Return the folder, or the nearest one above it that exists."""
    while folder != folder.parent:
        stored = await destination.find(str(folder))
        # UNKNOWN counts as a folder: if it is none, publishing into it fails and says so.
        if stored and stored.kind in (StoredKind.FOLDER, StoredKind.UNKNOWN):
            break
        if stored:
            raise DeliveryError(
                f"{destination.label}{folder}: is a file, where a folder is needed. Set another "
                "directory in exports.yml, or have that file moved away."
            )
        folder = folder.parent
    return folder
