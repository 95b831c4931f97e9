"""Fill a part file on an SFTP server: prove what is there, write the rest, flush, check."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from itertools import islice
from pathlib import PurePosixPath

import asyncssh

from orchestrator.delivery.sftp.session import Session, refused
from orchestrator.delivery.uploads import LostError, Upload, UploadProgress, read_blocks
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)
_AHEAD = 4  # blocks of each file


async def fill(
    session: Session, upload: Upload, part: PurePosixPath, track: UploadProgress
) -> None:
    """Make the part file hold exactly the upload, and reach the disk if the server can say so.

    A part file of ours is gone on with, once its bytes were read back and found the same.
    Raises LostError if the connection goes, else DeliveryError.
    """
    stored = await _stored(session, part)
    start = await _proven(session, upload, part, stored) if 0 < stored <= upload.file.size else 0
    track.proven = max(track.proven, start)
    flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if start else asyncssh.FXF_TRUNC)
    try:
        file = await session.call(
            session.client.open(str(part), flags, encoding=None, block_size=0)
        )
        try:
            await _write(session, upload, file, start)
            with suppress(asyncssh.SFTPOpUnsupported):
                await session.call(file.fsync())
            size = (await session.call(file.stat())).size
        finally:
            with suppress(LostError):  # then the server closes it
                await session.call(file.close())
    except asyncssh.SFTPError as error:
        raise refused(session, "writing", part, error) from error
    if size != upload.file.size:
        raise DeliveryError(
            f"{session.server}: {part} holds {size} bytes after uploading {upload.file.size}. "
            "Ask the receiver what changes files while they arrive."
        )


async def size_of(session: Session, path: PurePosixPath) -> int | None:
    """Return the bytes of a file on the server, or None if it is not to be seen."""
    try:
        return (await session.call(session.client.lstat(str(path)))).size
    except asyncssh.SFTPError:
        return None


async def _stored(session: Session, part: PurePosixPath) -> int:
    """Return the bytes of the part file. A link of that name is removed: it leads elsewhere."""
    try:
        found = await session.call(session.client.lstat(str(part)))
    except asyncssh.SFTPError:
        return 0
    if found.type != asyncssh.FILEXFER_TYPE_SYMLINK:
        return found.size or 0
    try:
        await session.call(session.client.remove(str(part)))
    except asyncssh.SFTPError as error:
        raise refused(session, "removing the link", part, error) from error
    return 0


async def _proven(session: Session, upload: Upload, part: PurePosixPath, stored: int) -> int:
    """Return how many bytes of the part file can be kept: all of them if they are ours, else 0."""
    try:
        # In blocks of asyncssh's own, reads that a cut leaves behind would speak up at the end.
        file = await session.call(session.client.open(str(part), "rb", encoding=None, block_size=0))
    except asyncssh.SFTPError:
        return 0
    length = min(session.block, session.client.limits.max_read_len)

    async def read(offset: int) -> bytes:
        end = min(offset + length, stored)
        data = bytearray()
        async with session.slots:
            while (more := end - offset - len(data)) > 0:  # a server may answer with less, or more
                found: bytes = await session.call(file.read(more, offset + len(data)))
                if not found:
                    break
                data += found
        return bytes(data)

    try:
        same = True
        with upload.local.open("rb") as local:
            ahead = length * 64  # so many bytes are asked for at once
            for base in range(0, stored, ahead):
                offsets = range(base, min(base + ahead, stored), length)
                theirs = await asyncio.gather(*map(read, offsets))
                same = same and b"".join(theirs) == local.read(min(ahead, stored - base))
                if not same:
                    break
        await session.call(file.close())
    except asyncssh.SFTPError:
        return 0
    except OSError as error:
        raise DeliveryError(f"{upload.local}: cannot be read ({error.strerror}).") from error
    if not same:
        _log.info("%s: %s holds other bytes; starting anew", session.server, part)
    return stored if same else 0


async def _read_ahead(upload: Upload) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of the file; a thread reads and hashes the next ones meanwhile."""
    blocks = read_blocks(upload)

    def some() -> list[bytes]:
        return list(islice(blocks, _AHEAD))

    ahead = asyncio.ensure_future(asyncio.to_thread(some))
    try:
        while found := await ahead:
            if len(found) == _AHEAD:
                ahead = asyncio.ensure_future(asyncio.to_thread(some))
            for block in found:
                yield block
            if len(found) < _AHEAD:
                return
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def _write(
    session: Session, upload: Upload, file: asyncssh.SFTPClientFile, start: int
) -> None:
    """Write everything from `start`, many requests at once; the server takes them in order."""
    pending: set[asyncio.Task[None]] = set()

    async def write(data: bytes, offset: int) -> None:
        try:
            await session.call(file.write(data, offset))
        finally:
            session.slots.release()

    end = 0
    try:
        async with aclosing(_read_ahead(upload)) as blocks:
            async for block in blocks:
                begin, end = end, end + len(block)
                for offset in range(max(begin, start), end, session.block):
                    data = block[offset - begin : offset - begin + session.block]
                    await session.slots.acquire()
                    pending.add(asyncio.create_task(write(data, offset)))
                done = {task for task in pending if task.done()}
                for task in done:
                    task.result()
                pending -= done  # after all went well: what failed beside is looked at below
        await asyncio.gather(*pending)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
