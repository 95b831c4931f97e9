"""Uploads: a file to publish, its names at the destination, and how far it came.

A file is never written under its final name. It is written to a *part file* in the same folder,
and renamed once it is complete, so that a receiver sees the file or nothing.

A process can be killed between the rename and the moment the ledger records it, and the receiver
may take the file away at once. A missing file then means "not renamed yet" or "already taken", and
sending it again would deliver it twice. Three steps make the two cases differ:

1. *Announce*: before the rename, the ledger records that it is about to happen (`rename_sent`).
2. *Rename*: the part file becomes the final file. Once a rename was announced, nothing else
   removes this part file.
3. *Note*: the ledger records the delivery.

A later attempt that finds `rename_sent` looks for the part file. If it is gone, the rename took
place and the file was delivered, whether or not it is still there. If it exists, the rename did
not take place.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from orchestrator.config.exports import File
from orchestrator.errors import DeliveryError

BLOCK = 255 * 1024
"""Bytes per read and write: sftp-server(8) of OpenSSH accepts packets of 256 KiB, headers included
(SFTP_MAX_MSG_LENGTH in its sftp-common.h)."""

Announce = Callable[["Upload"], Awaitable[None]]
"""Awaited right before a file is renamed to its final name."""


class UnreachableError(DeliveryError):
    """The destination is unusable: unreachable, host key untrusted, or login refused."""


class LostError(UnreachableError):
    """The connection failed or was lost, or the server stopped answering: worth another attempt."""


@dataclass(frozen=True)
class Upload:
    """One file to publish. Its path on SFTP may be absolute."""

    local: Path
    """The file to read."""
    file: File
    rename_sent: bool = False
    """An earlier run announced the rename, and did not note the delivery."""
    abandoned: tuple[File, ...] = ()
    """Files of earlier revisions that were never delivered here: their part files are removed."""
    retracted: tuple[File, ...] = ()
    """Files to remove right before this one is renamed, such as completion files that describe the
    previous content."""

    @classmethod
    def write(cls, local: Path, content: bytes, *, path: str = "") -> "Upload":
        """Write a local file that no window has, and return the upload that publishes it."""
        local.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(local, File("ready", path, len(content), sha256))

    def to(self, path: str) -> "Upload":
        """Return the same upload to another path."""
        return replace(self, file=replace(self.file, path=path))

    @property
    def part(self) -> str:
        """The path of the part file."""
        return part_path(self.file)


@dataclass
class UploadProgress:
    """How far the current file of a batch came, over all connections of a run.

    `proven` is the number of bytes that the server was shown to have, `sent` the number of those
    that the current attempt wrote or found.
    """

    rename_sent: bool = False
    proven: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Outcome:
    """The result of one batch: the uploads published, and the error that stopped it, if any.

    `unsure` is the upload whose rename was announced and never confirmed: deliver it again with
    `rename_sent`.
    """

    uploads_done: tuple[Upload, ...]
    error: DeliveryError | None
    unsure: Upload | None = None


async def announce_nothing(upload: Upload) -> None:
    """Do nothing: an `Announce` for files that the ledger does not know."""
    del upload


def checked_path(remote: str) -> PurePosixPath:
    """Return a remote path that has a name and does not climb out of the destination's folder.

    Raises DeliveryError where it does.
    """
    path = PurePosixPath(remote)
    if not path.name or ".." in path.parts or "\0" in remote:
        raise DeliveryError(
            f"{remote!r} is not a path for a delivered file: it needs a name and no '..'. "
            "Correct the directory or the file pattern in exports.yml."
        )
    return path


def part_path(file: File) -> str:
    """Return the path of a part file. The hash in its name keeps the bytes of uploads apart."""
    path = checked_path(file.path)
    return str(path.with_name(f".{path.name}.{file.sha256[:16]}.part"))


def read_blocks(upload: Upload) -> Iterator[bytes]:
    """Yield the local file in blocks of `BLOCK` bytes.

    Raises DeliveryError if the file cannot be read, or if its content is not the recorded one. The
    hash is compared before the last block is yielded, so that other content is never complete at
    the destination.
    """
    digest = hashlib.sha256()
    left = upload.file.size
    try:
        with upload.local.open("rb") as file:
            while left > 0 and (block := file.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
                if left == 0:
                    break
                yield block
            changed = left > 0 or bool(file.read(1)) or digest.hexdigest() != upload.file.sha256
    except OSError as error:
        raise DeliveryError(
            f"{upload.local}: cannot be read ({error.strerror}). "
            "Restore it, or build the window again with --force."
        ) from error
    if changed:
        raise DeliveryError(
            f"{upload.local}: is no longer the file that was recorded ({upload.file.size} bytes, "
            f"sha256 {upload.file.sha256[:16]}…). Build the window again with --force."
        )
    if upload.file.size:
        yield block
