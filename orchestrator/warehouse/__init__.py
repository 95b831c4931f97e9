"""The warehouse: the engine on which the views run, and dbt, which builds and tests them.

Each engine (DuckDB, PostgreSQL, Spark) is a package or module below this one. It implements
`Engine`, which reads windows, and except for Spark also `Loader`, which stores raw rows. Code
outside this package does not depend on a certain engine.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from orchestrator.errors import GateError, UsageError
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import VIEWS, Stage
from orchestrator.windows import Window

if TYPE_CHECKING:
    import duckdb

    from orchestrator.warehouse.contract import Table, ViewColumn
    from orchestrator.warehouse.dbt import Dbt, TestWarning

# The classes by the type of dbt's target, called as `Engine(output, folder)` and
# `Loader(output, arriving, schema=…)`. They are imported on use, because the imports of an engine
# take time that commands without it must not spend.
_ENGINES = {
    "duckdb": "orchestrator.warehouse.duckdb:DuckDB",
    "postgres": "orchestrator.warehouse.postgres.reader:PostgreSQL",
    "spark": "orchestrator.warehouse.spark.reader:Spark",
}
_LOADERS = {
    "duckdb": "orchestrator.warehouse.duckdb:DuckdbLoader",
    "postgres": "orchestrator.warehouse.postgres.loader:PostgresLoader",
}


class Engine(ABC):
    """A connection to one warehouse for one run.

    Its constructor takes dbt's target and the private folder of the run. The engine may write
    there; the folder is deleted after the run.
    """

    @property
    @abstractmethod
    def dbt_output(self) -> dict[str, Any]:
        """The target with which dbt runs, as in profiles.yml (templates are not rendered)."""

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt vars that say where the raw tables are; empty: where the project says."""
        return {}

    @property
    def dbt_table_config(self) -> dict[str, Any]:
        """The dbt configs of the tables that a run creates, such as `unlogged`."""
        return {}

    @abstractmethod
    def open(self) -> None:
        """Connect. Raises UsageError or ExportError if the warehouse cannot be read."""

    @abstractmethod
    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> "Stage":
        """Return a stage with the rows of one window, all read in one snapshot.

        `relations` maps the name of each view to the table that dbt built from it. `columns` maps
        the name of a view to the columns to read; a view that is not in it is read completely.
        """

    @abstractmethod
    def close(self) -> None:
        """Drop the run's tables and disconnect."""


@dataclass(frozen=True)
class MergeCounts:
    """How many rows of a load were added, changed a stored row, or were already present."""

    added: int
    replaced: int
    present: int


@dataclass(frozen=True)
class Arrival:
    """The rows of one raw table in one quarter of an hour. See the dbt model `arrivals`."""

    table: str
    period: datetime | None
    """The start of the quarter; None for events without `loaded_at`."""
    loaded_from: datetime | None
    """The earliest `loaded_at`; None for events without one, and for broadcasts."""
    rows: int
    fingerprint: int
    """A hash of the keys of the rows, in any order."""


class Loader(AbstractContextManager["Loader"]):
    """A connection to one warehouse that stores raw rows, until the `with` block ends.

    Its constructor takes dbt's target, the DuckDB connection in which the rows are, and the schema
    of the raw tables.
    """

    @abstractmethod
    def prepare(self, table: "Table") -> None:
        """Create the raw table if it is missing, because the views need all raw tables.

        Adds the nullable columns that an existing table does not have. Raises UsageError if the
        table cannot store rows of the contract.
        """

    @abstractmethod
    def load(self, table: "Table", arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
        """Merge rows into the raw table, all or none; `now` is the `loaded_at` of new rows.

        `arriving` is a relation of the DuckDB connection with which the loader was opened. It has
        the columns of the contract and `merging.OMITTED`, and one row for each event or entity.
        With `sort` the new rows are stored in the order of `received_at`, else in their own order.
        """


def check_target(project: Project) -> None:
    """Raise UsageError if there is no engine for the type of the project's target."""
    kind = project.output.get("type")
    if kind not in _ENGINES:
        known = ", ".join(_ENGINES)
        raise UsageError(f"target '{project.target}' is of type {kind}; valid: {known}")


def open_engine(project: Project, folder: Path) -> Engine:
    """Return the engine of the project's target, not yet connected. It writes files to `folder`.

    Raises UsageError as `check_target` does.
    """
    check_target(project)
    engine: Engine = resolve_name(_ENGINES[project.output["type"]])(project.output, folder)
    return engine


def open_loader(project: Project, arriving: "duckdb.DuckDBPyConnection") -> Loader:
    """Open the warehouse of the project's target to store raw rows, in the schema `raw_schema`.

    `arriving` is the connection that has the rows to load.

    Raises LockedError if another process has locked the warehouse, ConfigError if the target names
    an environment variable that is not set, UsageError if the engine has no loader or the warehouse
    cannot be opened, and as `check_target` does.
    """
    check_target(project)
    kind = project.output["type"]
    if kind not in _LOADERS:
        raise UsageError(
            f"load does not write to {kind} (target '{project.target}'): fill the raw tables with"
            " the platform's own pipeline; docs/scale.md shows how, in plain SQL"
        )
    schema = str(project.variables.get("raw_schema", "raw"))
    loader: Loader = resolve_name(_LOADERS[kind])(project.output, arriving, schema=schema)
    return loader


_FAR = datetime(9999, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Warehouse:
    """A connected engine and a parsed dbt project.

    A run opens it only when a window needs it, because importing dbt takes seconds.
    """

    engine: Engine
    dbt: "Dbt"
    columns: dict[str, set[str]] = field(default_factory=dict)
    """The columns that a stage reads, by view. A view that is not in it is read completely."""

    @classmethod
    def open(cls, project: Project, folder: Path, cache: Path) -> "Warehouse":
        """Connect the engine and parse the dbt project.

        `folder` gets the files of this run, `cache` what dbt keeps to parse faster next time.

        Raises UsageError or ExportError if it cannot connect or parse.
        """
        from orchestrator.warehouse.dbt import Dbt  # noqa: PLC0415 - takes seconds

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
        """The columns that the YAML of the views declares, by the kind of the file."""
        return {kind: self.dbt.columns(view) for kind, view in VIEWS.items()}

    def newest_event(self, since: datetime) -> datetime | None:
        """Return when the newest event of any brand came in; None if none came in after `since`.

        `since` lets the engine skip old rows. Raises GateError if dbt cannot query it.
        """
        bounds = {"window_start": since.isoformat(), "window_end": _FAR.isoformat()}
        ((found,),) = (row.values() for row in self.dbt.rows("newest_event", bounds))
        return _instant(found)

    def arrivals(self, loaded_since: datetime | None, now: datetime) -> list[Arrival]:
        """Return which rows reached the warehouse since a time, and when; None means all rows.

        Raises GateError if dbt cannot query it.
        """
        day = {"window_start": (now - _DAY).isoformat(), "window_end": now.isoformat()}
        since = {"loaded_since": loaded_since.isoformat()} if loaded_since else {}
        return [
            Arrival(
                str(row["raw_table"]),
                _instant(row["period_start"]),
                _instant(row["loaded_from"]),
                int(row["row_count"]),
                int(row["fingerprint"]),
            )
            for row in self.dbt.rows("arrivals", day | since)
        ]

    def known_brands(self, brands: Collection[str]) -> set[str]:
        """Return those of these brands that have at least one broadcast, customer or event."""
        rows = self.dbt.rows("known_brands", {"named_brands": sorted(brands)})
        return {str(row["brand"]) for row in rows}

    def stage(self, window: Window, *, tested: bool = True) -> tuple[Stage, list["TestWarning"]]:
        """Freeze the rows of a window, run the data tests on them if `tested`, and read them.

        To freeze means that dbt builds the views as tables of this run. So the tests check exactly
        the rows that are delivered, even if other programs write to the raw tables meanwhile. The
        module of each engine explains how it does this.

        Returns the stage, and what tests of severity warn found. The stage is valid until the next
        call, which replaces its tables. Raises GateError if dbt or a test fails; if raw tables or
        columns are missing, the error lists them.
        """
        try:
            warnings = self.dbt.build(window, tested=tested)
        except GateError as error:
            try:
                self.dbt.check_raw_tables()
            except GateError as missing:
                raise GateError(f"{missing}\n{error}") from error
            raise
        relations = {view: self.dbt.relation(view) for view in VIEWS.values()}
        brands = self.dbt.relation("brands")
        return self.engine.read(relations, brands, self.columns), warnings


def _instant(value: Any) -> datetime | None:  # noqa: ANN401 - a text or a datetime, by engine
    """Return a timestamp of `dbt show` in UTC; one without a time zone is in UTC already."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
