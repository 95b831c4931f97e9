"""Removal: delete old files at destinations, by each destination's own clock."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import Destination, Upload, UploadProgress, announce_nothing
from orchestrator.delivery.visits import run_by_name, visit
from orchestrator.errors import DeliveryError

CLOCK_FILE = ".orchestrate-clock"
"""A file that is published to learn the destination's time, and removed at once."""


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
