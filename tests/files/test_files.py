"""Files are read back by programs that receivers use, with exactly the values written."""

import csv
import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import Postgres

from orchestrator.config.dialect import Dialect
from orchestrator.config.exports import Content, File
from orchestrator.errors import ExportError
from orchestrator.files import writing
from orchestrator.files.formats import FileField, FileFormat
from orchestrator.files.packing import WrittenFile
from orchestrator.warehouse import stage
from orchestrator.warehouse.stage import Stage

NASTY: list[str | None] = [
    None,
    "",
    "plain",
    "a,b;c|d\te",
    'say "hi"',
    '"',
    '""',
    "'",
    "carriage\rreturn",
    "line\nfeed",
    "both\r\nof them",
    "\n",
    "  spaces around  ",
    " ",
    "\ttab\t",
    r"\N",
    r"\.",
    "NULL",
    "#comment",
    "naïve café",
    "Ελληνικά, العربية, 日本語",
    "🎉 emoji 👩‍👩‍👧",
    "long " * 600,
    "-1+2=cmd|' /C calc'!A0",
    "ends in a part of a delimiter|",
    "or in <-",
]


@dataclass
class Writer:
    """A stage with one table of texts, which it writes in any dialect."""

    folder: Path
    connection: duckdb.DuckDBPyConnection

    def fill(self, texts: list[str | None], brand: str = "ACME") -> None:
        rows = [(brand, f"{n:09}", text) for n, text in enumerate(texts)]
        self.connection.execute("delete from stage.broadcasts")
        self.add(rows)

    def add(self, rows: list[tuple[str, str, str | None]]) -> None:
        insert = "insert into stage.broadcasts values (?, ?, ?, '2026-10-25 00:30:00+00', true)"
        if rows:
            self.connection.executemany(insert, rows)

    def write(self, brands: tuple[str, ...] = ("ACME",), **dialect: object) -> dict[str, Any]:
        content = Content()
        names = ("broadcast_id", "description", "sent_on", "is_touched")
        fields = [FileField(name, name.upper(), is_hashed=False, value_labels={}) for name in names]
        form = FileFormat("broadcast", Dialect.model_validate(dialect), content, fields)
        stage = Stage.from_relations(self.connection, list(brands))
        targets = {b: (self.folder / str(n), f"{b}.csv") for n, b in enumerate(brands)}
        return writing.write(stage, form, targets)

    def text(self, **dialect: object) -> bytes:
        written = self.write(("ACME",), **dialect)["ACME"]
        assert isinstance(written, WrittenFile), written
        return written.local.read_bytes()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    connection = duckdb.connect()
    connection.execute(f"set TimeZone = 'UTC'; attach '{tmp_path}/stage.duckdb' as stage")
    connection.execute(
        "create table stage.activities (brand varchar);"
        "create table stage.broadcasts (brand varchar, broadcast_id varchar, description varchar,"
        " sent_on timestamptz, is_touched boolean)"
    )
    (tmp_path / "written").mkdir()
    yield Writer(tmp_path / "written", connection)
    connection.close()


def expected(texts: list[str | None], null: str | None) -> list[str | None]:
    return [null if text is None else text for text in texts]


def test_formulas_are_escaped_if_configured(writer: Writer) -> None:
    texts = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "'=1", "a=1", "", None, "="]
    writer.fill(texts)
    assert b",=1+1," in writer.text()
    rows = writer.text(formulas="escape", header=False, null="-").decode().split(",true\n")[:-1]
    fields = [row.split(",")[1] for row in rows]
    assert fields[:5] == ["'=1+1", "'+1", "'-1", "'@a", "'\t=1"]
    assert fields[5:] == ['"\'\r=1"', "'=1", "a=1", '""', "-", "'="]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "||", "<->", "x", "¦"])
@pytest.mark.parametrize("quoting", ["minimal", "all"])
@pytest.mark.parametrize("line_ending", ["lf", "crlf"])
def test_a_file_conforms_to_rfc_4180(
    writer: Writer, delimiter: str, quoting: str, line_ending: str
) -> None:
    writer.fill(NASTY)
    data = writer.text(delimiter=delimiter, quoting=quoting, line_ending=line_ending)
    end = {"lf": "\n", "crlf": "\r\n"}[line_ending]

    def field(text: str | None) -> str:
        text_of_null = "" if quoting == "minimal" else '""'
        if text is None:
            return text_of_null
        special = text == "" or any(part in text for part in ('"', "\r", "\n"))
        special = special or (text + delimiter).split(delimiter, 1)[0] != text
        if quoting == "all" or special:
            return '"' + text.replace('"', '""') + '"'
        return text

    rows: list[list[str | None]] = [["BROADCAST_ID", "DESCRIPTION", "SENT_ON", "IS_TOUCHED"]]
    rows += [[f"{n:09}", text, "2026-10-25 00:30:00", "true"] for n, text in enumerate(NASTY)]
    assert data.decode() == "".join(delimiter.join(map(field, row)) + end for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", ["minimal", "all"])
@pytest.mark.parametrize("line_ending", ["lf", "crlf"])
def test_python_and_duckdb_and_pandas_read_it_back(
    writer: Writer, delimiter: str, quoting: str, line_ending: str
) -> None:
    writer.fill(NASTY)
    path = writer.folder / "0"
    text = writer.text(delimiter=delimiter, quoting=quoting, line_ending=line_ending).decode()
    by_python = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert [row["DESCRIPTION"] for row in by_python] == expected(NASTY, "")
    null = None if quoting == "minimal" else ""
    by_duckdb = duckdb.execute(
        "select DESCRIPTION from read_csv(?, delim = ?, header = true, all_varchar = true,"
        " quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false,"
        " auto_detect = false,"
        " columns = {'BROADCAST_ID': 'varchar', 'DESCRIPTION': 'varchar', 'SENT_ON': 'varchar',"
        " 'IS_TOUCHED': 'varchar'}, max_line_size = 10000000) order by BROADCAST_ID",
        [str(path), delimiter],
    ).fetchall()
    assert [row[0] for row in by_duckdb] == expected(NASTY, null)
    frame = pd.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False)
    assert frame["DESCRIPTION"].tolist() == expected(NASTY, "")


@pytest.mark.parametrize(
    "dialect", [{}, {"delimiter": ";", "null": r"\N"}, {"line_ending": "crlf"}]
)
def test_postgresql_reads_it_back(
    writer: Writer, postgres: Postgres, dialect: dict[str, str]
) -> None:
    writer.fill(NASTY)
    data = writer.text(**dialect)
    with psycopg.connect(postgres.conninfo) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create temp table t (id text, description text, sent_on text, touched bool)"
        )
        delimiter, null = dialect.get("delimiter", ","), dialect.get("null", "")
        options = f"format csv, header, delimiter '{delimiter}', null '{null}'"
        with cursor.copy(f"copy t from stdin with ({options})") as copy:
            copy.write(data)
        cursor.execute("select description from t order by id")
        assert [row[0] for row in cursor.fetchall()] == NASTY


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"])
def test_other_encodings_contain_the_same_text(writer: Writer, encoding: str) -> None:
    writer.fill(NASTY)
    plain = writer.text().decode()
    data = writer.text(encoding=encoding)
    assert data == plain.encode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_character_that_the_encoding_lacks_is_an_error(writer: Writer, encoding: str) -> None:
    writer.fill(["fine: é", "also\nfine", "not: 日"])
    written = writer.write(encoding=encoding)["ACME"]
    assert isinstance(written, ExportError)
    message = f"the broadcast file of ACME: row 3 contains U+65E5, which {encoding} does not have"
    assert message in str(written)
    assert list(writer.folder.iterdir()) == []
    writer.fill(["fine: é"])
    assert writer.text(encoding=encoding) == writer.text().decode().encode(encoding)


def test_a_character_error_of_one_brand_does_not_stop_the_others(writer: Writer) -> None:
    writer.fill(["日"])
    writer.add([("BETA", "1", "é"), ("GAMMA", "1", "日"), ("OMEGA", "1", "ok")])
    written = writer.write(("ACME", "BETA", "GAMMA", "OMEGA", "EMPTY"), encoding="latin-1")
    assert [brand for brand, file in written.items() if isinstance(file, ExportError)] == [
        "ACME",
        "GAMMA",
    ]
    assert {b: file.file.rows for b, file in written.items() if isinstance(file, WrittenFile)} == {
        "BETA": 1,
        "OMEGA": 1,
        "EMPTY": 0,
    }


def test_a_text_that_ends_in_a_part_of_the_delimiter_is_quoted(writer: Writer) -> None:
    writer.fill(["x|", "|x", "||", "x"])
    lines = writer.text(delimiter="||", header=False).decode().splitlines()
    assert [line.removeprefix(f"00000000{n}||") for n, line in enumerate(lines)] == [
        '"x|"||2026-10-25 00:30:00||true',
        "|x||2026-10-25 00:30:00||true",
        '"||"||2026-10-25 00:30:00||true',
        "x||2026-10-25 00:30:00||true",
    ]


def test_newlines_become_one_space(writer: Writer) -> None:
    writer.fill(["a\r\nb\nc\rd\r\n", "e\n\nf"])
    assert writer.text(newlines="space", header=False).decode().splitlines() == [
        "000000000,a b c d ,2026-10-25 00:30:00,true",
        "000000001,e  f,2026-10-25 00:30:00,true",
    ]


def test_a_text_that_equals_null_is_quoted(writer: Writer) -> None:
    writer.fill(["N", None, "NN", ""])
    lines = writer.text(null="N", header=False).decode().splitlines()
    assert [line.split(",")[1] for line in lines] == ['"N"', "N", "NN", '""']


@pytest.mark.parametrize(
    ("timezone", "form", "text"),
    [
        ("Europe/Amsterdam", "%Y-%m-%d %H:%M:%S", "2026-10-25 02:30:00"),
        ("Europe/Amsterdam", "%Y-%m-%dT%H:%M:%S%z", "2026-10-25T02:30:00+0200"),
        ("America/St_Johns", "%d/%m/%Y %H:%M %z", "24/10/2026 22:00 -0230"),
        ("Asia/Kathmandu", "%-d.%-m.%y %H:%M:%S.%f%%z", "25.10.26 06:15:00.000000%z"),
    ],
)
def test_moments_are_local(writer: Writer, timezone: str, form: str, text: str) -> None:
    writer.fill(["x"])
    data = writer.text(timezone=timezone, timestamp_format=form, header=False)
    assert data.decode() == f"000000000,x,{text},true\n"


def test_both_passes_of_the_repeated_hour_differ_in_the_offset(writer: Writer) -> None:
    writer.fill(["x"])
    update = "update stage.broadcasts set sent_on = '2026-10-25 01:30:00+00'"
    writer.connection.execute(update)
    dialect = {"timezone": "Europe/Amsterdam", "timestamp_format": "%H:%M%z", "header": False}
    assert b"02:30+0100" in writer.text(**dialect)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
@pytest.mark.parametrize(
    ("moment", "timezone"),
    [
        ("infinity", "UTC"),
        ("-infinity", "Europe/Amsterdam"),
        ("9999-12-31 23:00:00+00", "Europe/Amsterdam"),
        ("0001-01-01 00:00:00+00", "America/New_York"),
        ("290000-01-01 00:00:00+00", "UTC"),
    ],
)
def test_a_moment_that_no_file_can_contain_fails_only_its_brand(
    writer: Writer, moment: str, timezone: str, form: str
) -> None:
    writer.add([("ACME", "1", "x"), ("ACME", "it's 2", "y"), ("BETA", "3", "z")])
    update = f"update stage.broadcasts set sent_on = '{moment}' where broadcast_id like '%2'"
    writer.connection.execute(update)
    written = writer.write(("ACME", "BETA"), timezone=timezone, timestamp_format=form)
    assert str(written["ACME"]).startswith(
        "the broadcast file of ACME: the row with broadcast_id 'it's 2': sent_on cannot be in a "
        f"file: it is infinite, or not in the years 1 to 9999 in {timezone}"
    )
    assert written["BETA"].file.rows == 1
    assert not (writer.folder / "0").exists()


@pytest.mark.parametrize(
    ("moment", "timezone", "text"),
    [
        ("9999-12-31 23:59:59+00", "UTC", "9999-12-31T23:59:59+0000"),
        ("9999-12-31 22:59:59+00", "Europe/Amsterdam", "9999-12-31T23:59:59+0100"),
        ("0001-01-01 00:00:00+00", "UTC", "0001-01-01T00:00:00+0000"),
    ],
)
def test_the_first_and_last_moments_are_written(
    writer: Writer, moment: str, timezone: str, text: str
) -> None:
    writer.fill(["x"])
    writer.connection.execute(f"update stage.broadcasts set sent_on = '{moment}'")
    dialect = {"timezone": timezone, "timestamp_format": "%Y-%m-%dT%H:%M:%S%z", "header": False}
    assert writer.text(**dialect).decode() == f"000000000,x,{text},true\n"


@pytest.mark.parametrize("bad", [b"jos\xe9", b"\xff", b"\x80|", b"cut \xf0\x9f", b"\xed\xa0\xbd"])
@pytest.mark.parametrize(
    "dialect",
    [
        {},
        {"encoding": "latin-1"},
        {"encoding": "utf-16", "quoting": "all"},
        {"delimiter": "||", "newlines": "space", "formulas": "escape"},
    ],
)
def test_bytes_that_are_not_utf_8_fail_only_their_brand(
    writer: Writer, bad: bytes, dialect: dict[str, object]
) -> None:
    """DuckDB does not validate text from Arrow, the format of rows from PostgreSQL."""
    texts = pa.array([b"good", bad, b"z"]).view(pa.string())
    rows = pa.table({"brand": ["ACME", "ACME", "BETA"], "id": ["1", "2", "3"], "text": texts})
    writer.connection.register("rows", rows)
    writer.connection.execute(
        "drop table stage.broadcasts; create temp view broadcasts as select brand, id as"
        " broadcast_id, text as description, timestamptz '2026-10-25 00:30:00+00' as sent_on, true"
        " as is_touched from rows"
    )
    writer.connection.execute("create view stage.broadcasts as from temp.broadcasts")
    written = writer.write(("ACME", "BETA"), **dialect)
    assert (
        "the broadcast file of ACME: the row with broadcast_id '2': description cannot be in a "
        "file: it is not valid UTF-8" in str(written["ACME"])
    )
    assert written["BETA"].file.rows == 1
    assert not (writer.folder / "0").exists()


def test_size_hash_and_row_count_are_those_of_the_file(writer: Writer) -> None:
    writer.fill(NASTY)
    file = writer.write(encoding="utf-16")["ACME"]
    data = file.local.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    assert file.file == File("broadcast", "ACME.csv", len(data), sha256, len(NASTY))
    assert file.local.stat().st_mode & 0o777 == 0o600


def test_no_header_and_no_rows_is_an_empty_file(writer: Writer) -> None:
    writer.fill([])
    assert writer.text(header=False) == b""
    assert writer.text() == b"BROADCAST_ID,DESCRIPTION,SENT_ON,IS_TOUCHED\n"


def test_many_rows_of_many_brands_stay_complete_and_sorted(writer: Writer) -> None:
    writer.connection.execute(
        "insert into stage.broadcasts select 'B' || (i % 7), lpad(hash(i)::varchar, 20, '0'),"
        " 'é' || i, '2026-10-25 00:30:00+00', null from range(300000) t(i)"
    )
    brands = tuple(f"B{n}" for n in range(7))
    first = writer.write(brands, header=False)
    contents = {brand: file.local.read_bytes() for brand, file in first.items()}
    assert sum(file.file.rows for file in first.values()) == 300_000
    for brand, data in contents.items():
        ids = [line.split(b",")[0] for line in data.splitlines()]
        assert ids == sorted(ids)
        assert len(ids) == first[brand].file.rows
    again = writer.write(brands, header=False)
    assert {brand: replace(file) for brand, file in again.items()} == first


@pytest.mark.parametrize("brands", [("B0", "B1", "B2", "B3"), ("B1",)])
def test_wide_rows_are_sorted_in_pieces_and_give_the_same_bytes(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, brands: tuple[str, ...]
) -> None:
    """Some rows share their moment, one brand has no row, and two brands are narrow."""
    writer.connection.execute(
        "insert into stage.broadcasts select 'B' || (i % 3), lpad(hash(i)::varchar, 20, '0'),"
        " repeat(md5(i::varchar), if(i % 3 = 1, 100, 1)), timestamptz '2026-10-25 00:30:00+00'"
        " + to_seconds(i % 7 * (i % 2)), null from range(6000) t(i)"
    )
    at_once = writer.write(brands)
    monkeypatch.setattr(stage, "_PIECE", 500_000)
    assert writer.write(brands) == at_once
    ((bounds,),) = writer.connection.execute("select count(*) from temp.bounds").fetchall()
    assert bounds == 12  # between 13 pieces of 6.4 MB


def test_rows_that_need_too_much_memory_fail_only_their_brand(writer: Writer) -> None:
    writer.connection.execute(
        "insert into stage.broadcasts select if(i < 50, 'WIDE', 'ACME'), i::varchar,"
        " repeat(md5(i::varchar), if(i < 50, 40000, 1)), timestamptz '2026-10-25 00:30:00+00',"
        " null from range(5000) t(i); checkpoint stage; set memory_limit = '90MB'"
    )
    written = writer.write(("ACME", "WIDE", "ZZ"))
    error = written["WIDE"]
    assert isinstance(error, ExportError)
    assert str(error).startswith("the rows of WIDE are wide: DuckDB ran out of memory; set ")
    assert [written[brand].file.rows for brand in ("ACME", "ZZ")] == [4950, 0]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(
        st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=20
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|", "é", " "]),
    quoting=st.sampled_from(["minimal", "all"]),
)
def test_any_text_is_read_back_unchanged(
    writer: Writer, texts: list[str | None], delimiter: str, quoting: str
) -> None:
    writer.fill(texts)
    text = writer.text(delimiter=delimiter, quoting=quoting).decode()
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    assert [row[1] for row in rows[1:]] == expected(texts, "")


def test_a_batch_without_rows_is_not_the_end() -> None:
    batches = [pa.RecordBatch.from_pydict({"line": ["x\n"] * rows}) for rows in (2, 0, 1)]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    read = stage.read_ahead(reader)  # DuckDB cannot be made to return an empty batch
    assert [len(batch) for batch in read] == [2, 0, 1]


def test_closing_the_reader_waits_for_the_batch_that_is_being_read() -> None:
    ended: list[str] = []

    def slow() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"line": ["x"]})
        time.sleep(0.2)
        ended.append("read")
        yield pa.RecordBatch.from_pydict({"line": ["y"]})

    def write() -> None:
        with closing(stage.read_ahead(slow())) as batches:
            for _ in batches:
                raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write()
    assert ended == ["read"]
