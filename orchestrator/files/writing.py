"""Files: the stage's rows as bytes, complete or not at all."""

import codecs
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.config.exports import File
from orchestrator.errors import ExportError
from orchestrator.files import data_package
from orchestrator.files import lines as csv_lines
from orchestrator.files.formats import FileFormat
from orchestrator.files.packing import PackedFile
from orchestrator.progress import Tally
from orchestrator.warehouse.sql import identifier
from orchestrator.warehouse.stage import Stage

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = {"activity": ("activity", "event_id"), "broadcast": ("broadcast_id",)}
"""The columns that find a row of a file in the raw tables."""
_FLUSHED_BEHIND = 32  # files that wait for the disk while the next ones are made


@dataclass(frozen=True)
class WrittenFile:
    """A complete file of a window, and where its bytes are.

    `table` is what the manifest says of a data file of its format.
    """

    local: Path
    file: File
    table: Mapping[str, Any] = field(default_factory=dict)


Target = tuple[Path, str]
"""Where to write a file, as the name it has before it is packed; and its path at destinations."""


def write(
    stage: Stage, form: FileFormat, targets: Mapping[str, Target], tally: Tally | None = None
) -> dict[str, WrittenFile | ExportError]:
    """Write the file of each brand, `targets` by brand, and flush it; return them by brand.

    `tally` counts files, rows and bytes as they are written, the bytes before they are packed.
    A brand with a value that its file cannot contain gets an ExportError, and no file.
    """
    done = tally or Tally()
    header = ""
    if form.dialect.header:
        header = stage.text(csv_lines.header(form.fields, form.dialect))
    line = csv_lines.line(form.fields, stage.types[form.kind], form.dialect)
    errors: dict[str, ExportError] = {}
    file: _File | None = None
    batches = stage.lines(form.kind, line, brands=list(targets), condition=form.condition())
    with _Whole(done) as whole:
        try:
            for brand, lines in batches:
                if brand in errors:
                    continue
                if file is None or file.brand != brand:
                    if file:
                        whole.add(file)
                    file = _File(brand, targets[brand], form, header)
                try:
                    file.write(lines, done)
                except ExportError as error:
                    errors[brand] = error
                    file.abandon()
                    file = None
            if file:
                whole.add(file)
                file = None
        finally:
            if file:
                file.abandon()
        for brand in targets.keys() - whole.files.keys() - errors.keys():
            whole.add(_File(brand, targets[brand], form, header))
    table = data_package.table(form, stage.types[form.kind])
    written = {
        brand: replace(file, table=data_package.of_file(table, file.local.name))
        for brand, file in whole.files.items()
    }
    # Only now, with all rows read, the stage can answer another query.
    return {**written, **{b: _explained(stage, form, b, e) for b, e in errors.items()}}


class _UnwritableError(ExportError):
    """A row has a value that no file can contain."""


def _is_writable(lines: "pa.Array[Any]") -> bool:
    """Tell whether each line is a text: none is null, and all are valid UTF-8."""
    import pyarrow as pa  # noqa: PLC0415 - a run with nothing due does not need it

    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return lines.null_count == 0


def _explained(stage: Stage, form: FileFormat, brand: str, error: ExportError) -> ExportError:
    """Return the error that names the row of a brand that no file can contain."""
    if not isinstance(error, _UnwritableError):
        return error
    file = f"the {form.kind} file of {brand}"
    causes = csv_lines.unwritable(form.fields, stage.types[form.kind], form.dialect)
    key = [csv_lines.valid_text(identifier(column)) for column in _KEY[form.kind]]
    for column, condition, reason in causes:
        rows = replace(stage, most=1).texts(
            form.kind, key, brand=brand, condition=f"{form.condition()} and {condition}"
        )
        for row in rows:
            where = ", ".join(f"{n} '{v}'" for n, v in zip(_KEY[form.kind], row, strict=True))
            return ExportError(
                f"{file}: the row with {where}: {column} cannot be in a file: {reason}. Correct "
                "the row in the raw tables; the next run builds the window again"
            )
    return ExportError(f"{file} would not be valid UTF-8. Correct the texts in the raw tables")


class _Whole:
    """Whole files by brand; the last ones reach the disk while the next are made."""

    def __init__(self, tally: Tally) -> None:
        self.files: dict[str, WrittenFile] = {}
        self._tally = tally
        self._flushing: deque[_File] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, wrong: type[BaseException] | None, *_: object) -> None:
        """Return once all are on the disk."""
        try:
            while self._flushing and not wrong:
                self._wait()
        finally:
            for file in self._flushing:
                file.abandon()

    def add(self, file: "_File") -> None:
        self.files[file.brand] = file.finish()
        self._tally.files += 1
        self._flushing.append(file)
        if len(self._flushing) > _FLUSHED_BEHIND:
            self._wait()

    def _wait(self) -> None:
        self._flushing[0].wait()
        self._flushing.popleft()


class _File:
    """A file on its way: counted, encoded and packed as it is written."""

    def __init__(self, brand: str, target: Target, form: FileFormat, header: str) -> None:
        path, self._remote = target
        self.brand = brand
        self._kind = form.kind
        self._encoding = form.dialect.encoding
        self._rows = 0
        self._encoder = codecs.getincrementalencoder(self._encoding)()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        dialect = form.dialect
        self._file = PackedFile(path, dialect.compression, dialect.encrypt_for, dialect.signer())
        try:
            self._file.write(self._encoder.encode(header))
        except UnicodeEncodeError as error:
            self.abandon()
            raise self._unencodable(error, "the header") from error

    def write(self, lines: "pa.Array[Any] | ExportError", tally: Tally) -> None:
        if isinstance(lines, ExportError):
            raise lines
        if not _is_writable(lines):
            raise _UnwritableError
        text = _bytes(lines)
        if self._encoding == "utf-8":
            self._file.write(text)
        else:
            try:
                self._file.write(self._encoder.encode(str(text, "utf-8")))
            except UnicodeEncodeError as error:
                row = self._rows + _row_of(error, lines)
                raise self._unencodable(error, f"row {row}") from error
        self._rows += len(lines)
        tally.rows += len(lines)
        tally.bytes += len(text)

    def finish(self) -> WrittenFile:
        self._file.write(self._encoder.encode("", final=True))
        size, sha256 = self._file.finish()
        file = File(self._kind, self._remote, size, sha256, self._rows)
        return WrittenFile(self._file.path, file)

    def wait(self) -> None:
        self._file.wait()

    def abandon(self) -> None:
        self._file.abandon()

    def _unencodable(self, error: UnicodeEncodeError, where: str) -> ExportError:
        character = ord(error.object[error.start])
        return ExportError(
            f"the {self._kind} file of {self.brand}: {where} holds U+{character:04X}, "
            f"which {self._encoding} lacks; use encoding: utf-8"
        )


def _bytes(lines: "pa.Array[Any]") -> memoryview:
    """Return the text of consecutive lines as it lies in Arrow's own buffer (no copy)."""
    _, offsets, data = lines.buffers()
    if offsets is None or data is None:
        return memoryview(b"")
    # The lines of one batch may have more than 2 GB: see `settings` of the stage.
    bounds = memoryview(offsets).cast("q" if lines.type == "large_string" else "i")
    return memoryview(data)[bounds[lines.offset] : bounds[lines.offset + len(lines)]]


def _row_of(error: UnicodeEncodeError, lines: "pa.Array[Any]") -> int:
    """Return which of these lines, from 1, holds the character at fault."""
    end = 0
    for number, text in enumerate(lines.to_pylist(), start=1):
        end += len(text or "")
        if error.start < end:
            return number
    return len(lines)
