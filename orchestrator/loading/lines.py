"""The records of CSV (RFC 4180) and JSON Lines as bytes, each with the line on which it starts."""

import csv
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.errors import UsageError

LONGEST_RECORD = 16_000_000  # bytes of one CSV row; DuckDB's own default is 2 MB
_LONGEST_HEADER = 1_000_000  # bytes
_LINES_AT_ONCE = 8_000_000  # bytes
_BOM = b"\xef\xbb\xbf"
# RFC 4180, section 2. Possessive, so that a long field costs one pass.
_FIELD = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_RECORD = re.compile(rb"(" + _FIELD + rb"(?:," + _FIELD + rb")*+)(\r?\n|\Z)")
_QUOTED = re.compile(rb'"[^"]*"')
_COLUMNS: dict[str, pa.DataType] = {"line": pa.int64(), "raw": pa.binary(), "text": pa.string()}
_SCHEMA = pa.schema(_COLUMNS)


def csv_header(path: Path) -> tuple[str, ...]:
    """Return the fields of a CSV file's first record.

    Raises UsageError where there is none, or it is no text, OSError where the file is unreadable.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER).removeprefix(_BOM)
    if not start.strip():
        raise UsageError(f"{path} is empty: a CSV file starts with a line of column names.")
    record = _RECORD.match(start)
    if record is None:
        raise UsageError(f"{path} is no CSV file: its first line is no header (RFC 4180).")
    try:
        return tuple(next(csv.reader([record[1].decode()], strict=True)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: write it again as such.") from error


def clean_csv_rows(path: Path, width: int) -> int | None:
    """Count the rows of a CSV; None unless each has `width` fields and one kind of line ending.

    DuckDB's strict mode lets a trailing comma and a space before a quote pass; this does not.
    """
    with _mapped(path) as (data, start):
        header = _RECORD.match(data, start)
        if header is None or not header[2]:
            return None
        field = _FIELD + rb"(?:," + _FIELD + rb"){%d}" % (width - 1)
        row = re.compile(field + rb"(?:" + header[2] + rb"|\Z)")
        at, rows = header.end(), 0
        while at < len(data):
            found = row.match(data, at)  # finditer would search on from every byte of a bad row
            if found is None:
                return None
            at = found.end()
            rows += 1
        return rows


def csv_records(path: Path, width: int) -> Iterator[tuple[int, bytes, str]]:
    """Yield each record below the header: its line, its bytes, and what is wrong with it, if any.

    A line that starts no record is given up alone, so that an open quote swallows no rows.
    """
    with _mapped(path) as (data, start):
        at, line, is_header = start, 1, True
        while at < len(data):
            found = _RECORD.match(data, at, min(at + LONGEST_RECORD, len(data)))
            if found and (found[2] or found.end() == len(data)):
                record, end = found[1], found.end()
                fault = _fault(record, width)
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                record = data[at:end].rstrip(b"\r\n")
                fault = "the line is no CSV: a quote is not closed, or one or a CR is not quoted"
            if record and not is_header:
                yield line, record, fault
            is_header = False
            line += data[at:end].count(b"\n")
            at = end


def json_lines(path: Path) -> pa.RecordBatchReader:
    """Read the lines that are not blank: `line`, its bytes `raw`, and `text`, null if not UTF-8."""
    return pa.RecordBatchReader.from_batches(_SCHEMA, _json_batches(path))


def _json_batches(path: Path) -> Iterator[pa.RecordBatch]:
    number = 0
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        while lines := file.readlines(_LINES_AT_ONCE):
            rows = [
                (at, raw.rstrip(b"\r\n"))
                for at, raw in enumerate(lines, start=number + 1)
                if not raw.isspace()
            ]
            number += len(lines)
            columns: list[pa.Array[Any]] = [
                pa.array([at for at, _ in rows], pa.int64()),
                pa.array([raw for _, raw in rows], pa.binary()),
                pa.array([_decoded(raw) for _, raw in rows], pa.string()),
            ]
            yield pa.record_batch(columns, schema=_SCHEMA)


def _fault(record: bytes, width: int) -> str:
    if _decoded(record) is None:
        return "the line is not UTF-8"
    fields = _QUOTED.sub(b"", record).count(b",") + 1
    return "" if fields == width else f"the line has {fields} fields, not {width}"


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


@contextmanager
def _mapped(path: Path) -> Iterator[tuple[mmap.mmap, int]]:
    """Yield a file's bytes, and where they start behind a byte order mark."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data, len(_BOM) if data[: len(_BOM)] == _BOM else 0
