"""A folder in which the same raw files are loaded and exported on Spark and on DuckDB."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from raw_files import as_text
from spark_cluster import ENVIRONMENT

from orchestrator import config
from orchestrator.jobs.job import Request
from orchestrator.loading import LoadResult, load_into
from orchestrator.pipeline import run
from orchestrator.pipeline.result import RunResult
from orchestrator.warehouse import project
from orchestrator.warehouse.project import Project

NOW = datetime(2026, 10, 22, 12, tzinfo=UTC)  # so 21 October is due
_EXPORTS = """\
destinations: {{there: {{directory: {folder}}}}}
defaults: {{destination: there, audit_windows: 0{more}}}
exports: [{{brand: "*"}}]
state: "sqlite:///state/{folder}.db"
outbox: outbox-{folder}
"""


@dataclass
class SparkWorkspace:
    """Loads and exports as the commands would, on a target of one's choice.

    Spark works in this process alone, unless `more` of the environment names a cluster.
    """

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.warehouse = self.folder / "tables"
        (self.folder / "raw").mkdir(parents=True, exist_ok=True)
        environment = {
            "SPARK_WAREHOUSE_DIR": str(self.warehouse),
            "DUCKDB_PATH": str(self.folder / "warehouse.duckdb"),
            "ORCHESTRATE_TARGET": "spark",
            **ENVIRONMENT,
            "SPARK_MASTER": "local[2]",
            **self.more,
        }
        for name, value in environment.items():
            self.monkeypatch.setenv(name, value)
        for name in ("DBT_PROJECT_DIR", "DBT_PROFILES_DIR"):
            self.monkeypatch.delenv(name, raising=False)

    def write(self, table: str, rows: Sequence[Mapping[str, Any]], suffix: str = "") -> None:
        lines = (json.dumps(row, default=as_text) + "\n" for row in rows)
        path = self.folder / "raw" / table / f"part{suffix}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))

    def project(self, target: str) -> Project:
        return project.find(self.folder, target)

    def load(self, target: str = "spark") -> LoadResult:
        rejected = self.folder / "rejected"
        return load_into(self.project(target), self.folder / "raw", rejected=rejected, now=NOW)

    def configure(self, target: str = "spark", more: str = "") -> Path:
        path = self.folder / f"{target}.yml"
        path.write_text(_EXPORTS.format(folder=target, more=more), encoding="utf-8")
        return path

    def run(self, target: str = "spark", *, more: str = "") -> RunResult:
        """Export 21 October into the folder named after the target."""
        loaded = config.load(self.configure(target, more))
        found = self.project(target)
        return run.run(loaded, found, Request(), now=NOW, progress=lambda _: None)

    def files(self, target: str = "spark") -> dict[str, bytes]:
        """Return what arrived."""
        root = self.folder / target
        return {path.name: path.read_bytes() for path in root.rglob("*.csv")}

    def parts(self, table: str) -> list[str]:
        """Return the names of the folders of a raw table that Spark sees."""
        table_folder = self.warehouse / "raw.db" / table
        return sorted(path.name for path in table_folder.iterdir() if path.is_dir())
