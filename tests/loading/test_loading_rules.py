from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_files import AT, WRITERS, Warehouse, as_text, bounce, every_format, write


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


ROW = {name: as_text(value) for name, value in bounce().items() if value is not None}


RULES: list[tuple[dict[str, str | None], str]] = [
    ({"brand": None}, "brand is missing"),
    ({"event_id": ""}, "event_id is missing"),
    ({"brand": "", "broadcast_id": None}, "brand is missing; broadcast_id is missing"),
    ({"received_at": "yesterday"}, "received_at is not a timestamp: 'yesterday'"),
    ({"received_at": ""}, "received_at is missing"),
    ({"received_at": "2026-11-21"}, "received_at is not a timestamp: '2026-11-21'"),
    ({"received_at": "infinity"}, "received_at is not a timestamp: 'infinity'"),
    ({"received_at": "1969-12-31T23:59:59Z"}, "received_at is not a timestamp: '1969-12-31T23:59"),
    ({"received_at": "1970-01-01 00:00+01:00"}, "received_at is not a timestamp: '1970-01-01"),
    ({"received_at": "10000-01-01T00:00:00Z"}, "received_at is not a timestamp: '10000-01-01"),
    ({"received_at": "2026-02-30T00:00:00Z"}, "received_at is not a timestamp: '2026-02-30"),
    ({"received_at": "2026-11-21 10:00 Europe/Paris"}, "received_at is not a timestamp: '2026"),
    ({"received_at": "1763720430"}, "received_at is not a timestamp: '1763720430' (a count of"),
    ({"occurred_at": "x" * 41}, f"occurred_at is not a timestamp: '{'x' * 40}…'"),
    ({"occurred_at": "a@example.org"}, "occurred_at is not a timestamp: (not shown)"),
    ({"is_test": "maybe"}, "is_test is not true or false: 'maybe'"),
    ({"bounce_type": "medium"}, "bounce_type is not one of soft, hard: 'medium'"),
    ({"bounce_type": ""}, "bounce_type is not one of soft, hard: ''"),
    ({"bounce_type": None}, "bounce_type is missing"),
    ({"event_id": "a\x00b"}, "event_id contains a NUL character"),
]


@every_format
def test_a_row_that_breaks_the_contract_is_rejected_complete_and_with_the_reason(
    warehouse: Warehouse,
    suffix: str,
) -> None:
    complete: dict[str, str | None] = {**ROW, "message": None}
    good = complete | {"event_id": "good\n"}
    bad = [complete | values for values, _ in RULES]
    path = warehouse.folder / f"email_bounces.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist([good, *bad]), path)
    else:
        WRITERS[suffix](path, [good, *bad])
    for _ in range(2):
        result = warehouse.load_one()
        assert (result.rows, result.rejected) == (1 + len(RULES), len(RULES))
        rejects = warehouse.rejects(result)
        for reject, (_, reason), row in zip(rejects, RULES, bad, strict=True):
            assert reject["reason"].startswith(reason)
            assert reject["row"] == row
            assert reject["file"] == path.name
        lines = [reject["line"] for reject in rejects]
        start = {"csv": 4, "jsonl": 2}.get(suffix)
        assert lines == [start and start + number for number in range(len(RULES))]
        assert [row[0] for row in warehouse.rows("email_bounces")] == ["good\n"]


def test_moments_of_other_zones_are_complete_in_rejects(warehouse: Warehouse) -> None:
    moment = AT.astimezone(timezone(timedelta(hours=2)))
    write(warehouse, "email_bounces.csv", [bounce(received_at=moment, bounce_type="x")])
    (reject,) = warehouse.rejects(warehouse.load_one())
    assert reject["row"]["received_at"] == "2026-11-21T12:20:30.123456+02:00"


MOMENTS = [
    ("2026-11-21T10:20:30.123456Z", AT),
    ("2026-11-21 10:20:30.123456", AT),
    ("2026-11-21T12:20:30.123456+02:00", AT),
    ("2026-11-21T12:20:30.123456+0200", AT),
    ("2026-11-21 12:20:30.123456+02", AT),
    ("2026-11-21 10:20:30.123456 UTC", AT),
    ("2026-11-21 10:20:30.123456 +00:00", AT),
    ("2026-11-21 10:20:30.123456999Z", AT),
    ("2026-11-21T05:20-05:30", datetime(2026, 11, 21, 10, 50, tzinfo=UTC)),
    ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_moments_of_iso_8601_are_read(warehouse: Warehouse, suffix: str) -> None:
    rows = [bounce(number, received_at=text) for number, (text, _) in enumerate(MOMENTS, start=10)]
    write(warehouse, f"email_bounces.{suffix}", rows)
    assert warehouse.load_one().added == len(MOMENTS)
    loaded = [row[6] for row in warehouse.rows("email_bounces")]
    assert loaded == [moment for _, moment in MOMENTS]


def test_booleans_and_empty_texts_are_read(warehouse: Warehouse) -> None:
    texts = ["true", "T", "1", "yes", "FALSE", "f", "0", "No", "", None]
    expected = [True] * 4 + [False] * 4 + [None] * 2
    rows = [bounce(number, is_test=text) for number, text in enumerate(texts)]
    write(warehouse, "email_bounces.csv", rows)
    assert warehouse.load_one().rejected == 0
    assert [row[7] for row in warehouse.rows("email_bounces")] == expected


@every_format
def test_a_nul_in_a_text_is_replaced_and_counted(
    warehouse: Warehouse, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(warehouse, f"email_bounces.{suffix}", [bounce(1), bounce(2, message="a\x00b")])
    result = warehouse.load_one()
    assert (result.added, result.rejected) == (2, 0)
    assert [row[-1] for row in warehouse.rows("email_bounces")] == [None, "a\ufffdb"]
    assert "1 rows have a NUL in a text; it is replaced by U+FFFD" in caplog.text
    assert warehouse.load_one().present == 2
