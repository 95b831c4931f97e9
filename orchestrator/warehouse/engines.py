"""Engines: where the views run. Nothing outside this folder knows one from another."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.warehouse.contract import Table
    from orchestrator.warehouse.project import Project
    from orchestrator.warehouse.stage import Stage

# By the type of dbt's target: `Engine(output, folder)` and `Loader(output, schema=…)`, a context
# manager. Each is imported by those who use it alone: `--help` needs no database.
_ENGINES = {
    "duckdb": "orchestrator.warehouse.duckdb.reader:DuckDB",
    "postgres": "orchestrator.warehouse.postgres.reader:PostgreSQL",
    "spark": "orchestrator.warehouse.spark.reader:Spark",
}
_LOADERS = {
    "duckdb": "orchestrator.warehouse.duckdb.loader:DuckdbLoader",
    "postgres": "orchestrator.warehouse.postgres.loader:PostgresLoader",
    "spark": "orchestrator.warehouse.spark.loader:open_loader",
}


class Engine(Protocol):
    """Where a run's views are: what dbt runs with, and how their rows get into the stage."""

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target that dbt runs with."""

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt vars that tell the sources where the raw tables are."""

    def open(self) -> None:
        """Connect. Raises UsageError or ExportError where the warehouse cannot be read."""

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> "Stage":
        """Show one window's rows to the stage, all as they stood at one moment.

        `relations` are the tables that dbt has made of the views, by view. They are read
        where they are, or copied where the stage cannot get at them. `columns` are those wanted,
        by view; all, where it does not name the view.
        """

    def close(self) -> None:
        """Free the warehouse."""


@dataclass(frozen=True)
class Loaded:
    """How many rows were new, stood in for an older row of the same key, or were there already.

    A row is there already if every column is alike.
    """

    added: int
    replaced: int
    present: int


class Loader(Protocol):
    """A warehouse that takes raw rows."""

    def prepare(self, table: "Table") -> None:
        """Make the raw table where there is none: the views need every one of them."""

    def load(self, table: "Table", rows: "pa.RecordBatchReader") -> Loaded:
        """Bring `rows` into the raw table, all or nothing.

        The stream has the table's columns in the contract's order. Of an event no two rows are
        alike; of an entity no two have one key.
        """


def check(project: "Project") -> None:
    """Raise UsageError where this version has no engine for the type of the project's target."""
    kind = project.output.get("type")
    if kind not in _ENGINES:
        known = ", ".join(_ENGINES)
        raise UsageError(f"target '{project.target}' is of type {kind}; valid: {known}")


def engine(project: "Project", folder: Path) -> Engine:
    """Return the engine of the project's target; files of a run's own go below `folder`.

    Raises UsageError as `check` does.
    """
    check(project)
    made: Engine = resolve_name(_ENGINES[project.output["type"]])(project.output, folder)
    return made


def open_loader(project: "Project") -> AbstractContextManager[Loader]:
    """Open the warehouse of the project's target for raw rows, in the dbt var `raw_schema`.

    Raises LockedError where another process holds the warehouse, ConfigError where an environment
    variable that the target names is not set, UsageError where the warehouse cannot be opened, or
    as `check` does.
    """
    check(project)
    schema = str(project.variables.get("raw_schema", "raw"))
    loader: AbstractContextManager[Loader] = resolve_name(_LOADERS[project.output["type"]])(
        project.output, schema=schema
    )
    return loader
