"""One table's rows on their way from raw files to the warehouse.

DuckDB reads every file as text in a database of its own on disk, so that a load larger than
memory spills.
"""

# ruff: noqa: S608 - names and texts are quoted where the SQL is made
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestrator.errors import UsageError
from orchestrator.loading.files import RawFile, check_columns
from orchestrator.loading.lines import clean_csv_rows, csv_records, json_lines
from orchestrator.loading.rejects import Rejects
from orchestrator.loading.sql import (
    csv_line_sql,
    csv_sql,
    json_sql,
    object_sql,
    parquet_sql,
    reason_sql,
    value_sql,
)
from orchestrator.warehouse.contract import Table
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import limits

_OF_THE_MACHINE = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException)
_ROWS_AT_ONCE = 100_000
_TYPES = {"text": "varchar", "timestamp": "timestamptz", "boolean": "boolean"}


class Stage:
    """One table's rows: good ones typed in a table, bad ones as lines of JSON."""

    def __init__(self, folder: Path, table: Table) -> None:
        """Make the stage in a new folder of its own."""
        folder.mkdir()
        self._folder = folder
        self.table = table
        self._good = 0
        self._rejects = Rejects(folder / "rejects.jsonl")
        self._con = duckdb.connect(folder / "stage.duckdb", config={"temp_directory": str(folder)})
        self._con.execute("set timezone = 'UTC'; set arrow_large_buffer_size = true")
        for name, value in limits().items():
            self._con.execute(f"set {name} = {literal(value)}")
        self._con.execute("pragma disable_checkpoint_on_shutdown")  # it is thrown away
        columns = (f"{identifier(column.name)} {_TYPES[column.type]}" for column in table.columns)
        self._con.execute(f"create table good ({', '.join(columns)})")

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self._good + self._rejects.rows

    @property
    def rejected(self) -> int:
        """How many of them break the contract."""
        return self._rejects.rows

    def close(self) -> None:
        """Free the database."""
        self._con.close()
        self._rejects.close()

    def add(self, file: RawFile) -> None:
        """Read one file: every row of it comes out good or bad.

        Raises UsageError that names the file where no row can be read from it.
        """
        read = {"parquet": self._add_parquet, "csv": self._add_csv, "jsonl": self._add_jsonl}
        try:
            read[file.format](file)
        except duckdb.Error as error:
            if type(error) in _OF_THE_MACHINE:
                raise
            # DuckDB's words may quote the row itself, and so an address: only the kind is told.
            raise UsageError(
                f"{file.path} cannot be read as {file.format}: write it again."
                f" ({type(error).__name__})",
            ) from None

    def pick(self) -> int:
        """Pick the good rows to hand over: of alike events one, of an entity's rows the last."""
        if self.table.kind == "event":
            kept, group = "min", [column.name for column in self.table.columns]
        else:
            kept, group = "max", list(self.table.key)
        names = ", ".join(map(identifier, group))
        self._con.execute(
            f"create table picked as select {kept}(rowid) as row from good group by {names}",
        )
        return int(self._con.execute("select count(*) from picked").fetchall()[0][0])

    def good_rows(self) -> pa.RecordBatchReader:
        """Return the picked rows."""
        rows: pa.RecordBatchReader = self._con.sql(
            "from good where rowid in (select row from picked)",
        ).to_arrow_reader(_ROWS_AT_ONCE)
        return rows

    def write_rejects(self, folder: Path, now: datetime) -> Path | None:
        """Publish the bad rows under a name that is free; None if there are none."""
        return self._rejects.publish(folder, self.table.name, now)

    def _add_parquet(self, file: RawFile) -> None:
        self._judge(parquet_sql(file.path, file.header), file, line="null")

    def _add_csv(self, file: RawFile) -> None:
        """Read the file as it stands, or, if any line of it is not RFC 4180, a sifted copy."""
        rows = clean_csv_rows(file.path, len(file.header))
        try:
            if rows is not None:
                query, line = csv_sql(file.path, file.header), csv_line_sql(file.header)
                self._judge(query, file, line=line, expected=rows)
                return
        except duckdb.InvalidInputException:
            pass  # bytes that are not UTF-8, or a row beyond the longest: the sieve finds them
        copy = self._folder / "sifted.csv"
        kept = 0
        with copy.open("wb") as sifted:
            for line_number, record, fault in csv_records(file.path, len(file.header)):
                if fault:
                    self._rejects.add_line(file.label, line_number, fault, raw=record)
                else:
                    sifted.write(b"%d,%b\n" % (line_number, record))
                    kept += 1
        query = csv_sql(copy, file.header, is_sifted=True)
        self._judge(query, file, line="line::bigint", expected=kept)

    def _add_jsonl(self, file: RawFile) -> None:
        con = self._con
        con.register("arriving", json_lines(file.path))
        con.execute(
            "create or replace table lines as select line, raw, case when text is not null"
            " and json_valid(text) and json_type(text) = 'OBJECT' then text end as object"
            " from arriving",
        )
        con.unregister("arriving")
        objects, first = con.execute(
            "select count(object), arg_min(raw, line) from lines",
        ).fetchall()[0]
        if first is None:
            return
        if not objects or first.lstrip().startswith(b"["):
            raise UsageError(f"{file.path} is no JSON Lines file: write one JSON object per line.")
        fault = "the line is not a JSON object in UTF-8"
        for line, raw in self._fetch("select line, raw from lines where object is null order by 1"):
            self._rejects.add_line(file.label, line, fault, raw=raw)
        keys = self._fetch("select distinct unnest(json_keys(object)) from lines order by 1")
        check_columns(file.path, self.table, [key for (key,) in keys])
        names = tuple(column.name for column in self.table.columns)
        query = json_sql(names)
        self._judge(query, replace(file, header=names), line="line", row="object::json")

    def _judge(
        self, query: str, file: RawFile, *, line: str, row: str = "", expected: int | None = None
    ) -> None:
        """Part the rows of `query`, whose columns c0, c1 … are those of the file's header.

        `line` and `row` are the expressions of a row's line and of the row as JSON.
        """
        con, table, header = self._con, self.table, file.header
        texts = {
            column.name: f"c{header.index(column.name)}" if column.name in header else "null"
            for column in table.columns
        }
        con.execute(
            f"create or replace table judged as select *, {reason_sql(table, texts)} as reason"
            f" from ({query})",
        )
        rows, rejected = con.execute("select count(*), count(reason) from judged").fetchall()[0]
        if expected not in {None, rows}:
            raise duckdb.InvalidInputException("DuckDB read another number of rows than are there")
        values = ", ".join(value_sql(column, texts[column.name]) for column in table.columns)
        con.execute(f"insert into good select {values} from judged where reason is null")
        self._good += rows - rejected
        if not rejected:
            return
        for (text,) in self._fetch(
            f"select json_object('file', {literal(file.label)}, 'line', start, 'reason', reason,"
            f" 'row', {row or object_sql(header)}) from (select *, {line} as start from judged)"
            " where reason is not null",
        ):
            self._rejects.add(text)

    def _fetch(self, query: str) -> Iterator[tuple[Any, ...]]:
        rows = self._con.execute(query)
        while batch := rows.fetchmany(1000):
            yield from batch
