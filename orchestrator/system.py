"""The operating system: files and folders, full disks, locks, encodings, and signals."""

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
_TIME_TO_LOCK = 10  # seconds between the creation of a private folder and its lock, at most

# Texts of errors about a full disk. The first three are those of the operating system; DuckDB, dbt
# and PostgreSQL repeat them.
_DISK_FULL = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    "database or disk is full",  # SQLite
    "SQLITE_IOERR_SHMSIZE",  # SQLite has no room for the index of its write-ahead log
    "max_temp_directory_size",  # DuckDB, whose default limit is the free space of the disk
)
_QUOTED_PATH = re.compile(r"[\"'](/[^\"']+)[\"']")

received_signals: list[int] = []
"""Signals that this process received; a Ctrl-C only if inside `reraised_interrupts`."""


class DiskFullError(ExportError):
    """A disk has no room."""


def disk_full(error: object, place: Path | str) -> DiskFullError | None:
    """Return the error to raise if `error` (exception or text) is about a full disk, else None.

    The message names the path that the text quotes, or `place` if it quotes none.
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
    """Return the error to raise for an OSError: it names the file and the reason.

    If the OSError does not name a file, `place` is named. For a full disk, the message says what
    to do.
    """
    where = error.filename or place
    return disk_full(error, where) or ExportError(f"{where}: {error.strerror or error}")


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents, so that they survive a power failure.

    A new folder is on the disk only after its parent folder was flushed (fsync(2)).
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    folder.mkdir(mode=mode, exist_ok=True)
    flush_folder(folder.parent, top=folder.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Create or replace a file, so that no reader ever sees a part of it. Raises OSError.

    The temporary name is random. If it were predictable, another user could create a link of that
    name, and the content would be written to the target of the link.
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
    """Flush a folder and its parents up to `top`: the names in them are then on the disk."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == top:
            return


def this_process() -> str:
    """Return the name of this process in messages of other processes."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def locked(holder: str, where: str) -> LockedError:
    """Return the error for a lock that another run holds."""
    return LockedError(f"another run ({holder or 'unknown'}) is at work {where}; try again later")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the kernel releases it when the process ends (flock(2)).

    Raises LockedError immediately if another process holds the lock.
    """
    make_folder(path.parent, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise locked(file.read().strip(), f"in {path.parent}") from error
        file.truncate(0)
        holder = f"{this_process()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        with suppress(OSError):  # the lock works without this text, for example if the disk is full
            os.write(file.fileno(), holder.encode())
        yield
        file.seek(0)
        file.truncate(0)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new temporary folder for unencrypted rows, which no other user can read.

    It is removed at the end, or by a later `remove_private_folders` if the process is killed.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PRIVATE))
    try:
        with exclusive_lock(folder / _LOCK):
            (folder / "work").mkdir()
            yield folder / "work"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_private_folders() -> None:
    """Remove the private folders of processes of this user that were killed."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PRIVATE}*"):
            found = folder.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            # A process that is alive holds the lock, except right after it created the folder.
            if is_ours and time.time() - found.st_mtime > _TIME_TO_LOCK:
                remove_unlocked(folder, folder / _LOCK)


def remove_unlocked(folder: Path, lock: Path) -> None:
    """Remove a folder if its lock is free, so its process has ended. Ignores errors."""
    with suppress(LockedError, OSError), exclusive_lock(lock):
        shutil.rmtree(folder)


def use_utf8() -> None:
    """Make this process and its children use UTF-8, whatever the locale is.

    Otherwise the names of files could differ between a run by cron and a run by hand. Python
    chooses the encoding of arguments and file names when it starts. So if that is not UTF-8, this
    function replaces the process by one in UTF-8 mode
    (https://docs.python.org/3/library/os.html#utf8-mode). Raises UsageError if that did not help.
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
        if isinstance(stream, io.TextIOWrapper):  # pytest can replace it by another type
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def handle_signals() -> None:
    """Make SIGTERM act like Ctrl-C: systemd, Kubernetes and timeout(1) send SIGTERM.

    A signal that the parent process told this one to ignore, as nohup does, stays ignored.
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

    Use it to start a child process: a signal before its process id is known would leave it running.
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
    """Raise KeyboardInterrupt at the end of the block if the code in it swallowed one.

    dbt does so: it reports an interrupt as a failed node.
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
