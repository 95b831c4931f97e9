"""Destination: what every kind of destination can do, and how it publishes a file exactly once.

A file is never written under its final name. It is written to a *part file* in the same folder,
which is renamed once it is complete. So a receiver sees the complete file or none.

A process can be killed after the rename and before the ledger records it, and a receiver may move
a file away at once. So a missing file means "not renamed yet" or "already received". In the second
case, sending it again would deliver it twice. Three steps tell the two cases apart:

1. *Announce*: before the rename, the ledger records that it is about to happen (`rename_sent`).
2. *Rename*: the part file becomes the final file. Once a rename was announced, nothing else
   removes this part file.
3. *Note*: the ledger records the delivery.

A later attempt that finds `rename_sent` looks for the part file. If the part file is gone, the
rename took place and the file was delivered, whether or not the file still exists. If the part file
exists, the rename did not take place.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Protocol

from orchestrator.config.destinations import DestinationConfig, Directory, Sftp
from orchestrator.config.exports import File
from orchestrator.errors import DeliveryError

BLOCK = 255 * 1024
"""Bytes per read and write: sftp-server(8) of OpenSSH accepts packets of 256 KiB, headers included
(SFTP_MAX_MSG_LENGTH in its sftp-common.h)."""

_MODULES: Mapping[type[DestinationConfig], str] = {
    Directory: "orchestrator.delivery.directory",
    Sftp: "orchestrator.delivery.sftp",
}
"""The registry of kinds: the module of each, whose function `connect` opens a destination."""


class UnreachableError(DeliveryError):
    """The destination is unusable: unreachable, host key untrusted, or login refused."""


class LostError(UnreachableError):
    """The connection failed or was lost, or the server stopped answering: a retry may succeed."""


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
        """Write a local file that belongs to no window, and return the upload that publishes it."""
        local.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(local, File("ready", path, len(content), sha256))

    def to(self, path: str) -> "Upload":
        """Return the same upload to another path."""
        return replace(self, file=replace(self.file, path=path))

    @property
    def part(self) -> str:
        """The path of the part file. The hash in its name keeps the bytes of uploads apart."""
        return _part_path(self.file)

    @property
    def abandoned_parts(self) -> list[str]:
        """The paths of part files that earlier revisions may have left."""
        return [part for file in self.abandoned if (part := _part_path(file)) != self.part]


@dataclass
class UploadProgress:
    """Progress of the current file of a batch, over all connections of a run.

    `proven` is the number of bytes that the server was shown to have, `sent` the number of bytes
    that the current attempt wrote or found on the server.
    """

    rename_sent: bool = False
    proven: int = 0
    sent: int = 0


Announce = Callable[[Upload], Awaitable[None]]
"""Awaited right before a file is renamed to its final name."""


async def announce_nothing(upload: Upload) -> None:
    """Do nothing: an `Announce` for files that the ledger does not know."""
    del upload


class StoredKind(StrEnum):
    """The kinds of things that a name at a destination can refer to."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a link, a device …
    UNKNOWN = "unknown"  # it exists or may exist, and the server does not say what it is


@dataclass(frozen=True)
class Stored:
    """The properties of a file or folder at a destination; None where the destination shows none.

    `size` is in bytes, `modified_at` in seconds since 1970 by the destination's own clock.
    """

    kind: StoredKind
    size: int | None = None
    modified_at: float | None = None
    sha256: str | None = None

    def is_same(self, file: File) -> bool:
        """Return whether this can be the file that was delivered: every known property matches."""
        return (
            self.kind in (StoredKind.FILE, StoredKind.UNKNOWN)
            and self.size == file.size
            and self.sha256 in (None, file.sha256)
        )


class Destination(Protocol):
    """An open destination. CONTRIBUTING.md shows how to add a kind.

    Paths are relative to the destination's folder, or absolute if the kind allows that. Every
    method raises LostError if the connection is lost, and DeliveryError if a request is refused.
    """

    label: str
    """The start of messages about a path: the path follows without a space."""

    async def publish(
        self, upload: Upload, progress: UploadProgress, *, on_renaming: Announce
    ) -> None:
        """Write the part file, await `on_renaming`, and rename the part file to the final name.

        Continues where an earlier attempt stopped, creates missing folders below the destination's
        folder, and replaces a file that has the final name.
        """

    async def find(self, path: str, *, digest: bool = False) -> Stored | None:
        """Return the properties of the file or folder at a path, or None if the path is free.

        With `digest` the hash of a file is included, if the destination can compute it.
        """

    async def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove a file, or an empty folder. Raises FileNotFoundError if it does not exist."""

    async def probe(self, path: str) -> Collection[str]:
        """Return notes on what the destination lacks, tested with a file published before."""


def connect(config: DestinationConfig) -> AbstractAsyncContextManager[Destination]:
    """Open a destination; the `with` block closes it.

    Entering raises LostError if another attempt may succeed, else UnreachableError.
    """
    # Imported at need: asyncssh takes a quarter of a second, which folders need not wait for.
    module = import_module(_MODULES[type(config)])
    opened: AbstractAsyncContextManager[Destination] = module.connect(config)
    return opened


def checked_path(remote: str) -> PurePosixPath:
    """Return a remote path that has a name and does not lead out of the destination's folder.

    Raises DeliveryError for any other path.
    """
    path = PurePosixPath(remote)
    if not path.name or ".." in path.parts or "\0" in remote:
        raise DeliveryError(
            f"{remote!r} is not a path for a delivered file: it needs a name and no '..'. "
            "Correct the directory or the file pattern in exports.yml."
        )
    return path


def _part_path(file: File) -> str:
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
