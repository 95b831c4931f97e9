"""The warehouse of a run: its engine and dbt, made ready at the first window that needs them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import engines, fields
from orchestrator.config import Config
from orchestrator.config.content import Content
from orchestrator.config.dialect import Dialect
from orchestrator.config.exports import KINDS, Export, Kind
from orchestrator.engines import Engine
from orchestrator.errors import ConfigError, GateError
from orchestrator.files import Form
from orchestrator.project import Project
from orchestrator.stage import KEYS, VIEWS, Stage
from orchestrator.windows import Window

if TYPE_CHECKING:
    from orchestrator.dbt import Dbt, TestWarning


@dataclass(frozen=True)
class Warehouse:
    """An open engine and a parsed dbt project."""

    engine: Engine
    dbt: "Dbt"
    columns: dict[str, set[str]] = field(default_factory=dict)
    """Those that files need, by view, once exports were checked; a stage has them alone then."""

    @classmethod
    def open(cls, project: Project, folder: Path, cache: Path) -> "Warehouse":
        """Open the engine and parse the project.

        Their own files go below `folder`, and what the next run can use into `cache`.

        Raises UsageError or ExportError where either is not possible.
        """
        from orchestrator.dbt import Dbt  # noqa: PLC0415 - seconds that a run with nothing due saves

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

    def check(self, config: Config) -> None:
        """Check every export against the views, and note the columns that files need.

        Raises ConfigError that lists what the views lack.
        """
        problems = []
        views = {kind: {column.name for column in self.dbt.columns(VIEWS[kind])} for kind in KINDS}
        for kind, known in views.items():
            if lacking := ", ".join(sorted(KEYS[kind] - known)):
                raise ConfigError(
                    f"{VIEWS[kind]} has no column {lacking}: files are parted and ordered by "
                    f"{', '.join(sorted(KEYS[kind]))}; keep them in its SQL and its YAML"
                )
        for export in config.exports:
            try:
                fields.check_activity_types(config, export, self.dbt.columns(VIEWS["activity"]))
                for kind in KINDS:
                    needed = self.form(config, export, kind).columns()
                    if lacking := ", ".join(needed - views[kind]):
                        message = f"needs the column {lacking}, which {VIEWS[kind]} does not have"
                        raise config.error(export, "machine_activity", message)
                    self.columns.setdefault(VIEWS[kind], set()).update(needed)
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(dict.fromkeys(problems)))

    def form(self, config: Config, export: Export, kind: Kind) -> Form:
        """Return what decides the bytes of an export's file.

        Raises ConfigError where the export names a column that the view does not have.
        """
        dialect = Dialect.model_construct(**{n: getattr(export, n) for n in Dialect.model_fields})
        content = Content.model_construct(**{n: getattr(export, n) for n in Content.model_fields})
        columns = self.dbt.columns(VIEWS[kind])
        return Form(kind, dialect, content, fields.resolve(config, export, kind, columns))

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
