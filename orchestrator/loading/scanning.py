r"""Read the records of CSV (RFC 4180), JSON Lines and Parquet files one by one.

DuckDB reads a file at full speed, but one bad row makes it refuse the whole file. These slower
readers find that row and the line on which it starts, so that only this row is rejected.
"""

import csv
import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import UsageError

LONGEST_RECORD = 16_000_000  # bytes of one CSV row or JSON line; DuckDB's own default is 2 MB
_LONGEST_HEADER = 1_000_000  # bytes
_BLOCK = 8_000_000  # bytes that are read at once
_BLANK_LINE = re.compile(rb"\n\s")  # or a line that begins with a blank
_KEYS_WITHIN = 1_000_000  # bytes
_ROWS_AT_ONCE = 10_000
_BOM = b"\xef\xbb\xbf"
# RFC 4180, section 2. The quantifiers are possessive (*+): without backtracking a long field is
# read once.
_FIELD = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_RECORD = re.compile(rb"(" + _FIELD + rb"(?:," + _FIELD + rb")*+)(\r?\n|\Z)")
_QUOTED = re.compile(rb'"[^"]*"')
_COLUMNS: dict[str, pa.DataType] = {"line": pa.int64(), "raw": pa.binary(), "text": pa.string()}
_SCHEMA = pa.schema(_COLUMNS)
_TOO_LONG = f"the line has more than {LONGEST_RECORD:,} bytes, which load does not read"


def csv_header(path: Path) -> tuple[str, ...]:
    """Return the fields of a CSV file's first record.

    Raises UsageError if there is none or it is not UTF-8, OSError if the file is unreadable.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER).removeprefix(_BOM)
    if not start.strip():
        raise UsageError(f"{path} is empty: a CSV file starts with a line of column names.")
    record = _RECORD.match(start)
    if record is None:
        raise UsageError(f"{path} is not a CSV file: its first line is not a header (RFC 4180).")
    try:
        return tuple(next(csv.reader([record[1].decode()], strict=True)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: export it again in UTF-8.") from error


def csv_rows(path: Path, width: int) -> int | None:
    """Return the number of rows of a CSV file if all of them follow RFC 4180, else None.

    Each row must have `width` fields and the line ending of the header. This is checked here
    because DuckDB's strict mode accepts a trailing comma, a space before a quote and mixed line
    endings.
    """
    with _mapped(path) as (data, start):
        header = _RECORD.match(data, start)
        if header is None or not header[2]:
            return None
        if not any(b'"' in part for part in _parts(data, header.end())):
            return _unquoted_rows(data, header.end(), width, header[2])
        field = _FIELD + rb"(?:," + _FIELD + rb"){%d}" % (width - 1)
        row = re.compile(field + rb"(?:" + header[2] + rb"|\Z)")
        at, rows, kept = header.end(), 0, 0
        while at < len(data):
            found = row.match(data, at)  # finditer would retry at every byte of a bad row
            if found is None:
                return None
            at = found.end()
            rows += 1
            if at - kept > _BLOCK:
                kept = _release(data, kept, at)
        return rows


def _unquoted_rows(data: mmap.mmap, start: int, width: int, ending: bytes) -> int | None:
    """Count the rows of a file without quotes by counting bytes, ten times as fast as a regex.

    Only the total number of commas is checked against `width`. This is enough: DuckDB refuses a
    row with too few fields, so if the total is right, no row has too many either.
    """
    rows = commas = returns = 0
    for block in _parts(data, start):
        rows += block.count(b"\n")
        commas += block.count(b",")
        returns += block.count(b"\r")
    if len(data) > start and data[-1:] != b"\n":
        rows += 1
        returns += ending == b"\r\n"
    is_valid_as_is = commas == rows * (width - 1) and returns == (rows if ending == b"\r\n" else 0)
    return rows if is_valid_as_is and b"\n\n" not in data[start : start + 2] else None


def csv_records(path: Path, width: int) -> Iterator[tuple[int, bytes, str]]:
    """Yield `(line number, bytes, error)` of each record below the header; "" means no error.

    If no valid record starts at a line, only that line is given up. So a quote that is never closed
    does not swallow the rows after it.
    """
    with _mapped(path) as (data, start):
        at, line, is_header, kept = start, 1, True, 0
        while at < len(data):
            found = _RECORD.match(data, at, min(at + LONGEST_RECORD, len(data)))
            if found and (found[2] or found.end() == len(data)):
                record, end = found[1], found.end()
                reason = _csv_reason(record, width)
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                record = data[at:end].rstrip(b"\r\n")
                reason = (
                    "the line is not CSV: a quote is not closed, or a quote or CR is not quoted"
                )
                if len(record) > LONGEST_RECORD:
                    reason = _TOO_LONG
            if record and not is_header:
                yield line, record, reason
            is_header = False
            line += data[at:end].count(b"\n")
            at = end
            if at - kept > _BLOCK:
                kept = _release(data, kept, at)


def json_lines(path: Path) -> pa.RecordBatchReader:
    """Read the lines that are not blank, as columns `line` (number), `raw` (bytes) and `text`.

    `text` is null if the line is not UTF-8 or is longer than LONGEST_RECORD.
    """
    return pa.RecordBatchReader.from_batches(_SCHEMA, _json_batches(path))


def scan_json_lines(path: Path, nullable: list[str]) -> tuple[int, str | None]:
    """Return how many lines a JSON Lines file has, and the SQL condition that a key is omitted.

    DuckDB returns null both for a null and for an omitted key, but the two are loaded differently.
    Counting bytes decides the common cases: if "null" occurs nowhere in the file, every null is an
    omitted key; if each line has all `nullable` keys, none is omitted. In the other cases the
    condition is None, and the file is read line by line. It is None too if a line is longer than
    LONGEST_RECORD, because DuckDB does not always refuse such a line.
    """
    lines, nulls = 0, False
    for block in _blocks(path):
        lines += block.count(b"\n") + (not block.endswith(b"\n"))
        if block[:1].isspace() or _BLANK_LINE.search(block):
            lines -= sum(map(bytes.isspace, block.splitlines(keepends=True)))
        # Only the last line of a block can be longer than the block.
        if len(block) - block.rfind(b"\n", 0, -1) > LONGEST_RECORD:
            return lines, None
        nulls = nulls or b"null" in block
    if not nulls:
        return lines, "{} is null"
    found = {b'"%b":' % name.encode(): 0 for name in nullable}
    for block in _blocks(path):
        for key in found:
            found[key] += block.count(key)
    return lines, "false" if all(number == lines for number in found.values()) else None


def json_reason(raw: bytes) -> str:
    """Return why a line is not a JSON object."""
    if len(raw) > LONGEST_RECORD:
        return _TOO_LONG
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return (
            "the line contains half of a surrogate pair (such as \\ud83d), which is not valid text"
        )
    except (ValueError, RecursionError):
        pass
    return "the line is not a JSON object in UTF-8"


def json_keys(path: Path) -> set[str]:
    """Return the keys of the objects in the first megabyte of a JSON Lines file.

    The set is empty if the file does not begin with an object.
    """
    keys: set[str] = set()
    with path.open("rb") as file:
        start = file.read(_KEYS_WITHIN).removeprefix(_BOM).lstrip()
        for raw in start.split(b"\n") if start.startswith(b"{") else ():
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                keys.update(value)
    return keys


def parquet_batches(path: Path) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
    r"""Yield the rows of a Parquet file in batches, and the rows that are not valid UTF-8.

    The latter is a dict from the position of the row in the batch to the name of the invalid
    column. In the batch itself the invalid bytes are replaced by \xNN.
    """
    for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
        invalid: dict[int, str] = {}
        columns: list[pa.Array[Any]] = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if _is_text(column.type):
                values = column.cast(pa.large_binary()).to_pylist()
                invalid |= {
                    at: field.name
                    for at, raw in enumerate(values)
                    if raw is not None and _decoded(raw) is None
                }
                texts = [raw and raw.decode(errors="backslashreplace") for raw in values]
                columns.append(pa.array(texts, pa.large_string()))
            else:
                columns.append(column)
        yield pa.record_batch(columns, names=batch.schema.names), invalid


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _json_batches(path: Path) -> Iterator[pa.RecordBatch]:
    number = 0
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        while lines := file.readlines(_BLOCK):
            rows = [
                (at, raw.rstrip(b"\r\n"))
                for at, raw in enumerate(lines, start=number + 1)
                if not raw.isspace()
            ]
            number += len(lines)
            texts = (_decoded(raw) if len(raw) <= LONGEST_RECORD else None for _, raw in rows)
            columns: list[pa.Array[Any]] = [
                pa.array([at for at, _ in rows], pa.int64()),
                pa.array([raw for _, raw in rows], pa.binary()),
                pa.array(texts, pa.string()),
            ]
            yield pa.record_batch(columns, schema=_SCHEMA)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield a file in blocks of complete lines."""
    if path.stat().st_size:  # an empty file cannot be mapped
        with _mapped(path) as (data, start):
            at = start
            while at < len(data):
                end = data.find(b"\n", at + _BLOCK) + 1 or len(data)
                yield data[at:end]
                _release(data, at, end)
                at = end


def _csv_reason(record: bytes, width: int) -> str:
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
    """Yield a file's bytes, and the offset of the first one behind a byte order mark."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data, len(_BOM) if data[: len(_BOM)] == _BOM else 0


def _parts(data: mmap.mmap, start: int) -> Iterator[bytes]:
    """Yield the bytes from `start` on in parts of equal size."""
    for at in range(start, len(data), _BLOCK):
        yield data[at : at + _BLOCK]
        _release(data, at, at + _BLOCK)


def _release(data: mmap.mmap, start: int, end: int) -> int:
    """Release the memory of the pages that begin in a range; return where the next page begins.

    Until then, the pages that were read count as memory of the process: as much as the file has.
    """
    start, end = (at - at % mmap.PAGESIZE for at in (start, min(end, len(data))))
    if end > start:
        data.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end
