"""Completion files: what says to a receiver, after a window's data files, that these are complete.

`X.ready` contains the line of sha256sum(1) about X. The manifest is a Data Package.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from orchestrator.config.exports import KINDS, Export, File, Kind
from orchestrator.files import data_package
from orchestrator.files.packing import PackedFile, sign
from orchestrator.files.writing import WrittenFile
from orchestrator.ledger import ManifestLinks
from orchestrator.windows import Window


def files(  # noqa: PLR0913 - a window of an export, and its revision
    export: Export,
    brand: str,
    window: Window,
    made: Mapping[Kind, WrittenFile],
    *,
    revision: int,
    links: ManifestLinks,
) -> list[WrittenFile]:
    """Return all files of a window as this revision, in the order of delivery.

    Those of completion are written beside the activity file, and are named after the data files,
    whose names may be those of an earlier revision. The same data files give the same bytes.
    """
    folder = made["activity"].local.parent
    found = [made[kind] for kind in KINDS]
    data = [written.file for written in found]
    checked, signed = iter(data), iter(found[:])
    tables = [(written.file, written.table) for written in found]
    named = export.with_others({kind: made[kind].file.path for kind in KINDS})
    for kind, path in named[len(data) :]:
        if kind == "signature":
            content = _signature(export, next(signed).local)
        elif kind == "ready":
            content = _line(next(checked)).encode()
        else:
            content = data_package.manifest(
                export, brand, window, tables, revision=revision, links=links
            ).encode()
        file = PackedFile(folder / PurePosixPath(path).name)
        file.write(content)
        size, sha256 = file.finish()
        found.append(WrittenFile(file.path, File(kind, path, size, sha256)))
        file.wait()
    return found


def _signature(export: Export, path: Path) -> bytes:
    """Return the detached OpenPGP signature of a file. Its bytes differ each time."""
    signer = export.dialect.signer()
    assert signer  # noqa: S101 - only exports that sign have signatures
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder, "signature")
        sign(path, target, signer)
        return target.read_bytes()


def _line(file: File) -> str:
    # No name has a backslash or a line break, which sha256sum would escape.
    return f"{file.sha256}  {PurePosixPath(file.path).name}\n"
