"""SftpDestination: a folder on an SFTP server, as draft-ietf-secsh-filexfer-02 describes it.

Servers differ in what they support, and return different error codes for the same refusal. So the
code never derives the cause of a refusal from its error code. Instead it looks at the files that
exist, and uses a fallback that is equally safe. If a server shows too little, or there is no
fallback, `probe` returns a note about it.
"""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import PurePosixPath

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.destination import (
    Announce,
    Destination,
    LostError,
    Stored,
    StoredKind,
    Upload,
    UploadProgress,
    checked_path,
)
from orchestrator.delivery.sftp.credentials import reason_of
from orchestrator.delivery.sftp.session import MISSING, SftpSession, refused
from orchestrator.delivery.sftp.transfer import fill
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
    """A folder on a server. Relative paths begin in the folder where the user's session starts."""

    def __init__(self, session: SftpSession) -> None:
        """Use an open session."""
        self.label = f"{session.server}: "
        self._session = session
        self._call = session.call
        self._client = session.client
        self._folders: set[str] = set()  # known to exist

    async def publish(
        self, upload: Upload, progress: UploadProgress, *, on_renaming: Announce
    ) -> None:
        """Upload and rename one file; see `Destination.publish`."""
        path = str(checked_path(upload.file.path))
        for abandoned in upload.abandoned_parts:
            await self._try_remove(abandoned)  # in most cases it does not exist
        is_shown = await self._fill(upload, progress)
        if is_shown is None:
            _log.info("%s%s was renamed before the connection was lost", self.label, path)
            return
        for outdated in upload.retracted:
            await self._retract(outdated.path)
        # If the server hides part files, a missing part file proves nothing after a kill. Then the
        # rename is not announced: in doubt, a file is sent twice rather than never.
        if is_shown:
            progress.rename_sent = True
            await on_renaming(upload)
        try:
            await self._rename(upload, is_shown=is_shown)
        except asyncssh.SFTPError as error:
            progress.rename_sent = False  # the server answered, so nothing is in doubt
            raise await self._not_renamed(path, error) from error

    async def find(self, path: str, *, digest: bool = False) -> Stored | None:
        """Return the properties of a file or folder; see `Destination.find`. There is no hash."""
        del digest
        try:
            found = await self._call(self._client.lstat(path))
            if found.type == asyncssh.FILEXFER_TYPE_SYMLINK:
                target = await self._call(self._client.stat(path))
                is_folder = target.type == asyncssh.FILEXFER_TYPE_DIRECTORY
                return Stored(StoredKind.FOLDER if is_folder else StoredKind.OTHER)
        except MISSING:
            return None
        except asyncssh.SFTPError:
            return Stored(StoredKind.UNKNOWN)
        kind = _KINDS.get(found.type, StoredKind.OTHER)
        return Stored(kind, found.size, None if found.mtime is None else float(found.mtime))

    async def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove a file or an empty folder; see `Destination.remove`."""
        try:
            await self._call(self._client.rmdir(path) if folder else self._client.remove(path))
        except MISSING as error:
            raise FileNotFoundError from error
        except asyncssh.SFTPError as error:
            raise refused(self._session, "removing", path, error) from error

    async def probe(self, path: str) -> Collection[str]:
        """Return notes on what the server lacks, after a test whether an upload can be resumed."""
        try:
            async with self._session.opened(path, asyncssh.FXF_READ | asyncssh.FXF_WRITE) as file:
                await self._call(file.read(1, 0))
        except asyncssh.SFTPError:
            self._session.notes.add("no resume: an upload that is cut starts over")
        return self._session.notes

    async def _fill(self, upload: Upload, progress: UploadProgress) -> bool | None:
        """Create the folder and write the part file.

        Returns whether the server shows the part file, or None if it was renamed before.
        """
        for may_repeat in (True, False):
            await self._create_folder(checked_path(upload.file.path).parent)
            # If its rename was announced and it is gone, it was renamed: see `destination.py`.
            if progress.rename_sent and await self.find(upload.part) is None:
                return None
            try:
                return await fill(self._session, upload, progress)
            except LostError:
                raise
            except DeliveryError as error:
                if may_repeat and isinstance(error.__cause__, MISSING):
                    # Either the receiver removed the empty folder, or the server has only now
                    # processed a rename that was sent over the connection that was lost.
                    self._folders.clear()
                    continue
                # After a refused write the part file may have holes, so it is removed and the next
                # attempt starts over. But if its rename was announced, it must stay: a missing part
                # file would mean "renamed".
                if not progress.rename_sent:
                    await self._try_remove(upload.part)
                raise
        raise AssertionError

    async def _create_folder(self, folder: PurePosixPath) -> None:
        """Create a folder and its parents, unless they exist."""
        if str(folder) in self._folders or folder == folder.parent:
            return
        if not await self._is_folder(folder):
            await self._create_folder(folder.parent)
            try:
                await self._call(self._client.mkdir(str(folder)))
            except asyncssh.SFTPError as error:
                # Another upload of this run, or another client, may have created it meanwhile. If
                # the server does not show whether it exists, opening the part file will.
                found = await self.find(str(folder))
                if found is None or found.kind in (StoredKind.FILE, StoredKind.OTHER):
                    raise refused(
                        self._session, "creating the folder", str(folder), error
                    ) from error
        self._folders.add(str(folder))

    async def _is_folder(self, path: PurePosixPath) -> bool:
        found = await self.find(str(path))
        return found is not None and found.kind is StoredKind.FOLDER

    async def _is_shown(self, path: str) -> bool:
        found = await self.find(path)
        return found is not None and found != Stored(StoredKind.UNKNOWN)

    async def _try_remove(self, path: str) -> None:
        with suppress(asyncssh.SFTPError):
            await self._call(self._client.remove(path))

    async def _retract(self, path: str) -> None:
        """Remove a file if it exists.

        A server that forbids removing may also refuse to remove a file that does not exist. That is
        no error.
        """
        try:
            await self.remove(path)
        except FileNotFoundError:
            pass
        except LostError:
            raise
        except DeliveryError:
            if await self._is_shown(path):
                raise

    async def _rename(self, upload: Upload, *, is_shown: bool) -> None:
        """Rename the part file, and replace a file that exists. Raises SFTPError if refused.

        The rename of SFTP version 3 fails if the new name exists (draft-ietf-secsh-filexfer-02,
        section 6.5). OpenSSH's posix-rename replaces the file in one step (its PROTOCOL file).
        """
        part, path = upload.part, str(checked_path(upload.file.path))
        for rename in (self._client.posix_rename, self._client.rename):
            try:
                await self._call(rename(part, path))
            except asyncssh.SFTPError as error:
                refusal = error
            else:
                return
            if is_shown and await self.find(part) is None:
                found = await self.find(path)
                if found and found.size == upload.file.size:
                    return  # the server did rename it, though it returned an error
        # The old file is removed only if the server shows both it and the part file. Otherwise the
        # final name may already be that of the new file: the server may have renamed it and
        # returned an error.
        if not (is_shown and await self._is_shown(part) and await self._is_shown(path)):
            raise refusal
        note = "no posix-rename over a file: while one is replaced, it does not exist for a moment"
        _log.log(
            logging.DEBUG if note in self._session.notes else logging.WARNING,
            "%sthe server has no posix-rename over a file: %s is removed before the new one is "
            "renamed to it, so for a moment it does not exist",
            self.label,
            path,
        )
        self._session.notes.add(note)
        await self._call(self._client.remove(path))
        await self._call(self._client.rename(part, path))

    async def _not_renamed(self, path: str, error: asyncssh.SFTPError) -> DeliveryError:
        """Return the error for a rename that failed. The complete part file is kept."""
        if not await self._is_shown(path):
            return refused(self._session, "renaming the uploaded file to", path, error)
        user = self._session.config.username
        return DeliveryError(
            f"{self.label}{path} exists and may not be replaced: the server says "
            f"'{reason_of(error)}'. Ask the receiver to let user {user} replace files, or to "
            "move the old one away; the next run tries again."
        )
