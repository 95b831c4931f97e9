"""One SFTP channel that many files share, watched so that a silent server is given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath
from time import monotonic
from typing import Any, Self, TypeVar

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.sftp.connection import connect
from orchestrator.delivery.uploads import BLOCK, LostError, UnreachableError
from orchestrator.errors import DeliveryError

_T = TypeVar("_T")
_IN_FLIGHT = 8 * 1024 * 1024  # bytes sent but not confirmed: 100 Mbit/s at 600 ms
_GOODBYE = 2.0  # seconds to say it
_LOST = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.DisconnectError,
    OSError,
)


class Session:
    """An open SFTP channel. Every request goes through `call`."""

    @classmethod
    @asynccontextmanager
    async def open(cls, destination: Sftp) -> AsyncIterator[Self]:
        """Connect, log in and start SFTP; the channel is closed where the `with` ends.

        Raises LostError if that may go better later, else UnreachableError.
        """
        connection = await connect(destination)
        try:
            async with asyncio.timeout(destination.timeout.total_seconds()):
                client = await connection.start_sftp_client()
        except (asyncssh.ChannelOpenError, asyncssh.SFTPBadMessage) as error:
            connection.abort()
            raise UnreachableError(
                f"{destination.address}: the login works, but the server does not speak SFTP "
                f"({error.reason}). Ask the receiver to allow SFTP for user {destination.username}."
            ) from error
        except (*_LOST, asyncssh.Error) as error:
            connection.abort()
            raise LostError(
                f"{destination.address}: SFTP did not start ({str(error) or 'no answer'})."
            ) from error
        session = cls(destination, connection, client)
        try:
            yield session
        finally:
            await session._close()

    def __init__(
        self,
        destination: Sftp,
        connection: asyncssh.SSHClientConnection,
        client: asyncssh.SFTPClient,
    ) -> None:
        """Take over an open connection; `open` makes one."""
        self.destination = destination
        self.server = destination.address
        self.client = client
        self._timeout = destination.timeout.total_seconds()
        self.block = min(BLOCK, client.limits.max_write_len)
        self.slots = asyncio.Semaphore(max(16, min(128, _IN_FLIGHT // self.block)))
        self.directories: set[str] = set()  # known to exist
        self._connection = connection
        self._waiting = 0
        self._heard = monotonic()
        self._silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.create_task(self._give_up_when_silent())

    async def call(self, request: Awaitable[_T]) -> _T:
        """Return the server's answer to `request`.

        Raises LostError if the connection goes, or no request at all is answered for
        `destination.timeout`; asyncssh.SFTPError if the server says no.
        """
        task: asyncio.Future[_T] = asyncio.ensure_future(request)
        if self._waiting == 0:
            self._heard = monotonic()
        self._waiting += 1
        try:
            either: set[asyncio.Future[Any]] = {task, self._silent}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LostError(f"{self.server}: silent for {self._timeout:g} s, given up.")
            self._heard = monotonic()  # a refusal is an answer too
            return task.result()
        except _LOST as error:
            raise LostError(
                f"{self.server}: the connection was lost ({str(error) or type(error).__name__})."
            ) from error
        finally:
            self._waiting -= 1
            task.cancel()

    async def _close(self) -> None:
        """Say goodbye; cut the connection if that is not answered."""
        self._watch.cancel()
        self._connection.close()
        with suppress(TimeoutError, OSError, asyncssh.Error):
            async with asyncio.timeout(_GOODBYE):
                await self._connection.wait_closed()
        self._connection.abort()

    async def _give_up_when_silent(self) -> None:
        # asyncssh waits for ever for a server that holds the connection but does not answer, and
        # keepalive is answered by sshd, not by the sftp-server behind it.
        while not self._waiting or monotonic() - self._heard <= self._timeout:  # noqa: ASYNC110 - time
            await asyncio.sleep(min(1.0, self._timeout / 10))
        self._silent.set_result(None)
        self._connection.abort()


def refused(
    session: Session, what: str, path: PurePosixPath, error: asyncssh.SFTPError
) -> DeliveryError:
    """Return the error for a request that the server refused, in its own words, with advice."""
    advice = _ADVICE.get(type(error), "Ask the receiver.")
    return DeliveryError(
        f"{session.server}: {what} {path} was refused for user {session.destination.username}: "
        f"the server says {error.reason!r}. {advice}"
    )


_ADVICE: dict[type[asyncssh.SFTPError], str] = {
    asyncssh.SFTPPermissionDenied: "Ask the receiver for the right to write there, or set another "
    "directory in exports.yml.",
    asyncssh.SFTPNoSuchFile: "Ask the receiver whether that folder exists for this user.",
    asyncssh.SFTPNoSpaceOnFilesystem: "Ask the receiver to make room.",
    asyncssh.SFTPQuotaExceeded: "Ask the receiver to make room or raise the quota.",
    asyncssh.SFTPFailure: "Often a full disk or a quota: ask the receiver.",
}
