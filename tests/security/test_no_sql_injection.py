"""No text of exports.yml, a view or a row becomes SQL: the file contains it unchanged."""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from orchestrator.config.dialect import Dialect
from orchestrator.config.exports import Content
from orchestrator.files import writing
from orchestrator.files.formats import FileField, FileFormat
from orchestrator.files.packing import WrittenFile
from orchestrator.warehouse.sql import identifier
from orchestrator.warehouse.stage import Stage

HOSTILE = st.lists(
    st.sampled_from(
        [
            "'",
            '"',
            "''",
            "\\",
            ";",
            "$",
            "$$",
            "$brands",
            "?",
            "\x00",
            "--",
            "/*",
            "*/",
            "%",
            "{",
            "}",
            "\r",
            "\n",
            " ",
            "a",
            "é",
            "🎉",
            "drop table stage.victim",
            "') or true --",
            "E'",
            "\u2028",
        ]
    ),
    max_size=5,
).map("".join)
VALUES = st.lists(st.one_of(st.none(), HOSTILE, st.text(max_size=5)), min_size=1, max_size=4)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'; attach ':memory:' as stage")
    connection.execute("create table stage.victim as select 42 as answer")
    connection.execute("create table stage.broadcasts (brand varchar)")
    yield connection
    connection.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=VALUES,
    brand=HOSTILE,
    column=HOSTILE,
    headings=st.tuples(HOSTILE, HOSTILE, HOSTILE),
    label=HOSTILE,
    salt=HOSTILE,
    codes=st.lists(HOSTILE, min_size=1, max_size=2, unique=True),
    null=HOSTILE,
    delimiter=st.one_of(st.sampled_from(",;'\\$"), st.characters(codec="utf-8")),
    quoting=st.sampled_from(["minimal", "all"]),
)
@example(
    ["x"],
    "'",
    '"; drop table stage.victim; --',
    ("a", "b", "c"),
    "'",
    "';--",
    ["'"],
    "",
    "'",
    "minimal",
)
def test_hostile_texts_are_written_unchanged(  # noqa: PLR0913, PLR0917 - each is a text that someone chooses
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    values: list[str | None],
    brand: str,
    column: str,
    headings: tuple[str, str, str],
    label: str,
    salt: str,
    codes: list[str],
    null: str,
    delimiter: str,
    quoting: str,
) -> None:
    # DuckDB has no column without a name, nor one with a NUL in its name.
    assume(column and "\0" not in column and column.lower() not in KEYS)
    try:
        dialect = Dialect.model_validate({"null": null, "delimiter": delimiter, "quoting": quoting})
    except ValidationError:
        assume(False)  # noqa: FBT003 - as hypothesis defines it
        return
    name = identifier(column)
    connection.execute(
        "create or replace table stage.activities (brand varchar, activity varchar, activity_date"
        " timestamptz, broadcast_id varchar, customer_id varchar, event_id varchar,"
        f" is_machine boolean, {name} varchar)"
    )
    rows = [
        (brand, code, f"{n:03}", value)
        for code in [*codes, "other"]
        for n, value in enumerate(values)
    ]
    connection.executemany(
        f"insert into stage.activities (brand, activity, event_id, {name}) values (?, ?, ?, ?)",
        rows,
    )
    fields = [
        FileField("activity", headings[0], is_hashed=False, value_labels={codes[0]: label}),
        FileField(column, headings[1], is_hashed=False, value_labels={}),
        FileField(column, headings[2], is_hashed=True, value_labels={}, salt=SecretStr(salt)),
    ]
    form = FileFormat("activity", dialect, Content.model_construct(activity_types=codes), fields)
    written = writing.write(
        Stage.from_relations(connection, [brand]), form, {brand: (tmp_path / "file", "file")}
    )[brand]
    assert isinstance(written, WrittenFile)
    expected = [list(headings)]
    for _, code, _, value in sorted(
        (row for row in rows if row[1] in codes),
        key=lambda row: (row[1].encode(), row[2]),
    ):
        digest = None if value is None else hashlib.sha256((salt + value).encode()).hexdigest()
        shown = [label if code == codes[0] else code, value, digest]
        expected.append([null if text is None else text for text in shown])
    text = written.local.read_bytes().decode()
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) == expected
    assert connection.execute("select answer from stage.victim").fetchall() == [(42,)]


KEYS = (
    *("brand", "activity", "activity_date", "broadcast_id", "customer_id", "event_id"),
    "is_machine",
)


def test_another_salt_is_another_file_format() -> None:
    def form(salt: str) -> FileFormat:
        field = FileField("a", "A", is_hashed=True, value_labels={}, salt=SecretStr(salt))
        return FileFormat("activity", Dialect(), Content(), [field])

    assert form("one").identity == form("one").identity
    assert form("one").identity != form("two").identity
    assert "kanarie" not in repr(form("kanarie"))
