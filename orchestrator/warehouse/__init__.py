"""The warehouse of a run: its engine and dbt, made ready at the first window that needs them."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import GateError
from orchestrator.warehouse import engines
from orchestrator.warehouse.engines import Engine
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import VIEWS, Stage
from orchestrator.windows import Window

if TYPE_CHECKING:
    from orchestrator.warehouse.contract import ViewColumn
    from orchestrator.warehouse.dbt import Dbt, TestWarning


@dataclass(frozen=True)
class Warehouse:
    """An open engine and a parsed dbt project."""

    engine: Engine
    dbt: "Dbt"
    columns: dict[str, set[str]] = field(default_factory=dict)
    """The columns that a stage reads, by view; all columns of a view that is not named."""

    @classmethod
    def open(cls, project: Project, folder: Path, cache: Path) -> "Warehouse":
        """Open the engine and parse the project.

        Their own files go below `folder`, and what the next run can use into `cache`.

        Raises UsageError or ExportError where either is not possible.
        """
        from orchestrator.warehouse.dbt import Dbt  # noqa: PLC0415 - seconds that a run with nothing due saves

        engine = engines.engine(project, folder)
        engine.open()
        try:
            dbt = Dbt(
                project,
                folder,
                cache,
                output=engine.dbt_output,
                variables={**engine.dbt_variables, "freeze": True},
            )
        except BaseException:
            engine.close()
            raise
        return cls(engine, dbt)

    def close(self) -> None:
        """Free the warehouse."""
        self.engine.close()

    @functools.cached_property
    def view_columns(self) -> dict[str, list["ViewColumn"]]:
        """The columns that the YAML of the views declares, by kind of file."""
        return {kind: self.dbt.columns(view) for kind, view in VIEWS.items()}

    def stage(self, window: Window, *, tested: bool = True) -> tuple[Stage, list["TestWarning"]]:
        """Freeze the rows of a window and, where `tested`, run the data tests on them.

        The rows of the window before are gone then. Raises GateError where dbt or a test fails,
        which says too what the raw tables lack.
        """
        try:
            warnings = self.dbt.build(window, tested=tested)
        except GateError as error:
            try:
                self.dbt.check_raw_tables()
            except GateError as lack:
                raise GateError(f"{lack}\n{error}") from error
            raise
        relations = {view: self.dbt.relation(view) for view in VIEWS.values()}
        brands = self.dbt.relation("int_brands")
        return self.engine.read(relations, brands, self.columns), warnings
