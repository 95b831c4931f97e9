"""DirectoryDestination: a local or mounted folder, by the same rules as a server."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator import system
from orchestrator.config.destinations import Directory
from orchestrator.delivery.destination import (
    Announce,
    Destination,
    Stored,
    StoredKind,
    UnreachableError,
    Upload,
    UploadProgress,
    checked_path,
    read_blocks,
)
from orchestrator.errors import DeliveryError


@asynccontextmanager
async def connect(config: Directory) -> AsyncIterator[Destination]:
    """Yield the destination. Raises UnreachableError if its folder does not exist.

    The folder itself is never created: if a network share is not mounted, the files would go to the
    local disk below the mount point.
    """
    await asyncio.to_thread(_check, config.directory)
    yield DirectoryDestination(config.directory)


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise UnreachableError(
            f"{folder}: is not a folder. Check that it is mounted; if it is a new destination, "
            f"create it: mkdir -p {folder}"
        )


class DirectoryDestination:
    """A folder as a destination. System calls that may block run in threads."""

    def __init__(self, folder: Path) -> None:
        """Use an existing folder."""
        self.label = f"{folder}/"
        self._folder = folder

    async def publish(
        self, upload: Upload, progress: UploadProgress, *, on_renaming: Announce
    ) -> None:
        """Copy to a part file, flush it, and rename it; see `Destination.publish`."""
        path, part = self._path(upload.file.path), self._path(upload.part)
        for abandoned in upload.abandoned_parts:
            with suppress(OSError, DeliveryError):  # in most cases it does not exist
                self._path(abandoned).unlink()
        if progress.rename_sent and not _exists(part):  # it was renamed: see `destination.py`
            await asyncio.to_thread(_flush_name, path)
            return
        await asyncio.to_thread(self._fill, part, upload, progress)
        for outdated in upload.retracted:
            with suppress(FileNotFoundError):
                await self.remove(outdated.path)
        progress.rename_sent = True
        await on_renaming(upload)
        try:
            await asyncio.to_thread(_rename, part, path)
        except DeliveryError:
            progress.rename_sent = not _exists(part)
            raise

    async def find(self, path: str, *, digest: bool = False) -> Stored | None:
        """Return the properties of a file or folder, with the hash; see `Destination.find`."""
        return await asyncio.to_thread(self._find, path, digest=digest)

    async def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove a file or an empty folder; see `Destination.remove`."""
        target = self._path(path)
        try:
            await asyncio.to_thread(target.rmdir if folder else target.unlink)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refused("removed", target, error) from error

    async def probe(self, path: str) -> set[str]:
        """Return nothing: a file system offers all that a delivery needs."""
        del path
        return set()

    def _path(self, remote: str) -> Path:
        """Return the local path of a file. Raises DeliveryError if it is outside of the folder."""
        relative = checked_path(remote)
        if relative.is_absolute():
            raise DeliveryError(
                f"{remote!r} is absolute, and would leave the destination's folder. "
                "Make the directory in exports.yml relative."
            )
        path = self._folder / relative
        if len(relative.parts) == 1:
            return path
        try:
            real = path.parent.resolve()
            is_inside = real.is_relative_to(self._folder.resolve())
        except (OSError, RuntimeError) as error:  # an unreadable folder, a circle of links
            raise DeliveryError(f"{path.parent}: cannot be resolved ({error}).") from error
        if not is_inside:
            raise DeliveryError(
                f"{path.parent}: a symbolic link leads to {real}, outside of the destination's "
                f"folder {self._folder}. Remove the link, or configure {real} as a destination."
            )
        return path

    def _find(self, remote: str, *, digest: bool) -> Stored | None:
        path = self._path(remote) if remote != "." else self._folder
        try:
            found = path.lstat()
            if path.is_dir():  # also if the path is a link to a folder
                return Stored(StoredKind.FOLDER)
            if not stat.S_ISREG(found.st_mode):
                return Stored(StoredKind.OTHER)
            sha256 = None
            if digest:
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused("read", path, error) from error
        return Stored(StoredKind.FILE, found.st_size, found.st_mtime, sha256)

    def _fill(self, part: Path, upload: Upload, progress: UploadProgress) -> None:
        """Write the part file, and remove it after an error, unless its rename was announced."""
        progress.sent = 0
        try:
            _check(self._folder)  # again: it may have been unmounted since `connect`
            system.make_folder(part.parent)
            # A link with this name would redirect the write to a target that another user chose.
            if part.is_symlink():
                part.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
                for block in read_blocks(upload):
                    progress.sent += file.write(block)
                file.flush()
                # The content is flushed before the rename: the file system may write the rename
                # first, and a power cut in between would leave an empty file with the final name.
                os.fsync(file.fileno())
            # The name of the part file is flushed before the rename is announced: if a power cut
            # removed the name, a later attempt would conclude that the file was renamed.
            system.flush_folder(part.parent, top=self._folder)
        except (OSError, DeliveryError) as error:
            if not progress.rename_sent:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _refused("written", part, error) from error
            raise


def _exists(part: Path) -> bool:
    try:
        return part.exists()
    except OSError as error:
        raise _refused("written", part, error) from error


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as error:
        raise _refused("written", path, error) from error
    _flush_name(path)


def _flush_name(path: Path) -> None:
    """Flush the final name: it must survive a power cut before the ledger notes the delivery."""
    try:
        system.flush_folder(path.parent, top=path.parent)
    except OSError as error:
        raise _refused("written", path, error) from error


def _refused(what: str, path: Path, error: OSError) -> DeliveryError:
    return DeliveryError(
        f"{path}: cannot be {what} ({error.strerror}). Check that the folder is mounted, has room, "
        "and may be read and written by the user that runs this."
    )
