"""Packing: compress a file while it is written, then encrypt or sign it."""

import gzip
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from orchestrator import system
from orchestrator.config import openpgp
from orchestrator.config.dialect import Compression
from orchestrator.config.exports import File
from orchestrator.errors import ExportError

if TYPE_CHECKING:
    from pysequoia import PySigner

_FLUSH_EVERY = 64 * 1024 * 1024  # bytes; flushing only at the end would take a second more per GB
_FLUSHER = ThreadPoolExecutor(4, "flush")
_GZIP_LEVEL = 6  # gzip's own default
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can have


class _Sink(Protocol):
    def write(self, data: bytes | memoryview, /) -> Any: ...  # noqa: ANN401 - return types differ


@dataclass(frozen=True)
class WrittenFile:
    """A complete file of a window, and where its bytes are."""

    local: Path
    file: File
    table: Mapping[str, Any] = field(default_factory=dict)
    """Of a data file: what the manifest says about all files of its format."""


class PackedFile:
    """A file that only its owner can read, compressed while it is written, then encrypted.

    It is streamed: memory does not depend on its size. Without encryption the same data give the
    same bytes, because they contain no time and no name of this host. The methods raise OSError
    that names the file, or ExportError.
    """

    def __init__(
        self,
        path: Path,
        compression: Compression = "none",
        encrypt_for: Path | None = None,
        signer: "PySigner | None" = None,
    ) -> None:
        """Create the file. The member of a zip file gets the name of `path`.

        `encrypt_for` is the path of an OpenPGP public key. With a `signer` the encrypted file is
        signed too.
        """
        self._signer = signer
        self.path = path
        self._encrypt_for = encrypt_for
        self._raw = _HashedFile(path)
        self._stack = ExitStack()  # buffers and compressors; closing them leaves the file open
        file = self._stack.enter_context(_Buffer(self._raw))
        self._sink = _COMPRESSIONS[compression](file, path.name, self._stack)

    def write(self, data: bytes | memoryview) -> None:
        """Append data."""
        with _errors_name(self.path):
            self._sink.write(data)

    def finish(self) -> tuple[int, str]:
        """Complete the file and return its size in bytes and its SHA-256 in hex.

        Encryption adds a suffix to `path`. The file is on the disk only when `wait` has returned.
        """
        with _errors_name(self.path):
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
        with _errors_name(self.path):
            found = os.fstat(self._raw.fileno()).st_size, self._raw.sha256()
            self._raw.begin_flush()
            return found

    def wait(self) -> None:
        """Wait until the finished file is on the disk (fsync(2)), and close it."""
        with _errors_name(self.path), self._raw as file:
            file.wait_for_flush()

    def abandon(self) -> None:
        """Remove the file."""
        with suppress(OSError, ValueError):  # a full disk may refuse the rest of the buffer too
            self._stack.close()
        self._raw.close()
        self.path.unlink(missing_ok=True)


class _HashedFile(FileIO):
    """A file that is hashed and flushed while it is written.

    If it was not written in order, as a zip file whose header is filled in last, it is read again
    for the hash.
    """

    _flushing: Future[None] | None = None

    def __init__(self, path: Path) -> None:
        """Create a file that only its owner can read."""
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "r+")
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._unflushed = 0

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - typeshed: any buffer
        position = self.tell()
        written = super().write(data)
        if position == self._hashed:
            self._digest.update(memoryview(data)[:written])
            self._hashed += written
        else:
            self._hashed = -1  # not written in order
        self._unflushed += written
        if self._unflushed >= _FLUSH_EVERY:
            self.wait_for_flush()
            self._unflushed = 0
            self._flushing = _FLUSHER.submit(os.fdatasync, self.fileno())
        return written

    def begin_flush(self) -> None:
        """Begin to flush the complete file, including its size."""
        self.wait_for_flush()
        self._flushing = _FLUSHER.submit(os.fsync, self.fileno())

    def close(self) -> None:
        with suppress(OSError):
            self.wait_for_flush()
        super().close()

    def wait_for_flush(self) -> None:
        """Wait for the flush that was begun. Raises OSError if it failed.

        The kernel reports a failed flush only once, so this result must not be ignored.
        """
        flushing, self._flushing = self._flushing, None
        if flushing:
            flushing.result()

    def sha256(self) -> str:
        """Return the hash of the complete file, in hex."""
        if self._hashed == os.fstat(self.fileno()).st_size:
            return self._digest.hexdigest()
        self.seek(0)
        return hashlib.file_digest(self, "sha256").hexdigest()


class _Buffer(BufferedWriter):
    """A buffer whose close() leaves the file open: compressors close what they write into."""

    def close(self) -> None:
        self.flush()


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = str(path)  # an error of write() names no file
        raise


def _plain(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    del name, stack
    return file


def _gzip(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """Gzip (RFC 1952) without the name and time of the file."""
    del name
    return stack.enter_context(gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0))


def _zstd(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """Zstd (RFC 8878) in one frame."""
    import pyarrow as pa  # noqa: PLC0415 - slow; already loaded if there are rows

    del name
    return stack.enter_context(pa.CompressedOutputStream(file, "zstd"))


def _zip(file: BufferedWriter, name: str, stack: ExitStack) -> _Sink:
    """Zip with one member of any size (zip64). Its sizes come before it: some readers need that."""
    archive = stack.enter_context(zipfile.ZipFile(file, "w"))
    member = zipfile.ZipInfo(name, _ZIP_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # Unix, on every platform, for equal bytes
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
    """Encrypt a file for the owner of a public key, as a stream. The bytes differ each time.

    Raises ExportError if the key can no longer be used or the disk is full.
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
    """Write the detached signature (RFC 9580, section 10.4) of a file, as a stream.

    Raises ExportError if the disk is full.
    """
    from pysequoia import SignatureMode, sign_file  # noqa: PLC0415 - most configs have no key

    try:
        sign_file(signer, source, target, mode=SignatureMode.DETACHED, armor=False)
    except RuntimeError as error:
        raise _openpgp_error(error, source, "signed") from None


def _openpgp_error(error: RuntimeError, path: Path, done: str) -> ExportError:
    reason = " ".join(str(error).partition("Stack backtrace")[0].split())
    return system.disk_full(reason, path) or ExportError(f"{path}: cannot be {done}: {reason}")
