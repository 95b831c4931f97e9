"""Receivers: one that watches a folder, and one that takes every file away at once."""

import ctypes
import os
import struct
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

_MOVED_TO = 0x80  # inotify(7), linux/inotify.h
_OVERFLOW = 0x4000
_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len


class Watch:
    """Records every name that a rename gives to a visible file, however briefly it exists."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = os.fdopen(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0)
        self._prefixes: dict[int, Path] = {}
        self._names: list[str] = []

    def add(self, folder: Path, root: Path) -> None:
        """Watch a folder; names are relative to `root`."""
        path = os.fsencode(folder)
        watch = self._libc.inotify_add_watch(self._events.fileno(), path, _MOVED_TO)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        self._prefixes[watch] = folder.relative_to(root)

    def names(self) -> list[str]:
        """Return the names given so far, in order; one given twice is listed twice."""
        while events := self._events.read(1 << 16):
            while events:
                watch, mask, _, length = _HEADER.unpack_from(events)
                assert not mask & _OVERFLOW
                name = events[_HEADER.size : _HEADER.size + length].rstrip(b"\0").decode()
                self._names.append(str(self._prefixes[watch] / name))
                events = events[_HEADER.size + length :]
        return self._names


class TakingReceiver:
    """Takes each file out of the roots as soon as it sees it, and keeps its content."""

    def __init__(
        self, roots: Mapping[str, Path], folder: Path, *, spare: Collection[str] = ()
    ) -> None:
        self._roots = roots
        self._folder = folder
        self._spare = spare
        self._taken: dict[str, dict[str, bytes]] = {name: {} for name in roots}
        self._twice: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._take_until_stopped)
        folder.mkdir()
        self._thread.start()

    def stop(self) -> dict[str, dict[str, bytes]]:
        """Return the files by root and name; assert that none came twice."""
        self._stopping.set()
        self._thread.join()
        assert self._twice == []
        return self._taken

    def _take_until_stopped(self) -> None:
        while not self._stopping.wait(0.001):
            self._take()
        self._take()

    def _take(self) -> None:
        for root, path in self._roots.items():
            for folder, _, names in os.walk(path):
                for name in names:
                    if not name.startswith(".") and name not in self._spare:
                        self._keep(root, Path(folder, name))

    def _keep(self, root: str, path: Path) -> None:
        name = path.relative_to(self._roots[root]).as_posix()
        if name in self._taken[root]:
            self._twice.append(f"{root}/{name}")
        self._taken[root][name] = path.rename(self._folder / "file").read_bytes()
