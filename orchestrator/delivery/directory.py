"""Publish one file into a local or mounted folder, by the same rules: aside, flushed, renamed."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from orchestrator.delivery.uploads import Track, Upload, part_path, read_blocks, target_path
from orchestrator.destinations import Directory
from orchestrator.errors import DeliveryError


async def publish(
    destination: Directory, upload: Upload, track: Track, *, on_renaming: Callable[[Upload], None]
) -> None:
    """Copy one file aside, flush it, and rename it over the final name.

    Missing folders are made. `on_renaming` is called right before the rename.
    Raises DeliveryError if the file system refuses.
    """
    relative = target_path(upload, absolute=False)
    path = destination.directory / relative
    part = destination.directory / part_path(relative, upload)
    if track.rename_sent and path.exists() and not part.exists():
        return
    await asyncio.to_thread(_fill, part, upload)
    track.rename_sent = True
    on_renaming(upload)
    await asyncio.to_thread(_rename, part, path)


def _fill(part: Path, upload: Upload) -> None:
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            for block in read_blocks(upload):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, DeliveryError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(part, error) from error
        raise


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name itself must survive a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> DeliveryError:
    return DeliveryError(
        f"{path}: cannot be written ({error.strerror}). Check that the folder is mounted, has room "
        "and may be written by the user that runs this."
    )
