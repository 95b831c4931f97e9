"""Raw files as the systems of other people write them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
_FLAGS = {"is_test", "is_machine", "via_default_campaign"}
_MOMENTS = {"sent_on", "occurred_at", "received_at"}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix](path, rows)


def _csv(path: Path, rows: Sequence[Row]) -> None:
    """Null is an empty field, an empty text a pair of quotes; moments have a local offset."""
    lines = [",".join(rows[0])]
    lines += [",".join(_field(value) for value in row.values()) for row in rows]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode())


def _field(value: object) -> str:
    if value is None:
        return ""
    text = _text(value, ZoneInfo("Asia/Kolkata"))
    if not text or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _jsonl(path: Path, rows: Sequence[Row]) -> None:
    """Null is a missing key; every second line escapes characters that are not ASCII."""
    lines = (
        json.dumps(
            {key: value for key, value in row.items() if value is not None},
            default=lambda value: _text(value, UTC),
            ensure_ascii=bool(number % 2),
        )
        for number, row in enumerate(rows)
    )
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _parquet(path: Path, rows: Sequence[Row]) -> None:
    fields = []
    for name in rows[0]:
        kind = pa.bool_() if name in _FLAGS else pa.string()
        moment = pa.timestamp("us", tz="America/New_York")
        fields.append(pa.field(name, moment if name in _MOMENTS else kind))
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), path)


def _text(value: object, zone: ZoneInfo | Any) -> str:  # noqa: ANN401 - UTC is not a ZoneInfo
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
