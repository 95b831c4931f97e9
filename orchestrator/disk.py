"""A disk without room, in whichever words it is told, as an error for the person who must act."""

import errno
import os
import re
from pathlib import Path

from orchestrator.errors import ExportError

# The operating system's own words, which DuckDB, dbt and PostgreSQL hand on, and SQLite's.
_WORDS = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    "database or disk is full",
    "SQLITE_IOERR_SHMSIZE",  # no room for the index of its log
    "max_temp_directory_size",  # DuckDB's, which is what the disk had left
)
_NAMED = re.compile(r"[\"'](/[^\"']+)[\"']")


class DiskFullError(ExportError):
    """There is no room on a disk."""


def full(error: object, place: Path | str) -> DiskFullError | None:
    """Return the error to raise where an error, or its text, tells of a disk without room.

    It names the file that the text names, else `place`. None for every other error.
    """
    text = f"{getattr(error, 'sqlite_errorname', '')} {error}"
    word = next((word for word in _WORDS if word in text), None)
    if word is None:
        return None
    named = _NAMED.search(text)
    return DiskFullError(
        f"{named[1] if named else place}: no room on that disk ({word}). Make room, or ask for a "
        "higher quota; the next run goes on where this one stopped"
    )
