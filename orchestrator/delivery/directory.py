"""Publish one file into a local or mounted folder, by the same rules: aside, flushed, renamed."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

from orchestrator import system
from orchestrator.config.destinations import Directory
from orchestrator.delivery.uploads import (
    Announce,
    Upload,
    UploadProgress,
    part_of,
    read_blocks,
    target_path,
)
from orchestrator.errors import DeliveryError


async def publish(
    destination: Directory, upload: Upload, track: UploadProgress, *, on_renaming: Announce
) -> None:
    """Copy one file aside, flush it, and rename it over the final name.

    Missing folders are made. `on_renaming` is awaited right before the rename.
    Raises DeliveryError if the file system refuses.
    """
    top = destination.directory
    path = _below(top, target_path(upload, absolute=False))
    part = path.with_name(part_of(upload, absolute=False).name)
    for earlier in upload.earlier():
        with suppress(OSError, DeliveryError):  # mostly it is not there
            _below(top, part_of(earlier, absolute=False)).unlink()
    if track.rename_sent and not _is_there(part):
        # Whole part files go by our own rename only: the receiver may have the file already.
        await asyncio.to_thread(_flush, path)
        return
    await asyncio.to_thread(_fill, part, upload, top, keep=track.rename_sent)
    for outdated in upload.outdated():
        with suppress(FileNotFoundError):
            await remove(_below(top, target_path(outdated, absolute=False)))
    track.rename_sent = True
    await on_renaming(upload)
    try:
        await asyncio.to_thread(_rename, part, path)
    except DeliveryError:
        track.rename_sent = not _is_there(part)
        raise


async def remove(path: Path) -> None:
    """Remove a file.

    Raises FileNotFoundError if it is gone, and DeliveryError if the file system refuses.
    """
    try:
        await asyncio.to_thread(path.unlink)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refused(path, error) from error


def _below(top: Path, relative: PurePosixPath) -> Path:
    """Return the path in the folder. Raises DeliveryError where a link would lead out of it."""
    path = top / relative
    if len(relative.parts) == 1:
        return path
    try:
        real = path.parent.resolve()
        inside = real.is_relative_to(top.resolve())
    except (OSError, RuntimeError) as error:  # a folder that may not be read, links in a circle
        raise DeliveryError(f"{path.parent}: cannot be followed ({error}).") from error
    if not inside:
        raise DeliveryError(
            f"{path.parent}: leads, by a symbolic link, to {real}, out of the destination's folder "
            f"{top}. Remove the link, or name {real} as a destination of its own."
        )
    return path


def _is_there(part: Path) -> bool:
    try:
        return part.exists()
    except OSError as error:
        raise _refused(part, error) from error


def _fill(part: Path, upload: Upload, top: Path, *, keep: bool) -> None:
    """Write the part file; after an error it goes, unless its absence would mean a rename."""
    try:
        system.make_folder(part.parent)
        if part.is_symlink():  # made by another user of the folder, to write elsewhere
            part.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            for block in read_blocks(upload):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        # Its name too: a part file that is gone must mean that it was renamed.
        system.flush_folder(part.parent, top=top)
    except (OSError, DeliveryError) as error:
        if not keep:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(part, error) from error
        raise


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    _flush(path)


def _flush(path: Path) -> None:
    try:
        system.flush_folder(
            path.parent, top=path.parent
        )  # the name itself must survive a power cut
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> DeliveryError:
    return DeliveryError(
        f"{path}: cannot be written ({error.strerror}). Check that the folder is mounted, has room "
        "and may be written by the user that runs this."
    )
