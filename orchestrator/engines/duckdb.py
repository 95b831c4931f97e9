"""DuckDB, the embedded engine.

A run freezes its rows in a database of its own, with the warehouse attached read-only: it shares
the warehouse with other readers, and leaves nothing in it. dbt and this module use one DuckDB
instance, so the stage is those very rows, and what limits its memory limits both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestrator.engines import in_place
from orchestrator.engines.duckdb_file import path_of, unavailable
from orchestrator.errors import UsageError
from orchestrator.sql import literal
from orchestrator.stage import Stage
from orchestrator.stage_database import settings

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
        return in_place.show(self._connection, relations, brands_relation, columns)

    def close(self) -> None:
        """Free the warehouse, which dbt too holds until the process ends or it is told to."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - slow

        if self._connection:
            self._connection.close()
            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
