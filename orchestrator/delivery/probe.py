"""Probe: try destinations out with hidden files, before a delivery needs them."""

import secrets
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from orchestrator.config.destinations import DestinationConfig
from orchestrator.delivery.destination import (
    Destination,
    LostError,
    StoredKind,
    Upload,
    UploadProgress,
    announce_nothing,
)
from orchestrator.delivery.visits import run_by_name, visit
from orchestrator.errors import DeliveryError


@dataclass(frozen=True)
class ProbeRequest:
    """A destination to try out, in which folders, and whether runs will remove files from it."""

    config: DestinationConfig
    folders: Collection[str]
    removes: bool = False


@dataclass(frozen=True)
class ProbeResult:
    """The errors that a delivery would meet at a destination, and notes on what it lacks."""

    errors: Sequence[DeliveryError]
    notes: Collection[str]


def probe_all(requests: Mapping[str, ProbeRequest]) -> dict[str, ProbeResult]:
    """Try several destinations out, with hidden files that are removed again; raise nothing.

    In every folder a hidden file is published, replaced, and removed. If a folder does not exist
    yet, it is not created. Then a hidden folder, created where the missing folder would be, is
    tried instead. No other file is touched.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Two files of different length: the second one replaces the first.
        uploads = [
            Upload.write(Path(folder) / content, content.encode())
            for content in ("first", "second one")
        ]
        return run_by_name({name: _probe(request, uploads) for name, request in requests.items()})


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
    to_remove = [path, *(upload.part for upload in ours)]
    try:
        for upload in ours:
            await destination.publish(upload, UploadProgress(), on_renaming=announce_nothing)
        notes.update(await destination.probe(path))
        to_remove.remove(
            path
        )  # first, so that the handler below sees that only this removal failed
        with suppress(FileNotFoundError):  # the receiver may have moved it already
            await destination.remove(path)
    except LostError:
        raise
    except DeliveryError as error:
        if removes or path in to_remove:
            raise
        notes.add(f"{error} The file of this check stays at the destination.")
    finally:
        with suppress(DeliveryError):
            for each in to_remove:
                with suppress(FileNotFoundError):
                    await destination.remove(each)
            if is_new:
                with suppress(FileNotFoundError):
                    await destination.remove(str(hidden), folder=True)


async def _nearest_folder(destination: Destination, folder: PurePosixPath) -> PurePosixPath:
    """Return the folder, or the nearest one above it that exists."""
    while folder != folder.parent:
        stored = await destination.find(str(folder))
        # UNKNOWN counts as a folder: if it is none, publishing into it fails and says so.
        if stored and stored.kind in (StoredKind.FOLDER, StoredKind.UNKNOWN):
            break
        if stored:
            raise DeliveryError(
                f"{destination.label}{folder}: is a file, where a folder is needed. Set another "
                "directory in exports.yml, or have that file moved away."
            )
        folder = folder.parent
    return folder
