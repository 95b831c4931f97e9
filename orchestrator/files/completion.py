"""Completion files: what tells a receiver, after a window's data files, that these are whole.

`X.ready` holds the line of sha256sum(1) about X. The manifest is JSON, as manifest.schema.json
(JSON Schema, draft 2020-12) says.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.config.exports import KINDS, Export, File, Kind
from orchestrator.files.packing import PackedFile, sign
from orchestrator.files.writing import WrittenFile
from orchestrator.windows import Window

VERSION = 1
"""Of the manifest: a change that breaks its readers makes it another."""


def files(
    export: Export, brand: str, window: Window, made: Mapping[Kind, WrittenFile], *, revision: int
) -> list[WrittenFile]:
    """Return all files of a window as this revision, in the order of delivery.

    Those of completion are written beside the activity file, and are named after the data files,
    whose names may be those of an earlier revision. The same data files give the same bytes.
    """
    folder = made["activity"].local.parent
    found = [made[kind] for kind in KINDS]
    data = [written.file for written in found]
    checked, signed = iter(data), iter(found[:])
    named = export.files(brand=brand, window=window)
    names = {path: file.path for (_, path), file in zip(named, data, strict=False)}
    for kind, default in named[len(data) :]:
        of = max((path for path in names if default.startswith(path)), key=len)
        path = names[of] + default[len(of) :]
        if kind == "signature":
            content = _signature(export, next(signed).local)
        elif kind == "ready":
            content = _line(next(checked)).encode()
        else:
            content = _manifest(export, brand, window, data, revision=revision).encode()
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


def _manifest(
    export: Export, brand: str, window: Window, data_files: Sequence[File], *, revision: int
) -> str:
    zone = export.timezone
    manifest: dict[str, Any] = {
        "version": VERSION,
        "brand": brand,
        "interval": export.interval.value,
        "timezone": zone.key,
        "window_start": window.start.astimezone(zone).isoformat(),
        "window_end": window.end.astimezone(zone).isoformat(),
        "revision": revision,
        "files": [
            {
                "kind": file.kind,
                "name": PurePosixPath(file.path).name,
                "rows": file.rows,
                "bytes": file.size,
                "sha256": file.sha256,
            }
            for file in data_files
        ],
    }
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
