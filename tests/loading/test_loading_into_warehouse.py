import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from raw_files import AT, Warehouse, event, write

from orchestrator.errors import ExportError, LockedError, UsageError
from orchestrator.warehouse.duckdb import DuckdbLoader


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path)


def test_a_big_load_is_complete_and_stored_in_order_of_receipt(
    every_warehouse: Warehouse,
) -> None:
    warehouse = every_warehouse
    count = 300_000
    query = f"""select 'e' || i as event_id, 'B' as brand, 'b' as broadcast_id, 'c' as customer_id,
        null::varchar as email_address, timestamptz '2026-01-01 00:00:00+00' as occurred_at,
        timestamptz '2026-01-01 00:00:00+00' + to_seconds(i * 7919 % {count}) as received_at,
        null::boolean as is_test from range({count}) as t(i)"""
    duckdb.execute(f"copy ({query}) to '{warehouse.folder}/email_sends.csv' (header)")
    assert warehouse.load_one().added == count
    position = f"row_number() over (order by {warehouse.row}) - 1"
    shape = f"""select count(*), count(distinct event_id), sum((place <> extract(epoch from
        received_at - timestamptz '2026-01-01 00:00:00+00'))::int)
        from (select *, {position} as place from raw.email_sends) as placed"""
    assert warehouse.query(shape) == [(count, count, 0)]
    again = warehouse.load_one()
    assert (again.added, again.present) == (0, count)
    assert warehouse.query(shape) == [(count, count, 0)]


def test_a_table_with_other_types_and_more_columns_is_loaded_once(
    every_warehouse: Warehouse,
) -> None:
    warehouse = every_warehouse
    warehouse.execute(
        "create schema raw; create table raw.email_sends (loaded_at timestamp default now(),"
        " event_id bigint, brand varchar, customer_id uuid, broadcast_id bigint,"
        " email_address varchar, received_at timestamp, occurred_at timestamp(0),"
        " is_test smallint)",
    )
    customer = "0d9e38a8-7b0a-4a1c-9f7f-0f6f0b6b7c11"
    rows = [event(n, event_id=str(n), customer_id=customer, broadcast_id="8") for n in (1, 2)]
    rows[0]["is_test"] = None
    write(warehouse, "email_sends.csv", rows)
    assert warehouse.load_one().added == 2
    assert (warehouse.load_one().added, warehouse.load_one().present) == (0, 2)
    loaded = warehouse.query("select event_id, received_at from raw.email_sends order by 1")
    assert loaded == [(n, (AT + timedelta(seconds=n)).replace(tzinfo=None)) for n in (1, 2)]
    write(warehouse, "email_sends.csv", [event(3, event_id="not a number")])
    with pytest.raises(UsageError, match=r"^raw\.email_sends") as caught:
        warehouse.load()
    assert "not a number" not in str(caught.value)
    assert len(warehouse.rows("email_sends")) == 2


def test_a_table_that_lacks_a_needed_column_is_refused(every_warehouse: Warehouse) -> None:
    warehouse = every_warehouse
    warehouse.execute("create schema raw; create table raw.customers (customer_id varchar)")
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    with pytest.raises(
        UsageError, match=r"raw\.customers has no column brand, which may not be null"
    ):
        warehouse.load()
    assert warehouse.rows("customers") == []


def test_a_view_with_the_name_of_a_raw_table_is_refused(every_warehouse: Warehouse) -> None:
    warehouse = every_warehouse
    warehouse.execute("create schema raw; create view raw.customers as select 1 as customer_id")
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    with pytest.raises(UsageError, match=r"raw\.customers"):
        warehouse.load()


def test_required_columns_are_not_null_and_no_index_is_created(warehouse: Warehouse) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    warehouse.load()
    query = "select column_name, data_type, is_nullable from duckdb_columns()"
    assert warehouse.query(f"{query} where table_name = 'customers' order by column_index") == [
        ("brand", "VARCHAR", False),
        ("customer_id", "VARCHAR", False),
        ("external_customer_number", "VARCHAR", True),
        ("email_address", "VARCHAR", True),
        ("loaded_at", "TIMESTAMP WITH TIME ZONE", True),
    ]
    assert warehouse.query("from duckdb_indexes()") == []


def test_a_load_larger_than_the_memory_limit_spills_to_disk(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = """select i as event_id, 'B' as brand, 'b' as broadcast_id, 'c' as customer_id,
        repeat(md5(i::varchar), 8) as email_address, timestamptz '2026-01-01 00:00:00+00'
        as occurred_at, occurred_at as received_at, false as is_test from range(300000) as t(i)"""
    duckdb.execute(f"copy ({query}) to '{warehouse.folder}/email_sends.parquet'")
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", "64MB")  # the rows need 90 MB
    assert warehouse.load_one().added == 300_000
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", "1MB")
    with pytest.raises(ExportError, match="set DUCKDB_MEMORY_LIMIT to more than 1MB"):
        warehouse.load()
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", "much")
    with pytest.raises(UsageError, match="DUCKDB_MEMORY_LIMIT is 'much': expected a size"):
        warehouse.load()


def test_the_memory_limit_of_the_profile_applies_to_a_load(warehouse: Warehouse) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    output = {"path": str(warehouse.path), "settings": {"memory_limit": "1KB"}}
    warehouse.loader = lambda arriving: DuckdbLoader(output, arriving)  # type: ignore[method-assign] # of a profile
    with pytest.raises(ExportError, match="DuckDB ran out of memory"):
        warehouse.load()


def test_a_warehouse_in_use_names_its_holder(warehouse: Warehouse) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(warehouse.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LockedError, match=rf"PID {holder.pid}\): wait .* try again") as caught:
            warehouse.load()
        assert caught.value.exit_code == 75
        holder.communicate(b"\n")
    assert warehouse.load_one().added == 1


def test_a_warehouse_that_is_not_a_database_is_named(warehouse: Warehouse, tmp_path: Path) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    warehouse.path.write_text("no database")
    with pytest.raises(UsageError, match=r"warehouse\.duckdb cannot be opened as a DuckDB"):
        warehouse.load()
    warehouse.path = tmp_path / "nowhere" / "w.duckdb"
    with pytest.raises(UsageError, match="nowhere is not a folder: create it, or set DUCKDB_PATH"):
        warehouse.load()


def test_every_raw_table_is_created_because_the_views_need_them(warehouse: Warehouse) -> None:
    write(warehouse, "customers.jsonl", [{"brand": "B", "customer_id": "1"}])
    assert warehouse.load_one().added == 1
    assert warehouse.query("select count(*) from duckdb_tables()") == [(8,)]
