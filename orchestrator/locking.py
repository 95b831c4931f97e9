"""One run at a time on one folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator import folders
from orchestrator.errors import LockedError


def this_process() -> str:
    """Name this process, for those who wait for it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def held(holder: str, where: str) -> LockedError:
    """Return the error for a lock that another run holds."""
    return LockedError(f"another run ({holder or 'unknown'}) is at work {where}; try again later")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel frees when its holder dies (flock(2)).

    Raises LockedError at once where another process holds it.
    """
    folders.make(path.parent, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise held(file.read().strip(), f"in {path.parent}") from error
        file.truncate(0)
        holder = f"{this_process()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        with suppress(OSError):  # a full disk: it is locked without a name, too
            os.write(file.fileno(), holder.encode())
        yield
        file.seek(0)
        file.truncate(0)
