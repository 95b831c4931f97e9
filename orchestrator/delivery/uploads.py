"""What is delivered, and how it went: uploads, outcomes, and names on the other side."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.config.exports import File
from orchestrator.errors import DeliveryError

BLOCK = 255 * 1024
"""Bytes per read and write: the most that OpenSSH's sftp-server takes in one request."""


Announce = Callable[["Upload"], Awaitable[None]]
"""Awaited right before a file gets its final name."""


class UnreachableError(DeliveryError):
    """Nothing can be delivered there now: it is not reached, not trusted, or lets nobody in."""


class LostError(UnreachableError):
    """The server could not be reached, went away or fell silent. Worth another attempt."""


@dataclass(frozen=True)
class Upload:
    """One file to publish, and where its bytes are (`local`).

    `rename_sent`: an earlier run was killed while it renamed this file, so a part file that is
    gone means that the file was published. `abandoned`: files that an earlier revision was to
    deliver here and did not; no part file of those may stay. `retracted`: files to remove right
    before this one gets its name, such as the completion files of the revision before.
    """

    local: Path
    file: File
    rename_sent: bool = False
    abandoned: tuple[File, ...] = ()
    retracted: tuple[File, ...] = ()

    def earlier(self) -> Iterator["Upload"]:
        """Yield the uploads that this one replaces."""
        for file in self.abandoned:
            if (file.path, file.sha256) != (self.file.path, self.file.sha256):
                yield Upload(self.local, file)

    def outdated(self) -> Iterator["Upload"]:
        """Yield the uploads that must go before this one gets its name."""
        for file in self.retracted:
            yield Upload(self.local, file)


@dataclass(frozen=True)
class Outcome:
    """What became of one batch: the uploads published, and the error that stopped it, if any.

    `unsure` is the upload whose rename was sent and never answered: deliver it again with
    `rename_sent`.
    """

    uploads_done: tuple[Upload, ...]
    error: DeliveryError | None
    unsure: Upload | None = None


@dataclass
class UploadProgress:
    """How far the file at hand came, over all connections of a run."""

    rename_sent: bool = False
    proven: int = 0  # bytes that the server was shown to hold


def target_path(upload: Upload, *, absolute: bool) -> PurePosixPath:
    """Return where the file goes, as a path that cannot climb out of the destination's root.

    Raises DeliveryError for `..`, for no name, and for an absolute path where it is not allowed.
    """
    path = PurePosixPath(upload.file.path)
    if not path.name or ".." in path.parts or "\0" in upload.file.path:
        raise DeliveryError(
            f"{upload.file.path!r} is no path for a delivered file: it needs a name and no '..'. "
            "Correct the directory or the file pattern in exports.yml."
        )
    if path.is_absolute() and not absolute:
        raise DeliveryError(
            f"{upload.file.path!r} is absolute, and would leave the destination's folder. "
            "Make the directory in exports.yml relative."
        )
    return path


def part_of(upload: Upload, *, absolute: bool) -> PurePosixPath:
    """Return the temporary name beside the target; the content's hash keeps other bytes apart.

    Raises DeliveryError as `target_path` does.
    """
    path = target_path(upload, absolute=absolute)
    return path.with_name(f".{path.name}.{upload.file.sha256[:16]}.part")


def read_blocks(upload: Upload) -> Iterator[bytes]:
    """Yield the local file in blocks of `BLOCK` bytes.

    Raises DeliveryError if the file cannot be read, or if it is not, byte for byte, the file that
    was recorded: checked before the last block is handed out, so that nothing else is published.
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
            "Put it back, or build the window again with --force."
        ) from error
    if changed:
        raise DeliveryError(
            f"{upload.local}: is no longer the file that was recorded ({upload.file.size} bytes, "
            f"sha256 {upload.file.sha256[:16]}…). Build the window again with --force."
        )
    if upload.file.size:
        yield block
