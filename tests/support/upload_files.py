"""Files to deliver, and helpers that deliver them."""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.config.exports import File
from orchestrator.delivery import Outcome, Retry, Upload, deliver_all

QUICK = Retry(attempts=3, pause=0.05, growth=1.0)
MEBIBYTE = 1024 * 1024


def make_upload(folder: Path, remote: str, content: bytes = b"a;b\n1;2\n") -> Upload:
    """Write a local file that is to be published as `remote`."""
    local = folder / remote.replace("/", "_")
    local.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Upload(local, File("activity", remote, len(content), sha256))


def random_bytes(size: int) -> bytes:
    """Return bytes that do not repeat, the same ones every time."""
    return random.Random(size).randbytes(size)  # noqa: S311 - no secret


def part_name(upload: Upload) -> str:
    """Return the name of the temporary file."""
    folder, _, name = upload.file.path.rpartition("/")
    return f"{folder}/.{name}.{upload.file.sha256[:16]}.part".lstrip("/")


def error_text(outcome: Outcome) -> str:
    """Return the message of an outcome that must have failed."""
    assert outcome.error is not None
    return str(outcome.error)


def ignore(upload: Upload) -> None:
    """Record nothing."""
    del upload


def deliver(
    destination: Sftp | Directory,
    batches: Sequence[Sequence[Upload]],
    on_published: Callable[[Upload], None],
    *,
    retry: Retry | None = None,
) -> list[Outcome]:
    """Publish every batch at one destination, and return the outcome of each."""
    return deliver_all(
        {"one": (destination, batches)}, lambda _name, upload: on_published(upload), retry=retry
    )["one"]
