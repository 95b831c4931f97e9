"""PostgreSQL, one warehouse for many users.

A run makes its tables in a schema of its own, so that nobody's views are dropped or waited for,
and reads them in one repeatable-read snapshot.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from adbc_driver_manager import dbapi as adbc
from adbc_driver_postgresql import StatementOptions  # type: ignore[import-untyped] # has no types

from orchestrator.errors import ExportError, LockedError
from orchestrator.warehouse import stage_database
from orchestrator.warehouse.postgres import parts as arrow_parts
from orchestrator.warehouse.postgres.server import connect, credentials, explained, waited
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import ORDER, TABLES, VIEWS, Stage, ahead

_SUFFIX = "_run"
_BATCH = StatementOptions.BATCH_SIZE_HINT_BYTES.value
_BATCHES = (2_000_000, 32_000_000)  # bytes at least and at most; some are in memory at a time
_PATIENCE = "5s"  # for whoever reads a table of the run when it ends, such as pg_dump


class PostgreSQL:
    """One run's schema, and the stage."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and a folder of the run's own."""
        self._output = output
        self._folder = folder
        self._credentials = credentials(output)
        self._schema = f"{self._credentials['schema']}{_SUFFIX}"
        self._connection: adbc.Connection | None = None
        self._stage: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target that dbt runs with: the same, in the schema of the run."""
        return {**self._output, "schema": self._schema}

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt vars that tell the sources where the raw tables are: where the project says."""
        return {}

    def open(self) -> None:
        """Connect, and keep other runs out of the run's schema until close().

        Raises ExportError where the server cannot be reached, LockedError where another run is at
        work, UsageError where the schema may not be made.
        """
        self._connection = connect(self._credentials, autocommit=True)
        try:
            with explained(f"the schema {self._schema}"):
                waited(self._connection, self._take_schema)
        except BaseException:
            self._connection.close()
            self._connection = None
            raise

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Copy the window's rows into the stage, in one snapshot."""
        assert self._connection  # noqa: S101 - open() comes first
        return waited(self._connection, lambda: self._read(relations, brands_relation, columns))

    def close(self) -> None:
        """Drop the run's tables, and free the warehouse."""
        if self._stage:
            self._stage.close()
        if self._connection:
            with suppress(adbc.Error):  # the next run replaces what is left
                waited(self._connection, self._drop)
            self._connection.close()

    def _read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        if self._stage is None:
            self._stage = stage_database.connect(self._folder)
        with explained("the window's rows"), stage_database.translated_errors():
            self._execute("begin isolation level repeatable read read only")
            try:
                parts = {
                    kind: self._show(kind, self._copy(kind, relations[view], columns.get(view)))
                    for kind, view in VIEWS.items()
                }
                brands = self._fetch(f"select brand from {brands_relation}")  # noqa: S608 - dbt's
            finally:
                with suppress(adbc.Error):
                    self._execute("rollback")  # nothing was written
            return Stage.of(self._stage, sorted(str(brand) for brand in brands), parts)

    def _drop(self) -> None:
        self._execute(f"set lock_timeout = '{_PATIENCE}'")
        for statement in self._fetch(
            "select format('drop %s if exists %s cascade',"  # noqa: S608 - quoted
            " case relkind when 'v' then 'view' else 'table' end, oid::regclass) from pg_class"
            f" where relnamespace = {literal(self._schema)}::regnamespace and relkind in ('r', 'v')"
        ):
            self._execute(str(statement))

    def _take_schema(self) -> None:
        name = literal(self._schema)
        # The connection is idle while files are written and delivered.
        self._execute("set idle_session_timeout = 0")
        lock = f"select pg_try_advisory_lock(hashtext('orchestrate'), hashtext({name}))"
        if self._fetch(lock) != [True]:
            raise LockedError(f"another run is at work in the schema {self._schema}; try again")
        if not self._fetch(f"select oid from pg_namespace where nspname = {name}"):  # noqa: S608 - quoted
            self._execute(f"create schema {identifier(self._schema)}")

    def _copy(self, kind: str, relation: str, wanted: set[str] | None) -> list[Path]:
        """Stream the rows into Arrow files: DuckDB reads them like a table, and it costs less."""
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            known = cursor.adbc_execute_schema(f"select * from {relation}")  # noqa: S608 - dbt's
            columns = arrow_parts.selected(known, wanted)
            (size,) = self._fetch(f"select pg_table_size({literal(relation)})")
            part = arrow_parts.part(known, ORDER[kind][0], relation, size=size)
            # Of a batch each part gets a thousand rows or so: fewer would cost more to read.
            batch = min(max(_BATCHES[0], size // 500), _BATCHES[1])
            cursor.adbc_statement.set_options(**{_BATCH: str(batch)})
            cursor.execute(f"select {columns}, {part} from {relation}")  # noqa: S608 - quoted
            # Closed in this order: the thread that reads ahead ends before what it reads is freed.
            with cursor.fetch_record_batch() as rows, closing(ahead(_said(rows))) as batches:
                return arrow_parts.write(self._folder / kind, batches, rows.schema)

    def _show(self, kind: str, files: list[Path]) -> list[str]:
        """Show the stage the rows of all files as its table, and return a view of each part."""
        table = TABLES[kind]
        parts = {f"{table}_{number}": [file] for number, file in enumerate(files)}
        if len(files) == 1:
            parts = {table: files}
        assert self._stage  # noqa: S101 - made before
        for view, paths in {table: files, **parts}.items():
            source, found = view.replace(".", "_"), arrow_parts.scanner(paths)
            self._stage.register(source, found)
            shown = arrow_parts.shown(found.projected_schema)
            self._stage.execute(f"create or replace view {view} as select {shown} from {source}")  # noqa: S608 - quoted
        return list(parts)

    def _execute(self, statement: str) -> None:
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _fetch(self, query: str) -> list[Any]:
        """Return the first column."""
        assert self._connection  # noqa: S101 - open() comes first
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return [row[0] for row in cursor.fetchall()]


def _said(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield the batches. Raises ExportError with what the server says in place of one.

    It holds no value: nothing is computed here.
    """
    while True:
        try:
            batch = rows.read_next_batch()
        except StopIteration:
            return
        except OSError as error:
            said = " ".join(str(error).rpartition("]: ")[2].split())
            raise ExportError(f"the window's rows: PostgreSQL says: {said}") from error
        yield batch
