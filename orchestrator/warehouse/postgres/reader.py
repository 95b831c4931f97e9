"""Read windows from PostgreSQL, one warehouse for many users.

How a window is frozen: dbt creates the tables of the run in a separate schema, `<schema>_run`. dbt
drops relations with cascade, so in a shared schema it would drop views of other users and wait for
their transactions. An advisory lock keeps a second run out of the schema. This module then copies
the tables in one repeatable-read transaction to Arrow files in the run's folder, which DuckDB reads
like tables. A large table is copied in parts, one file each, that follow each other in time,
because DuckDB needs space for twice the size of what it sorts.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_manager import dbapi as adbc
from adbc_driver_postgresql import StatementOptions  # type: ignore[import-untyped] # has no types
from pyarrow import dataset

from orchestrator.errors import ExportError, LockedError
from orchestrator.warehouse import Engine, stage
from orchestrator.warehouse.postgres import (
    connect,
    credentials,
    run_cancellable,
    translated_errors,
)
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import ORDER, TABLES, VIEWS, Stage, read_ahead, runs

_SUFFIX = "_run"
_BATCH = StatementOptions.BATCH_SIZE_HINT_BYTES.value
_BATCHES = (2_000_000, 32_000_000)  # minimum and maximum bytes; several are in memory at a time
_LOCK_TIMEOUT = "5s"  # when tables are dropped that others may be reading, such as pg_dump
_PART = 64 * 1024 * 1024  # bytes of a table in one part
_MOST_PARTS = 128  # each part is an open file
_SAMPLE = 8 * 1024 * 1024  # bytes of a table that are sampled to find where the parts begin
_ROWS = 20_000  # in a batch of a file; several batches are in memory while it is read
_DAYS = 10_957  # from 1970 to 2000
# ADBC returns these types as numbers that differ from what PostgreSQL displays. Types that it
# returns as opaque bytes, such as numeric, are selected as text too.
_AS_TEXT = ("money", "oid")


class PostgreSQL(Engine):
    """The connection, the schema and the stage of one run."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and the private folder of the run."""
        self._output = output
        self._folder = folder
        self._credentials = credentials(output)
        self._schema = f"{self._credentials['schema']}{_SUFFIX}"
        self._connection: adbc.Connection | None = None
        self._stage: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target, with the schema of the run."""
        return {**self._output, "schema": self._schema}

    @property
    def dbt_table_config(self) -> dict[str, Any]:
        """Unlogged tables, created without nested loops."""
        # PostgreSQL estimates that the deduplication leaves almost no row. So it would choose a
        # nested loop, and scan all customers for each event, because a `with` has no index.
        without_loops = {"sql": "set local enable_nestloop = off"}
        # The tables are dropped after the run, so they need not survive a crash of the server.
        return {"unlogged": True, "pre-hook": [without_loops]}

    def open(self) -> None:
        """Connect, and keep other runs out of the run's schema until close().

        Raises ExportError if the server cannot be reached, LockedError if another run uses the
        schema, UsageError if the role may not create the schema.
        """
        self._connection = connect(self._credentials, autocommit=True)
        try:
            with translated_errors(f"the schema {self._schema}"):
                run_cancellable(self._connection, self._take_schema)
        except BaseException:
            self._connection.close()
            self._connection = None
            raise

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Copy the rows of the window in one snapshot, and return a stage of them."""
        assert self._connection  # noqa: S101 - open() comes first
        return run_cancellable(
            self._connection, lambda: self._read(relations, brands_relation, columns)
        )

    def close(self) -> None:
        """Drop the run's tables and disconnect."""
        if self._stage:
            self._stage.close()
        if self._connection:
            with suppress(adbc.Error):  # the next run replaces tables that are left
                run_cancellable(self._connection, self._drop)
            self._connection.close()

    def _read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        if self._stage is None:
            self._stage = stage.connect(self._folder)
        with translated_errors("the window's rows"), stage.translated_errors():
            self._execute("begin isolation level repeatable read read only")
            try:
                parts = {
                    kind: self._create_views(
                        kind, self._copy(kind, relations[view], columns.get(view))
                    )
                    for kind, view in VIEWS.items()
                }
                brands = self._fetch(f"select brand from {brands_relation}")  # noqa: S608 - dbt's
            finally:
                with suppress(adbc.Error):
                    self._execute("rollback")  # nothing was written
            return Stage.from_relations(self._stage, sorted(str(brand) for brand in brands), parts)

    def _drop(self) -> None:
        self._execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
        for statement in self._fetch(
            "select format('drop %s if exists %s cascade',"  # noqa: S608 - quoted
            " case relkind when 'v' then 'view' else 'table' end, oid::regclass) from pg_class"
            f" where relnamespace = {literal(self._schema)}::regnamespace and relkind in ('r', 'v')"
        ):
            self._execute(str(statement))

    def _take_schema(self) -> None:
        name = literal(self._schema)
        # The connection is idle while files are written and delivered, which may take hours.
        self._execute("set idle_session_timeout = 0")
        lock = f"select pg_try_advisory_lock(hashtext('orchestrate'), hashtext({name}))"
        if self._fetch(lock) != [True]:
            raise LockedError(f"another run uses the schema {self._schema}; try again")
        if not self._fetch(f"select oid from pg_namespace where nspname = {name}"):  # noqa: S608 - quoted
            self._execute(f"create schema {identifier(self._schema)}")

    def _copy(self, kind: str, relation: str, wanted: set[str] | None) -> list[Path]:
        """Copy the rows to Arrow files, one for each part, and return the files in order."""
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema(f"select * from {relation}")  # noqa: S608 - dbt's
            unchecked = self._fetch("select current_setting('server_encoding')") == ["SQL_ASCII"]
            pairs = [*_wanted(schema, wanted)]
            texts = {name for field, name in pairs if unchecked and field.type == "string"}
            columns = ", ".join(
                _as_bytes(field, name) if name in texts else _selected(field, name)
                for field, name in pairs
            )
            (size,) = self._fetch(f"select pg_table_size({literal(relation)})")
            part = _part(schema, ORDER[kind][0], relation, size=size)
            # A batch is distributed over up to 128 parts. Small pieces would be slow to read.
            batch = min(max(_BATCHES[0], size // 500), _BATCHES[1])
            cursor.adbc_statement.set_options(**{_BATCH: str(batch)})
            cursor.execute(f"select {columns}, {part} from {relation}")  # noqa: S608 - quoted
            # The order matters: the thread that reads ahead must end before its source is closed.
            with (
                cursor.fetch_record_batch() as rows,
                closing(read_ahead(_checked(rows, texts))) as batches,
            ):
                return _write_parts(self._folder / kind, batches, _with_texts(rows.schema, texts))

    def _create_views(self, kind: str, files: list[Path]) -> list[str]:
        """Create the stage's relation over all files and one view for each; return the views."""
        table = TABLES[kind]
        parts = {f"{table}_{number}": [file] for number, file in enumerate(files)}
        if len(files) == 1:
            parts = {table: files}
        assert self._stage  # noqa: S101 - created before
        for view, paths in {table: files, **parts}.items():
            source, scanner = view.replace(".", "_"), _scanner(paths)
            self._stage.register(source, scanner)
            columns = ", ".join(map(_corrected, scanner.projected_schema))
            self._stage.execute(f"create or replace view {view} as select {columns} from {source}")  # noqa: S608 - quoted
        return list(parts)

    def _execute(self, statement: str) -> None:
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _fetch(self, query: str) -> list[Any]:
        """Return the first column of a query's rows."""
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return [row[0] for row in cursor.fetchall()]


def _checked(rows: pa.RecordBatchReader, texts: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Yield the batches, with the binary columns `texts` as text.

    Raises ExportError with the server's text if it sends an error. That text quotes no value of a
    row, because the query only copies values.
    """
    schema = _with_texts(rows.schema, texts)
    while True:
        try:
            batch = rows.read_next_batch()
        except StopIteration:
            return
        except OSError as error:
            text = " ".join(str(error).rpartition("]: ")[2].split())
            raise ExportError(f"the window's rows: PostgreSQL says: {text}") from error
        columns = (
            column.view(pa.string()) if field.name in texts else column
            for field, column in zip(schema, batch.columns, strict=True)
        )
        yield pa.RecordBatch.from_arrays([*columns], schema=schema)


def _with_texts(schema: pa.Schema, texts: Collection[str]) -> pa.Schema:
    return pa.schema(
        [field.with_type(pa.string()) if field.name in texts else field for field in schema]
    )


def _wanted(schema: pa.Schema, wanted: set[str] | None) -> Iterator[tuple["pa.Field[Any]", str]]:
    """Yield each wanted column, and its name in dbt's YAML.

    The latter may have capitals, while PostgreSQL lowers names that are not quoted.
    """
    if wanted is None:
        yield from ((field, field.name) for field in schema)
        return
    lowered = {name.lower(): name for name in wanted}
    for field in schema:
        if field.name in wanted:
            yield field, field.name
        elif field.name in lowered:
            yield field, lowered[field.name]


def _as_bytes(field: "pa.Field[Any]", name: str) -> str:
    """Return the SQL that selects a text as bytes, unchecked.

    The server does not know the encoding of an SQL_ASCII database. Sent as text, one invalid value
    would end the query for all brands. Sent as bytes, it only stops the file that would contain it
    (see orchestrator.files.writing).
    """
    text = f"cast({identifier(field.name)} as text)"
    return f"convert_to({text}, 'SQL_ASCII') as {identifier(name)}"


def _selected(field: "pa.Field[Any]", name: str) -> str:
    """Return the SQL that selects a column in a type that ADBC returns correctly."""
    column, name = identifier(field.name), identifier(name)
    kind = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    opaque = isinstance(field.type, pa.OpaqueType) and field.type.storage_type == pa.binary()
    value = f"cast({column} as text)" if opaque or kind in _AS_TEXT else column
    return f"{value} as {name}"


def _part(schema: pa.Schema, time: str, relation: str, *, size: int) -> str:
    """Return the SQL of the number of a row's part, from 0 in the order of the column `time`.

    `size` is the size of the table in bytes. The parts are about equally large, because their
    bounds are percentiles of a sample. A small table has one part, and so has a table in which the
    column is not a timestamp.
    """
    parts = min(_MOST_PARTS, size // _PART + 1)
    is_timestamp = time in schema.names and pa.types.is_timestamp(schema.field(time).type)
    if parts == 1 or not is_timestamp:
        return "0"
    name, shares = identifier(time), [number / parts for number in range(1, parts)]
    return f"""coalesce(width_bucket({name}, (
        select percentile_disc(array{shares}) within group (order by {name})
        from {relation} tablesample system ({min(100, 100 * _SAMPLE / size)})
    )), {parts - 1})"""  # noqa: S608 - quoted


def _corrected(field: "pa.Field[Any]") -> str:
    """Return the SQL that selects a copied column in DuckDB, with infinite times restored.

    PostgreSQL counts from the year 2000 and stores infinity as the greatest number. ADBC converts
    to counting from 1970 by an addition without an overflow check, so infinity wraps around to the
    numbers that are compared here.
    """
    name = identifier(field.name)
    if pa.types.is_date32(field.type):
        kind, bits, shift, number = "date", 32, _DAYS, f"{name} - date '1970-01-01'"
    elif pa.types.is_timestamp(field.type):
        kind = "timestamptz" if field.type.tz else "timestamp"
        bits, shift, number = 64, _DAYS * 86_400_000_000, f"epoch_us({name})"
    else:
        return name
    least = shift - (1 << bits - 1)
    return f"""case {number}
        when {least - 1} then {kind} 'infinity'
        when {least} then {kind} '-infinity'
        else {name}
    end as {name}"""


def _write_parts(folder: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> list[Path]:
    """Write each row to the file of its part; return the files in order.

    The number of the part is the last column of the batches, which the files do not get. `schema`
    is the schema of the batches. An existing folder is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kept = schema.remove(len(schema) - 1)
    files: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    with ExitStack() as open_files:

        def open_file(number: int) -> pa.ipc.RecordBatchFileWriter:
            sink = open_files.enter_context(pa.OSFile(str(folder / f"{number}.arrow"), "wb"))
            return open_files.enter_context(pa.ipc.new_file(sink, kept))

        files[0] = open_file(0)  # even if there are no rows
        for batch in batches:
            for number, rows in _by_part(batch):
                if number not in files:
                    files[number] = open_file(number)
                files[number].write_batch(rows)
    return [folder / f"{number}.arrow" for number in sorted(files)]


def _by_part(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of each part, up to 20,000 at a time."""
    last = batch.num_columns - 1
    numbers = batch.column(last)
    bounds = pc.min_max(numbers)
    if bounds["min"] != bounds["max"]:
        batch = batch.take(pc.sort_indices(numbers))
    rows = batch.select(range(last))
    for number, start, end in runs(batch.column(last)):
        for begin in range(start, end, _ROWS):
            yield number, rows.slice(begin, min(_ROWS, end - begin))


def _scanner(paths: Iterable[Path]) -> dataset.Scanner:
    """Return an Arrow scanner of the files, which DuckDB can read any number of times.

    It reads without threads: read-ahead by threads needs hundreds of MB more and is slower.
    """
    files = dataset.dataset([str(path) for path in paths], format="ipc")
    return files.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False)
