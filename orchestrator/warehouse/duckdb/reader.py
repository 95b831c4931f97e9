"""Read windows from DuckDB, the embedded engine.

How a window is frozen: dbt creates the tables of the run in the file `frozen.duckdb` in the run's
folder, with the warehouse attached read-only. So other processes can read the warehouse during a
run, and the run leaves nothing in it. dbt and this module use the same DuckDB instance of this
process. So the stage consists of those tables, without a copy, and one memory limit applies to
both. While a run is active, no other process can write to the warehouse file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestrator import system
from orchestrator.errors import ExportError, LockedError, UsageError
from orchestrator.warehouse.project import rendered
from orchestrator.warehouse.sql import literal
from orchestrator.warehouse.stage import Stage, settings

_ALIAS = "warehouse"


class DuckDB:
    """The databases of one run: the warehouse (read-only), the frozen rows, the stage."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and the private folder of the run."""
        self._output = output
        self._frozen = folder / "frozen.duckdb"
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target, changed so that dbt writes to the database of the run."""
        warehouse = {"path": self._output.get("path"), "alias": _ALIAS, "read_only": True}
        attach = [warehouse, *(self._output.get("attach") or [])]
        chosen = {**settings(), **(self._output.get("settings") or {})}
        return {**self._output, "path": str(self._frozen), "attach": attach, "settings": chosen}

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The raw tables are in the attached database."""
        return {"raw_database": _ALIAS}

    @property
    def dbt_table_config(self) -> dict[str, Any]:
        """The dbt configs of a run's tables: none."""
        return {}

    def open(self) -> None:
        """Attach the warehouse. Raises UsageError or ExportError if it cannot be read."""
        path = path_of(rendered(self._output))
        if not path.is_file():
            raise UsageError(
                f"no warehouse at {path}; set DUCKDB_PATH, or create it with 'orchestrate load'"
            )
        self._connection = duckdb.connect(str(self._frozen))
        try:
            self._connection.execute(f"attach {literal(str(path))} as {_ALIAS} (read_only)")
            self._connection.execute("attach ':memory:' as stage")
        except duckdb.Error as error:
            raise unavailable(path, error) from error

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Return a stage of views over the frozen tables."""
        assert self._connection  # noqa: S101 - open() comes first
        return Stage.over(self._connection, relations, brands_relation, columns)

    def close(self) -> None:
        """Close the databases, including dbt's own connection, which would stay open."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - slow

        if self._connection:
            self._connection.close()
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


def path_of(output: Mapping[str, Any]) -> Path:
    """Return the path of the database of a rendered target.

    Raises UsageError if the database is in memory, where no other process can see it.
    """
    path = str(output.get("path", ":memory:"))
    if path.startswith(":memory:"):
        raise UsageError(
            "the warehouse would be in memory and would be lost: set DUCKDB_PATH to a file"
        )
    return Path(path)


def unavailable(path: Path, error: duckdb.Error) -> ExportError:
    """Return the error to raise if the warehouse cannot be opened.

    It is a LockedError if another process has the file open: then the same command works later.
    """
    holder = re.search(r"Conflicting lock is held in (.*?\(PID \d+\))", str(error))
    if holder:
        return LockedError(f"{path} is in use by {holder[1]}: wait until it is done and try again")
    invalid = UsageError(f"{path} cannot be opened as a DuckDB database: {error}")
    return system.disk_full(error, path) or invalid
