"""The warehouse: the engine on which the views run, and dbt, which builds and tests them.

An engine is a package next to this module. Its `reader` builds and reads windows; its `loader`
takes raw rows. Code outside this package does not know which engine it works with.
"""

import functools
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import GateError, UsageError
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import VIEWS, Stage
from orchestrator.windows import Window

if TYPE_CHECKING:
    import duckdb

    from orchestrator.warehouse.contract import Table, ViewColumn
    from orchestrator.warehouse.dbt import Dbt, TestWarning

# By the type of dbt's target: `Engine(output, folder)` and `Loader(output, schema=…)`. They are
# imported on use: an import of one engine must not cost the commands that use another, or none.
_ENGINES = {
    "duckdb": "orchestrator.warehouse.duckdb.reader:DuckDB",
    "postgres": "orchestrator.warehouse.postgres.reader:PostgreSQL",
    "spark": "orchestrator.warehouse.spark.reader:Spark",
}
_LOADERS = {
    "duckdb": "orchestrator.warehouse.duckdb.loader:DuckdbLoader",
    "postgres": "orchestrator.warehouse.postgres.loader:PostgresLoader",
}


class Engine(Protocol):
    """A connection to one warehouse for one run. Its constructor takes dbt's target and a folder.

    The folder is the run's own: what the engine writes there may be deleted after the run.
    """

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target that dbt runs with, in the form of profiles.yml (templates not rendered)."""

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt vars that say where the raw tables are, if the engine moves them."""

    @property
    def dbt_table_config(self) -> dict[str, Any]:
        """The dbt configs of a run's tables, such as `unlogged`."""

    def open(self) -> None:
        """Connect. Raises UsageError or ExportError if the warehouse cannot be read."""

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> "Stage":
        """Return a stage with one window's rows, all read at one moment.

        `relations` maps the name of each view to the table that dbt built from it. `columns` maps
        the name of a view to the columns that are needed; a view that is missing there needs all.
        """

    def close(self) -> None:
        """Drop the run's tables and disconnect."""


@dataclass(frozen=True)
class Loaded:
    """How many rows of a load were added, replaced a stored row, or were present already."""

    added: int
    replaced: int
    present: int


@dataclass(frozen=True)
class Arrival:
    """Rows of one raw table that belong to one quarter of an hour, see the model `arrivals`.

    `period` is None for events that do not say when they were loaded, `loaded_from` for those and
    for broadcasts.
    """

    table: str
    period: datetime | None
    loaded_from: datetime | None
    rows: int
    fingerprint: int


class Loader(Protocol):
    """A connection to one warehouse that takes raw rows."""

    def prepare(self, table: "Table") -> None:
        """Create the raw table if it is missing: the views need every one of them.

        Adds the nullable columns that an existing table lacks. Raises UsageError if the table
        cannot take rows of the contract.
        """

    def load(self, table: "Table", arriving: str, now: datetime) -> Loaded:
        """Merge rows into the raw table, all or nothing; `now` is the `loaded_at` of new rows.

        `arriving` is a relation of the connection that the loader was opened with. Its columns
        are those of the contract and `merging.OMITTED`; of one event or entity it has one row.
        """


def check_target(project: Project) -> None:
    """Raise UsageError if no engine has the type of the project's target."""
    kind = project.output.get("type")
    if kind not in _ENGINES:
        known = ", ".join(_ENGINES)
        raise UsageError(f"target '{project.target}' is of type {kind}; valid: {known}")


def open_engine(project: Project, folder: Path) -> Engine:
    """Return the engine of the project's target, not connected yet. Its files go below `folder`.

    Raises UsageError as `check_target` does.
    """
    check_target(project)
    engine: Engine = resolve_name(_ENGINES[project.output["type"]])(project.output, folder)
    return engine


def open_loader(
    project: Project, arriving: "duckdb.DuckDBPyConnection"
) -> AbstractContextManager[Loader]:
    """Open the warehouse of the project's target for raw rows, in the schema `raw_schema`.

    `arriving` is the connection in which the rows to load are.

    Raises LockedError if another process holds the warehouse, ConfigError if the target names an
    environment variable that is not set, UsageError if the engine has no loader, if the warehouse
    cannot be opened, or as `check_target` does.
    """
    check_target(project)
    kind = project.output["type"]
    if kind not in _LOADERS:
        raise UsageError(
            f"load does not write to {kind} (target '{project.target}'): there the raw tables are"
            " filled by the platform's own pipeline; docs/scale.md shows how, in plain SQL"
        )
    schema = str(project.variables.get("raw_schema", "raw"))
    loader: AbstractContextManager[Loader] = resolve_name(_LOADERS[kind])(
        project.output, arriving, schema=schema
    )
    return loader


_FAR = datetime(9999, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Warehouse:
    """A connected engine and a parsed dbt project.

    A run opens it at the first window that needs it: dbt alone takes seconds to import.
    """

    engine: Engine
    dbt: "Dbt"
    columns: dict[str, set[str]] = field(default_factory=dict)
    """The columns that a stage reads, by view; all columns of a view that is not named."""

    @classmethod
    def open(cls, project: Project, folder: Path, cache: Path) -> "Warehouse":
        """Connect the engine and parse the dbt project.

        Files of this run go below `folder`; what makes the next parse quick goes into `cache`.

        Raises UsageError or ExportError if either is not possible.
        """
        from orchestrator.warehouse.dbt import Dbt  # noqa: PLC0415 - seconds that a run with nothing due saves

        engine = open_engine(project, folder)
        engine.open()
        try:
            dbt = Dbt(
                project,
                folder,
                cache,
                output=engine.dbt_output,
                variables=engine.dbt_variables,
            )
            dbt.freeze(engine.dbt_table_config)
        except BaseException:
            engine.close()
            raise
        return cls(engine, dbt)

    def close(self) -> None:
        """Drop the run's tables and disconnect."""
        self.engine.close()

    @functools.cached_property
    def view_columns(self) -> dict[str, list["ViewColumn"]]:
        """The columns that the YAML of the views declares, by kind of file."""
        return {kind: self.dbt.columns(view) for kind, view in VIEWS.items()}

    def newest_event(self, since: datetime) -> datetime | None:
        """Return when the newest event of any brand came in, None if none did since a moment.

        The moment lets the engine pass over history. Raises GateError if dbt cannot tell.
        """
        bounds = {"window_start": since.isoformat(), "window_end": _FAR.isoformat()}
        ((found,),) = (row.values() for row in self.dbt.rows("newest_event", bounds))
        return _moment(found)

    def arrivals(self, loaded_since: datetime | None, now: datetime) -> list[Arrival]:
        """Return which rows reached the warehouse since a moment, or since ever, and when.

        Raises GateError if dbt cannot tell.
        """
        day = {"window_start": (now - _DAY).isoformat(), "window_end": now.isoformat()}
        since = {"loaded_since": loaded_since.isoformat()} if loaded_since else {}
        return [
            Arrival(
                str(row["raw_table"]),
                _moment(row["period_start"]),
                _moment(row["loaded_from"]),
                int(row["row_count"]),
                int(row["fingerprint"]),
            )
            for row in self.dbt.rows("arrivals", day | since)
        ]

    def known_brands(self, brands: Collection[str]) -> set[str]:
        """Return which of these brands have any broadcast, customer or event, ever."""
        rows = self.dbt.rows("known_brands", {"named_brands": sorted(brands)})
        return {str(row["brand"]) for row in rows}

    def stage(self, window: Window, *, tested: bool = True) -> tuple[Stage, list["TestWarning"]]:
        """Freeze the rows of a window and, if `tested`, run the data tests on them.

        dbt builds each view as a table of this run, so the rows that the tests check are the rows
        that ship, even while other programs write to the raw tables. How each engine does this is
        explained at the top of its reader. The tables of the previous window are replaced, so a
        stage is valid until the next call.

        Raises GateError if dbt or a test fails. The error also lists what the raw tables lack.
        """
        try:
            warnings = self.dbt.build(window, tested=tested)
        except GateError as error:
            try:
                self.dbt.check_raw_tables()
            except GateError as lacking:
                raise GateError(f"{lacking}\n{error}") from error
            raise
        relations = {view: self.dbt.relation(view) for view in VIEWS.values()}
        brands = self.dbt.relation("brands")
        return self.engine.read(relations, brands, self.columns), warnings


def _moment(value: Any) -> datetime | None:  # noqa: ANN401 - as dbt shows it
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
