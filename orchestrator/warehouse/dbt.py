"""Run dbt in this process: parse the project once, then build and test one window after another."""

import copy
import io
import json
import logging
import os
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg

from orchestrator import system
from orchestrator.errors import ExportError, GateError, UsageError
from orchestrator.warehouse.contract import ColumnFacts, ViewColumn, view_column
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.sql import redacted
from orchestrator.warehouse.stage import temporary_failure
from orchestrator.windows import Window

_log = logging.getLogger(__name__)

QUESTIONS = ("newest_event", "known_brands", "arrivals")
"""Models with which a run queries the raw tables. They stay views, so that `dbt show` works."""
EXPORTS = ("activities_daily", "broadcasts_daily", "brands")
"""The models that a run builds as tables and reads."""
_COMPILE_LINES = 8
"""How many lines of a compilation error are shown."""


@dataclass(frozen=True)
class TestWarning:
    """A data test of severity warn that found rows."""

    test: str
    rows: int


@dataclass(frozen=True)
class SourceAge:
    """A raw table that is past `warn_after` (status warn) or `error_after` (status error)."""

    table: str
    status: str
    newest: datetime


class Dbt:
    """A parsed dbt project on one target."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        cache: Path,
        *,
        output: Mapping[str, Any],
        variables: Mapping[str, str],
    ) -> None:
        """Parse the project, with the target `output` and these vars of the engine.

        dbt writes its own files to `folder`, and to `cache` what makes the next parse faster.
        Raises UsageError if dbt cannot parse the project.
        """
        self._manifest: Manifest | None = None
        self._errors: list[str] = []
        self._project = project
        self._folder = folder
        self._cache = cache
        # A var of the project overrides the engine's: a team may keep its raw tables elsewhere.
        self._variables = {k: v for k, v in variables.items() if k not in project.variables}
        profile = {project.profile: {"target": project.target, "outputs": {project.target: output}}}
        (folder / "profiles.yml").write_text(yaml.safe_dump(profile), encoding="utf-8")
        result = self._invoke("parse", {})
        if not result.success or not isinstance(result.result, Manifest):
            why = result.exception
            wrong = UsageError(f"dbt cannot parse {project.folder}: {why}")
            raise system.disk_full(why, cache) or wrong from why
        self._manifest, self._nodes = result.result, copy.deepcopy(result.result.nodes)

    def freeze(self, table_config: Mapping[str, Any]) -> None:
        """Materialize the exports as tables and the models below them as ephemeral.

        So each window is computed once, and the data tests check exactly the rows that are
        delivered. This is set here and not in the project, because it concerns only a run: somebody
        who calls dbt by hand gets views. `table_config` are further dbt configs of the tables, such
        as `unlogged`. Raises UsageError if the project does not have an export, or declares one as
        ephemeral.
        """
        for model in EXPORTS:
            node = self._node(model)
            if (kind := node.config.materialized) == "ephemeral":
                raise UsageError(
                    f"{self._project.folder}: {model} is materialized as {kind}: a run tests and"
                    " delivers the rows of a table; remove `materialized` from its config"
                )
            table = {**table_config, "materialized": "table"}
            node.config = node.config.update_from(table, type(node.config))
        for node in self._nodes.values():
            is_view = node.resource_type.value == "model" and node.config.materialized == "view"
            if is_view and node.name not in QUESTIONS:
                node.config.materialized = "ephemeral"

    def columns(self, model: str) -> list[ViewColumn]:
        """Return the columns that the YAML of a model declares, with labels and facts."""
        node = self._node(model)
        path = self._project.folder / str(node.patch_path or "").partition("://")[2]
        required, keys, accepted = self._tested_columns(node.unique_id)
        return [
            view_column(
                each.name,
                {**each.meta, **each.config.meta},
                path=path,
                model=model,
                facts=ColumnFacts(
                    " ".join(each.description.split()),
                    each.name in required,
                    each.name in keys,
                    accepted.get(each.name, ()),
                ),
            )
            for each in node.columns.values()
        ]

    def _tested_columns(self, model: str) -> tuple[set[str], set[str], dict[str, tuple[str, ...]]]:
        """Return what the data tests of a model (given by its unique id) promise.

        That is: the columns that are never null, the columns that together are unique, and the
        accepted values by column. Only tests whose failure stops a delivery count.
        """
        required: set[str] = set()
        keys: set[str] = set()
        accepted: dict[str, tuple[str, ...]] = {}
        tests: list[Any] = [n for n in self._nodes.values() if getattr(n, "test_metadata", None)]
        for node in tests:
            config, name = node.config, node.test_metadata.name
            stops = str(config.severity).lower() == "error" and config.error_if == "!= 0"
            if node.attached_node != model or config.where or not stops:
                continue
            arguments = node.test_metadata.kwargs
            column = str(arguments.get("column_name"))
            if name in ("not_null", "columns_not_null"):
                required |= {*arguments.get("columns", [column])}
            elif name in ("unique", "unique_combination_of_columns"):
                keys = keys or {*arguments.get("combination_of_columns", [column])}
            elif name == "accepted_values":
                accepted[column] = tuple(map(str, arguments["values"]))
        return required, keys, accepted

    def relation(self, model: str) -> str:
        """Return the quoted name of a model's relation."""
        return str(self._node(model).relation_name)

    def build(self, window: Window, *, tested: bool = True) -> list[TestWarning]:
        """Build the exports as tables with the rows of a window and, if `tested`, test them.

        Returns what tests of severity warn found. Raises GateError that says which model or test
        failed, for how many rows, and how to see them; DiskFullError if the disk is full; and
        ExportError if the warehouse failed for another reason than its data, such as a restart or
        too little memory.
        """
        bounds = {"window_start": window.start.isoformat(), "window_end": window.end.isoformat()}
        selection = ["--select", *(f"+{model}" for model in EXPORTS)]
        for kind in ("unit_test", "exposure", *(() if tested else ("test",))):
            selection += ["--exclude-resource-type", kind]
        result = self._invoke("build", bounds, *selection, "--cache-selected-only")
        nodes = list(getattr(result.result, "results", None) or [])
        failed = [node for node in nodes if node.status in ("error", "fail", "runtime error")]
        for node in failed:
            if full := system.disk_full(node.message, self._folder):
                raise full
            if failure := temporary_failure(str(node.message)):
                raise failure
        if failed:
            raise GateError("\n".join(self._failure(node, bounds) for node in failed))
        built = {node.node.name for node in nodes if node.status == "success"}
        if not result.success or not built.issuperset(EXPORTS):
            missing = ", ".join(sorted(set(EXPORTS) - built))
            reason = self._reason(result)
            text = f"dbt did not build {missing or 'everything'}: {reason}"
            raise temporary_failure(reason) or GateError(text)
        return [TestWarning(n.node.name, n.failures or 0) for n in nodes if n.status == "warn"]

    def rows(self, model: str, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a small model, each a dict by column, without creating a relation.

        Raises GateError if dbt or the warehouse fails, UsageError if there is no such model.
        """
        self._node(model)
        result = self._invoke("show", variables, "--select", model, "--limit", "-1", "--quiet")
        shown: Any = result.result
        if not result.success or not shown or not shown.results:
            nodes = list(getattr(shown, "results", None) or [])
            why = [str(node.message) for node in nodes] or self._errors or [str(result.exception)]
            raise GateError(f"dbt cannot query {model}: {redacted(chr(10).join(why))}")
        table = shown.results[0].agate_table
        return [dict(zip(table.column_names, row, strict=True)) for row in table.rows]

    def freshness(self) -> list[SourceAge]:
        """Return the raw tables that are too old according to the `freshness` in their YAML.

        dbt compares the newest `loaded_at_field` with `warn_after` and `error_after`. Raises
        GateError if it cannot.
        """
        assert self._manifest  # noqa: S101 - the constructor parsed the project
        if not any(source.has_freshness for source in self._manifest.sources.values()):
            return []
        result = self._invoke("source", {}, "freshness")
        found: Any = getattr(result.result, "results", None) or []
        failed = [node for node in found if str(node.status) == "runtime error"]
        if failed or not found:
            why = [str(node.message) for node in failed] or [str(result.exception)]
            raise GateError(f"dbt source freshness failed: {redacted(chr(10).join(why))}")
        return [
            SourceAge(node.node.name, str(node.status), node.max_loaded_at)
            for node in found
            if str(node.status) != "pass"
        ]

    def document(self) -> Path:
        """Build every view and write dbt's documentation; return its folder.

        The folder contains manifest.json, catalog.json and static_index.html. Raises ExportError if
        dbt cannot write them.
        """
        # dbt reads the types of columns from the relations that exist in the warehouse.
        results: Any = getattr(self._invoke("run", {}).result, "results", None) or []
        if failed := [node.node.name for node in results if node.status != "success"]:
            _log.warning(
                "column types are not shown for views that dbt cannot build: %s", ", ".join(failed)
            )
        result = self._invoke("docs", {}, "generate", "--static")
        if not result.success:
            reason = self._reason(result)
            raise ExportError(f"dbt cannot document {self._project.folder}: {reason}")
        return self._cache

    def check_raw_tables(self) -> None:
        """Raise GateError that lists what the raw contract has and the raw tables do not."""
        result = self._invoke("run-operation", {}, "check_raw_tables")
        if not result.success:
            raise GateError(self._reason(result, redact=False))

    def _reason(self, result: dbtRunnerResult, *, redact: bool = True) -> str:
        """Return why dbt failed; `redact` removes the values of rows that a database quotes."""
        reason = "\n".join(self._errors) or str(result.exception or "")
        if not reason:
            return f"dbt gave no reason; run 'dbt build' in {self._project.folder} to see it"
        return _compile_error(reason) or (redacted(reason) if redact else reason)

    def _node(self, model: str) -> Any:  # noqa: ANN401 - dbt's own, which differs by release
        for node in self._nodes.values():
            if node.resource_type.value == "model" and node.name == model:
                return node
        if model in QUESTIONS:
            raise UsageError(
                f"{self._project.folder} has no model '{model}'; copy models/questions and the "
                "macros that they use from the dbt_project of this version"
            )
        renamed = (
            "; it was called int_brands before: remove int_brands.sql and .yml, and copy"
            " models/exports/brands.sql and .yml from the dbt_project of this version"
        )
        raise UsageError(
            f"{self._project.folder} has no model '{model}'{renamed if model == 'brands' else ''}"
        )

    def _invoke(self, command: str, variables: Mapping[str, Any], *more: str) -> dbtRunnerResult:
        os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        arguments = [
            *(command, *more),
            *("--project-dir", str(self._project.folder), "--profiles-dir", str(self._folder)),
            *("--target", self._project.target, "--target-path", str(self._cache)),
            *("--log-path", str(self._folder / "logs")),
            *("--log-level", "none", "--log-level-file", "none"),
            *("--vars", json.dumps({**self._variables, **variables})),
        ]
        arguments += [] if command == "docs" else ["--no-write-json"]
        if self._manifest:
            # dbt stores compiled SQL in the nodes and reuses it for ephemeral models. So each call
            # gets nodes without compiled SQL: otherwise it would have the window before.
            self._manifest.nodes = copy.deepcopy(self._nodes)
        self._errors.clear()
        runner = dbtRunner(manifest=self._manifest, callbacks=[self._on_event])
        # Before dbt has read its log level, it prints errors with their traceback on stdout. And it
        # returns a KeyboardInterrupt as an ordinary failure, so that is raised again here.
        with system.reraised_interrupts(), redirect_stdout(io.StringIO()):
            return runner.invoke(arguments)

    def _on_event(self, event: EventMsg) -> None:
        """Keep the errors of ephemeral models and macros: dbt returns no result for them."""
        if event.info.name == "CatchableExceptionOnRun":
            self._errors.append(event.data.exc)
        elif event.info.name == "JinjaLogInfo":
            self._errors.append(event.data.msg)

    def _failure(self, node: Any, bounds: Mapping[str, str]) -> str:  # noqa: ANN401 - dbt's own
        name = node.node.name
        if node.status != "fail":
            sql = str(getattr(node.node, "compiled_code", "") or "")
            message = _compile_error(str(node.message)) or redacted(str(node.message), sql)
            return f"{node.node.resource_type.value} {name} failed: {message}"
        where = [
            *("--project-dir", str(self._project.folder)),
            *("--profiles-dir", str(self._project.profiles), "--target", self._project.target),
            *("--vars", json.dumps(bounds)),
        ]
        commands = (("run", "--select", f"+{name}"), ("show", "--select", name, "--limit", "100"))
        see = " && ".join(shlex.join(["dbt", *command, *where]) for command in commands)
        nulls = self._nulls(node, bounds)
        return f"the data test {name} found {node.failures} rows{nulls}; see them with: {see}"

    def _nulls(self, node: Any, bounds: Mapping[str, str]) -> str:  # noqa: ANN401 - dbt's own
        """Return ` (column: rows, …)` for the test columns_not_null, else an empty text."""
        if not node.node.test_metadata or node.node.test_metadata.name != "columns_not_null":
            return ""
        shown: Any = self._invoke("show", bounds, "--select", node.node.name, "--quiet").result
        (result,) = shown.results
        return f" ({', '.join(f'{column}: {rows}' for column, rows in result.agate_table.rows)})"


def _compile_error(message: str) -> str:
    """Return a compilation error of dbt without its stack of macros; "" for any other error.

    It need not be redacted: no row was read yet, so it quotes only names of the project.
    """
    if not message.lstrip().startswith("Compilation Error"):
        return ""
    lines = [line.strip() for line in message.strip().splitlines()]
    kept = [line for line in lines if line and not line.startswith(("> in macro", "> called by"))]
    return "\n".join(kept[:_COMPILE_LINES])
