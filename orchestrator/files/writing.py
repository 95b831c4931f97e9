"""Write the rows of the stage to files, which are complete or do not exist."""

import codecs
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestrator.config.exports import File
from orchestrator.errors import ExportError
from orchestrator.files import completion
from orchestrator.files import lines as csv_lines
from orchestrator.files.formats import FileFormat
from orchestrator.files.packing import PackedFile, WrittenFile
from orchestrator.progress import Tally
from orchestrator.warehouse.sql import identifier
from orchestrator.warehouse.stage import ROW_KEYS, Stage

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_FLUSHING = 32  # finished files that are being flushed while the next ones are written


Target = tuple[Path, str]
"""The local path of a file before compression and encryption, and its path at destinations."""


def write(
    stage: Stage, file_format: FileFormat, targets: Mapping[str, Target], tally: Tally | None = None
) -> dict[str, WrittenFile | ExportError]:
    """Write and flush one file for each brand of `targets`; return the files by brand.

    `tally` counts files, rows and bytes as they are written, the bytes before compression.
    A brand with a value that its file cannot contain has an ExportError in place of the file. The
    files of the other brands are still written.
    """
    done = tally or Tally()
    header = ""
    if file_format.dialect.header:
        header = stage.text(csv_lines.header(file_format.fields, file_format.dialect))
    line = csv_lines.line(file_format.fields, stage.types[file_format.kind], file_format.dialect)
    errors: dict[str, ExportError] = {}
    file: _OpenFile | None = None
    batches = stage.lines(
        file_format.kind, line, brands=list(targets), condition=file_format.condition()
    )
    with _FinishedFiles(done) as finished:
        try:
            for brand, lines in batches:
                if brand in errors:
                    continue
                if file is None or file.brand != brand:
                    if file:
                        finished.add(file)
                    file = _OpenFile(brand, targets[brand], file_format, header)
                try:
                    file.write(lines, done)
                except ExportError as error:
                    errors[brand] = error
                    file.abandon()
                    file = None
            if file:
                finished.add(file)
                file = None
        finally:
            if file:
                file.abandon()
        for brand in targets.keys() - finished.files.keys() - errors.keys():
            finished.add(_OpenFile(brand, targets[brand], file_format, header))
    table = completion.table(file_format, stage.types[file_format.kind])
    written = {
        brand: replace(file, table=completion.with_inner_path(table, file.local.name))
        for brand, file in finished.files.items()
    }
    # Only after the last row was read: another query on this connection would end the first one.
    located = {brand: _located(stage, file_format, brand, error) for brand, error in errors.items()}
    return {**written, **located}


class _UnwritableError(ExportError):
    """A row has a value that no file can contain."""


def _is_writable(lines: "pa.Array[Any]") -> bool:
    """Return whether no line is null and all lines are valid UTF-8."""
    import pyarrow as pa  # noqa: PLC0415 - a run with nothing due does not need it

    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return lines.null_count == 0


def _located(stage: Stage, file_format: FileFormat, brand: str, error: ExportError) -> ExportError:
    """Return an error that names the row and the column of an unwritable value.

    Another error is returned unchanged.
    """
    if not isinstance(error, _UnwritableError):
        return error
    file = f"the {file_format.kind} file of {brand}"
    causes = csv_lines.unwritable(
        file_format.fields, stage.types[file_format.kind], file_format.dialect
    )
    names = ROW_KEYS[file_format.kind]
    key = [csv_lines.valid_text(identifier(name)) for name in names]
    for column, condition, reason in causes:
        rows = replace(stage, most=1).texts(
            file_format.kind,
            key,
            brand=brand,
            condition=f"{file_format.condition()} and {condition}",
        )
        for row in rows:
            where = ", ".join(f"{n} '{v}'" for n, v in zip(names, row, strict=True))
            return ExportError(
                f"{file}: the row with {where}: {column} cannot be in a file: {reason}. Correct "
                "the row in the raw tables; the next run builds the window again"
            )
    return ExportError(f"{file} would not be valid UTF-8. Correct the texts in the raw tables")


class _FinishedFiles:
    """The finished files by brand. The last ones are flushed while the next ones are written.

    A flush waits for the disk for milliseconds, in which another file can be written.
    """

    def __init__(self, tally: Tally) -> None:
        self.files: dict[str, WrittenFile] = {}
        self._tally = tally
        self._flushing: deque[_OpenFile] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Wait until all files are on the disk; after an error, remove those that may not be."""
        try:
            while self._flushing and not error:
                self._wait()
        finally:
            for file in self._flushing:
                file.abandon()

    def add(self, file: "_OpenFile") -> None:
        self.files[file.brand] = file.finish()
        self._tally.files += 1
        self._flushing.append(file)
        if len(self._flushing) > _MOST_FLUSHING:
            self._wait()

    def _wait(self) -> None:
        self._flushing[0].wait()
        self._flushing.popleft()


class _OpenFile:
    """A file that is being written: it counts rows, encodes lines, and compresses them."""

    def __init__(self, brand: str, target: Target, file_format: FileFormat, header: str) -> None:
        path, self._remote = target
        self.brand = brand
        self._kind = file_format.kind
        self._encoding = file_format.dialect.encoding
        self._rows = 0
        self._encoder = codecs.getincrementalencoder(self._encoding)()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        dialect = file_format.dialect
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
            f"the {self._kind} file of {self.brand}: {where} contains U+{character:04X}, "
            f"which {self._encoding} does not have; use encoding: utf-8"
        )


def _bytes(lines: "pa.Array[Any]") -> memoryview:
    """Return the text of consecutive lines: a view of Arrow's own buffer, without a copy."""
    _, offsets, data = lines.buffers()
    if offsets is None or data is None:
        return memoryview(b"")
    # Offsets have 64 bits, because one batch may have more than 2 GB (see stage.settings).
    bounds = memoryview(offsets).cast("q" if lines.type == "large_string" else "i")
    return memoryview(data)[bounds[lines.offset] : bounds[lines.offset + len(lines)]]


def _row_of(error: UnicodeEncodeError, lines: "pa.Array[Any]") -> int:
    """Return the number, from 1, of the line with the character that cannot be encoded."""
    end = 0
    for number, text in enumerate(lines.to_pylist(), start=1):
        end += len(text or "")
        if error.start < end:
            return number
    return len(lines)
