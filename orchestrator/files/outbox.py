"""The outbox: the folder where whole files wait for delivery, and stay for a while after it."""

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
    """A folder that one run at a time writes to."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which is made when a run opens it."""
        self.folder = folder
        self.work = folder / _WORK
        self.cache = folder / _CACHE
        self._places: set[Path] = set()  # folders whose new names are not flushed yet

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lock the outbox and give this run an empty work folder.

        What a killed run left there goes away. Raises LockedError where another run holds it.
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
        """Remove what a killed run left in the work folder: rows in the clear."""
        if self.work.exists():
            system.remove_unlocked(self.work, self.folder / _LOCK)

    def path(self, remote: str) -> Path:
        """Return where the file of this remote path lies."""
        return self.folder / remote.lstrip("/")

    def publish(self, files: Iterable[tuple[Path, str]]) -> None:
        """Rename whole, flushed files from the work folder to their places; `flush` comes after."""
        for source, remote in files:
            target = self.path(remote)
            system.make_folder(target.parent, mode=0o700)
            source.replace(target)
            self._places.add(target.parent)

    def flush(self) -> None:
        """Return once the names of all published files are on the disk, each folder's at once."""
        while self._places:
            system.flush_folder(self._places.pop(), top=self.folder)

    def holds(self, file: File) -> bool:
        """Tell whether the outbox has this file, with these very bytes."""
        path = self.path(file.path)
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256

    def any_file(self) -> Path | None:
        """Return a file that a run wrote here and did not remove, if there is one."""
        own = {self.work, self.cache, self.folder / _LOCK}
        for folder, folders, names in os.walk(self.folder):
            here = Path(folder)
            folders[:] = [name for name in folders if here / name not in own]
            for name in names:
                if here / name not in own:
                    return here / name
        return None

    def tidy(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            self.path(name).unlink(missing_ok=True)
