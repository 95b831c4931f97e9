"""The operating system: signals, locks, flushed folders, and disks without room."""

import errno
import fcntl
import io
import locale
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from orchestrator.errors import ExportError, LockedError, UsageError

_PRIVATE = "orchestrate-rows-"
_LOCK = ".lock"
_BEGINNING = 10  # seconds

# The texts of a full disk: the operating system's, which DuckDB, dbt and PostgreSQL pass on, then
# those that only one program uses.
_DISK_FULL = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    "database or disk is full",  # SQLite
    "SQLITE_IOERR_SHMSIZE",  # SQLite has no room for the index of its write-ahead log
    "max_temp_directory_size",  # DuckDB, whose default limit is the free space of the disk
)
_QUOTED_PATH = re.compile(r"[\"'](/[^\"']+)[\"']")

received_signals: list[int] = []
"""Signals that this process received, except Ctrl-C outside of `reraised_interrupts`."""


class DiskFullError(ExportError):
    """A disk has no room."""


def disk_full(error: object, place: Path | str) -> DiskFullError | None:
    """Return the error to raise where `error`, or its text, reports a full disk, else None.

    The message names the path that the text quotes, or `place` where it quotes none.
    """
    text = f"{getattr(error, 'sqlite_errorname', '')} {error}"
    reason = next((words for words in _DISK_FULL if words in text), None)
    if reason is None:
        return None
    quoted = _QUOTED_PATH.search(text)
    return DiskFullError(
        f"{quoted[1] if quoted else place}: the disk is full ({reason}). Free some space or raise "
        "the quota; the next run continues where this one stopped"
    )


def os_error(error: OSError, place: Path | str) -> ExportError:
    """Return an OSError as the error to raise: which file, why, and for a full disk what to do.

    `place` is named where the error does not say which file it is about.
    """
    where = error.filename or place
    return disk_full(error, where) or ExportError(f"{where}: {error.strerror or error}")


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents, and flush each new name, so that it survives a power cut.

    A new directory entry is on the disk only once its parent folder was flushed (fsync(2)).
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    folder.mkdir(mode=mode, exist_ok=True)
    flush_folder(folder.parent, top=folder.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in place of the one that exists, so that no reader ever sees a part of it.

    It is written to a name that nobody can foresee, because a link that another user put at a
    known name would be followed, and then renamed. Raises OSError.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def flush_folder(folder: Path, *, top: Path) -> None:
    """Return once the names in a folder, and in its parents up to `top`, are on the disk."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == top:
            return


def this_process() -> str:
    """Return a name of this process for the users of other processes that wait for it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def locked(holder: str, where: str) -> LockedError:
    """Return the error for a lock that another run holds."""
    return LockedError(f"another run ({holder or 'unknown'}) is at work {where}; try again later")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel releases when the process ends (flock(2)).

    Raises LockedError at once where another process holds it.
    """
    make_folder(path.parent, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise locked(file.read().strip(), f"in {path.parent}") from error
        file.truncate(0)
        holder = f"{this_process()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        with suppress(OSError):  # the disk is full: the lock holds without the name too
            os.write(file.fileno(), holder.encode())
        yield
        file.seek(0)
        file.truncate(0)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new temporary folder of this user alone, for rows in the clear; remove it at the end.

    If the process is killed, `remove_private_folders` of a later one removes it.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PRIVATE))
    try:
        with exclusive_lock(folder / _LOCK):
            (folder / "work").mkdir()
            yield folder / "work"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_private_folders() -> None:
    """Remove the private folders that killed processes of this user left."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PRIVATE}*"):
            found = folder.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            # A process that was not killed has the lock, except in the moment after it starts.
            if is_ours and time.time() - found.st_mtime > _BEGINNING:
                remove_unlocked(folder, folder / _LOCK)


def remove_unlocked(folder: Path, lock: Path) -> None:
    """Remove a folder whose process is gone: its lock is free. Does nothing where that fails."""
    with suppress(LockedError, OSError), exclusive_lock(lock):
        shutil.rmtree(folder)


def use_utf8() -> None:
    """Let this process and its children read and write UTF-8, whatever the locale and Python say.

    Python chooses the encoding of arguments and file names when it starts, so a process that
    started with another one starts again in its UTF-8 mode
    (https://docs.python.org/3/library/os.html#utf8-mode). A daily run by cron and another one by
    hand would otherwise give two names to one file. Raises UsageError where that did not help.
    """
    codeset = locale.nl_langinfo(locale.CODESET)
    if codeset != "UTF-8":
        os.environ.update(LC_ALL="C.UTF-8", PYTHONUTF8="1")  # for children such as Java
    os.environ.pop("PYTHONIOENCODING", None)
    if sys.getfilesystemencoding() != "utf-8":
        if "utf8" not in sys._xoptions and sys.executable:  # noqa: SLF001 - documented for -X
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - the same program
        raise UsageError(
            f"file names are in {codeset} here, and must be in UTF-8: set LC_ALL=C.UTF-8, and "
            "do not start Python with -X utf8=0"
        )
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a test that captures it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def handle_signals() -> None:
    """Make SIGTERM, which systemd, Kubernetes and timeout(1) send, act like Ctrl-C.

    A signal that the parent process set to be ignored stays ignored.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, _act_like_ctrl_c),
    ):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handler)


def _act_like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Call the handler that SIGINT has at this moment: asyncio and pyspark install their own."""
    received_signals.append(number)
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the block ends.

    For the start of a child process, which could not be ended yet if the signal came in between.
    """
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])


@contextmanager
def reraised_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block where the code in it swallowed one.

    dbt returns an interrupt as one more failed node.
    """
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        received_signals.append(number)
        if callable(handler):
            handler(number, frame)

    # Python installs signal handlers from the main thread only (signal.signal).
    installs = callable(handler) and threading.current_thread() is threading.main_thread()
    if installs:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if installs:
            signal.signal(signal.SIGINT, handler)
    if received_signals:
        raise KeyboardInterrupt
