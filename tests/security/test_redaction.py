"""Errors of databases are cut before the first value that they quote; these errors are real."""

import logging

import duckdb
import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_server import Postgres

from orchestrator.cli.output import LogFormat, bug_report
from orchestrator.cli.report import Report
from orchestrator.errors import ExportError
from orchestrator.warehouse.sql import redacted

VALUES = st.builds(
    "{}KANARIE{}KANARIE{}".format,
    *[st.text(alphabet="ab1 '\"`\n\r$;\\@()=-…", max_size=6) for _ in range(3)],
)
DUCKDB = [
    "select cast(a as integer) from t",
    "select cast(a as date) from t",
    "select cast(a as uuid) from t",
    "select cast(a as decimal(5, 2)) from t",
    "select cast(a as json) ->> 'x' from t",
    "select strptime(a, '%Y') from t",
    "select error(a) from t",
    "insert into once select a from t union all select a from t",
]
POSTGRES = [
    "select cast(a as integer) from t",
    "select cast(a as timestamptz) from t",
    "select cast(a as uuid) from t",
    "select cast(a as json) from t",
    "select to_timestamp('x' || a, 'YYYY') from t",
    "insert into once select a from t union all select a from t",
    "insert into filled select a, null from t",
    "insert into short select a from t",
]


@pytest.fixture(scope="module")
def in_duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create table t (a varchar); create table once (a varchar primary key)")
    return connection


@pytest.fixture(scope="module")
def in_postgres(postgres: Postgres) -> psycopg.Connection:
    connection = psycopg.connect(postgres.conninfo, autocommit=True)
    connection.execute(
        "create temp table t (a text); create temp table once (a text primary key);"
        "create temp table filled (a text, b text not null);"
        "create temp table short (a text check (a = ''))"
    )
    return connection


@settings(max_examples=30, deadline=None)
@given(value=VALUES)
@example(value='a" KANARIE')
@example(value="a' KANARIE")
@pytest.mark.parametrize("query", DUCKDB)
def test_errors_of_duckdb_show_no_value(
    in_duckdb: duckdb.DuckDBPyConnection, query: str, value: str
) -> None:
    in_duckdb.execute("delete from t; delete from once")
    in_duckdb.execute("insert into t values (?)", [value])
    with pytest.raises(duckdb.Error) as caught:
        in_duckdb.execute(query).fetchall()
    shown = redacted(str(caught.value), query)
    assert "KANARIE" not in shown
    assert shown.partition("…")[0].endswith("Error: ")


@settings(max_examples=30, deadline=None)
@given(value=VALUES)
@example(value='a" KANARIE')
@example(value="a' KANARIE")
@pytest.mark.parametrize("query", POSTGRES)
def test_errors_of_postgresql_show_no_value(
    in_postgres: psycopg.Connection, query: str, value: str
) -> None:
    in_postgres.execute("delete from t")
    in_postgres.execute("insert into t values (%s)", [value])
    with pytest.raises(psycopg.Error) as caught:
        in_postgres.execute(query).fetchall()
    shown = redacted(str(caught.value), query)
    assert "KANARIE" not in shown
    assert 10 < len(shown) < len(str(caught.value))


@pytest.mark.parametrize(
    ("message", "sql", "shown"),
    [
        (
            (
                'Binder Error: Referenced column "foo" not found in FROM clause!\n'
                'Candidate bindings: "kanarie"\n\nLINE 3: select foo from t\n               ^^^'
            ),
            "-- first\n\nselect foo from t",
            (
                'Binder Error: Referenced column "foo" not found in FROM clause!\n'
                "Candidate bindings: …\nLINE 3: select foo from t\n               ^^^"
            ),
        ),
        (
            'relation "raw.opens" does not exist\nLINE 1: ...t 1 from raw.op...\n   ^',
            "select 1 from raw.opens",
            'relation "raw.opens" does not exist\nLINE 1: ...t 1 from raw.op...\n   ^',
        ),
        ("could not connect: it isn't there", "", "could not connect: it isn't there"),
        ("the value 12345678 is too large", "", "the value …"),
        ("jan@example.com is taken", "", "…@… is taken"),
        ("LINE 1: kanarie\n'x\nLINE 2: kanarie", "select 1", "LINE 1: kanarie\n…"),
    ],
)
def test_names_of_the_sql_stay_readable(message: str, sql: str, shown: str) -> None:
    assert redacted(message, sql) == shown


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_traceback_shows_places_and_only_our_own_messages(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "kanarie"  # noqa: S105 - what must not be shown
    try:
        try:
            {"a": 1}[secret]
        except KeyError as error:
            raise ExportError("our own words") from error
    except ExportError as error:
        report = Report(verbose=True, log_format=log_format)
        root = logging.getLogger()
        before = root.handlers[:]
        try:
            report.start()
            report.error(error)
        finally:
            root.handlers[:] = before
    stderr = capsys.readouterr().err
    assert "our own words" in stderr
    assert "KeyError" in stderr
    assert "test_redaction.py" in stderr
    assert secret not in stderr.replace("[secret]", "")


def test_a_bug_report_names_the_place_and_no_value() -> None:
    try:
        int("kanarie")
    except ValueError as error:
        shown = str(bug_report(error))
    assert "ValueError at test_redaction.py:" in shown
    assert "kanarie" not in shown
