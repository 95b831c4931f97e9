"""Try destinations out: everything that a delivery does, with files of our own that go again."""

import asyncio
import hashlib
import os
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import asyncssh

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.config.exports import File
from orchestrator.delivery import directory
from orchestrator.delivery.batches import ignore
from orchestrator.delivery.sftp import publish
from orchestrator.delivery.sftp.session import Session
from orchestrator.delivery.sftp.transfer import size_of
from orchestrator.delivery.tasks import by_name, visit
from orchestrator.delivery.uploads import LostError, Upload, UploadProgress, part_of
from orchestrator.errors import DeliveryError


@dataclass(frozen=True)
class ProbeRequest:
    """What to try: where, in which folders, and whether files are to be removed there later."""

    destination: Sftp | Directory
    folders: Collection[str]
    removes: bool = False


@dataclass(frozen=True)
class ProbeResult:
    """What would fail, and what is good to know."""

    errors: Sequence[DeliveryError]
    notes: Collection[str]


def probe_all(trials: Mapping[str, ProbeRequest]) -> dict[str, ProbeResult]:
    """Try several destinations at once, each over one connection; nothing is raised.

    In every folder a hidden file is uploaded, renamed, replaced by another, and removed. Where a
    folder is not there yet, that happens in a hidden folder beside its place. The folders
    themselves are not made, and no file of anybody else is touched.
    """
    with tempfile.TemporaryDirectory() as folder:
        uploads = [_made(Path(folder) / name) for name in ("first", "second one")]
        jobs = {name: _probe(trial, uploads) for name, trial in trials.items()}
        return asyncio.run(by_name(jobs))


def _made(path: Path) -> Upload:
    content = path.name.encode()
    path.write_bytes(content)
    # A probe's file has no kind of its own.
    return Upload(path, File("ready", "", len(content), hashlib.sha256(content).hexdigest()))


def _renamed(upload: Upload, path: PurePosixPath) -> Upload:
    return replace(upload, file=replace(upload.file, path=str(path)))


async def _probe(trial: ProbeRequest, uploads: Sequence[Upload]) -> ProbeResult:
    notes: set[str] = set()

    def begin(at: Session | Directory) -> Callable[[str], Awaitable[None]]:
        place = _Folder(at) if isinstance(at, Directory) else _Server(at)
        return partial(place.probe, uploads=uploads, removes=trial.removes, notes=notes)

    errors = await visit(trial.destination, trial.folders, begin)
    return ProbeResult(errors, notes)


class _Place(ABC):
    server = ""

    async def probe(
        self, folder: str, uploads: Sequence[Upload], *, removes: bool, notes: set[str]
    ) -> None:
        """Publish two files in a row under one name, and remove it."""
        wanted = there = self.locate(folder)
        while not await self.is_folder(there) and there != there.parent:
            if await self.is_there(there):
                raise DeliveryError(
                    f"{self.server}{there} is a file, and a folder is to be there. Set another "
                    "directory in exports.yml, or let that file be moved away."
                )
            there = there.parent
        name = f".orchestrate-{secrets.token_hex(4)}"
        made = PurePosixPath(name) if there != wanted else None
        path = PurePosixPath(name, name) if made else PurePosixPath(name)
        ours = [_renamed(upload, path) for upload in uploads]
        left = [path, *(part_of(upload, absolute=False) for upload in ours)]
        try:
            for upload in ours:
                await self.publish(there, upload)
            notes |= await self.lacks(there / path)
            with suppress(FileNotFoundError):  # the receiver may be quick
                await self.remove(there / left.pop(0))
        except LostError:
            raise
        except DeliveryError as error:
            if removes or path in left:
                raise
            notes.add(f"{error} It is left there.")
        finally:
            with suppress(DeliveryError):
                for each in left:
                    with suppress(FileNotFoundError):
                        await self.remove(there / each)
                if made:
                    await self.remove_folder(there / made)

    @abstractmethod
    def locate(self, folder: str) -> PurePosixPath:
        """Return where a folder of the destination is."""

    @abstractmethod
    async def is_folder(self, path: PurePosixPath) -> bool:
        """Tell whether there is such a folder."""

    @abstractmethod
    async def is_there(self, path: PurePosixPath) -> bool:
        """Tell whether there is anything of this name."""

    @abstractmethod
    async def publish(self, there: PurePosixPath, upload: Upload) -> None:
        """Publish a file below a folder, as a delivery does."""

    @abstractmethod
    async def lacks(self, path: PurePosixPath) -> set[str]:
        """Return what the place does not offer that a delivery would use."""

    @abstractmethod
    async def remove(self, path: PurePosixPath) -> None:
        """Remove a file. Raises FileNotFoundError or DeliveryError where it cannot."""

    @abstractmethod
    async def remove_folder(self, path: PurePosixPath) -> None:
        """Remove an empty folder, if that is allowed."""


class _Server(_Place):
    def __init__(self, session: Session) -> None:
        self._session = session
        self.server = f"{session.server}: "

    def locate(self, folder: str) -> PurePosixPath:
        return PurePosixPath(folder)

    async def is_folder(self, path: PurePosixPath) -> bool:
        return await publish.is_directory(self._session, path)

    async def is_there(self, path: PurePosixPath) -> bool:
        return await size_of(self._session, path) is not None

    async def publish(self, there: PurePosixPath, upload: Upload) -> None:
        await publish.publish(
            self._session,
            _renamed(upload, there / upload.file.path),
            UploadProgress(),
            on_renaming=ignore,
        )

    async def lacks(self, path: PurePosixPath) -> set[str]:
        return await publish.lacks(self._session, path)

    async def remove(self, path: PurePosixPath) -> None:
        await publish.remove(self._session, path)

    async def remove_folder(self, path: PurePosixPath) -> None:
        with suppress(asyncssh.SFTPError):
            await self._session.call(self._session.client.rmdir(str(path)))


class _Folder(_Place):
    def __init__(self, destination: Directory) -> None:
        self._top = PurePosixPath(destination.directory)

    def locate(self, folder: str) -> PurePosixPath:
        return self._top / folder

    async def is_folder(self, path: PurePosixPath) -> bool:
        return await asyncio.to_thread(Path(path).is_dir)

    async def is_there(self, path: PurePosixPath) -> bool:
        return await asyncio.to_thread(os.path.lexists, path)

    async def publish(self, there: PurePosixPath, upload: Upload) -> None:
        place = Directory(directory=Path(there))
        await directory.publish(place, upload, UploadProgress(), on_renaming=ignore)

    async def lacks(self, path: PurePosixPath) -> set[str]:
        del path  # a file system has all of it
        return set()

    async def remove(self, path: PurePosixPath) -> None:
        await directory.remove(Path(path))

    async def remove_folder(self, path: PurePosixPath) -> None:
        with suppress(OSError):
            await asyncio.to_thread(Path(path).rmdir)
