"""The outbox: the folder where complete files wait for delivery, and are kept for a while after."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator import system
from orchestrator.config.exports import File

_WORK = ".work"
_LOCK = ".lock"
_CACHE = ".dbt"


class Outbox:
    """The outbox folder. One run at a time writes to it.

    Attributes:
        folder: the folder itself; its files have the same paths as at the destinations.
        work: a private folder below it for the files of the current run.
        cache: a private folder below it for what dbt keeps between runs.

    """

    def __init__(self, folder: Path) -> None:
        """Take the folder. It is created when a run opens it."""
        self.folder = folder
        self.work = folder / _WORK
        self.cache = folder / _CACHE
        self._unflushed: set[Path] = set()  # folders with new file names

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lock the outbox until the block ends, with an empty work folder.

        Files that a killed run left in the work folder are removed. Raises LockedError if another
        run has locked the outbox.
        """
        with system.exclusive_lock(self.folder / _LOCK):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(mode=0o700)
            self.cache.mkdir(mode=0o700, exist_ok=True)
            try:
                yield
            finally:
                shutil.rmtree(self.work, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove files that a killed run left in the work folder: they contain unencrypted rows."""
        if self.work.exists():
            system.remove_unlocked(self.work, self.folder / _LOCK)

    def path(self, remote: str) -> Path:
        """Return the local path of the file that has this path at destinations."""
        return self.folder / remote.lstrip("/")

    def publish(self, files: Iterable[tuple[Path, str]]) -> None:
        """Rename flushed files from the work folder to their paths. Call `flush` afterwards."""
        for source, remote in files:
            target = self.path(remote)
            system.make_folder(target.parent, mode=0o700)
            source.replace(target)
            self._unflushed.add(target.parent)

    def flush(self) -> None:
        """Wait until the names of all published files are on the disk, one flush per folder."""
        while self._unflushed:
            system.flush_folder(self._unflushed.pop(), top=self.folder)

    def contains(self, file: File) -> bool:
        """Return whether the outbox has this file with exactly these bytes."""
        path = self.path(file.path)
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256

    def any_file(self) -> Path | None:
        """Return a file that a run wrote here and did not remove, or None."""
        own = {self.work, self.cache, self.folder / _LOCK}
        for folder, folders, names in os.walk(self.folder):
            here = Path(folder)
            folders[:] = [name for name in folders if here / name not in own]
            for name in names:
                if here / name not in own:
                    return here / name
        return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, given by their paths at destinations."""
        for name in names:
            self.path(name).unlink(missing_ok=True)
