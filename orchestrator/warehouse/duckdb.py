"""DuckDB, the embedded engine: read windows, and store raw rows.

How a window is frozen: dbt creates the tables of the run in the file `frozen.duckdb` in the run's
folder, with the warehouse attached read-only. So other processes can read the warehouse during a
run, and the run leaves nothing in it. dbt and this module use the same DuckDB instance of this
process. So the stage consists of those tables, without a copy, and one memory limit applies to
both. While a run is active, no other process can write to the warehouse file.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from orchestrator import system
from orchestrator.errors import ExportError, LockedError, UsageError
from orchestrator.warehouse import Engine, Loader, MergeCounts
from orchestrator.warehouse.contract import ColumnType, Table
from orchestrator.warehouse.merging import Merge
from orchestrator.warehouse.project import rendered
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import Stage, set_options, settings

_CATALOG = "warehouse"
_TYPES: dict[ColumnType, str] = {
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "boolean": "BOOLEAN",
}


class DuckDB(Engine):
    """The databases of one run: the warehouse (read-only), the frozen rows, the stage."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and the private folder of the run."""
        self._output = output
        self._frozen = folder / "frozen.duckdb"
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target, changed so that dbt writes to the database of the run."""
        warehouse = {"path": self._output.get("path"), "alias": _CATALOG, "read_only": True}
        attach = [warehouse, *(self._output.get("attach") or [])]
        chosen = {**settings(), **(self._output.get("settings") or {})}
        return {**self._output, "path": str(self._frozen), "attach": attach, "settings": chosen}

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The raw tables are in the attached database."""
        return {"raw_database": _CATALOG}

    def open(self) -> None:
        """Attach the warehouse. Raises UsageError or ExportError if it cannot be read."""
        path = _path_of(rendered(self._output))
        if not path.is_file():
            raise UsageError(
                f"no warehouse at {path}; set DUCKDB_PATH, or create it with 'orchestrate load'"
            )
        self._connection = duckdb.connect(str(self._frozen))
        try:
            self._connection.execute(f"attach {literal(str(path))} as {_CATALOG} (read_only)")
            self._connection.execute("attach ':memory:' as stage")
        except duckdb.Error as error:
            raise _unavailable(path, error) from error

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Return a stage of views over the frozen tables."""
        assert self._connection  # noqa: S101 - open() comes first
        return Stage.from_sources(self._connection, relations, brands_relation, columns)

    def close(self) -> None:
        """Close the databases, including dbt's own connection, which would stay open."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - slow

        if self._connection:
            self._connection.close()
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


class DuckdbLoader(Loader):
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
        path = _path_of(output)
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent} is not a folder: create it, or set DUCKDB_PATH")
        self._schema = schema
        self._con = arriving
        set_options(arriving, output.get("settings") or {})
        try:
            arriving.execute(f"attach {literal(str(path))} as {_CATALOG}")
        except duckdb.IOException as error:
            raise _unavailable(path, error) from error

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
            definitions = table.definitions(_TYPES, identifier)
            stored = self._stored(table)
            self._con.execute(
                f"create table if not exists {stored} ({', '.join(definitions.values())})"
            )
            existing = self._types(table)
            for column in table.missing_columns(existing, where=f"{self._schema}.{table.name}"):
                self._con.execute(f"alter table {stored} add column {definitions[column.name]}")

    def load(self, table: Table, arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
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
                sort=sort,
                collations={},
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


def _path_of(output: Mapping[str, Any]) -> Path:
    """Return the path of the database of a rendered target.

    Raises UsageError if the database is in memory, where no other process can see it.
    """
    path = str(output.get("path", ":memory:"))
    if path.startswith(":memory:"):
        raise UsageError(
            "the warehouse would be in memory and would be lost: set DUCKDB_PATH to a file"
        )
    return Path(path)


def _unavailable(path: Path, error: duckdb.Error) -> ExportError:
    """Return the error to raise if the warehouse cannot be opened.

    It is a LockedError if another process has the file open: then the same command works later.
    """
    holder = re.search(r"Conflicting lock is held in (.*?\(PID \d+\))", str(error))
    if holder:
        return LockedError(f"{path} is in use by {holder[1]}: wait until it is done and try again")
    invalid = UsageError(f"{path} cannot be opened as a DuckDB database: {error}")
    return system.disk_full(error, path) or invalid
