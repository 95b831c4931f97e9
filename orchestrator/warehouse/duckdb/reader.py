"""DuckDB, the embedded engine.

A run freezes its rows in a database of its own, with the warehouse attached read-only: it shares
the warehouse with other readers, and leaves nothing in it. dbt and this module use one DuckDB
instance, so the stage is those very rows, and what limits its memory limits both.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestrator import system
from orchestrator.config import yaml_source
from orchestrator.errors import ExportError, LockedError, UsageError
from orchestrator.warehouse.sql import literal
from orchestrator.warehouse.stage import Stage, show
from orchestrator.warehouse.stage_database import settings

_ALIAS = "warehouse"


class DuckDB:
    """One run's databases: the warehouse (read-only), the frozen rows, and the stage over them."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and a folder of the run's own."""
        self._output = output
        self._frozen = folder / "frozen.duckdb"
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target that dbt runs with: the same, with the run's own database to write to."""
        warehouse = {"path": self._output.get("path"), "alias": _ALIAS, "read_only": True}
        attach = [warehouse, *(self._output.get("attach") or [])]
        chosen = {**settings(), **(self._output.get("settings") or {})}
        return {**self._output, "path": str(self._frozen), "attach": attach, "settings": chosen}

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt vars that tell the sources where the raw tables are."""
        return {"raw_database": _ALIAS}

    def open(self) -> None:
        """Attach the warehouse. Raises UsageError or ExportError where it cannot be read."""
        path = path_of(self._output)
        if not path.is_file():
            raise UsageError(
                f"no warehouse at {path}; set DUCKDB_PATH, or make it with 'orchestrate load'"
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
        """Return the window's rows where they lie."""
        assert self._connection  # noqa: S101 - open() comes first
        return show(self._connection, relations, brands_relation, columns)

    def close(self) -> None:
        """Free the warehouse, which dbt too holds until the process ends or it is told to."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - slow

        if self._connection:
            self._connection.close()
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


def path_of(output: Mapping[str, Any]) -> Path:
    """Return the path that dbt's target names.

    Raises ConfigError where an environment variable of it is not set, UsageError where it is a
    database in memory, which no other process could see.
    """
    path = yaml_source.render(str(output.get("path", ":memory:")))
    if path.startswith(":memory:"):
        raise UsageError("the warehouse would be in memory and be gone: set DUCKDB_PATH to a file")
    return Path(path)


def unavailable(path: Path, error: duckdb.Error) -> ExportError:
    """Return the error to raise where the warehouse cannot be opened.

    LockedError where another process has it open, which frees it by itself.
    """
    holder = re.search(r"Conflicting lock is held in (.*?\(PID \d+\))", str(error))
    if holder:
        return LockedError(f"{path} is in use by {holder[1]}: wait until it is done and try again")
    wrong = UsageError(f"{path} cannot be opened as a DuckDB database: {error}")
    return system.disk_full(error, path) or wrong
