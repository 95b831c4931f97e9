"""Mutated raw files: each row is loaded or rejected, or the file is refused by name."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_cases import FEW, MANY, only_clear_errors
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import Warehouse

AT = datetime(2026, 11, 21, 10, 20, 30, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {
        "event_id": f"E{number}",
        "brand": "ACME",
        "broadcast_id": "B1",
        "customer_id": f"C{number}",
        "email_address": None if number == 2 else "jan@example.com",
        "occurred_at": AT.isoformat(),
        "received_at": AT.isoformat(),
        "is_test": number == 1,
        "bounce_type": "hard",
        "message": 'said "no",\nand left',
    }
    for number in range(3)
]
NAMES = list(ROWS[0])
TYPES: list[Any] = [
    *(pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.date32(), pa.decimal128(9, 2)),
    *(pa.timestamp("ns"), pa.timestamp("s", tz="Europe/Amsterdam"), pa.time64("us"), pa.null()),
    *(pa.list_(pa.string()), pa.struct([("a", pa.int8())]), pa.large_string(), pa.duration("s")),
    pa.dictionary(pa.int8(), pa.string()),
]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        [
            "",
            "\x00",
            "�",
            "é" * 50000,
            "2026-11-21",
            "2026-02-30T00:00:00Z",
            "infinity",
            "NaN",
            "2026-11-21T10:20:30.123456789+14:59",
            "9999-12-31T23:59:59.9999999Z",
            "0001-01-01T00:00Z",
            "hard\n",
            "\u2028",
            "10:20",
            "true ",
            "1",
            [],
            {},
            [["x"]],
            {"a": {"b": [1]}},
            {"": ""},
        ]
    ),
)
DAMAGE = st.lists(
    st.tuples(
        st.integers(0, 1_000_000),
        st.integers(0, 30),
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from(
                [
                    b'"',
                    b'""',
                    b",",
                    b"\r",
                    b"\n",
                    b"\r\n",
                    b"\x00",
                    b"\xff\xfe",
                    b"\xef\xbb\xbf",
                    b"{",
                    b"[",
                    b"}\n{",
                    b'{"a":' * 600,
                    b"\\u0000",
                    b"\\ud800",
                    b"x" * 70000,
                ]
            ),
        ),
    ),
    max_size=3,
)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    def field(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if value is not None else ""

    names = list(rows[0]) if rows else NAMES
    lines = [",".join(names), *(",".join(field(row.get(name)) for name in names) for row in rows)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


@st.composite
def parquet(draw: st.DrawFn) -> bytes:
    """A Parquet file, some of whose columns have another type."""
    columns: dict[str, Any] = {name: pa.array([row[name] for row in ROWS]) for name in NAMES}
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        wanted = draw(st.sampled_from(TYPES))
        columns[name] = pa.nulls(len(ROWS), wanted)
        values: list[Any] = draw(
            st.sampled_from(
                [[1, 2, None], [[], ["x"], None], [{"a": 1}, None, {}], [b"\xff", b"", None]]
            )
        )
        try:
            columns[name] = pa.array(values, wanted)
        except (pa.ArrowException, TypeError, ValueError):  # keep the nulls
            continue
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@st.composite
def raw_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """The suffix and bytes of a raw file that may be damaged, cut off or in another encoding."""
    form = draw(st.sampled_from(["csv", "jsonl", "parquet"]))
    if form == "parquet":
        data = draw(parquet())
    else:
        rows = [dict(row) for row in ROWS]
        for _ in range(draw(st.integers(0, 3))):
            row = draw(st.sampled_from(rows))
            row[draw(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)))] = draw(ODD)
        data = as_csv(rows) if form == "csv" else as_jsonl(rows)
        if draw(st.integers(0, 9)) == 0:
            encoding = draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "latin-1"]))
            data = data.decode("utf-8", "replace").encode(encoding, "replace")
    for at, size, new in draw(DAMAGE):
        start = at % (len(data) + 1)
        data = data[:start] + new + data[start + size :]
    return form, data[: draw(st.one_of(st.none(), st.integers(0, len(data))))]


def check(folder: Path, name: str, data: bytes) -> None:
    warehouse = Warehouse(folder)
    warehouse.write(f"email_bounces.{name}", data)
    with only_clear_errors() as errors:
        result = warehouse.load_one()
    loaded = warehouse.rows("email_bounces") if warehouse.path.exists() and not errors else []
    if errors:
        assert "email_bounces" in str(errors[0])
        assert not list(warehouse.rejected.glob("*")) or warehouse.rows("email_bounces") == []
        return
    assert result.rows == result.added + result.replaced + result.present + result.rejected
    assert len(loaded) == result.added
    rejects = warehouse.rejects(result)
    assert len(rejects) == result.rejected
    assert all(reject["reason"] for reject in rejects)
    for row in warehouse.query(
        "select event_id, brand, bounce_type, received_at from raw.email_bounces"
    ):
        assert all(row[:2])
        assert row[2] in ("soft", "hard")
        assert row[3] is not None
    again = warehouse.load_one()
    assert (again.added, again.rejected) == (0, result.rejected)
    assert warehouse.rows("email_bounces") == loaded


@settings(parent=FEW, max_examples=25)
@given(raw_files())
def test_any_raw_file_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    check(tmp_path_factory.mktemp("load"), *file)


@pytest.mark.faults
@MANY
@given(raw_files())
def test_a_thousand_raw_files_are_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    check(tmp_path_factory.mktemp("load"), *file)
