"""Remove files that were delivered: only those that are still what they were, and old there too."""

import asyncio
import hashlib
import stat
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import asyncssh

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery import directory
from orchestrator.delivery.sftp import publish, requests
from orchestrator.delivery.sftp.session import Session, refused
from orchestrator.delivery.tasks import by_name, visit
from orchestrator.delivery.uploads import Upload, target_path
from orchestrator.errors import DeliveryError


class Found(StrEnum):
    """What became of a file that was to go."""

    REMOVED = "removed"
    GONE = "gone"  # the receiver has moved it
    CHANGED = "changed"  # it is not the file that was delivered, and stays
    RECENT = "recent"  # by the destination's own clock it is not old, and stays


@dataclass(frozen=True)
class RemovalResult:
    """What became of the files of one destination, by remote path, and what went wrong."""

    found: Mapping[str, Found]
    errors: Sequence[DeliveryError]


RemovalRequest = tuple[Sftp | Directory, timedelta, Sequence[Sequence[Upload]]]
"""A destination, the age from which on files go, and batches of files in the order of going."""


def remove_all(requests: Mapping[str, RemovalRequest]) -> dict[str, RemovalResult]:
    """Remove files at several destinations at once, over one connection each.

    A file goes if it has the size it was delivered with (in a folder also the very bytes) and is
    older than the age by the clock that also dated it: a wrong clock here removes nothing there.
    Nothing is raised; a destination out of reach is tried once.
    """
    jobs = {name: _sweep(*request) for name, request in requests.items()}
    return asyncio.run(by_name(jobs))


async def _sweep(
    destination: Sftp | Directory, age: timedelta, batches: Sequence[Sequence[Upload]]
) -> RemovalResult:
    found: dict[str, Found] = {}

    def begin(at: Session | Directory) -> Callable[[Sequence[Upload]], Awaitable[None]]:
        place = _Folder(at.directory) if isinstance(at, Directory) else _Server(at)

        async def prune(batch: Sequence[Upload]) -> None:
            for upload in batch:
                found[upload.file.path] = await place.prune(upload, age)

        return prune

    errors = await visit(destination, batches, begin)
    return RemovalResult(found, errors)


class _Place(ABC):
    def __init__(self) -> None:
        self._now: float | None = None
        self._asking = asyncio.Lock()

    async def prune(self, upload: Upload, age: timedelta) -> Found:
        """Remove a file if it is still what was delivered, and old by the clock there."""
        try:
            modified_at = await self.modified_at(upload)
            if modified_at is None:
                return Found.CHANGED
            async with self._asking:
                if self._now is None:
                    self._now = await self.clock(upload)
            if self._now - modified_at < age.total_seconds():
                return Found.RECENT
            await self.remove(upload)
        except FileNotFoundError:
            return Found.GONE
        return Found.REMOVED

    @abstractmethod
    async def modified_at(self, upload: Upload) -> float | None:
        """Return the file's time in seconds, or None if it is not what was delivered.

        Raises FileNotFoundError where it is gone.
        """

    @abstractmethod
    async def clock(self, upload: Upload) -> float:
        """Return the time that a file made beside this one gets, in seconds."""

    @abstractmethod
    async def remove(self, upload: Upload) -> None:
        """Remove the file. Raises FileNotFoundError where it is gone."""


class _Server(_Place):
    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    async def modified_at(self, upload: Upload) -> float | None:
        path = target_path(upload, absolute=True)
        try:
            seen = await self._session.call(self._session.client.lstat(str(path)))
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise FileNotFoundError from error
        except asyncssh.SFTPError as error:
            raise refused(self._session, "looking at", path, error) from error
        files = (asyncssh.FILEXFER_TYPE_REGULAR, asyncssh.FILEXFER_TYPE_UNKNOWN)  # not all tell
        same = seen.type in files and seen.size == upload.file.size
        return requests.modified_at(self._session, seen, path) if same else None

    async def clock(self, upload: Upload) -> float:
        return await requests.of_server(self._session, target_path(upload, absolute=True).parent)

    async def remove(self, upload: Upload) -> None:
        await publish.remove(self._session, target_path(upload, absolute=True))


class _Folder(_Place):
    def __init__(self, top: Path) -> None:
        super().__init__()
        self._top = top
        if not top.is_dir():
            raise DeliveryError(f"{top}: is no folder. Check that it is mounted.")

    async def modified_at(self, upload: Upload) -> float | None:
        return await asyncio.to_thread(self._modified_at, upload)

    async def clock(self, upload: Upload) -> float:
        return await asyncio.to_thread(self._clock, upload)

    async def remove(self, upload: Upload) -> None:
        await directory.remove(self._top / target_path(upload, absolute=False))

    def _modified_at(self, upload: Upload) -> float | None:
        with self._opened(upload) as path:
            seen = path.lstat()
            if not stat.S_ISREG(seen.st_mode) or seen.st_size != upload.file.size:
                return None
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == upload.file.sha256
            return seen.st_mtime if same else None

    def _clock(self, upload: Upload) -> float:
        with self._opened(upload) as path:
            return requests.of_folder(path.parent)

    @contextmanager
    def _opened(self, upload: Upload) -> Iterator[Path]:
        path = self._top / target_path(upload, absolute=False)
        try:
            yield path
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DeliveryError(
                f"{error.filename or path}: cannot be looked at or removed ({error.strerror}). "
                "Check that the folder may be read and written by the user that runs this."
            ) from error
