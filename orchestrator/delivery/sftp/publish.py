"""Publish one file over SFTP: a part file beside the target, proven, then renamed over it."""

import logging
from contextlib import suppress
from pathlib import PurePosixPath

import asyncssh

from orchestrator.delivery.sftp.session import Session, refused
from orchestrator.delivery.sftp.transfer import fill, size_of
from orchestrator.delivery.uploads import (
    Announce,
    LostError,
    Upload,
    UploadProgress,
    part_of,
    target_path,
)
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)
_MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


async def publish(
    session: Session, upload: Upload, track: UploadProgress, *, on_renaming: Announce
) -> None:
    """Upload and rename one file; go on where an earlier attempt stopped.

    `on_renaming` is awaited once the part file is whole, right before it is renamed.
    Raises LostError if the connection goes, and DeliveryError if the server refuses.
    """
    path = target_path(upload, absolute=True)
    part = part_of(upload, absolute=True)
    known = str(path.parent) in session.directories
    await _make_directory(session, path.parent)
    for earlier in upload.earlier():
        with suppress(asyncssh.SFTPError):  # mostly it is not there
            await session.call(session.client.remove(str(part_of(earlier, absolute=True))))
    if track.rename_sent and await _is_gone(session, part):
        # Whole part files go by our own rename only: it was done, and its answer was lost.
        _log.info("%s: %s was renamed just before the connection was lost", session.server, path)
        return
    try:
        await fill(session, upload, part, track)
    except LostError:
        raise
    except DeliveryError as error:
        if known and isinstance(error.__cause__, _MISSING):
            session.directories.clear()  # the receiver tidies up empty folders: make it again
            await publish(session, upload, track, on_renaming=on_renaming)
            return
        # After a refused write the part may have holes: the next attempt must start anew. It stays
        # where a rename was announced: that it is gone would mean that it was published.
        if not track.rename_sent:
            with suppress(asyncssh.SFTPError):
                await session.call(session.client.remove(str(part)))
        raise
    for outdated in upload.outdated():
        await _retract(session, target_path(outdated, absolute=True))
    track.rename_sent = True
    await on_renaming(upload)
    try:
        await _rename(session, part, path)
    except asyncssh.SFTPError as error:
        track.rename_sent = False
        raise await _unrenamed(session, path, error) from error


async def _make_directory(session: Session, directory: PurePosixPath) -> None:
    """Make the folder and those above it; one that is there already is fine, whoever made it."""
    if str(directory) in session.directories or directory == directory.parent:
        return
    if not await is_directory(session, directory):
        await _make_directory(session, directory.parent)
        try:
            await session.call(session.client.mkdir(str(directory)))
        except asyncssh.SFTPError as error:
            # Another file of this run, or another writer, may have made it meanwhile.
            if not await is_directory(session, directory):
                raise refused(session, "making the folder", directory, error) from error
    session.directories.add(str(directory))


async def remove(session: Session, path: PurePosixPath) -> None:
    """Remove a file.

    Raises FileNotFoundError if it is gone, LostError if the connection goes, and DeliveryError if
    the server refuses.
    """
    try:
        await session.call(session.client.remove(str(path)))
    except _MISSING as error:
        raise FileNotFoundError from error
    except asyncssh.SFTPError as error:
        raise refused(session, "removing", path, error) from error


async def _retract(session: Session, path: PurePosixPath) -> None:
    """Remove a file if it is there; a server that forbids removing may say so of any name."""
    try:
        await remove(session, path)
    except FileNotFoundError:
        pass
    except LostError:
        raise
    except DeliveryError:
        if await size_of(session, path) is not None:
            raise


async def is_directory(session: Session, path: PurePosixPath) -> bool:
    """Tell whether there is such a folder, as far as the server lets that be known."""
    try:
        attributes = await session.call(session.client.stat(str(path)))
    except asyncssh.SFTPPermissionDenied:
        return True  # some servers hide all; opening the part file will tell
    except asyncssh.SFTPError:
        return False
    known = (asyncssh.FILEXFER_TYPE_DIRECTORY, asyncssh.FILEXFER_TYPE_UNKNOWN)  # not all tell
    return attributes.type in known


async def lacks(session: Session, path: PurePosixPath) -> set[str]:
    """Return what publishing would use, and the server does not offer; the file stays as it is."""
    call, client = session.call, session.client
    found = set()
    try:
        await call(client.posix_rename(str(path), str(path)))
    except asyncssh.SFTPOpUnsupported:
        found.add("no posix-rename: a file that is sent again is away for a moment")
    except asyncssh.SFTPError:
        pass  # it was renamed over another file just now
    with suppress(asyncssh.SFTPError):
        file = await call(client.open(str(path), "r+b"))
        try:
            await call(file.fsync())
        except asyncssh.SFTPOpUnsupported:
            found.add("no fsync: what arrived last may be lost where the server loses power")
        finally:
            await call(file.close())
    return found


async def _is_gone(session: Session, path: PurePosixPath) -> bool:
    try:
        await session.call(session.client.stat(str(path)))
    except _MISSING:
        return True
    except asyncssh.SFTPError:
        return False  # who knows: rather twice than never
    return False


async def _rename(session: Session, part: PurePosixPath, path: PurePosixPath) -> None:
    client = session.client
    try:
        await session.call(client.posix_rename(str(part), str(path)))
    except asyncssh.SFTPOpUnsupported:
        try:
            await session.call(client.rename(str(part), str(path)))
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            if await size_of(session, path) is None:
                raise
            _log.warning(
                "%s: has no posix-rename: %s is removed before the new file is renamed to it, so "
                "for a moment neither is there",
                session.server,
                path,
            )
            await session.call(client.remove(str(path)))
            await session.call(client.rename(str(part), str(path)))


async def _unrenamed(
    session: Session, path: PurePosixPath, error: asyncssh.SFTPError
) -> DeliveryError:
    """Say why the rename failed. The part stays: it is whole, and the next run renames it."""
    if await size_of(session, path) is None:
        return refused(session, "renaming the uploaded file to", path, error)
    return DeliveryError(
        f"{session.server}: {path} is there already and may not be replaced: the server says "
        f"{error.reason!r}. Ask the receiver to let user {session.destination.username} replace "
        "files, or to move the old one away; the next run tries again."
    )
