"""Probe: try destinations out with hidden files that are removed again."""

import asyncio
import secrets
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import Destination, StoredKind, by_name, visit
from orchestrator.delivery.uploads import LostError, Upload, UploadProgress, announce_nothing
from orchestrator.errors import DeliveryError


@dataclass(frozen=True)
class ProbeRequest:
    """What to try: a destination, in which folders, and whether files will be removed there."""

    config: DestinationConfig
    folders: Collection[str]
    removes: bool = False


@dataclass(frozen=True)
class ProbeResult:
    """What would fail at a destination, and what is good to know about it."""

    errors: Sequence[DeliveryError]
    notes: Collection[str]


def probe_all(requests: Mapping[str, ProbeRequest]) -> dict[str, ProbeResult]:
    """Try several destinations at once, over one connection each; raise nothing.

    In every folder a hidden file is published, replaced, and removed. Where a folder does not exist
    yet, a hidden folder next to its place is tried instead: the folders themselves are not created,
    and no other file is touched.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Two files of different length: the second one replaces the first.
        uploads = [
            Upload.write(Path(folder) / content, content.encode())
            for content in ("first", "second one")
        ]
        jobs = {name: _probe(request, uploads) for name, request in requests.items()}
        return asyncio.run(by_name(jobs))


async def _probe(request: ProbeRequest, uploads: Sequence[Upload]) -> ProbeResult:
    notes: set[str] = set()
    work = partial(_probe_folder, uploads=uploads, removes=request.removes, notes=notes)
    errors = await visit(request.config, request.folders, work)
    return ProbeResult(errors, notes)


async def _probe_folder(
    destination: Destination,
    folder: str,
    *,
    uploads: Sequence[Upload],
    removes: bool,
    notes: set[str],
) -> None:
    existing = await _nearest_folder(destination, PurePosixPath(folder))
    hidden = existing / f".orchestrate-{secrets.token_hex(4)}"
    is_new = existing != PurePosixPath(folder)
    path = str(hidden / hidden.name if is_new else hidden)
    ours = [upload.to(path) for upload in uploads]
    left = [path, *(upload.part for upload in ours)]
    try:
        for upload in ours:
            await destination.publish(upload, UploadProgress(), on_renaming=announce_nothing)
        notes.update(await destination.probe(path))
        with suppress(FileNotFoundError):  # the receiver may have moved it already
            await destination.remove(left.pop(0))
    except LostError:
        raise
    except DeliveryError as error:
        if removes or path in left:
            raise
        notes.add(f"{error} The file of this check stays there.")
    finally:
        with suppress(DeliveryError):
            for each in left:
                with suppress(FileNotFoundError):
                    await destination.remove(each)
            if is_new:
                with suppress(FileNotFoundError):
                    await destination.remove(str(hidden), folder=True)


async def _nearest_folder(destination: Destination, folder: PurePosixPath) -> PurePosixPath:
    """Return the folder, or the nearest one above it that exists."""
    while folder != folder.parent:
        stored = await destination.find(str(folder))
        # A server that hides what it has is taken at its word: publishing shows the truth.
        if stored and stored.kind in (StoredKind.FOLDER, StoredKind.UNKNOWN):
            break
        if stored:
            raise DeliveryError(
                f"{destination.label}{folder}: is a file, where a folder is needed. Set another "
                "directory in exports.yml, or have that file moved away."
            )
        folder = folder.parent
    return folder
