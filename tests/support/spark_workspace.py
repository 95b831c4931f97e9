"""A folder in which the same raw rows are exported on Spark and on DuckDB."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from raw_files import CONTRACT, as_text
from spark_cluster import ENVIRONMENT

from orchestrator import config
from orchestrator.jobs import Request
from orchestrator.loading import LoadResult, load_into
from orchestrator.pipeline import RunResult, run
from orchestrator.warehouse import project
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.spark import Session
from orchestrator.warehouse.sql import literal

NOW = datetime(2026, 10, 22, 12, tzinfo=UTC)  # so 21 October is due
_EXPORTS = """\
destinations: {{there: {{directory: {folder}}}}}
defaults: {{destination: there{more}}}
exports: [{{brand: "*"}}]
state: "sqlite:///state/{folder}.db"
outbox: outbox-{folder}
"""


@dataclass
class SparkWorkspace:
    """Fills raw tables and exports them, on any target.

    Spark runs in this process, unless the additional environment variables `more` name a cluster.
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

    def write(self, table: str, rows: Sequence[Mapping[str, Any]], suffix: str = "") -> None:
        lines = (json.dumps(row, default=as_text) + "\n" for row in rows)
        path = self.folder / "raw" / table / f"part{suffix}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))

    def project(self, target: str) -> Project:
        return project.find(self.folder, target)

    def load(self) -> LoadResult:
        """Load the raw files into the DuckDB warehouse."""
        rejected = self.folder / "rejected"
        return load_into(self.project("duckdb"), self.folder / "raw", rejected=rejected, now=NOW)

    def fill(self, **texts: str) -> None:
        """Load the raw files into DuckDB, and copy its raw tables to Spark with `fill`."""
        self.load()
        fill(self.project("spark"), self.folder / "warehouse.duckdb", **texts)

    def configure(self, target: str = "spark", more: str = "") -> Path:
        path = self.folder / f"{target}.yml"
        (self.folder / target).mkdir(exist_ok=True)
        path.write_text(_EXPORTS.format(folder=target, more=more), encoding="utf-8")
        return path

    def run(self, target: str = "spark", *, more: str = "") -> RunResult:
        """Export 21 October into the folder named after the target."""
        loaded = config.read(self.configure(target, more))
        found = self.project(target)
        return run.run(loaded, found, Request(), now=NOW)

    def files(self, target: str = "spark") -> dict[str, bytes]:
        """Return the delivered files."""
        root = self.folder / target
        return {path.name: path.read_bytes() for path in root.rglob("*.csv")}


def fill(target: Project, warehouse: Path, **texts: str) -> None:
    """Fill the raw tables of a Spark target with the rows of a DuckDB warehouse, in Spark SQL.

    Event tables have the day of receipt in `received_on`; those with rows are partitioned by it.
    `texts` are expressions that replace columns of event tables.
    """
    given = "".join(f", {expression} as {column}" for column, expression in texts.items())
    kept = f"* except ({', '.join(texts)})" if texts else "*"
    arrived = warehouse.with_suffix(".arrived")
    shutil.rmtree(arrived, ignore_errors=True)
    arrived.mkdir()
    session = Session(target.output)
    try:
        session.spark.sql("create schema if not exists raw")
        with duckdb.connect(warehouse, read_only=True) as raw:
            for table in CONTRACT.tables:
                file = arrived / f"{table.name}.parquet"
                raw.execute(f"copy raw.{table.name} to {literal(str(file))}")
                (rows,) = raw.execute(f"select count(*) from raw.{table.name}").fetchall()[0]
                day = ", cast(received_at as date) as received_on"
                is_event = table.kind == "event"
                shutil.rmtree(session.warehouse / "raw.db" / table.name, ignore_errors=True)
                session.spark.sql(f"drop table if exists raw.{table.name}")
                session.spark.sql(
                    f"create table raw.{table.name} using parquet"
                    f" {'partitioned by (received_on)' if is_event and rows else ''}"
                    f" as select {f'{kept}{given}{day}' if is_event else '*'} from parquet.`{file}`"
                )
    finally:
        session.close()
