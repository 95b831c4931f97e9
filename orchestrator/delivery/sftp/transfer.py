"""Transfer: write a part file on an SFTP server, from the first byte or from where it stopped."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice

import asyncssh

from orchestrator.delivery.destination import Upload, UploadProgress, read_blocks
from orchestrator.delivery.sftp.credentials import reason_of
from orchestrator.delivery.sftp.session import MISSING, SftpSession, refused
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)

_AHEAD = 4  # blocks of each file that are read ahead


async def fill(session: SftpSession, upload: Upload, progress: UploadProgress) -> bool:
    """Write the part file so that it contains exactly the upload, and flush it if possible.

    A part file of an earlier attempt is continued if the server allows that, and else rewritten.
    Returns False if the server says that the part file does not exist, though it was just written.
    Raises LostError if the connection is lost, else DeliveryError; its cause is an SFTPError if the
    server refused a request.
    """
    part = upload.part
    stored = await _stored(session, part)
    try:
        is_complete = 0 < stored <= upload.file.size and await _resume(
            session, upload, stored, progress
        )
        if not is_complete:
            flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC
            async with session.opened(part, flags) as file:
                await _write(session, upload, file, progress, start=0)
    except asyncssh.SFTPError as error:
        raise refused(session, "writing", part, error) from error
    # Read after the file was closed: some servers do not show an open file, or its size.
    is_shown, size = True, None
    try:
        size = (await session.call(session.client.lstat(part))).size
    except MISSING:
        is_shown = False
    except asyncssh.SFTPError:
        pass
    if size is None:
        session.notes.add(
            "sizes are not shown: that a file is complete rests on the server's confirmation of "
            "every write"
        )
    elif size != upload.file.size:
        raise DeliveryError(
            f"{session.server}: {part} has {size} bytes after an upload of {upload.file.size}. "
            "Ask the receiver what changes files while they arrive."
        )
    return is_shown


async def _resume(
    session: SftpSession, upload: Upload, stored: int, progress: UploadProgress
) -> bool:
    """Complete a part file; return False if it has other bytes, or the server refuses.

    The size of a part file proves nothing, so its bytes are read back and compared. One handle,
    opened without FXF_CREAT, both reads and writes. So the file that is continued is the file that
    was compared, even if another client removes or replaces it, and no new file with a hole at its
    beginning can be created.
    """
    try:
        flags = asyncssh.FXF_READ | asyncssh.FXF_WRITE
        async with session.opened(upload.part, flags) as file:
            if not await _is_prefix(session, upload, file, stored):
                _log.info("%s: %s has other bytes; starting over", session.server, upload.part)
                return False
            progress.proven = max(progress.proven, stored)
            await _write(session, upload, file, progress, start=stored)
    except MISSING:
        raise
    except asyncssh.SFTPError as error:
        _log.info(
            "%s: the server refuses to resume %s (%s); starting over",
            session.server,
            upload.part,
            reason_of(error),
        )
        return False
    return True


async def _stored(session: SftpSession, part: str) -> int:
    """Return the size of the part file, 0 if there is none.

    A link with its name is removed: a write would change the file that the link points to.
    """
    try:
        found = await session.call(session.client.lstat(part))
    except asyncssh.SFTPError:
        return 0
    if found.type != asyncssh.FILEXFER_TYPE_SYMLINK:
        return found.size or 0
    try:
        await session.call(session.client.remove(part))
    except asyncssh.SFTPError as error:
        raise refused(session, "removing the link", part, error) from error
    return 0


async def _is_prefix(
    session: SftpSession, upload: Upload, file: asyncssh.SFTPClientFile, stored: int
) -> bool:
    """Return whether the `stored` bytes of an open file equal the first bytes of the upload."""
    length = min(session.block, session.client.limits.max_read_len)

    async def read(offset: int) -> bytes:
        end = min(offset + length, stored)
        data = bytearray()
        async with session.slots:
            while (more := end - offset - len(data)) > 0:  # a server may return fewer bytes
                found: bytes = await session.call(file.read(more, offset + len(data)))
                if not found:
                    break
                data += found
        return bytes(data)

    step = length * 64  # bytes that are requested at once
    try:
        with upload.local.open("rb") as local:
            for base in range(0, stored, step):
                offsets = range(base, min(base + step, stored), length)
                theirs = await asyncio.gather(*map(read, offsets))
                if b"".join(theirs) != local.read(min(step, stored - base)):
                    return False
    except OSError as error:
        raise DeliveryError(f"{upload.local}: cannot be read ({error.strerror}).") from error
    return True


async def _read_ahead(upload: Upload) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of the file, while a thread reads and hashes the next ones.

    If the event loop read and hashed a block, the connection would be idle meanwhile. Reading and
    hashing release Python's global lock, so a thread does both while the event loop encrypts and
    sends.
    """
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
    session: SftpSession,
    upload: Upload,
    file: asyncssh.SFTPClientFile,
    progress: UploadProgress,
    *,
    start: int,
) -> None:
    """Write everything from `start`, with many requests at once, and flush the file.

    The server handles requests in order, so after a lost connection the part file is a prefix.
    """
    pending: set[asyncio.Task[None]] = set()
    progress.sent = start

    async def write(data: bytes, offset: int) -> None:
        try:
            await session.call(file.write(data, offset))
            progress.sent += len(data)
        finally:
            session.slots.release()

    end = 0
    try:
        async with aclosing(_read_ahead(upload)) as blocks:
            # Blocks before `start` are read too: the hash is that of the complete file.
            async for block in blocks:
                begin, end = end, end + len(block)
                for offset in range(max(begin, start), end, session.block):
                    data = block[offset - begin : offset - begin + session.block]
                    await session.slots.acquire()
                    pending.add(asyncio.create_task(write(data, offset)))
                done = {task for task in pending if task.done()}
                for task in done:
                    task.result()  # raises what a write raised
                pending -= done
        await asyncio.gather(*pending)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    try:
        # Flushed before the rename: otherwise a power cut of the server could leave an empty file
        # with the final name.
        await session.call(file.fsync())
    except asyncssh.SFTPOpUnsupported:
        session.notes.add("no fsync: the last files may be lost if the server loses power")
