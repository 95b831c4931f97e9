import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import AT, NOW, WRITERS, Warehouse, as_text, bounce, every_format, write


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


NASTY = [
    "a,b;c\td|e",
    'say "hi"',
    '"',
    '""',
    "line\nfeed",
    "carriage\rreturn",
    "both\r\nof them\r\n",
    "\n",
    "  spaces around  ",
    ' "quoted after a space"',
    "",
    None,
    "NULL",
    "null",
    "\\N",
    "\\.",
    "\\",
    "#comment",
    "007",
    "1e5",
    "true",
    "2026-11-21",
    "Ελληνικά 中文 العربية हिन्दी",
    "\U0001f600\u200d\u2764\ufe0f e\u0301",
    "\u2028\u00a0\ufeff\u0085\x0b\x1f",
    "x" * 3000,
    "{'a': [1, 2]}",
    "=1+1",
]


@every_format
def test_awkward_texts_are_loaded_exactly_and_only_once(warehouse: Warehouse, suffix: str) -> None:
    rows = [bounce(number, message=text) for number, text in enumerate(NASTY)]
    write(warehouse, f"email_bounces.{suffix}", rows)
    first = warehouse.load_one()
    assert (first.rows, first.added, first.present, first.rejected) == (
        len(NASTY),
        len(NASTY),
        0,
        0,
    )
    assert first.reject_file is None
    loaded = warehouse.rows("email_bounces")
    assert {row[0]: row[-1] for row in loaded} == {row["event_id"]: row["message"] for row in rows}
    assert {row[0]: row[6] for row in loaded} == {
        row["event_id"]: row["received_at"] for row in rows
    }
    second = warehouse.load_one(now=NOW + timedelta(hours=1))
    assert (second.added, second.present) == (0, len(NASTY))
    assert warehouse.rows("email_bounces") == loaded
    assert not warehouse.rejected.exists()


def test_csv_of_python_with_crlf_and_a_bom_is_read(warehouse: Warehouse) -> None:
    rows = [bounce(number, message=text or "x") for number, text in enumerate(NASTY)]
    path = warehouse.folder / "email_bounces.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)  # minimal quoting, CRLF
        writer.writerow(rows[0])
        writer.writerows([as_text(value) for value in row.values()] for row in rows)
    assert warehouse.load_one().added == len(rows)
    assert {row[-1] for row in warehouse.rows("email_bounces")} == {row["message"] for row in rows}


def test_an_unquoted_empty_field_is_null_and_a_quoted_one_is_empty(warehouse: Warehouse) -> None:
    header = ",".join(bounce())
    line = "b,b1,c1,,2026-11-21T10:00:00Z,2026-11-21T10:00:00Z,,hard"
    warehouse.write("email_bounces.csv", f'{header}\n007,{line},\n8,{line},""')
    warehouse.load()
    query = "select event_id, message from raw.email_bounces order by 1"
    assert warehouse.query(query) == [("007", None), ("8", "")]


text_values = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - aware below


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "event_id": text_values.filter(bool),
                "message": st.none() | text_values,
                "email_address": st.none() | text_values,
                "received_at": moments.map(lambda moment: moment.replace(tzinfo=UTC)),
                "is_test": st.none() | st.booleans(),
            },
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_every_format_gives_the_same_table(values: list[dict[str, Any]]) -> None:
    rows = [bounce(**value) for value in values]
    expected = sorted({tuple(row.values()) for row in rows}, key=repr)
    for suffix in WRITERS:
        with TemporaryDirectory() as home:
            warehouse = Warehouse(Path(home))
            write(warehouse, f"email_bounces.{suffix}", rows)
            result = warehouse.load_one()
            assert (result.added, result.rejected) == (len(expected), 0)
            assert warehouse.rows("email_bounces") == expected


def test_json_values_become_their_text(warehouse: Warehouse) -> None:
    values = '"brand": "B", "broadcast_id": 18446744073709551616000, "customer_id": -7'
    values += ', "occurred_at": "2026-11-21T10:00Z", "received_at": "2026-11-21 10:00"'
    values += ', "is_test": 1, "email_address": null'
    warehouse.write(
        "email_complaints.jsonl",
        f'{{"event_id": 12345678901234567, {values}, "message": "caf\\u00e9"}}',
    )
    assert warehouse.load_one().rejected == 0
    (row,) = warehouse.rows("email_complaints")
    assert row[:4] == ("12345678901234567", "B", "18446744073709551616000", "-7")
    assert row[4:] == (
        None,
        datetime(2026, 11, 21, 10, tzinfo=UTC),
        datetime(2026, 11, 21, 10, tzinfo=UTC),
        True,
        "café",
    )


def parquet_of(warehouse: Warehouse, **columns: "pa.Array[Any]") -> None:
    table = pa.Table.from_pylist([bounce()])
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, warehouse.folder / "email_bounces.parquet")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([12345678901234567], pa.int64()), "12345678901234567"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
        (pa.array([Decimal(123456789012345678901)], pa.decimal128(38)), "123456789012345678901"),
        (pa.array([UUID(int=7).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000007"),
        (pa.array(["é"], pa.large_string()), "é"),
        (pa.array(["é".encode()], pa.binary()), "é"),
        (pa.array(["007"]).dictionary_encode(), "007"),
    ],
)
def test_ids_of_other_parquet_types_become_text(
    warehouse: Warehouse,
    column: "pa.Array[Any]",
    text: str,
) -> None:
    parquet_of(warehouse, event_id=column)
    assert warehouse.load_one().added == 1
    assert warehouse.rows("email_bounces")[0][0] == text
    assert warehouse.load_one().present == 1


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1.0]), "DOUBLE"),
        (pa.array([["a"]]), "VARCHAR[]"),
        (pa.array([[1]]), "BIGINT[]"),
        (pa.array([{"a": 1}]), "STRUCT"),
        (pa.array([Decimal("1.50")], pa.decimal128(9, 2)), "DECIMAL(9,2)"),
        (pa.array([True]), "BOOLEAN"),
        (pa.array([AT]), "TIMESTAMP WITH TIME ZONE"),
        (pa.array([AT.date()]), "DATE"),
    ],
)
@pytest.mark.parametrize("name", ["event_id", "message"])
def test_a_value_that_is_neither_text_nor_whole_number_rejects_its_row(
    warehouse: Warehouse, column: "pa.Array[Any]", kind: str, name: str
) -> None:
    parquet_of(warehouse, **{name: column})
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (0, 1)
    (reject,) = warehouse.rejects(result)
    assert reject["reason"] == f"{name} is neither text nor a whole number: {kind}"
    assert name in reject["row"]
    empty = pa.array([None], column.type)
    parquet_of(warehouse, message=empty)
    assert warehouse.load_one().added == 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("12345678901234567.0", "double"),
        ("1e5", "double"),
        ("123456789012345.10", "double"),
        ("true", "boolean"),
        ("[1]", "array"),
        ('{"id": 5}', "object"),
        ("NaN", "double"),
    ],
)
@pytest.mark.parametrize("extra_line", ["", '{"not an object"\n'])  # read at once, or line by line
def test_json_of_another_type_rejects_its_row(
    warehouse: Warehouse, value: str, kind: str, extra_line: str
) -> None:
    row = json.dumps(bounce(), default=as_text)
    bad = row.replace('"b1"', value)
    warehouse.write("email_bounces.jsonl", f"{row}\n{bad}\n{extra_line}")
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (1, 1 + bool(extra_line))
    reject = warehouse.rejects(result)[-1]
    assert reject["line"] == 2
    assert reject["reason"] == f"broadcast_id is neither text nor a whole number: {kind}"


def test_one_text_of_parquet_that_is_not_utf_8_rejects_its_row(warehouse: Warehouse) -> None:
    rows = [bounce(number) for number in range(3)]
    table = pa.Table.from_pylist(rows)
    raw = pa.array([b"a@example.org", b"jos\xe9@example.org", None], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    at = table.column_names.index("email_address")
    path = warehouse.folder / "email_bounces.parquet"
    pq.write_table(table.set_column(at, "email_address", text), path)
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (2, 1)
    (reject,) = warehouse.rejects(result)
    assert reject["reason"] == "email_address is not UTF-8"
    assert reject["row"]["email_address"] == "jos\\xe9@example.org"
    assert reject["row"]["event_id"] == "e1"
    assert (warehouse.load_one().present, warehouse.load_one().rejected) == (2, 1)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Amsterdam"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_moments_keep_their_instant(
    warehouse: Warehouse,
    zone: str | None,
    unit: Literal["s", "ms", "us", "ns"],
) -> None:
    moment = AT if unit in {"us", "ns"} else AT.replace(microsecond=0)
    value = moment if zone else moment.replace(tzinfo=None)
    parquet_of(warehouse, received_at=pa.array([value], pa.timestamp(unit, zone)))
    assert warehouse.load_one().added == 1
    assert warehouse.rows("email_bounces")[0][6] == moment
