import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace
from workspace import ROOT

from orchestrator.errors import ConfigError, ExportError, LockedError, UsageError
from orchestrator.pipeline import RunResult, Status
from orchestrator.warehouse.postgres import reader as postgres_engine
from orchestrator.warehouse.postgres.reader import PostgreSQL

_NOW = "2026-11-22 12:00:00"
_RELATIONS = {"activities_daily": "made.activities", "broadcasts_daily": "made.broadcasts"}


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> PostgresWorkspace:
    """A database and a folder to run exports in; one brand is exported."""
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    workspace.configure("  - brand: ACME")
    return workspace


@pytest.fixture
def engine(workspace: PostgresWorkspace) -> Iterator[PostgreSQL]:
    """An engine that is not open yet, with relations created by hand."""
    workspace.execute("create schema made")
    workspace.execute("create table made.activities as select 'A'::text as brand")
    workspace.execute("create table made.broadcasts as select 'A'::text as brand")
    workspace.execute("create table made.brands as select 'A'::text as brand")
    engine = PostgreSQL(workspace.output, workspace.folder)
    yield engine
    engine.close()


def test_columns_of_every_common_type_read_as_on_duckdb(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    equal = {
        "cast(1.5 as decimal(9,3))": "1.500",
        "cast(12345678901234567890.123 as decimal(38,3))": "12345678901234567890.123",
        "cast(9223372036854775807 as bigint)": "9223372036854775807",
        "cast(-7 as smallint)": "-7",
        "cast(0.1 as double precision)": "0.1",
        "cast(1e300 as double precision)": "1e+300",
        "cast(0.1 as real)": "0.1",
        "true": "true",
        "date '2026-02-28'": "2026-02-28",
        "date 'infinity'": "infinity",
        "date '-infinity'": "-infinity",
        "timestamp 'infinity'": "infinity",
        "timestamp '-infinity'": "-infinity",
        "timestamp with time zone 'infinity'": "infinity",
        "timestamp with time zone '-infinity'": "-infinity",
        "time '23:59:59.5'": "23:59:59.5",
        "interval '1 day 02:00:00'": "1 day 02:00:00",
        "cast('0D9E38A8-7B0A-4A1C-9F7F-0F6F0B6B7C11' as uuid)": (
            "0d9e38a8-7b0a-4a1c-9f7f-0f6f0b6b7c11"
        ),
        """cast('{"a": [1, null]}' as json)""": '{"a": [1, null]}',
        "cast('ß€😀' as varchar(9))": "ß€😀",
        "timestamp '2026-02-28 10:00:00.25'": "2026-02-28 10:00:00.25",
        "timestamp with time zone '2026-02-28 10:00:00+01'": "2026-02-28 09:00:00+00",
    }
    different = {
        "cast('NaN' as numeric)": "nan",
        "cast('10.0.0.1' as inet)": "10.0.0.1/32",
        "cast('12.30' as money)": "$12.30",
        "cast(4294967295 as oid)": "4294967295",
        """cast('{"b":1}' as jsonb)""": '{"b": 1}',
        "array[1, 2]": "[1, 2]",
        "int4range(1, 3)": "[1,3)",
        "cast('spam' as made.mood)": "spam",
        "cast(null as numeric)": None,
        "cast('x' as char(3))": "x  ",
    }
    workspace.execute("create type made.mood as enum ('spam')")
    values = {**equal, **different}
    columns = ", ".join(f"{value} as c{number}" for number, value in enumerate(values))
    workspace.execute("drop table made.activities")
    workspace.execute(f"create table made.activities as select 'A'::text as brand, {columns}")
    engine.open()
    stage = engine.read(_RELATIONS, "made.brands", {})
    texts = ", ".join(f"cast(c{number} as varchar)" for number in range(len(values)))
    read = stage.connection.sql(f"select {texts} from stage.activities").fetchall()[0]
    assert dict(zip(values, read, strict=True)) == values
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        native = con.sql(f"select {', '.join(f'cast({v} as varchar)' for v in equal)}").fetchall()
    assert dict(zip(equal, native[0], strict=True)) == equal
    assert stage.brands == ["A"]


def test_columns_that_no_file_needs_are_not_copied(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    workspace.execute("alter table made.activities add column url text")
    engine.open()
    stage = engine.read(_RELATIONS, "made.brands", {"activities_daily": {"brand"}})
    copied = stage.connection.sql("from stage_activities")
    assert copied.columns == ["brand"]
    assert engine.read(_RELATIONS, "made.brands", {}).types["activity"].keys() == {"brand", "url"}


def test_a_row_that_is_committed_after_the_read_is_found_as_late(
    workspace: PostgresWorkspace,
) -> None:
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-19")
    with workspace.connect() as loader:
        loader.execute("begin")
        loader.execute(
            "insert into raw.email_opens (brand, event_id, broadcast_id, customer_id, occurred_at,"
            " received_at, loaded_at) select brand, 'E2', broadcast_id, customer_id, occurred_at,"
            " received_at, now() from raw.email_opens"
        )
        result = workspace.run("2026-11-20 07:00")
        assert (_statuses(result), result.warnings) == ({Status.DELIVERED}, [])
        loader.execute("commit")
    (late,) = workspace.run("2026-11-20 08:00").late
    assert (late.delivered["activity"], late.now["activity"]) == (1, 2)


def test_a_run_keeps_the_views_of_users_and_what_depends_on_them(
    workspace: PostgresWorkspace,
) -> None:
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-21")
    workspace.execute("create schema exports")
    workspace.execute("create view exports.activities_daily as select 1 as mine")
    workspace.execute("create view exports.report as select * from exports.activities_daily")
    with workspace.connect() as reader, reader.transaction():
        assert reader.execute("select * from exports.report").fetchall() == [(1,)]
        assert _statuses(workspace.run(_NOW)) == {Status.DELIVERED}
    assert workspace.execute("select * from exports.report") == [(1,)]
    left = "select count(*) from pg_class where relnamespace = 'exports_run'::regnamespace"
    assert workspace.execute(left) == [(0,)]
    assert len(workspace.text("activity_ACME_20261121.csv").splitlines()) == 2


def test_a_second_run_at_the_same_time_is_refused(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-21")
    engine.open()
    with pytest.raises(LockedError, match="another run uses the schema exports_run"):
        workspace.run(_NOW)
    engine.close()
    assert _statuses(workspace.run(_NOW)) == {Status.DELIVERED}


def test_a_foreign_warehouse_needs_only_permissions_to_read(
    workspace: PostgresWorkspace,
) -> None:
    workspace.monkeypatch.setenv("PGTZ", "Asia/Tokyo")  # moments without a zone are still UTC
    workspace.prepare()
    workspace.execute("alter schema raw rename to crm")
    mailing = "0d9e38a8-7b0a-4a1c-9f7f-0f6f0b6b7c11"
    for table in ("broadcasts", "customers", "email_opens"):
        workspace.execute(f"drop table crm.{table}")
    workspace.execute(
        "create table crm.customers (brand text, customer_id bigint, email_address text)"
    )
    workspace.execute(f"""create table crm.broadcasts as select 'ACME'::varchar(9) as brand,
        '{mailing}'::uuid as broadcast_id, 'email'::text as channel, 'SINGLE' as broadcast_type,
        null as description, 'Hi' as subject, timestamp '2026-11-20 10:00:00' as sent_on,
        timestamp '2026-11-20 10:00:00' as received_at""")
    workspace.execute(f"""create table crm.opens_log as select gen_random_uuid() as event_id,
        'ACME'::varchar(9) as brand, '{mailing}'::uuid as broadcast_id, n::bigint as customer_id,
        null as email_address, t as occurred_at, t as registered_at, (n = 2)::int::smallint
        as is_test, null as os, 1::numeric as is_machine
        from (values (1, timestamp '2026-11-21 00:00:00'), (2, timestamp '2026-11-21 10:00:00'),
            (3, timestamp '2026-11-21 23:59:59'), (4, timestamp '2026-11-22 00:00:00')) _ (n, t)""")
    workspace.execute("insert into crm.customers values ('ACME', 1, 'one@example.com')")
    role = f"reader_of_{workspace.environment['PGDATABASE']}"
    workspace.execute(f"create role {role} login")
    workspace.execute(f"grant usage on schema crm to {role}")
    workspace.execute(f"grant select on all tables in schema crm to {role}")
    workspace.monkeypatch.setenv("PGUSER", role)
    _adapt(workspace.folder / "dbt_project")

    # The schema of the run does not exist yet, and the role may not create it.
    with pytest.raises(UsageError, match=r"the schema exports_run: .*permission denied"):
        workspace.run(_NOW)
    workspace.execute(f"create schema exports_run authorization {role}")
    assert _statuses(workspace.run(_NOW)) == {Status.DELIVERED}
    assert workspace.text("activity_ACME_20261121.csv").splitlines()[1:] == [
        f"{mailing},1,,one@example.com,Opens,2026-11-21 00:00:00,",
        f"{mailing},3,,,Opens,2026-11-21 23:59:59,",
    ]
    assert workspace.text("broadcast_ACME_20261121.csv").splitlines()[1:] == [
        f"{mailing},SINGLE,,Hi,2026-11-20 10:00:00"
    ]


def test_a_connection_cut_while_reading_is_reported_and_the_next_read_works(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    workspace.execute("alter table made.activities rename to good")
    workspace.execute("""create view made.activities as
        select 'A'::text as brand, 'secret@example.com' as email_address, pg_sleep(0.01)::text
        from generate_series(1, 3000)""")
    engine.open()

    def cut() -> None:
        query = """select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'orchestrate' and query like 'COPY%pg_sleep%'"""
        with workspace.connect() as other:
            for _ in range(1000):
                if other.execute(query.encode()).fetchall():
                    return
                time.sleep(0.02)

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(ExportError, match="terminating connection") as caught:
        engine.read(_RELATIONS, "made.brands", {})
    cutter.join()
    assert "example.com" not in str(caught.value)
    engine.close()

    workspace.execute("drop view made.activities")
    workspace.execute("alter table made.good rename to activities")
    again = PostgreSQL(workspace.output, workspace.folder / "again")
    (workspace.folder / "again").mkdir()
    again.open()
    assert again.read(_RELATIONS, "made.brands", {}).brands == ["A"]
    again.close()


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Handle SIGINT as a command does: the processes of pytest may ignore it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_interrupts_waiting_for_the_server(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    def interrupt() -> None:
        with workspace.connect() as other:
            for _ in range(1000):
                if other.execute("select from pg_locks where not granted").fetchall():
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                time.sleep(0.02)

    engine.open()
    thread = threading.Thread(target=interrupt)
    patience = "-c idle_in_transaction_session_timeout=30s"
    with workspace.connect(options=patience) as holder, holder.transaction():
        holder.execute("lock table made.activities")
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            engine.read(_RELATIONS, "made.brands", {})
        thread.join()
    assert engine.read(_RELATIONS, "made.brands", {}).brands == ["A"]


def test_a_reader_of_a_table_of_the_run_does_not_delay_its_end(
    workspace: PostgresWorkspace, engine: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_engine, "_LOCK_TIMEOUT", "50ms")
    engine.open()
    workspace.execute("create table exports_run.activities_daily ()")
    with workspace.connect() as reader, reader.transaction():
        reader.execute("lock table exports_run.activities_daily in access share mode")
        engine.close()
    again = PostgreSQL(workspace.output, workspace.folder)
    again.open()
    again.close()
    left = "select from pg_class where relnamespace = 'exports_run'::regnamespace"
    assert workspace.execute(left) == []


def test_a_server_that_is_down_fails_the_windows_and_the_next_run_delivers(
    workspace: PostgresWorkspace,
) -> None:
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-21")
    workspace.monkeypatch.setenv("PGPORT", "5999")
    workspace.monkeypatch.setenv("PGPASSWORD", "hush hush")
    result = workspace.run(_NOW)
    (window,) = result.windows
    assert window.status is Status.FAILED
    assert "PostgreSQL cannot be reached" in str(window.error)
    assert "5999" in str(window.error)
    assert "hush" not in str(window.error)
    assert workspace.files() == []
    workspace.monkeypatch.setenv("PGPORT", "5432")
    assert _statuses(workspace.run(_NOW)) == {Status.DELIVERED}


def test_a_wrong_password_is_named_and_not_shown(workspace: PostgresWorkspace) -> None:
    workspace.execute("drop role if exists guarded")
    workspace.execute("create role guarded login password 'right'")
    workspace.monkeypatch.setenv("PGUSER", "guarded")
    workspace.monkeypatch.setenv("PGPASSWORD", "hush hush")
    (window,) = workspace.run(_NOW).windows
    assert 'password authentication failed for user "guarded"' in str(window.error)
    assert "hush" not in str(window.error)


def test_missing_and_forbidden_tables_are_named(workspace: PostgresWorkspace) -> None:
    (window,) = workspace.run(_NOW).windows
    assert window.status is Status.STOPPED
    assert 'relation "raw.email_sends" does not exist' in str(window.error)
    workspace.prepare()
    workspace.execute("alter table raw.email_clicks drop column url")
    (window,) = workspace.run(_NOW).windows
    assert 'column "url" does not exist' in str(window.error)
    role = f"nobody_of_{workspace.environment['PGDATABASE']}"
    workspace.execute(f"create role {role} login")
    workspace.execute("drop schema exports_run cascade")
    workspace.execute(f"create schema exports_run authorization {role}")
    workspace.monkeypatch.setenv("PGUSER", role)
    (window,) = workspace.run(_NOW).windows
    assert "permission denied for schema raw" in str(window.error)


def test_a_statement_timeout_of_the_server_is_reported(
    workspace: PostgresWorkspace, engine: PostgreSQL
) -> None:
    workspace.execute("create view made.slow as select 'A'::text as brand, pg_sleep(30)::text")
    workspace.monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=200ms")
    engine.open()
    with pytest.raises(ExportError, match="canceling statement due to statement timeout"):
        engine.read({**_RELATIONS, "activities_daily": "made.slow"}, "made.brands", {})


def test_a_column_name_can_have_capitals(workspace: PostgresWorkspace) -> None:
    project = workspace.folder / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    exports = project / "models/exports"
    last = "email_activities.is_machine\n"
    column = "      - name: UrlLength\n        data_type: integer\n"
    _replace(exports / "activities_daily.sql", last, f"{last.strip()}, 7 as UrlLength\n")
    _replace(exports / "activities_daily.yml", "    columns:\n", f"    columns:\n{column}")
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-21")
    workspace.configure("  - {brand: ACME, additional_fields: {activities: [UrlLength]}}")
    assert _statuses(workspace.run(_NOW)) == {Status.DELIVERED}
    heading, row = workspace.text("activity_ACME_20261121.csv").splitlines()
    assert (heading.endswith(",UrlLength"), row.endswith(",7")) == (True, True)


def test_an_invalid_profile_is_refused_with_the_reason(workspace: PostgresWorkspace) -> None:
    with pytest.raises(ConfigError, match="PG_NOT_SET"):
        PostgreSQL({**workspace.output, "host": "{{ env_var('PG_NOT_SET') }}"}, workspace.folder)
    with pytest.raises(ConfigError, match=r"profiles\.yml: port: 'many' is not"):
        PostgreSQL({**workspace.output, "port": "many"}, workspace.folder)
    aliased = {key: value for key, value in workspace.output.items() if key != "password"}
    engine = PostgreSQL({**aliased, "pass": "x", "search_path": "public, raw"}, workspace.folder)
    engine.open()
    engine.close()


def _adapt(project: Path) -> None:
    """Copy the project, and configure in it where the raw tables of the foreign warehouse are."""
    shutil.copytree(ROOT / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    settings = project / "dbt_project.yml"
    settings.write_text(settings.read_text() + "\nvars: {raw_schema: crm}\n", encoding="utf-8")
    sources = project / "models/staging/_sources.yml"
    _replace(
        sources, "- name: email_opens\n", "- name: email_opens\n        identifier: opens_log\n"
    )
    opens = project / "models/staging/stg_email_opens.sql"
    _replace(opens, "'is_machine'", "'is_machine', received_at='registered_at'")
    customers = project / "models/staging/stg_customers.sql"
    _replace(customers, "{{ as_text('external_customer_number') }}", "{{ as_text('null') }}")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _statuses(result: RunResult) -> set[Status]:
    return {window.status for window in result.windows}
