"""Store raw rows in a DuckDB warehouse."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import duckdb

from orchestrator.errors import UsageError
from orchestrator.warehouse import Loaded
from orchestrator.warehouse.contract import Table
from orchestrator.warehouse.duckdb.reader import path_of, unavailable
from orchestrator.warehouse.merging import Merge
from orchestrator.warehouse.project import rendered
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import apply

_TYPES = {"text": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE", "boolean": "BOOLEAN"}
_CATALOG = "warehouse"


class DuckdbLoader(AbstractContextManager["DuckdbLoader"]):
    """A DuckDB file that stores raw rows. It is locked until the `with` block ends.

    The file is attached to the database in which the rows arrive, so they are copied only once and
    one memory limit applies. It always gets the same catalog name there: by default a file
    `raw.duckdb` would become the catalog `raw`, which DuckDB confuses with the schema `raw`.

    Tables get no primary key, because DuckDB's indexes need memory for all rows. The data tests of
    the views check the keys.
    """

    def __init__(
        self, output: Mapping[str, Any], arriving: duckdb.DuckDBPyConnection, *, schema: str = "raw"
    ) -> None:
        """Open or create the database of dbt's target; `arriving` is the connection with the rows.

        Raises LockedError if another process has it open, UsageError if it cannot be opened.
        """
        output = rendered(output)
        path = path_of(output)
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent} is not a folder: create it, or set DUCKDB_PATH")
        self._schema = schema
        self._con = arriving
        apply(arriving, output.get("settings") or {})
        try:
            arriving.execute(f"attach {literal(str(path))} as {_CATALOG}")
        except duckdb.IOException as error:
            raise unavailable(path, error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the database and release its lock."""
        try:
            self._con.execute(f"detach {_CATALOG}")
        except duckdb.Error:  # no checkpoint: the next user of the file makes it
            if kind is None:
                raise

    def prepare(self, table: Table) -> None:
        """Create the raw table, or add the nullable columns that are missing."""
        with self._translated_errors(table):
            self._con.execute(f"create schema if not exists {_CATALOG}.{identifier(self._schema)}")
            definitions = {
                column.name: f"{identifier(column.name)} {_TYPES[column.type]}"
                + ("" if column.nullable else " not null")
                for column in table.columns
            }
            stored = self._stored(table)
            self._con.execute(
                f"create table if not exists {stored} ({', '.join(definitions.values())})"
            )
            existing = self._types(table)
            for column in table.missing_columns(existing, where=f"{self._schema}.{table.name}"):
                self._con.execute(f"alter table {stored} add column {definitions[column.name]}")

    def load(self, table: Table, arriving: str, now: datetime) -> Loaded:
        """Merge the rows of a relation into the raw table, as Loader.load says."""
        with self._translated_errors(table):
            for name in ("incoming", "matched", "changing", "known", "merged"):
                self._con.execute(f"drop table if exists temp.{name}")
            merge = Merge(
                table=table,
                stored=self._stored(table),
                arriving=arriving,
                types=self._types(table),
                usual=_TYPES,
                row="rowid",
                temporary="create temp table {} as",
                quoted=identifier,
                execute=lambda statement: self._fetch(statement, default=(0,))[0],
                fetch=self._fetch,
            ).compare()
            # begin() comes only now, because a transaction of DuckDB can write to one database
            # only, and the temporary tables are in another one.
            self._con.begin()
            try:
                loaded = merge.write(now)
                self._con.commit()
            except BaseException:
                self._con.rollback()
                raise
            return loaded

    def _fetch(self, query: str, default: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        return self._con.execute(query).fetchone() or default

    def _types(self, table: Table) -> dict[str, str]:
        """Return the type of each column of the stored table, by name in lower case."""
        found = self._con.execute(f"from {self._stored(table)} limit 0").description or []
        return {str(column[0]).lower(): str(column[1]) for column in found}

    def _stored(self, table: Table) -> str:
        return f"{_CATALOG}.{identifier(self._schema)}.{identifier(table.name)}"

    @contextmanager
    def _translated_errors(self, table: Table) -> Iterator[None]:
        try:
            yield
        except (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError) as error:
            # DuckDB's text may quote a value, and so an e-mail address: only the class is shown.
            raise UsageError(
                f"{self._schema}.{table.name} cannot store rows of the raw contract"
                f" ({type(error).__name__}): compare its columns and types with models/staging."
            ) from None
