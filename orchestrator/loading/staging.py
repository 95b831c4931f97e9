"""Read the raw files of one table into a temporary DuckDB table, before they go to the warehouse.

A file is first read in one fast pass, which only finds out whether all its rows are valid. If one
is not, the file is read again in a slower pass that names each bad row and the reason. So valid
files do not pay for the search. DuckDB moves rows that exceed its memory to disk.
"""

# ruff: noqa: S608 - names and texts are quoted where the SQL is built
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from orchestrator.errors import UsageError
from orchestrator.loading.files import RawFile, check_columns
from orchestrator.loading.rules import (
    Cell,
    Rules,
    csv_cells,
    csv_source,
    json_cells,
    json_source,
    object_sql,
    parquet_cells,
    parquet_source,
)
from orchestrator.loading.scanning import (
    csv_records,
    csv_rows,
    json_keys,
    json_lines,
    json_reason,
    parquet_batches,
    scan_json_lines,
)
from orchestrator.warehouse.contract import RECEIVED_AT, Table
from orchestrator.warehouse.merging import OMITTED, data_columns, omitted_bits
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import limits, set_options

_log = logging.getLogger(__name__)

_MACHINE_ERRORS = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException)
_VALID = identifier("(clean)")
_ROW_GROUP = 122_880  # rows for which DuckDB stores the minimum and maximum of each column
_FEW = 0.2  # of the row groups
_TYPES = {"text": "varchar", "timestamp": "timestamptz", "boolean": "boolean"}


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB database in memory for the rows of a load; it may spill to disk in `folder`."""
    connection = duckdb.connect(config={"temp_directory": str(folder)})
    settings = {"TimeZone": "UTC", "arrow_large_buffer_size": True, **limits()}
    # query_progress() works only if DuckDB's progress bar is enabled; limits() hides it.
    set_options(connection, {**settings, "enable_progress_bar": True})
    return connection


class _RowQuery(NamedTuple):
    """How the slower pass reads a file: SQL for the rows, their cells, lines and original form."""

    relation: str
    """What to select from: a table function, a table or a subquery."""
    cells: Mapping[str, Cell]
    line: str
    """The expression of the line on which a row starts; null for Parquet, which has no lines."""
    row: str
    """The expression of the row as a JSON object, for the reject file."""


class StagingTable:
    """The rows of one table: valid ones in the relation `good`, rejected ones in a JSON Lines file.

    `rows` and `rejected` count the rows read so far and those of them that were rejected.
    """

    good = "temp.good"

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, table: Table) -> None:
        """Take a connection of connect(), and a folder to create for files of this table."""
        folder.mkdir()
        self.table = table
        self.rows = 0
        self.rejected = 0
        self._fraction = 0.0
        self.reasons = Counter[str]()
        """How many rows were rejected, by reason; without the value, which may be an address."""
        self._folder = folder
        self._con = connection
        self._rejects = (folder / "rejects.jsonl").open("w+", encoding="utf-8")
        columns = [f"{identifier(c.name)} {_TYPES[c.type]}" for c in data_columns(table)]
        columns.append(f"{identifier(OMITTED)} bigint, {_VALID} boolean")
        connection.execute(f"create or replace temp table good ({', '.join(columns)})")

    def close(self) -> None:
        """Drop the valid rows and delete the rejected ones."""
        self._con.execute("drop table if exists temp.good")
        self._rejects.close()

    def add(self, file: RawFile) -> None:
        """Read one file, and add each of its rows to the valid or to the rejected ones.

        Raises UsageError that names the file if it cannot be read.
        """
        self._fraction = 0.0
        read = {"parquet": self._add_parquet, "csv": self._add_csv, "jsonl": self._add_jsonl}
        try:
            read[file.format](file)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if type(error) in _MACHINE_ERRORS:
                raise
            # The error text may quote a row, and so an e-mail address: only its class is shown.
            raise UsageError(
                f"{file.path} is not a valid {file.format} file: export it again."
                f" ({type(error).__name__})"
            ) from None

    def fraction(self) -> float:
        """Return how much of the current file was read, from 0 to 1. Another thread may call it.

        A file may need several queries, each of which begins at 0. The result never goes back.
        """
        self._fraction = max(self._fraction, self._con.query_progress() / 100)
        return self._fraction

    def received(self) -> tuple[datetime | None, datetime | None]:
        """Return the first and last `received_at` of the valid rows in UTC, or None and None."""
        if not self.table.is_received:
            return None, None
        name = identifier(RECEIVED_AT)
        first, last = self._fetch(f"select min({name}), max({name}) from good")
        return first and first.astimezone(UTC), last and last.astimezone(UTC)

    def is_in_order(self) -> bool:
        """Return whether the valid rows of a large load are roughly in the order of `received_at`.

        Rows stored in this order let a run skip most of the other rows. But the sort takes a third
        of the time of a load, and large files are usually in order already. A load counts as in
        order if, on average, a moment occurs in few of its row groups.
        """
        if not self.table.is_received:
            return True
        name = identifier(RECEIVED_AT)
        (share,) = self._fetch(
            "select avg(epoch(last - first)) / nullif(epoch(max(last) - min(first)), 0)"
            f" from (select min({name}) as first, max({name}) as last from good"
            f" group by rowid // {_ROW_GROUP})"
        )
        return share is None or bool(share <= _FEW)

    def deduplicate(self) -> int:
        """Merge valid rows that are the same event or the same entity; return how many remain.

        A later load would merge them into the stored rows by the same rules, see
        orchestrator.warehouse.merging. Of two rows of an entity with the same `received_at` the
        last one in the order of the files counts.

        Few rows have a duplicate. So a first query sorts only hashes of the keys, and the rest of
        the work is limited to rows whose hash occurs more than once.
        """
        con, table = self._con, self.table
        key_hash = f"hash({', '.join(identifier(name) for name in table.key)})"
        con.execute(
            "create or replace temp table repeated as"
            f" select rowid as position from good where {key_hash} in (select h from"
            " (select h, lag(h) over (order by h) as before"
            f" from (select {key_hash} as h from good)) where h = before)"
        )
        duplicates = "from good where rowid in (from repeated)"
        if self._count("repeated"):
            merge = self._distinct_events if table.kind == "event" else self._newest_entities
            con.execute(
                "create or replace temp table duplicates as"
                f" select *, rowid as position {duplicates}"
            )
            con.execute(f"create or replace temp table merged as {merge()}")
            con.execute(f"delete {duplicates}")
            con.execute("insert into good select *, true from merged")
            con.execute("drop table duplicates; drop table merged")
        con.execute("drop table repeated")
        return self._count("good")

    def write_rejects(self, folder: Path, now: datetime) -> Path | None:
        """Write the rejected rows to `<table>-<now>.jsonl` in `folder`, and return its path.

        Returns None if there are none. Only the owner can read the file. If the name is taken, a
        number is added to it.
        """
        if not self.rejected:
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{self.table.name}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        self._rejects.seek(0)
        with NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=f".{stem}") as temporary:
            shutil.copyfileobj(self._rejects, temporary)  # a NamedTemporaryFile has mode 0600
            temporary.flush()
            os.fsync(temporary.fileno())
            for number in count(1):
                path = folder / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
                try:
                    path.hardlink_to(temporary.name)  # unlike a rename it replaces no file
                except FileExistsError:
                    continue
                return path
        raise AssertionError

    def _distinct_events(self) -> str:
        """Return the query that merges the rows of `duplicates` that are the same event.

        Rows that agree in all required columns form a group. The group is one event if no nullable
        column has two different values; otherwise its distinct rows are kept.
        """
        columns, bits = data_columns(self.table), omitted_bits(self.table)
        required = ", ".join(identifier(c.name) for c in columns if c.name not in bits)
        every = ", ".join(identifier(c.name) for c in columns)
        omitted = identifier(OMITTED)
        conditions, values = ["true"], []
        for column in columns:
            name = identifier(column.name)
            if column.name not in bits:
                values.append(name)
                continue
            values.append(f"min({name}) as {name}")
            conditions.append(f"min({name}) is not distinct from max({name})")
            if column.type == "text":  # an empty text and a null in the file are different values
                is_null = f"bool_or({name} is null and {omitted} & {bits[column.name]} = 0)"
                conditions.append(f"not (coalesce(bool_or({name} = ''), false) and {is_null})")
        return (
            f"with groups as materialized (select {', '.join(values)},"
            f" bit_and({omitted}) as {omitted}, {' and '.join(conditions)} as is_one_event"
            f" from duplicates group by {required})"
            f" select {every}, {omitted} from groups where is_one_event union all"
            f" select {every}, bit_and({omitted}) from duplicates semi join"
            f" (from groups where not is_one_event) using ({required}) group by {every}"
        )

    def _newest_entities(self) -> str:
        """Return the query that merges the rows of `duplicates` of each key into the newest one.

        A column that the newest row omits is taken from an older row.
        """
        order = f"{identifier(RECEIVED_AT)}, position" if self.table.is_received else "position"
        bits = omitted_bits(self.table)
        values = []
        for column in data_columns(self.table):
            name = identifier(column.name)
            is_given = f"{identifier(OMITTED)} & {bits.get(column.name, 0)} = 0"
            if column.name in self.table.key:
                values.append(name)
            else:
                values.append(f"last({name} order by {order}) filter ({is_given}) as {name}")
        keys = ", ".join(identifier(name) for name in self.table.key)
        return (
            f"select {', '.join(values)}, bit_and({identifier(OMITTED)}) from duplicates"
            f" group by {keys}"
        )

    def _add_parquet(self, file: RawFile) -> None:
        source = parquet_source(file.path)
        try:
            cells = parquet_cells(self.table, self._types(source))
            rows = int(self._fetch(f"select count(*) from {source}")[0])
            if self._add_if_all_valid(source, cells, rows):
                return
        except duckdb.InvalidInputException:  # text that is not UTF-8, or damaged pages
            self._add_parquet_by_row(file)
            return
        row = object_sql(file.header, by_position=False)
        self._add_row_by_row(file, _RowQuery(source, cells, "null", row), rows)

    def _add_parquet_by_row(self, file: RawFile) -> None:
        """Read a file with text that is not UTF-8: DuckDB would not read a single row of it."""
        for batch, invalid in parquet_batches(file.path):
            self._con.register("batch", batch)
            row = object_sql(file.header, by_position=False)
            for position, name in invalid.items():
                (text,) = self._fetch(f"select {row} from batch limit 1 offset {position}")
                self._reject_row(file, None, f"{name} is not UTF-8", text)
            good = pa.array([at not in invalid for at in range(batch.num_rows)])
            self._con.register("batch", batch.filter(good))
            cells = parquet_cells(self.table, self._types("batch"))
            kept = batch.num_rows - len(invalid)
            self._add_row_by_row(file, _RowQuery("batch", cells, "null", row), kept)
            self._con.unregister("batch")

    def _add_csv(self, file: RawFile) -> None:
        """Read the file itself or, if a line breaks RFC 4180, a copy without such lines."""
        width = len(file.header)
        cells = csv_cells(self.table, file.header)
        row = object_sql(file.header, by_position=True)
        rows = csv_rows(file.path, width)
        try:
            if rows is not None and self._add_if_all_valid(
                csv_source(file.path, width), cells, rows
            ):
                return
        except duckdb.InvalidInputException:
            pass  # not UTF-8, too few fields, or a row that is too long: the next pass names it
        copy = self._folder / "records.csv"
        kept = 0
        with copy.open("wb") as records:
            for line, record, reason in csv_records(file.path, width):
                if reason:
                    self._reject_line(file, line, reason, record)
                else:
                    records.write(b"%d,%b\n" % (line, record))
                    kept += 1
        source = csv_source(copy, width, has_line=True)
        self._add_row_by_row(file, _RowQuery(source, cells, "line::bigint", row), kept)
        copy.unlink()

    def _add_jsonl(self, file: RawFile) -> None:
        names = [column.name for column in data_columns(self.table)]
        keys = json_keys(file.path)
        if keys:
            check_columns(file.path, self.table, sorted(keys))
        rows, is_omitted = scan_json_lines(file.path, [*omitted_bits(self.table)])
        if keys and is_omitted is not None:
            cells = json_cells(self.table, is_omitted=is_omitted)
            try:
                if self._add_if_all_valid(json_source(file.path, names), cells, rows):
                    return
            except duckdb.InvalidInputException:
                pass  # a line that is not an object: the next pass names it
        self._add_jsonl_by_line(file, names, is_checked=bool(keys))

    def _add_jsonl_by_line(self, file: RawFile, names: list[str], *, is_checked: bool) -> None:
        con = self._con
        con.register("arriving_lines", json_lines(file.path))
        con.execute(
            "create or replace temp table lines as select line, raw, case when text is not null"
            " and json_valid(text) and json_type(text) = 'OBJECT' then text end as object"
            " from arriving_lines"
        )
        con.unregister("arriving_lines")
        objects, first = self._fetch("select count(object), arg_min(raw, line) from lines")
        if first is None:
            return
        if not objects or first.lstrip().startswith(b"["):
            raise UsageError(
                f"{file.path} is not a JSON Lines file: write one JSON object per line."
            )
        for line, raw in self._each("select line, raw from lines where object is null order by 1"):
            self._reject_line(file, line, json_reason(raw), raw)
        if not is_checked:
            keys = self._each("select distinct unnest(json_keys(object)) from lines order by 1")
            check_columns(file.path, self.table, [key for (key,) in keys])
        pointers = ", ".join(literal(f"/{name}") for name in names)
        columns = ", ".join(
            f"found[{at}] as {identifier(n)}" for at, n in enumerate(names, start=1)
        )
        source = (
            f"(select line, object, {columns} from (select line, object, json_extract(object,"
            f" [{pointers}]) as found from lines where object is not null))"
        )
        cells = json_cells(self.table, is_omitted="{} is null")
        self._add_row_by_row(file, _RowQuery(source, cells, "line", "object::json"), objects)
        con.execute("drop table lines")

    def _add_if_all_valid(self, relation: str, cells: Mapping[str, Cell], expected: int) -> bool:
        """Add the rows of a file if all of them are valid; else add none and return False.

        `expected` is the number of rows. DuckDB may skip or split rows of a file that is not
        well-formed, which only the count reveals.
        """
        rules = Rules(self.table, cells)
        self._con.begin()
        try:
            (added,) = self._fetch(
                f"insert into good select {rules.values(replace_nul=False)},"
                f" {rules.is_valid_as_is()}"
                f" from {relation}"
            )
            (valid,) = self._fetch(f"select coalesce(bool_and({_VALID}), true) from good")
        except BaseException:
            self._con.rollback()
            raise
        if added != expected or not valid:
            self._con.rollback()
            return False
        self._con.commit()
        self.rows += added
        return True

    def _add_row_by_row(self, file: RawFile, source: _RowQuery, expected: int) -> None:
        """Add the valid rows of a file, and reject each other row with all its reasons."""
        con, rules = self._con, Rules(self.table, source.cells)
        con.execute(
            f"create or replace temp table checked as select *, {rules.reason()} as"
            f" {identifier('(reason)')} from {source.relation}"
        )
        reason = identifier("(reason)")
        rows, rejected, with_nul = self._fetch(
            f"select count(*), count({reason}), count(*) filter ({reason} is null and"
            f" ({rules.has_nul()})) from checked"
        )
        if rows != expected:
            raise duckdb.InvalidInputException("DuckDB did not read all rows")
        good = f"select {rules.values(replace_nul=True)}, true from checked where {reason} is null"
        con.execute(f"insert into good {good}")
        if with_nul:
            _log.warning(
                "%s: %d rows have a NUL in a text; it is replaced by U+FFFD", file.path, with_nul
            )
        self.rows += rows - rejected
        if rejected:
            query = f"select {source.line}, {reason}, {source.row} from checked"
            for line, why, row in self._each(f"{query} where {reason} is not null"):
                self._reject_row(file, line, why, row)
        con.execute("drop table checked")

    def _reject_row(self, file: RawFile, line: int | None, reason: str, row: str) -> None:
        """Reject a row that is given as a JSON object."""
        start = json.dumps({"file": file.label, "line": line, "reason": reason}, ensure_ascii=False)
        self._reject(reason, f'{start[:-1]}, "row": {row}}}')

    def _reject_line(self, file: RawFile, line: int, reason: str, raw: bytes) -> None:
        r"""Reject a line that could not be split into columns; invalid bytes appear as \xNN."""
        text = raw.decode(errors="backslashreplace")
        entry = {"file": file.label, "line": line, "reason": reason, "raw": text}
        self._reject(reason, json.dumps(entry, ensure_ascii=False))

    def _reject(self, reason: str, entry: str) -> None:
        self.rows += 1
        self.rejected += 1
        self.reasons[reason.split(": ", maxsplit=1)[0]] += 1
        self._rejects.write(f"{entry}\n")

    def _types(self, relation: str) -> dict[str, str]:
        described = self._con.execute(f"describe select * from {relation}").fetchall()
        return {str(row[0]): str(row[1]) for row in described}

    def _count(self, relation: str) -> int:
        return int(self._fetch(f"select count(*) from {relation}")[0])

    def _fetch(self, query: str) -> tuple[Any, ...]:
        # fetchall() and not fetchone(): a result that is not read to its end locks its source.
        return self._con.execute(query).fetchall()[0]

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        rows = self._con.execute(query)
        while batch := rows.fetchmany(1000):
            yield from batch
