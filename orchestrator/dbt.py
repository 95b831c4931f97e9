"""dbt, in this process: parse once, then build and test the views window by window."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from orchestrator.errors import GateError, UsageError, without_addresses
from orchestrator.fields import ViewColumn
from orchestrator.project import Project
from orchestrator.windows import Window

_MODELS = ("activities_daily", "broadcasts_daily", "int_brands")


@dataclass(frozen=True)
class TestWarning:
    """A data test of severity warn that found rows."""

    test: str
    rows: int


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
        """Parse the project, with the target `output`.

        dbt's own files go below `folder`, and what makes the next parse quick into `cache`.
        Raises UsageError where dbt cannot parse it.
        """
        self._project = project
        self._folder = folder
        self._cache = cache
        # What the project itself says about its sources counts.
        self._variables = {k: v for k, v in variables.items() if k not in project.variables}
        profile = {project.profile: {"target": project.target, "outputs": {project.target: output}}}
        (folder / "profiles.yml").write_text(yaml.safe_dump(profile), encoding="utf-8")
        result = self._invoke("parse", {})
        if not result.success or not isinstance(result.result, Manifest):
            raise UsageError(f"dbt cannot parse {project.folder}: {result.exception}")
        self._manifest = result.result

    def columns(self, model: str) -> list[ViewColumn]:
        """Return the columns that the YAML of a model declares, with their labels."""
        columns = []
        for column in self._node(model).columns.values():
            meta = {**column.meta, **column.config.meta}
            columns.append(
                ViewColumn(column.name, meta.get("labels", {}), meta.get("value_labels", {}))
            )
        return columns

    def relation(self, model: str) -> str:
        """Return the name of a model's view, for SQL."""
        return str(self._node(model).relation_name)

    def build(self, window: Window) -> list[TestWarning]:
        """Make the views of this window and run the data tests on them.

        Returns what tests of severity warn found. Raises GateError that says which model or test
        failed, how many rows, and how to see them.
        """
        bounds = {"window_start": window.start.isoformat(), "window_end": window.end.isoformat()}
        selection = ["--select", *(f"+{model}" for model in _MODELS)]
        options = [
            "--exclude-resource-type",
            "unit_test",
            "--cache-selected-only",
            "--no-write-json",
        ]
        result = self._invoke("build", bounds, *selection, *options)
        nodes = list(getattr(result.result, "results", None) or [])
        failed = [node for node in nodes if node.status in ("error", "fail", "runtime error")]
        if failed:
            raise GateError("\n".join(_failure(node, bounds) for node in failed))
        built = {node.node.name for node in nodes if node.status == "success"}
        if not result.success or not built.issuperset(_MODELS):
            missing = ", ".join(sorted(set(_MODELS) - built))
            raise GateError(f"dbt did not build {missing or 'everything'}: {result.exception}")
        return [TestWarning(n.node.name, n.failures or 0) for n in nodes if n.status == "warn"]

    def _node(self, model: str) -> Any:  # noqa: ANN401 - dbt's own, which differs by release
        for node in self._manifest.nodes.values():
            if node.resource_type.value == "model" and node.name == model:
                return node
        raise UsageError(f"{self._project.folder}: has no model '{model}'")

    def _invoke(self, command: str, variables: Mapping[str, str], *more: str) -> dbtRunnerResult:
        os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        arguments = [
            command,
            *("--project-dir", str(self._project.folder), "--profiles-dir", str(self._folder)),
            *("--target", self._project.target, "--target-path", str(self._cache)),
            *("--log-path", str(self._folder / "logs"), "--log-level", "none"),
            *("--vars", json.dumps({**self._variables, **variables}), *more),
        ]
        return dbtRunner(manifest=getattr(self, "_manifest", None)).invoke(arguments)


def _failure(node: Any, bounds: Mapping[str, str]) -> str:  # noqa: ANN401 - dbt's own
    if node.status == "fail":
        return (
            f"the data test {node.node.name} found {node.failures} rows; see them with: "
            f"dbt test --store-failures --select {node.node.name} --vars '{json.dumps(bounds)}'"
        )
    message = without_addresses(str(node.message))
    return f"{node.node.resource_type.value} {node.node.name} failed: {message}"
