import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from raw_files import AT, CONTRACT, NOW, PROJECT, Warehouse, bounce, broadcast, every_format, write
from workspace import Steps

from orchestrator.errors import ConfigError
from orchestrator.loading import RejectReason, load_into
from orchestrator.warehouse.contract import Column, Contract
from orchestrator.warehouse.project import Project


@pytest.fixture
def warehouse(every_warehouse: Warehouse) -> Warehouse:
    return every_warehouse


def test_equal_events_are_added_once_and_another_receipt_is_a_new_row(warehouse: Warehouse) -> None:
    later = bounce(1, received_at=AT + timedelta(hours=2))
    path = write(warehouse, "email_bounces.csv", [bounce(1), bounce(1), later])
    first = warehouse.load_one()
    assert (first.rows, first.added, first.present) == (3, 2, 1)
    path.unlink()
    write(warehouse, "email_bounces.jsonl", [later, bounce(1, message=""), bounce(2)])
    second = warehouse.load_one()
    assert (second.rows, second.added, second.present) == (3, 2, 1)
    assert len(warehouse.rows("email_bounces")) == 4


@every_format
def test_an_entity_is_replaced_and_the_last_in_file_order_wins(
    warehouse: Warehouse,
    suffix: str,
) -> None:
    write(warehouse, f"broadcasts.{suffix}", [broadcast(1, subject="old"), broadcast(2)])
    assert warehouse.load_one().added == 2
    (warehouse.folder / f"broadcasts.{suffix}").unlink()
    write(warehouse, f"broadcasts/b.{suffix}", [broadcast(1, subject="last"), broadcast(3)])
    write(warehouse, f"broadcasts/a.{suffix}", [broadcast(1, subject="newer"), broadcast(2)])
    second = warehouse.load_one()
    assert [path.stem for path in second.files] == ["a", "b"]
    assert (second.rows, second.added, second.replaced, second.present) == (4, 1, 2, 1)
    query = "select broadcast_id, subject from raw.broadcasts order by 1"
    expected = [("b1", "last"), ("b2", "Hello"), ("b3", "Hello")]
    assert warehouse.query(query) == expected
    third = warehouse.load_one()
    assert (third.added, third.rejected) == (0, 0)
    assert warehouse.query(query) == expected


def test_entities_are_loaded_first_and_every_file_of_a_table_is_read(warehouse: Warehouse) -> None:
    write(warehouse, "email_bounces/1.csv", [bounce(1)])
    write(warehouse, "email_bounces/2.jsonl", [bounce(2)])
    write(warehouse, "email_bounces.parquet", [bounce(3)])
    write(warehouse, "broadcasts.csv", [broadcast()])
    warehouse.write("email_bounces/_SUCCESS", "")
    warehouse.write("email_bounces/.1.csv.crc", "x")
    warehouse.write("README.txt", "read me")
    warehouse.write(".hidden.csv", "x")
    result = warehouse.load()
    assert [table.table for table in result.tables] == ["broadcasts", "email_bounces"]
    assert result.tables[1].added == 3
    assert result.rejected == 0


def test_a_column_added_to_the_contract_is_loaded_and_added_to_the_table(
    warehouse: Warehouse,
) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    warehouse.load()
    tables = tuple(
        replace(table, columns=(*table.columns, Column("segment", "text", nullable=True)))
        if table.name == "customers"
        else table
        for table in CONTRACT.tables
    )
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "2", "segment": "gold"}])
    warehouse.load(contract=Contract(tables))
    rows = warehouse.query("select customer_id, segment from raw.customers order by 1")
    assert rows == [("1", None), ("2", "gold")]


@every_format
def test_the_span_of_receipts_and_the_most_frequent_reason_are_reported(
    warehouse: Warehouse, suffix: str
) -> None:
    first, last = AT + timedelta(seconds=1), AT + timedelta(hours=2)
    good = [bounce(1), bounce(2, received_at=last), bounce(1)]
    bad = [bounce(n, bounce_type=f"'{n}@example.org': no") for n in (3, 4)]
    worse = bounce(5, received_at=datetime(1960, 1, 1, tzinfo=UTC))
    write(warehouse, f"email_bounces.{suffix}", [*bad, *good, worse])
    for _ in range(2):  # rows that were loaded before came in too
        table = warehouse.load_one()
        assert table.rejected == 3
        assert (table.first_received_at, table.last_received_at) == (first, last)
        assert table.most_frequent_reason == RejectReason("bounce_type is not one of soft, hard", 2)


def test_progress_moves_within_a_file(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    lines = (f"BRAND,{'c' * 100}{number}" for number in range(300_000))
    path = warehouse.write("customers.csv", "\n".join(["brand,customer_id", *lines]))
    steps, seen = Steps(), set[str]()
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.005):
            seen.update(steps.details())

    watcher = threading.Thread(target=watch)
    watcher.start()
    warehouse.load(progress=steps)
    finished.set()
    watcher.join()
    size = f"{path.stat().st_size / 1_000_000:.1f} MB"
    assert steps.names == [f"loading customers: 1 file, {size}"]
    assert steps.details() == [f"1 file, 300,000 rows, {size} read"]
    partly = [each for each in seen if "file" not in each and each != "nothing read"]
    assert partly, seen


def test_a_load_without_a_good_row_has_no_span(warehouse: Warehouse) -> None:
    warehouse.write("email_bounces.csv", "\n".join([",".join(bounce()), "x@example.org", "y"]))
    table = warehouse.load_one()
    assert (table.added, table.first_received_at, table.last_received_at) == (0, None, None)
    fields = len(bounce())
    expected = RejectReason(f"the line has 1 fields, not {fields}", 2)
    assert table.most_frequent_reason == expected


def test_reject_files_are_private_and_never_overwritten(warehouse: Warehouse) -> None:
    write(warehouse, "email_bounces.csv", [bounce(bounce_type="medium")])
    files = [warehouse.load_one().reject_file for _ in range(2)]
    names = ["email_bounces-20261122T043000Z.jsonl", "email_bounces-20261122T043000Z-2.jsonl"]
    assert files == [warehouse.rejected / name for name in names]
    assert sorted(path.name for path in warehouse.rejected.iterdir()) == sorted(names)
    assert warehouse.rejected.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in warehouse.rejected.iterdir()} == {0o600}
    assert "bounce_type is not one of soft, hard: 'medium'" in str(
        files[0] and files[0].read_text()
    )


def test_a_load_uses_target_and_schema_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(tmp_path)
    write(warehouse, "broadcasts.csv", [broadcast(1), broadcast(2, sent_on="soon")])
    project = Project(
        folder=PROJECT,
        profiles=PROJECT,
        profile="p",
        target="duckdb",
        output={"type": "duckdb", "path": "{{ env_var('TEST_WAREHOUSE') }}"},
        variables={"raw_schema": 'in "it"'},
    )
    with pytest.raises(ConfigError, match="environment variable TEST_WAREHOUSE is not set"):
        load_into(project, warehouse.folder, rejected=warehouse.rejected, now=NOW)
    warehouse.path = tmp_path / "other.duckdb"
    monkeypatch.setenv("TEST_WAREHOUSE", str(warehouse.path))
    for added, present in ((1, 0), (0, 1)):
        result = load_into(project, warehouse.folder, rejected=warehouse.rejected, now=NOW)
        (table,) = result.tables
        assert (table.added, table.present, result.rejected) == (added, present, 1)
    assert warehouse.query('select broadcast_id from "in ""it""".broadcasts') == [("b1",)]


def test_the_newest_row_of_a_broadcast_counts(warehouse: Warehouse) -> None:
    path = write(warehouse, "broadcasts.csv", [broadcast(received_at=AT, subject="newest")])
    assert warehouse.load_one().added == 1
    older = broadcast(received_at=AT - timedelta(days=9), subject="older")
    write(warehouse, "broadcasts.csv", [older])
    assert (warehouse.load_one().replaced, warehouse.load_one().present) == (0, 1)
    query = "select broadcast_id, subject from raw.broadcasts order by 1"
    assert warehouse.query(query) == [("b1", "newest")]
    path.unlink()
    rows = [broadcast(2, received_at=AT, subject="newest"), older | {"broadcast_id": "b2"}]
    write(warehouse, "broadcasts.jsonl", rows)
    assert (warehouse.load_one().added, warehouse.load_one().present) == (1, 1)
    assert warehouse.query(query) == [("b1", "newest"), ("b2", "newest")]


@every_format
def test_a_column_that_a_file_lacks_keeps_its_value(warehouse: Warehouse, suffix: str) -> None:
    row = {"brand": "B", "customer_id": "1", "external_customer_number": "CRM"}
    query = "select external_customer_number, email_address from raw.customers"
    write(warehouse, f"customers.{suffix}", [row | {"email_address": "a@example.org"}])
    assert warehouse.load_one().added == 1
    write(warehouse, f"customers.{suffix}", [row | {"external_customer_number": "CRM-2"}])
    assert warehouse.load_one().replaced == 1
    assert warehouse.query(query) == [("CRM-2", "a@example.org")]
    erased = row | {"email_address": None}  # an explicit null overwrites the value
    write(warehouse, f"customers.{suffix}", [erased])
    assert warehouse.load_one().replaced == 1
    assert warehouse.query(query) == [("CRM", None)]


def test_a_key_that_a_json_line_lacks_keeps_its_value(warehouse: Warehouse) -> None:
    rows = [{"brand": "B", "customer_id": key, "email_address": "a@example.org"} for key in "12"]
    write(warehouse, "customers.jsonl", rows)
    warehouse.load_one()
    del rows[0]["email_address"]
    rows[1]["email_address"] = None  # type: ignore[assignment] # null erases it
    write(warehouse, "customers.jsonl", rows)
    assert (warehouse.load_one().replaced, warehouse.load_one().present) == (1, 2)
    query = "select customer_id, email_address from raw.customers order by 1"
    assert warehouse.query(query) == [("1", "a@example.org"), ("2", None)]


def test_a_column_added_to_the_contract_is_filled_in_rows_that_are_stored(
    warehouse: Warehouse,
) -> None:
    rows = [bounce(number, screen="wide") for number in (1, 2)]
    write(warehouse, "email_bounces.csv", rows)
    warehouse.load()
    tables = tuple(
        replace(table, columns=(*table.columns, Column("screen", "text", nullable=True)))
        if table.name == "email_bounces"
        else table
        for table in CONTRACT.tables
    )
    write(warehouse, "email_bounces.csv", [*rows, bounce(3, screen="small")])
    for added, replaced, present in ((1, 2, 0), (0, 0, 3)):
        (result,) = warehouse.load(contract=Contract(tables)).tables
        assert (result.added, result.replaced, result.present) == (added, replaced, present)
    query = "select event_id, screen from raw.email_bounces order by 1"
    assert warehouse.query(query) == [("e1", "wide"), ("e2", "wide"), ("e3", "small")]


def test_loaded_at_is_when_a_row_reached_the_table(warehouse: Warehouse) -> None:
    def tables(*more: Column) -> Contract:
        return Contract(
            tuple(
                replace(
                    table,
                    columns=(*(c for c in table.columns if c.name != "loaded_at"), *more),
                )
                for table in CONTRACT.tables
            )
        )

    write(warehouse, "email_bounces.csv", [bounce(1)])
    warehouse.load(contract=tables())  # a warehouse of an older version
    loaded = tables(Column("loaded_at", "timestamp", nullable=True))
    write(warehouse, "email_bounces.csv", [bounce(1), bounce(2)])
    write(warehouse, "broadcasts.csv", [broadcast()])
    warehouse.load(contract=loaded)
    write(warehouse, "broadcasts.csv", [broadcast(subject="new")])
    warehouse.load(contract=loaded, now=NOW + timedelta(hours=1))
    query = "select event_id, loaded_at is null, loaded_at >= '2026-11-22 04:30:00+00' and"
    query += " loaded_at < '2026-11-22 04:40:00+00' from raw.email_bounces order by 1"
    assert warehouse.query(query) == [("e1", True, None), ("e2", False, True)]
    query = "select loaded_at >= '2026-11-22 05:30:00+00' from raw.broadcasts"
    assert warehouse.query(query) == [(True,)]
