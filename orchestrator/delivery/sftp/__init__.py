"""SftpDestination: a folder on an SFTP server, as draft-ietf-secsh-filexfer-02 describes it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.destination import Destination, Stored, StoredKind
from orchestrator.delivery.sftp.session import MISSING, SftpSession, refused
from orchestrator.delivery.sftp.transfer import fill
from orchestrator.delivery.uploads import (
    Announce,
    LostError,
    Upload,
    UploadProgress,
    checked_path,
    part_path,
)
from orchestrator.errors import DeliveryError

_log = logging.getLogger(__name__)

_KINDS = {
    asyncssh.FILEXFER_TYPE_REGULAR: StoredKind.FILE,
    asyncssh.FILEXFER_TYPE_DIRECTORY: StoredKind.FOLDER,
    asyncssh.FILEXFER_TYPE_UNKNOWN: StoredKind.UNKNOWN,  # some servers send no permissions
}


@asynccontextmanager
async def connect(config: Sftp) -> AsyncIterator[Destination]:
    """Connect, log in and start SFTP.

    Raises LostError if another attempt may succeed, else UnreachableError.
    """
    async with SftpSession.open(config) as session:
        yield SftpDestination(session)


class SftpDestination:
    """A folder on a server: that in which the user's SFTP session starts."""

    def __init__(self, session: SftpSession) -> None:
        """Take an open session."""
        self.label = f"{session.server}: "
        self._session = session
        self._folders: set[str] = set()  # known to exist

    async def publish(
        self, upload: Upload, progress: UploadProgress, *, on_renaming: Announce
    ) -> None:
        """Upload and rename one file; see `Destination.publish`."""
        path, part = checked_path(upload.file.path), upload.part
        folder_was_known = str(path.parent) in self._folders
        await self._create_folder(path.parent)
        for abandoned in upload.abandoned:
            if (leftover := part_path(abandoned)) != part:
                await self._try_remove(leftover)  # in most cases it does not exist
        if progress.rename_sent and await self._is_gone(part):  # see the module `uploads`
            _log.info("%s%s was renamed just before the connection was lost", self.label, path)
            return
        try:
            await fill(self._session, upload, progress)
        except LostError:
            raise
        except DeliveryError as error:
            if folder_was_known and isinstance(error.__cause__, MISSING):
                self._folders.clear()  # the receiver removes empty folders: create it again
                await self.publish(upload, progress, on_renaming=on_renaming)
                return
            # After a refused write the part file may have holes: the next attempt must start over.
            # A part file whose rename was announced stays, for its absence would mean "renamed".
            if not progress.rename_sent:
                await self._try_remove(part)
            raise
        for outdated in upload.retracted:
            await self._retract(outdated.path)
        progress.rename_sent = True
        await on_renaming(upload)
        try:
            await self._rename(part, str(path))
        except asyncssh.SFTPError as error:
            progress.rename_sent = False  # it was answered: nothing is in doubt
            raise await self._not_renamed(str(path), error) from error

    async def find(self, path: str, *, digest: bool = False) -> Stored | None:
        """Return what has this name; see `Destination.find`. SFTP computes no hash."""
        del digest
        call, client = self._session.call, self._session.client
        try:
            found = await call(client.lstat(path))
            if found.type == asyncssh.FILEXFER_TYPE_SYMLINK:
                target = await call(client.stat(path))
                is_folder = target.type == asyncssh.FILEXFER_TYPE_DIRECTORY
                return Stored(StoredKind.FOLDER if is_folder else StoredKind.OTHER)
        except MISSING:
            return None
        except asyncssh.SFTPPermissionDenied:  # some servers hide what they have
            return Stored(StoredKind.UNKNOWN)
        except asyncssh.SFTPError as error:
            raise refused(self._session, "looking at", path, error) from error
        kind = _KINDS.get(found.type, StoredKind.OTHER)
        return Stored(kind, found.size, None if found.mtime is None else float(found.mtime))

    async def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove a file or an empty folder; see `Destination.remove`."""
        client = self._session.client
        try:
            await self._session.call(client.rmdir(path) if folder else client.remove(path))
        except MISSING as error:
            raise FileNotFoundError from error
        except asyncssh.SFTPError as error:
            raise refused(self._session, "removing", path, error) from error

    async def probe(self, path: str) -> set[str]:
        """Return the extensions that a delivery would use and the server does not offer."""
        call, client = self._session.call, self._session.client
        missing = set()
        try:
            await call(client.posix_rename(path, path))
        except asyncssh.SFTPOpUnsupported:
            missing.add("no posix-rename: while a file is replaced, it does not exist for a moment")
        except asyncssh.SFTPError:
            pass  # it is offered: the file was just renamed over another one
        with suppress(asyncssh.SFTPError):
            file = await call(client.open(path, "r+b"))
            try:
                await call(file.fsync())
            except asyncssh.SFTPOpUnsupported:
                missing.add("no fsync: the last files may be lost if the server loses power")
            finally:
                await call(file.close())
        return missing

    async def _create_folder(self, folder: PurePosixPath) -> None:
        """Create a folder and its parents, unless they exist."""
        if str(folder) in self._folders or folder == folder.parent:
            return
        if not await self._is_folder(folder):
            await self._create_folder(folder.parent)
            try:
                await self._session.call(self._session.client.mkdir(str(folder)))
            except asyncssh.SFTPError as error:
                # Another file of this run, or another client, may have created it meanwhile.
                if not await self._is_folder(folder):
                    raise refused(
                        self._session, "creating the folder", str(folder), error
                    ) from error
        self._folders.add(str(folder))

    async def _is_folder(self, path: PurePosixPath) -> bool:
        try:
            attributes = await self._session.call(self._session.client.stat(str(path)))
        except asyncssh.SFTPPermissionDenied:
            return True  # some servers hide what they have; opening the part file will show it
        except asyncssh.SFTPError:
            return False
        return _KINDS.get(attributes.type) in (StoredKind.FOLDER, StoredKind.UNKNOWN)

    async def _is_gone(self, path: str) -> bool:
        """Return whether the server says that a file does not exist."""
        try:
            await self._session.call(self._session.client.stat(path))
        except MISSING:
            return True
        except asyncssh.SFTPError:
            return False  # in doubt, the file is sent twice rather than never
        return False

    async def _exists(self, path: str) -> bool:
        """Return whether the server shows a file of this name."""
        try:
            await self._session.call(self._session.client.lstat(path))
        except asyncssh.SFTPError:
            return False
        return True

    async def _try_remove(self, path: str) -> None:
        with suppress(asyncssh.SFTPError):
            await self._session.call(self._session.client.remove(path))

    async def _retract(self, path: str) -> None:
        """Remove a file if it exists. A server that forbids removing may refuse any name."""
        try:
            await self.remove(path)
        except FileNotFoundError:
            pass
        except LostError:
            raise
        except DeliveryError:
            if await self._exists(path):
                raise

    async def _rename(self, part: str, path: str) -> None:
        """Rename the part file, over a file that exists.

        The rename of SFTP version 3 refuses a name that is taken (draft-ietf-secsh-filexfer-02,
        section 6.5). OpenSSH's posix-rename replaces the file in one step (its PROTOCOL file).
        """
        call, client = self._session.call, self._session.client
        try:
            await call(client.posix_rename(part, path))
        except asyncssh.SFTPOpUnsupported:
            try:
                await call(client.rename(part, path))
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                if not await self._exists(path):
                    raise
                _log.warning(
                    "%sthe server has no posix-rename: %s is removed before the new file is "
                    "renamed to it, so for a moment it does not exist",
                    self.label,
                    path,
                )
                await call(client.remove(path))
                await call(client.rename(part, path))

    async def _not_renamed(self, path: str, error: asyncssh.SFTPError) -> DeliveryError:
        """Return the error for a rename that failed. The part file is complete, and stays."""
        if not await self._exists(path):
            return refused(self._session, "renaming the uploaded file to", path, error)
        user = self._session.config.username
        return DeliveryError(
            f"{self.label}{path} exists and may not be replaced: the server says "
            f"{error.reason!r}. Ask the receiver to let user {user} replace files, or to move the "
            "old one away; the next run tries again."
        )
