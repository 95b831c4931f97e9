import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pytest
from postgres_server import Postgres
from raw_files import CONTRACT, NOW, PostgresWarehouse, event, write

from orchestrator.errors import ExportError, LockedError, UsageError
from orchestrator.loading import TableResult
from orchestrator.warehouse.merging import OMITTED, data_columns
from orchestrator.warehouse.postgres import loader

_SENDS = next(table for table in CONTRACT.tables if table.name == "email_sends")


@pytest.fixture
def warehouse(tmp_path: Path, postgres: Postgres) -> PostgresWarehouse:
    return PostgresWarehouse(tmp_path, postgres.warehouse())


def test_a_load_creates_not_null_columns_and_indexes(
    warehouse: PostgresWarehouse,
) -> None:
    write(warehouse, "email_sends.csv", [event()])
    warehouse.load()
    query = "select tablename, indexdef from pg_indexes where schemaname = 'raw' order by 1, 2"
    indexes = [definition for table, definition in warehouse.query(query) if table == "email_sends"]
    assert len(indexes) == 3
    assert indexes[0].endswith('USING btree (event_id COLLATE "C", brand COLLATE "C")')
    assert indexes[1].endswith("USING brin (loaded_at) WITH (autosummarize='true')")
    assert indexes[2].endswith("USING brin (received_at) WITH (autosummarize='true')")
    assert len(warehouse.query(query)) == 23  # customers have no received_at
    columns = """select attname, format_type(atttypid, -1), attnotnull from pg_attribute
        where attrelid = 'raw.email_sends'::regclass and attnum > 0 order by attnum"""
    assert warehouse.query(columns) == [
        ("event_id", "text", True),
        ("brand", "text", True),
        ("broadcast_id", "text", True),
        ("customer_id", "text", True),
        ("email_address", "text", False),
        ("occurred_at", "timestamp with time zone", True),
        ("received_at", "timestamp with time zone", True),
        ("is_test", "boolean", False),
        ("loaded_at", "timestamp with time zone", False),
    ]


@pytest.mark.parametrize("collation", ["", ' collate "C"'])
def test_a_load_finds_stored_events_by_an_index_of_either_collation(
    warehouse: PostgresWarehouse, collation: str
) -> None:
    write(warehouse, "email_sends.csv", [event()])
    warehouse.load()
    warehouse.execute(
        "drop index raw.email_sends_event_id_brand_idx; create index email_sends_keys"
        f" on raw.email_sends (brand{collation}, event_id{collation});"
        " insert into raw.email_sends select 'x' || n, brand, broadcast_id, customer_id,"
        " email_address, occurred_at, received_at, is_test, loaded_at"
        " from raw.email_sends, generate_series(1, 20000) as n; analyze raw.email_sends"
    )
    assert warehouse.load_one().present == 1
    used = "select idx_scan from pg_stat_user_indexes where indexrelname = 'email_sends_keys'"
    assert warehouse.query(used) == [(1,)]


def test_only_texts_of_a_key_are_compared_by_their_bytes(warehouse: PostgresWarehouse) -> None:
    with duckdb.connect() as arriving, warehouse.loader(arriving) as loader:
        loader.prepare(replace(_SENDS, name="at_times", key=("brand", "occurred_at")))
    warehouse.execute(
        "create table raw.email_sends (like raw.at_times);"
        "alter table raw.email_sends alter event_id type bigint using event_id::bigint;"
        'create index on raw.email_sends (brand collate "C", event_id)'
    )
    write(warehouse, "email_sends.csv", [event(1, event_id="1")])
    assert warehouse.load_one().added == 1
    assert warehouse.load_one().present == 1


def test_a_window_is_found_by_the_index(warehouse: PostgresWarehouse) -> None:
    write(warehouse, "email_sends.csv", [event()])
    warehouse.load()
    warehouse.execute(
        """insert into raw.email_sends select 'x' || i, 'B', 'b', 'c', null, now(),
        timestamptz '2020-01-01' + i * interval '1 minute', null from generate_series(1, 200000) i;
        analyze raw.email_sends"""
    )
    window = "received_at >= timestamptz '2020-02-01' and received_at < timestamptz '2020-02-02'"
    plan = warehouse.query(f"explain select * from raw.email_sends where {window}")
    assert any("Bitmap Index Scan on email_sends_received_at_idx" in line for (line,) in plan)


def test_the_planner_knows_what_was_loaded(warehouse: PostgresWarehouse) -> None:
    with duckdb.connect() as arriving, warehouse.loader(arriving) as loader:
        loader.prepare(_SENDS)
    warehouse.execute("alter table raw.email_sends set (autovacuum_enabled = false)")
    write(warehouse, "email_sends.csv", [event(number) for number in range(100)])
    warehouse.load()
    statistics = """select attname, n_distinct from pg_stats where tablename = 'email_sends'
        and attname in ('brand', 'event_id', 'received_at', 'loaded_at') order by 1"""
    assert warehouse.query(statistics) == [
        ("brand", 1.0),
        ("event_id", -1.0),
        ("loaded_at", 1.0),
        ("received_at", -1.0),
    ]
    write(warehouse, "email_sends.csv", [event(number) for number in range(200)])
    warehouse.load()
    newest = """select (histogram_bounds::text::timestamptz[])[101] from pg_stats
        where tablename = 'email_sends' and attname = 'received_at'"""
    assert warehouse.query(newest) == warehouse.query(
        "select max(received_at) from raw.email_sends"
    )
    # Autovacuum looks only at tables with rows that it does not know.
    unknown = "select n_mod_since_analyze from pg_stat_user_tables where relname = 'email_sends'"
    _wait_until(lambda: warehouse.query(unknown) == [(200,)])


@pytest.mark.parametrize("stored", [False, True])
def test_a_row_that_a_trigger_drops_fails_the_load(
    warehouse: PostgresWarehouse, *, stored: bool
) -> None:
    with duckdb.connect() as arriving, warehouse.loader(arriving) as loader:
        loader.prepare(_SENDS)
    if stored:
        write(warehouse, "email_sends.csv", [event()])
        warehouse.load()
    warehouse.execute(
        "create function raw.drop_it() returns trigger language plpgsql as"
        " $$ begin if new.event_id = 'e7' then return null; end if; return new; end $$;"
        "create trigger drop_it before insert on raw.email_sends"
        " for each row execute function raw.drop_it()"
    )
    write(warehouse, "email_sends.csv", [event(7), event(8)])
    with pytest.raises(ExportError, match="1 of 2 rows did not reach the table"):
        warehouse.load()
    assert len(warehouse.rows("email_sends")) == stored


def test_rows_that_row_level_security_hides_are_not_taken_for_an_empty_table(
    warehouse: PostgresWarehouse,
) -> None:
    write(warehouse, "email_sends.csv", [event(1)])
    warehouse.load()
    role = f"limited_{warehouse.output['dbname']}"
    warehouse.execute(
        f"create role {role} login; grant usage on schema raw to {role};"
        f" grant select, insert on all tables in schema raw to {role};"
        " alter table raw.email_sends enable row level security;"
        f" create policy own on raw.email_sends to {role} using (event_id = 'e2')"
        " with check (true)"
    )
    warehouse.output["user"] = role
    write(warehouse, "email_sends.csv", [event(2)])
    assert warehouse.load_one().added == 1
    assert warehouse.load_one().present == 1
    assert len(warehouse.rows("email_sends")) == 2


def test_two_loads_at_once_wait_for_each_other(warehouse: PostgresWarehouse) -> None:
    rows = [event(number) for number in range(3)]
    write(warehouse, "email_sends.csv", rows)
    warehouse.load_one()
    write(warehouse, "email_sends.csv", [*rows, event(7), event(8)])
    found: list[TableResult] = []
    with psycopg.connect(warehouse.conninfo) as other:
        other.execute(
            "select pg_advisory_xact_lock(hashtext('orchestrate load'), hashtext(%s))",
            ['"raw"."email_sends"'],
        )
        second = threading.Thread(target=lambda: found.append(warehouse.load_one()))
        second.start()
        _wait_until(lambda: _waiting(warehouse) == 1)
        other.execute(
            "insert into raw.email_sends select 'e7', brand, broadcast_id, customer_id,"
            " email_address, occurred_at, received_at + interval '7 s', is_test"
            " from raw.email_sends where event_id = 'e0'"
        )
    second.join(60)
    assert [(result.added, result.present) for result in found] == [(1, 4)]
    assert len(warehouse.rows("email_sends")) == 5


def test_a_timeout_of_the_lock_says_to_try_again(
    warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(warehouse, "email_sends.csv", [event()])
    warehouse.load_one()
    monkeypatch.setattr(loader, "_LOCK_TIMEOUT", "50ms")
    with psycopg.connect(warehouse.conninfo) as other:
        other.execute("lock table raw.email_sends")
        with pytest.raises(LockedError, match=r"raw\.email_sends: .* try again later"):
            warehouse.load_one()


def test_readers_and_a_load_do_not_wait_for_each_other(warehouse: PostgresWarehouse) -> None:
    write(warehouse, "email_sends.csv", [event(1)])
    warehouse.load_one()
    write(warehouse, "email_sends.csv", [event(1), event(2)])
    with psycopg.connect(warehouse.conninfo) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count = "select count(*) from raw.email_sends"
        assert reader.execute(count).fetchall() == [(1,)]
        assert warehouse.load_one().added == 1
        assert reader.execute(count).fetchall() == [(1,)]
    assert warehouse.query(count) == [(2,)]


def test_an_interrupted_load_stores_nothing_and_can_be_repeated(
    warehouse: PostgresWarehouse,
) -> None:
    write(warehouse, "email_sends.csv", [event(number) for number in range(10)])
    arriving = duckdb.connect()
    with warehouse.loader(arriving) as loader:
        loader.prepare(_SENDS)

    def batches() -> Iterator[pa.RecordBatch]:
        rows = [event(number) | {OMITTED: 0} for number in range(1000)]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)
        cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s"
        with psycopg.connect(warehouse.conninfo) as other:
            assert other.execute(cut, ["orchestrate"]).fetchall() == [(True,)]
        for _ in range(50):
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    kinds: dict[str, pa.DataType] = {
        "text": pa.string(),
        "timestamp": pa.timestamp("us", "UTC"),
        "boolean": pa.bool_(),
    }
    names = [(column.name, kinds[column.type]) for column in data_columns(_SENDS)]
    schema = pa.schema([*names, (OMITTED, pa.int64())])
    arriving.register("rows", pa.RecordBatchReader.from_batches(schema, batches()))
    with warehouse.loader(arriving) as loader, pytest.raises(ExportError) as caught:
        loader.load(_SENDS, "rows", NOW, sort=True)
    assert "raw.email_sends" in str(caught.value)
    assert "example.org" not in str(caught.value)
    assert warehouse.rows("email_sends") == []
    assert warehouse.load_one().added == 10


def test_permissions_to_read_and_write_are_enough(warehouse: PostgresWarehouse) -> None:
    write(warehouse, "email_sends.csv", [event(1)])
    write(warehouse, "customers.csv", [{"brand": "B", "customer_id": "1"}])
    warehouse.load()
    role = f"loader_of_{warehouse.output['dbname']}"
    warehouse.execute(
        f"create role {role} login; grant usage on schema raw to {role};"
        f" grant select, insert on all tables in schema raw to {role}"
    )
    warehouse.output["user"] = role
    write(warehouse, "email_sends.csv", [event(1), event(2)])
    with pytest.raises(UsageError, match=r"raw\.customers: .* denied for table customers"):
        warehouse.load()  # customers are replaced
    warehouse.execute(f"grant delete on raw.customers to {role}")
    assert [table.added for table in warehouse.load().tables] == [0, 1]


def _waiting(warehouse: PostgresWarehouse) -> int:
    query = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    return int(warehouse.query(query)[0][0])


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError
