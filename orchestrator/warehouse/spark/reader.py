"""Spark, for what outgrows one machine.

dbt uses the session that is started here. The executors write each window's rows as Parquet into
a folder that they share with this host, where the stage reads those very files: no row passes the
driver.
"""

import glob
import hashlib
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.errors import UsageError
from orchestrator.warehouse import stage, stage_database
from orchestrator.warehouse.spark import tables
from orchestrator.warehouse.spark.session import Session, explained
from orchestrator.warehouse.spark.tables import name
from orchestrator.warehouse.sql import literal
from orchestrator.warehouse.stage import Stage

if TYPE_CHECKING:
    import duckdb


class Spark:
    """One run's session, and the schema in which dbt makes its tables."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and a folder of the run's own."""
        self._output = output
        self._folder = folder
        # One run at a time works in `folder`: the next one finds what a killed one left.
        mark = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
        self._schema = f"{output.get('schema', 'exports')}_{mark}"
        self._session: Session | None = None
        self._is_ours = False
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target that dbt runs with: the same, in the session that is there already."""
        return {**self._output, "schema": self._schema, "server_side_parameters": {}}

    @property
    def dbt_variables(self) -> dict[str, str]:
        """The dbt var that names the partitions of the raw tables, where `load` made them."""
        return {"received_on_column": tables.DAY} if self._is_ours else {}

    def open(self) -> None:
        """Start Spark. Raises UsageError where there are no raw tables, and as Session does."""
        self._session = session = Session(self._output)
        try:
            with explained():
                self._find_raw_tables(session)
                self._drop(session)
                session.spark.sql(f"create schema {name(self._schema)}")
        except BaseException:
            session.close()
            raise
        self._connection = stage_database.connect(self._folder)

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Let the stage look at the files that the executors have written."""
        assert self._connection  # noqa: S101 - open() comes first
        sources = {view: self._files(relation) for view, relation in relations.items()}
        brands_source = self._files(brands_relation)
        return stage.show(self._connection, sources, brands_source, columns)

    def close(self) -> None:
        """Drop the run's tables and end Spark."""
        if self._connection:
            self._connection.close()
        if self._session:
            with closing(self._session) as session, explained():
                self._drop(session)

    def _find_raw_tables(self, session: Session) -> None:
        if session.has_metastore:
            return
        self._is_ours = tables.register(session.spark, session.warehouse) > 0
        if not self._is_ours:
            raise UsageError(
                f"no raw tables in {session.warehouse}; set SPARK_WAREHOUSE_DIR, or make them with"
                " 'orchestrate load'"
            )

    def _drop(self, session: Session) -> None:
        session.spark.sql(f"drop schema if exists {name(self._schema)} cascade")
        shutil.rmtree(session.warehouse / f"{self._schema}.db", ignore_errors=True)

    def _files(self, relation: str) -> str:
        """Return what DuckDB selects from to read a table's files."""
        assert self._session  # noqa: S101 - open() comes first
        with explained():
            files = self._session.spark.table(relation).inputFiles()
        paths = (url2pathname(urlsplit(file).path) for file in files)
        listed = ", ".join(literal(glob.escape(path)) for path in sorted(paths))
        return f"read_parquet([{listed}], hive_partitioning = false)"
