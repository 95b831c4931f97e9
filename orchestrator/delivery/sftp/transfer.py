"""Transfer: write a part file on an SFTP server, from the first byte or from where it stopped."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from itertools import islice

import asyncssh

from orchestrator.delivery.sftp.session import SftpSession, refused
from orchestrator.delivery.uploads import LostError, Upload, UploadProgress, read_blocks
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)

_AHEAD = 4  # blocks of each file that are read ahead


async def fill(session: SftpSession, upload: Upload, progress: UploadProgress) -> None:
    """Write the part file so that it contains exactly the upload, and flush it where possible.

    A part file of an earlier attempt is continued, once its bytes were read back and compared: its
    size alone proves nothing.
    Raises LostError if the connection is lost, else DeliveryError.
    """
    part = upload.part
    stored = await _stored(session, part)
    start = await _proven(session, upload, stored) if 0 < stored <= upload.file.size else 0
    progress.proven = max(progress.proven, start)
    flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if start else asyncssh.FXF_TRUNC)
    try:
        file = await session.call(session.client.open(part, flags, encoding=None, block_size=0))
        try:
            await _write(session, upload, file, start)
            # Flushed before the rename: else a power cut of the server could leave an empty file
            # with the final name.
            with suppress(asyncssh.SFTPOpUnsupported):
                await session.call(file.fsync())
            size = (await session.call(file.stat())).size
        finally:
            with suppress(LostError):  # the server then closes it
                await session.call(file.close())
    except asyncssh.SFTPError as error:
        raise refused(session, "writing", part, error) from error
    if size != upload.file.size:
        raise DeliveryError(
            f"{session.server}: {part} has {size} bytes after an upload of {upload.file.size}. "
            "Ask the receiver what changes files while they arrive."
        )


async def _stored(session: SftpSession, part: str) -> int:
    """Return the size of the part file. A link is removed: it would be written through."""
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


async def _proven(session: SftpSession, upload: Upload, stored: int) -> int:
    """Return how many bytes of the part file are those of the upload: all of them, or 0."""
    try:
        # block_size=0: asyncssh would split reads into blocks of its own, and the ones that a lost
        # connection leaves behind would log errors at the end of the process.
        file = await session.call(
            session.client.open(upload.part, "rb", encoding=None, block_size=0)
        )
    except asyncssh.SFTPError:
        return 0
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

    try:
        same = True
        with upload.local.open("rb") as local:
            step = length * 64  # bytes that are requested at once
            for base in range(0, stored, step):
                offsets = range(base, min(base + step, stored), length)
                theirs = await asyncio.gather(*map(read, offsets))
                same = same and b"".join(theirs) == local.read(min(step, stored - base))
                if not same:
                    break
        await session.call(file.close())
    except asyncssh.SFTPError:
        return 0
    except OSError as error:
        raise DeliveryError(f"{upload.local}: cannot be read ({error.strerror}).") from error
    if not same:
        _log.info("%s: %s has other bytes; starting over", session.server, upload.part)
    return stored if same else 0


async def _read_ahead(upload: Upload) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of the file, while a thread reads and hashes the next ones.

    In the event loop, the connection would idle while a block is read and hashed. Both release
    Python's global lock, so a thread does them while the event loop encrypts and sends.
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
    session: SftpSession, upload: Upload, file: asyncssh.SFTPClientFile, start: int
) -> None:
    """Write everything from `start`, with many requests at once.

    The server handles them in their order, so that a cut connection leaves a prefix of the file.
    """
    pending: set[asyncio.Task[None]] = set()

    async def write(data: bytes, offset: int) -> None:
        try:
            await session.call(file.write(data, offset))
        finally:
            session.slots.release()

    end = 0
    try:
        async with aclosing(_read_ahead(upload)) as blocks:
            # Every block is read, also those before `start`: the hash is that of the whole file.
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
