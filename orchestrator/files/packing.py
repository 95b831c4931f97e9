"""Packing: a file that is compressed as it is written, and then encrypted."""

import gzip
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from orchestrator import system
from orchestrator.config import openpgp
from orchestrator.config.dialect import Compression
from orchestrator.errors import ExportError

if TYPE_CHECKING:
    from pysequoia import PySigner

_FLUSHED_AT_ONCE = 64 * 1024 * 1024  # bytes; a second less to wait at the end, of each GB
_FLUSHER = ThreadPoolExecutor(4, "flush")
_GZIP_LEVEL = 6  # gzip's own default
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file knows


class _Sink(Protocol):
    def write(self, data: bytes | memoryview, /) -> Any: ...  # noqa: ANN401 - each says it otherwise


class PackedFile:
    """A file of its owner alone on its way to the disk; nothing of it is whole in memory.

    Without encryption the same data give the same bytes: no time and no name of this host is in
    them. `write` and `finish` raise OSError that names the file, or ExportError.
    """

    def __init__(
        self,
        path: Path,
        compression: Compression = "none",
        encrypt_for: Path | None = None,
        signer: "PySigner | None" = None,
    ) -> None:
        """Create the file; a zip file's member gets its name.

        An encrypted file is signed too where there is a `signer`.
        """
        self._signer = signer
        self.path = path
        self._encrypt_for = encrypt_for
        self._raw = _HashedFile(path)
        self._stack = ExitStack()  # of what buffers and compresses; it leaves the file open
        file = self._stack.enter_context(_Buffer(self._raw))
        self._sink = _COMPRESSIONS[compression](file, path.name, self._stack)

    def write(self, data: bytes | memoryview) -> None:
        """Write what comes next."""
        with _named(self.path):
            self._sink.write(data)

    def finish(self) -> tuple[int, str]:
        """Return bytes and sha256 of the whole file, which `path` names from now on.

        It counts as flushed once `wait` has returned.
        """
        with _named(self.path):
            self._stack.close()
        if self._encrypt_for:
            self._raw.close()
            plain, self.path = (
                self.path,
                self.path.with_name(self.path.name + openpgp.OPENPGP_SUFFIX),
            )
            self._raw = _HashedFile(self.path)
            try:
                encrypt(plain, self.path, self._encrypt_for, signer=self._signer)
            finally:
                plain.unlink()
        with _named(self.path):
            found = os.fstat(self._raw.fileno()).st_size, self._raw.sha256()
            self._raw.flush_whole()
            return found

    def wait(self) -> None:
        """Return once the finished file is on the disk (fsync(2)), and close it."""
        with _named(self.path), self._raw as file:
            file.settle()

    def abandon(self) -> None:
        """Remove the file."""
        with suppress(OSError, ValueError):  # what is left to write may find no room either
            self._stack.close()
        self._raw.close()
        self.path.unlink(missing_ok=True)


class _HashedFile(FileIO):
    """A file that is hashed and flushed as it is written.

    It is read again only where it was not written in order.
    """

    _flushing: Future[None] | None = None

    def __init__(self, path: Path) -> None:
        """Make a file that its owner alone can read."""
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "r+")
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._unflushed = 0

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer, says typeshed
        position = self.tell()
        written = super().write(data)
        if position == self._hashed:
            self._digest.update(memoryview(data)[:written])
            self._hashed += written
        else:
            self._hashed = -1  # a place was written twice
        self._unflushed += written
        if self._unflushed >= _FLUSHED_AT_ONCE:
            self.settle()
            self._unflushed = 0
            self._flushing = _FLUSHER.submit(os.fdatasync, self.fileno())
        return written

    def flush_whole(self) -> None:
        """Begin to flush all of it, its size included."""
        self.settle()
        self._flushing = _FLUSHER.submit(os.fsync, self.fileno())

    def close(self) -> None:
        with suppress(OSError):
            self.settle()
        super().close()

    def settle(self) -> None:
        """Wait for the flush under way. Raises OSError where it failed: it is told only once."""
        flushing, self._flushing = self._flushing, None
        if flushing:
            flushing.result()

    def sha256(self) -> str:
        """Return the hash of the whole file, in hexadecimal."""
        if self._hashed == os.fstat(self.fileno()).st_size:
            return self._digest.hexdigest()
        self.seek(0)
        return hashlib.file_digest(self, "sha256").hexdigest()


class _Buffer(BufferedWriter):
    """Leaves the file open where it is closed, as by those that compress into it."""

    def close(self) -> None:
        self.flush()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = str(path)  # a write does not say where
        raise


def _plain(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    del name, stack
    return file


def _gzip(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """RFC 1952, without the file's name and time."""
    del name
    return stack.enter_context(gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0))


def _zstd(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """RFC 8878, one frame."""
    import pyarrow as pa  # noqa: PLC0415 - loaded by whoever has rows to write

    del name
    return stack.enter_context(pa.CompressedOutputStream(file, "zstd"))


def _zip(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """One member of any size (zip64); its sizes stand before it, as some readers need."""
    archive = stack.enter_context(zipfile.ZipFile(file, "w"))
    member = zipfile.ZipInfo(name, _ZIP_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, on whatever this runs
    member.external_attr = 0o644 << 16
    sink: IO[bytes] = archive.open(member, "w", force_zip64=True)
    return stack.enter_context(sink)


_COMPRESSIONS: dict[Compression, Callable[[BufferedWriter, str, ExitStack], _Sink]] = {
    "none": _plain,
    "gzip": _gzip,
    "zstd": _zstd,
    "zip": _zip,
}


def encrypt(source: Path, target: Path, key: Path, *, signer: "PySigner | None" = None) -> None:
    """Write a file for the owner of a key. The file is streamed; its bytes differ each time.

    Raises ExportError where the key has become useless or the disk is full.
    """
    from pysequoia import encrypt_file  # noqa: PLC0415 - most configs have no key

    try:
        recipients = [openpgp.recipient(key)]
        encrypt_file(source, target, recipients=recipients, signer=signer, armor=False)
    except ValueError as error:
        raise ExportError(str(error)) from error
    except RuntimeError as error:
        raise _openpgp_error(error, target, "encrypted") from None


def sign(source: Path, target: Path, signer: "PySigner") -> None:
    """Write the detached signature (RFC 9580, 10.4) of a file, which is streamed.

    Raises ExportError where the disk is full.
    """
    from pysequoia import SignatureMode, sign_file  # noqa: PLC0415 - most configs have no key

    try:
        sign_file(signer, source, target, mode=SignatureMode.DETACHED, armor=False)
    except RuntimeError as error:
        raise _openpgp_error(error, source, "signed") from None


def _openpgp_error(error: RuntimeError, path: Path, done: str) -> ExportError:
    words = " ".join(str(error).partition("Stack backtrace")[0].split())
    return system.disk_full(words, path) or ExportError(f"{path}: cannot be {done}: {words}")
