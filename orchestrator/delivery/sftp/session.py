"""SftpSession: one SFTP channel that many files share, aborted if the server stops answering."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Self, TypeVar

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.destination import BLOCK, LostError, UnreachableError
from orchestrator.delivery.sftp.connection import connect
from orchestrator.delivery.sftp.credentials import reason_of
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")

MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
"""The errors that a server returns for a name that does not exist."""

_IN_FLIGHT = 8 * 1024 * 1024  # bytes sent and not yet confirmed: 100 Mbit/s at 600 ms round trip
_GOODBYE = 2.0  # seconds to close the connection in an orderly way
_MAX_FILES = 1000  # more than are ever open at once
_FILE_LIMITS: dict[str, int] = {}
"""The number of open files that a server allows, if it refused more: for its next connection."""

_LOST = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.DisconnectError,
    OSError,
)


class SftpSession:
    """An open SFTP channel. Every request goes through `call`.

    All files of a destination share one channel: OpenSSH allows ten channels per connection
    (MaxSessions of sshd_config(5)), and one channel accepts any number of requests at once.
    """

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Sftp) -> AsyncIterator[Self]:
        """Connect, log in and start SFTP; the `with` block closes the channel.

        Raises LostError if another attempt may succeed, else UnreachableError.
        """
        connection = await connect(config)
        try:
            async with asyncio.timeout(config.timeout.total_seconds()):
                client = await connection.start_sftp_client()
        except (asyncssh.ChannelOpenError, asyncssh.SFTPBadMessage) as error:
            connection.abort()
            raise UnreachableError(
                f"{config.address}: the login works, but the server does not speak SFTP "
                f"({reason_of(error)}). Ask the receiver to allow SFTP for user {config.username}."
            ) from error
        except (*_LOST, asyncssh.Error) as error:
            connection.abort()
            raise LostError(
                f"{config.address}: SFTP did not start ({reason_of(error)})."
            ) from error
        session = cls(config, connection, client)
        try:
            yield session
        finally:
            await session._close()

    def __init__(
        self,
        config: Sftp,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
    ) -> None:
        """Use an open connection and channel; `open` opens them."""
        self.config = config
        self.server = config.address
        self.client = client
        self.notes: set[str] = set()
        """Notes on what this server lacks or does not show; `Destination.probe` returns them."""
        self.block = min(BLOCK, client.limits.max_write_len)
        self.slots = asyncio.Semaphore(max(16, min(128, _IN_FLIGHT // self.block)))
        self._open_files = 0
        self._file_limit = _FILE_LIMITS.get(self.server, _MAX_FILES)
        self._file_closed = asyncio.Condition()
        self._timeout = config.timeout.total_seconds()
        self._connection = connection
        self._waiting = 0
        self._answered_at = monotonic()
        self._silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.create_task(self._abort_when_silent())

    async def call(self, request: Awaitable[_T]) -> _T:
        """Return the server's answer to `request`.

        Raises LostError if the connection is lost, or if the server answers no request for
        `config.timeout`; asyncssh.SFTPError if the server refuses the request.
        """
        task: asyncio.Future[_T] = asyncio.ensure_future(request)
        if self._waiting == 0:
            self._answered_at = monotonic()
        self._waiting += 1
        try:
            either: set[asyncio.Future[Any]] = {task, self._silent}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostError(f"{self.server}: no answer for {self._timeout:g} s.")
            self._answered_at = monotonic()  # a refusal is an answer too
            return task.result()
        except _LOST as error:
            raise LostError(
                f"{self.server}: the connection was lost ({reason_of(error)})."
            ) from error
        finally:
            self._waiting -= 1
            # If this call is cancelled, the result of the request is read here. Otherwise asyncio
            # would log an error for every request of a lost connection.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            task.cancel()

    @asynccontextmanager
    async def opened(self, path: str, flags: int) -> AsyncIterator[asyncssh.SFTPClientFile]:
        """Open a file with `asyncssh.FXF_` flags; the `with` block closes it.

        Raises asyncssh.SFTPError if the server refuses to open or to close it, and otherwise the
        errors of `call`.
        """
        file = await self._open(path, flags)
        try:
            try:
                yield file
            except BaseException:
                with suppress(LostError, asyncssh.SFTPError):  # the first error is raised
                    await self.call(file.close())
                raise
            await self.call(file.close())
        finally:
            await self._release()

    async def _open(self, path: str, flags: int) -> asyncssh.SFTPClientFile:
        """Open a file as soon as the server allows another open file.

        Some servers allow few open files, and refuse one more with any error code. So a refusal is
        final only if no other file is open. Otherwise the file is opened again once another one was
        closed.
        """
        was_refused = False
        while True:
            async with self._file_closed:
                await self._file_closed.wait_for(lambda: self._open_files < self._file_limit)
                self._open_files += 1
            try:
                # block_size=0: otherwise asyncssh splits reads into smaller requests. After a lost
                # connection these would log errors at the end of the process.
                file = await self.call(self.client.open(path, flags, encoding=None, block_size=0))
            except BaseException as error:
                await self._release()
                is_refusal = isinstance(error, asyncssh.SFTPError) and not isinstance(
                    error, MISSING
                )
                if not is_refusal:
                    raise
                if self._open_files == 0:
                    self._file_limit = _FILE_LIMITS.get(self.server, _MAX_FILES)
                    raise
                self._file_limit = self._open_files
                was_refused = True
                continue
            if was_refused:
                _FILE_LIMITS[self.server] = self._file_limit
                self.notes.add(f"few open files: {self._file_limit} are sent at once")
            return file

    async def _release(self) -> None:
        async with self._file_closed:
            self._open_files -= 1
            self._file_closed.notify_all()

    async def _close(self) -> None:
        """Close the connection, and abort it if the server does not answer in time."""
        self._watch.cancel()
        self._connection.close()
        with suppress(TimeoutError, OSError, asyncssh.Error):
            async with asyncio.timeout(_GOODBYE):
                await self._connection.wait_closed()
        self._connection.abort()

    async def _abort_when_silent(self) -> None:
        # asyncssh waits for an answer for ever. SSH keepalives do not notice an sftp-server process
        # that hangs, because sshd answers them.
        while not self._waiting or monotonic() - self._answered_at <= self._timeout:  # noqa: ASYNC110 - it waits for time to pass, not for an event
            await asyncio.sleep(min(1.0, self._timeout / 10))
        self._silent.set_result(None)
        self._connection.abort()


def refused(session: SftpSession, what: str, path: str, error: asyncssh.SFTPError) -> DeliveryError:
    """Return the error for a request that the server refused, with the server's reason and advice.

    `what` is the action, such as "writing".
    """
    advice = _ADVICE.get(type(error), "Ask the receiver.")
    return DeliveryError(
        f"{session.server}: {what} {path} was refused for user {session.config.username}: "
        f"the server says '{reason_of(error)}'. {advice}"
    )


_ADVICE: dict[type[asyncssh.SFTPError], str] = {
    asyncssh.SFTPPermissionDenied: "Ask the receiver for the right to write there, or set another "
    "directory in exports.yml.",
    asyncssh.SFTPNoSuchFile: "Ask the receiver whether that folder exists for this user.",
    asyncssh.SFTPNoSpaceOnFilesystem: "Ask the receiver to make room.",
    asyncssh.SFTPQuotaExceeded: "Ask the receiver to make room or raise the quota.",
    asyncssh.SFTPFailure: "Often a full disk or a quota: ask the receiver.",
}
