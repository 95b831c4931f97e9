"""The outbox: the folder where whole files wait for delivery, and stay for a while after it."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator import locking
from orchestrator.ledger import Ledger

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

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lock the outbox and give this run an empty work folder.

        What a killed run left there goes away. Raises LockedError where another run holds it.
        """
        with locking.exclusive(self.folder / _LOCK):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(mode=0o700)
            self.cache.mkdir(mode=0o700, exist_ok=True)
            try:
                yield
            finally:
                shutil.rmtree(self.work, ignore_errors=True)

    def path(self, remote: str) -> Path:
        """Return where the file of this remote path lies."""
        return self.folder / remote.lstrip("/")

    def publish(self, files: Iterable[tuple[Path, str]]) -> None:
        """Rename whole, flushed files from the work folder to their places, and flush those."""
        folders = set()
        for source, remote in files:
            target = self.path(remote)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source.replace(target)
            folders.add(target.parent)
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def holds(self, remote: str, size: int, sha256: str) -> bool:
        """Tell whether the file is there with these very bytes."""
        path = self.path(remote)
        if not path.is_file() or path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def tidy(self, ledger: Ledger, *, keep: timedelta, now: datetime) -> list[str]:
        """Remove files older than `keep` that the ledger shows as delivered; return their names."""
        oldest = (now - keep).timestamp()
        removed = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if name.split("/")[0] in (_WORK, _LOCK, _CACHE) or not path.is_file():
                continue
            if path.stat().st_mtime < oldest and ledger.is_delivered(name):
                path.unlink()
                removed.append(name)
        return removed
