"""One run at a time on one outbox."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import LockedError


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel frees when its holder dies (flock(2)).

    Raises LockedError at once where another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = file.read().strip() or "unknown"
            raise LockedError(
                f"another run (process {holder}) is at work in {path.parent}; try again later"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.seek(0)
        file.truncate(0)
