"""The rows of one table between the raw files and the warehouse.

DuckDB reads each file in one pass into a temporary table, in which a load that is larger than
memory goes to disk. A file with a bad row is read again: that pass finds out what is wrong with
which line, and costs more, so a good file does not pay for it.
"""

# ruff: noqa: S608 - names and texts are quoted where the SQL is built
import json
import logging
import os
import shutil
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
from orchestrator.loading.records import (
    LONGEST_RECORD,
    csv_records,
    csv_rows,
    json_keys,
    json_lines,
    json_reason,
    parquet_batches,
)
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
from orchestrator.warehouse.contract import RECEIVED, Table
from orchestrator.warehouse.merging import LACKS, data_columns, lack_bits
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import apply, limits

_log = logging.getLogger(__name__)

_OF_THE_MACHINE = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException)
_BLOCK = 8_000_000  # bytes
_CLEAN = identifier("(clean)")
_TYPES = {"text": "varchar", "timestamp": "timestamptz", "boolean": "boolean"}


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open the database in which rows arrive; what exceeds its memory goes to `folder`."""
    connection = duckdb.connect(config={"temp_directory": str(folder)})
    apply(connection, {"TimeZone": "UTC", "arrow_large_buffer_size": True, **limits()})
    return connection


class _Source(NamedTuple):
    """What DuckDB reads a file by, for the pass that names what is wrong with which row."""

    relation: str
    cells: Mapping[str, Cell]
    line: str
    """The expression of the line on which a row starts; null where the format has no lines."""
    row: str
    """The expression of the row as a JSON object."""


class Staging:
    """The rows of one table: good ones in the relation `good`, bad ones as lines of JSON."""

    good = "temp.good"

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, table: Table) -> None:
        """Take a connection of connect(), and a new folder for files of this table."""
        folder.mkdir()
        self.table = table
        self.rows = 0
        self.rejected = 0
        self._folder = folder
        self._con = connection
        self._rejects = (folder / "rejects.jsonl").open("w+", encoding="utf-8")
        columns = [f"{identifier(c.name)} {_TYPES[c.type]}" for c in data_columns(table)]
        columns.append(f"{identifier(LACKS)} bigint, {_CLEAN} boolean")
        connection.execute(f"create or replace temp table good ({', '.join(columns)})")

    def close(self) -> None:
        """Drop the rows."""
        self._con.execute("drop table if exists temp.good")
        self._rejects.close()

    def add(self, file: RawFile) -> None:
        """Read one file: each row of it is good or rejected.

        Raises UsageError that names the file if no row can be read from it.
        """
        read = {"parquet": self._add_parquet, "csv": self._add_csv, "jsonl": self._add_jsonl}
        try:
            read[file.format](file)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if type(error) in _OF_THE_MACHINE:
                raise
            # The text may quote the row itself, and so an address: only the kind is shown.
            raise UsageError(
                f"{file.path} cannot be read as {file.format}: write it again."
                f" ({type(error).__name__})"
            ) from None

    def merge_twins(self) -> int:
        """Leave one row of those that are one event, or one entity; return how many are left.

        Rows of one load are merged as a later load would merge them, see
        orchestrator.warehouse.merging; of an entity's rows of one moment the last in the order of
        the files counts. Few rows have a twin, so only hashes of the keys are grouped at first.
        """
        con, table = self._con, self.table
        key = f"hash({', '.join(identifier(name) for name in table.key)})"
        con.execute(
            f"create or replace temp table repeated as select h from (select {key} as h from good)"
            " group by h having count(*) > 1"
        )
        twins = f"from good where {key} in (select h from repeated)"
        if self._count("repeated"):
            merged = self._merged_events if table.kind == "event" else self._merged_entities
            con.execute(f"create or replace temp table twins as select *, rowid as place {twins}")
            con.execute(f"create or replace temp table merged as {merged()}")
            con.execute(f"delete {twins}")
            con.execute("insert into good select *, true from merged")
            con.execute("drop table twins; drop table merged")
        con.execute("drop table repeated")
        return self._count("good")

    def write_rejects(self, folder: Path, now: datetime) -> Path | None:
        """Write `<table>-<now>.jsonl`, readable by its owner alone; None if there are no rows."""
        if not self.rejected:
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{self.table.name}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        self._rejects.seek(0)
        with NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=f".{stem}") as temporary:
            shutil.copyfileobj(self._rejects, temporary)  # the temporary file has mode 0600
            temporary.flush()
            os.fsync(temporary.fileno())
            for number in count(1):
                path = folder / (f"{stem}.jsonl" if number == 1 else f"{stem}-{number}.jsonl")
                try:
                    path.hardlink_to(temporary.name)
                except FileExistsError:
                    continue
                return path
        raise AssertionError

    def _merged_events(self) -> str:
        """Return the query of the events among `twins`, of which no two are one receipt."""
        columns, bits = data_columns(self.table), lack_bits(self.table)
        required = ", ".join(identifier(c.name) for c in columns if c.name not in bits)
        every = ", ".join(identifier(c.name) for c in columns)
        lacks = f"bit_and({identifier(LACKS)})"
        alike, merged = [], []
        for column in columns:
            name = identifier(column.name)
            if column.name not in bits:
                merged.append(name)
                continue
            merged.append(f"any_value({name})")
            empty = f"bool_or({name} is null and {identifier(LACKS)} & {bits[column.name]} = 0)"
            is_text = column.type == "text"
            alike.append(f"count(distinct {name}) <= 1")
            if is_text:  # an empty text and a null that the file gives are two receipts
                alike.append(f"not (coalesce(bool_or({name} = ''), false) and {empty})")
        condition = " and ".join(alike) or "true"
        same = " and ".join(
            f"twins.{identifier(c.name)} = others.{identifier(c.name)}"
            for c in columns
            if c.name not in bits
        )
        return (
            f"select {', '.join(merged)}, {lacks} from twins group by {required}"
            f" having {condition} union all select {every}, {lacks} from twins semi join"
            f" (select {required} from twins group by {required} having not ({condition}))"
            f" as others on {same} group by {every}"
        )

    def _merged_entities(self) -> str:
        """Return the query of the entities among `twins`, one row a key."""
        order = f"{identifier(RECEIVED)}, place" if self.table.is_received else "place"
        bits = lack_bits(self.table)
        values = []
        for column in data_columns(self.table):
            name = identifier(column.name)
            given = f"{identifier(LACKS)} & {bits.get(column.name, 0)} = 0"
            if column.name in self.table.key:
                values.append(name)
            else:
                values.append(f"last({name} order by {order}) filter ({given}) as {name}")
        keys = ", ".join(identifier(name) for name in self.table.key)
        return (
            f"select {', '.join(values)}, bit_and({identifier(LACKS)}) from twins group by {keys}"
        )

    def _add_parquet(self, file: RawFile) -> None:
        source = parquet_source(file.path)
        try:
            cells = parquet_cells(self.table, self._types(source))
            rows = int(self._fetch(f"select count(*) from {source}")[0])
            if self._add_clean(source, cells, rows):
                return
        except duckdb.InvalidInputException:  # a text that is not UTF-8, or damaged pages
            self._add_parquet_by_row(file)
            return
        row = object_sql(file.header, by_place=False)
        self._add_judged(file, _Source(source, cells, "null", row), rows)

    def _add_parquet_by_row(self, file: RawFile) -> None:
        """Read a file in which some text is not UTF-8, of which DuckDB reads no row."""
        for batch, invalid in parquet_batches(file.path):
            self._con.register("batch", batch)
            row = object_sql(file.header, by_place=False)
            for place, name in invalid.items():
                (text,) = self._fetch(f"select {row} from batch limit 1 offset {place}")
                self._reject_row(file, None, f"{name} is not UTF-8", text)
            good = pa.array([at not in invalid for at in range(batch.num_rows)])
            self._con.register("batch", batch.filter(good))
            cells = parquet_cells(self.table, self._types("batch"))
            kept = batch.num_rows - len(invalid)
            self._add_judged(file, _Source("batch", cells, "null", row), kept)
            self._con.unregister("batch")

    def _add_csv(self, file: RawFile) -> None:
        """Read the file itself or, if a line is not RFC 4180, a copy without such lines."""
        width = len(file.header)
        cells = csv_cells(self.table, file.header)
        row = object_sql(file.header, by_place=True)
        rows = csv_rows(file.path, width)
        try:
            if rows is not None and self._add_clean(csv_source(file.path, width), cells, rows):
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
        self._add_judged(file, _Source(source, cells, "line::bigint", row), kept)
        copy.unlink()

    def _add_jsonl(self, file: RawFile) -> None:
        names = [column.name for column in data_columns(self.table)]
        keys = json_keys(file.path)
        if keys:
            check_columns(file.path, self.table, sorted(keys))
        rows, absent = _json_shape(file.path, [*lack_bits(self.table)])
        if keys and absent is not None:
            cells = json_cells(self.table, absent=absent)
            try:
                if self._add_clean(json_source(file.path, names), cells, rows):
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
        cells = json_cells(self.table, absent="{} is null")
        self._add_judged(file, _Source(source, cells, "line", "object::json"), objects)
        con.execute("drop table lines")

    def _add_clean(self, relation: str, cells: Mapping[str, Cell], expected: int) -> bool:
        """Add the rows of a file if all of them are good; else add none and return False."""
        rules = Rules(self.table, cells)
        self._con.begin()
        try:
            (added,) = self._fetch(
                f"insert into good select {rules.values()}, {rules.is_clean()} from {relation}"
            )
            (clean,) = self._fetch(f"select coalesce(bool_and({_CLEAN}), true) from good")
        except BaseException:
            self._con.rollback()
            raise
        if added != expected or not clean:
            self._con.rollback()
            return False
        self._con.commit()
        self.rows += added
        return True

    def _add_judged(self, file: RawFile, source: _Source, expected: int) -> None:
        """Add the good rows of a file, and reject the others with every reason."""
        con, rules = self._con, Rules(self.table, source.cells)
        con.execute(
            f"create or replace temp table judged as select *, {rules.reason()} as"
            f" {identifier('(reason)')} from {source.relation}"
        )
        reason = identifier("(reason)")
        rows, rejected, mended = self._fetch(
            f"select count(*), count({reason}), count(*) filter ({reason} is null and"
            f" ({rules.is_mended()})) from judged"
        )
        if rows != expected:
            raise duckdb.InvalidInputException("DuckDB read another number of rows than there are")
        good = f"select {rules.values()}, true from judged where {reason} is null"
        con.execute(f"insert into good {good}")
        if mended:
            _log.warning(
                "%s: %d rows have a NUL in a text; it is replaced by U+FFFD", file.path, mended
            )
        self.rows += rows - rejected
        if rejected:
            query = f"select {source.line}, {reason}, {source.row} from judged"
            for line, why, row in self._each(f"{query} where {reason} is not null"):
                self._reject_row(file, line, why, row)
        con.execute("drop table judged")

    def _reject_row(self, file: RawFile, line: int | None, reason: str, row: str) -> None:
        """Keep a row that is a JSON object already."""
        start = json.dumps({"file": file.label, "line": line, "reason": reason}, ensure_ascii=False)
        self._reject(f'{start[:-1]}, "row": {row}}}')

    def _reject_line(self, file: RawFile, line: int, reason: str, raw: bytes) -> None:
        r"""Keep a line that has no columns as text, a byte that is not UTF-8 as \xNN."""
        text = raw.decode(errors="backslashreplace")
        entry = {"file": file.label, "line": line, "reason": reason, "raw": text}
        self._reject(json.dumps(entry, ensure_ascii=False))

    def _reject(self, entry: str) -> None:
        self.rows += 1
        self.rejected += 1
        self._rejects.write(f"{entry}\n")

    def _types(self, relation: str) -> dict[str, str]:
        described = self._con.execute(f"describe select * from {relation}").fetchall()
        return {str(row[0]): str(row[1]) for row in described}

    def _count(self, relation: str) -> int:
        return int(self._fetch(f"select count(*) from {relation}")[0])

    def _fetch(self, query: str) -> tuple[Any, ...]:
        # Of all rows: a result that is not read to its end keeps its source in use.
        return self._con.execute(query).fetchall()[0]

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        rows = self._con.execute(query)
        while batch := rows.fetchmany(1000):
            yield from batch


def _json_shape(path: Path, nullable: list[str]) -> tuple[int, str | None]:
    """Return how many lines a JSON Lines file has, and the condition that a key is absent.

    DuckDB's reader shows an absent key as it shows a null. The bytes tell them apart: without any
    null in the file every null is an absent key, and a key that each line has is never absent.
    The condition is None if neither holds, or if a line is too long, which DuckDB does not always
    refuse; then the file is read line by line.
    """
    lines, nulls, longest = 0, False, 0
    for block in _blocks(path):
        lines += len(block) - sum(map(bytes.isspace, block))
        nulls = nulls or b"null" in b"".join(block)
        longest = max(longest, len(block[-1]))  # a line of more than a block ends its block
    if longest > LONGEST_RECORD:
        return lines, None
    if not nulls:
        return lines, "{} is null"
    keys = [b'"%b":' % name.encode() for name in nullable]
    found = [sum(b"".join(block).count(key) for block in _blocks(path)) for key in keys]
    return lines, "false" if all(number == lines for number in found) else None


def _blocks(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as file:
        while block := file.readlines(_BLOCK):
            yield block
