"""Folders whose names survive a power cut."""

import os
from pathlib import Path


def make(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it, and flush the name of each new one (fsync(2))."""
    if folder.is_dir():
        return
    make(folder.parent, mode=mode)
    folder.mkdir(mode=mode, exist_ok=True)
    flush(folder.parent, top=folder.parent)


def flush(folder: Path, *, top: Path) -> None:
    """Return once the names in a folder, and in those above it up to `top`, are on the disk."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == top:
            return
