"""Completion files: what tells a receiver, after a window's data files, that these are whole.

`X.ready` holds the line of sha256sum(1) about X. The manifest is JSON, as manifest.schema.json
(JSON Schema, draft 2020-12) says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.config.exports import KINDS, Export, FileKind, Kind
from orchestrator.files.packing import PackedFile
from orchestrator.files.writing import WrittenFile
from orchestrator.windows import Window

VERSION = 1
"""Of the manifest: a change that breaks its readers makes it another."""


@dataclass(frozen=True)
class WindowFile:
    """A whole file of a window: where it lies, where it goes, and what is in it."""

    kind: FileKind
    path: str  # at the destinations
    local: Path
    size: int
    sha256: str
    rows: int | None = None

    @property
    def name(self) -> str:
        """The name without folders: all files of a window lie in one."""
        return PurePosixPath(self.path).name


def files(
    export: Export, brand: str, window: Window, made: Mapping[Kind, WrittenFile], *, revision: int
) -> list[WindowFile]:
    """Return all files of a window as this revision, in the order of delivery.

    Those of completion are written beside the activity file. The same data files give the same
    bytes.
    """
    folder = made["activity"].path.parent
    paths = export.files(brand=brand, window=window)
    data = [
        WindowFile(kind, path, made[kind].path, made[kind].size, made[kind].sha256, made[kind].rows)
        for kind, (_, path) in zip(KINDS, paths, strict=False)
    ]
    found, checked = [*data], iter(data)
    for kind, path in paths[len(data) :]:
        text = (
            _line(next(checked))
            if kind == "ready"
            else _manifest(export, brand, window, data, revision=revision)
        )
        file = PackedFile(folder / PurePosixPath(path).name)
        file.write(text.encode())
        found.append(WindowFile(kind, path, file.path, *file.finish()))
        file.wait()
    return found


def _line(file: WindowFile) -> str:
    # No name has a backslash or a line break, which sha256sum would escape.
    return f"{file.sha256}  {file.name}\n"


def _manifest(
    export: Export, brand: str, window: Window, data_files: Sequence[WindowFile], *, revision: int
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
                "name": file.name,
                "rows": file.rows,
                "bytes": file.size,
                "sha256": file.sha256,
            }
            for file in data_files
        ],
    }
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
