"""Read windows from Spark, for data that do not fit on one machine.

How a window is frozen: dbt uses the Spark session that is started here, and creates the tables of
the run in a separate schema. The executors write these tables as Parquet to a folder that they
share with this host (SPARK_WAREHOUSE_DIR), and the stage reads the files. No row passes through the
memory of the driver.

Without a metastore, Spark's catalog ends with its session. The raw tables are then the folders of
Parquet files in `SPARK_WAREHOUSE_DIR/<schema>.db/<table>`, which is where Spark stores tables. This
module registers them in the catalog of each new session.
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

import duckdb

from orchestrator.errors import UsageError
from orchestrator.warehouse import Engine, stage
from orchestrator.warehouse.spark import Session, translated_errors
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import Stage

if TYPE_CHECKING:
    from pyarrow import dataset


class Spark(Engine):
    """The Spark session of one run, and the schema in which dbt creates its tables."""

    def __init__(self, output: Mapping[str, Any], folder: Path) -> None:
        """Take dbt's target and the private folder of the run."""
        self._output = output
        self._folder = folder
        # The same name in each run with this folder, so that a run drops what a killed one left.
        suffix = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
        self._schema = f"{output.get('schema', 'exports')}_{suffix}"
        self._session: Session | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def dbt_output(self) -> dict[str, Any]:
        """The target, changed to the schema of the run and to the session that is running."""
        return {**self._output, "schema": self._schema, "server_side_parameters": {}}

    def open(self) -> None:
        """Start Spark. Raises UsageError if there are no raw tables, and errors as `Session`."""
        self._session = session = Session(self._output)
        try:
            with translated_errors():
                self._drop(session)
                if not session.has_catalog:
                    _register_tables(session)
                session.spark.sql(f"create schema {_name(self._schema)}")
        except BaseException:
            session.close()
            raise
        self._connection = stage.connect(self._folder)

    def read(
        self, relations: Mapping[str, str], brands_relation: str, columns: Mapping[str, set[str]]
    ) -> Stage:
        """Return a stage of views over the files that the executors have written."""
        assert self._connection  # noqa: S101 - open() comes first
        sources = {view: self._files(relation) for view, relation in relations.items()}
        brands_source = self._files(brands_relation)
        return Stage.from_sources(self._connection, sources, brands_source, columns)

    def close(self) -> None:
        """Drop the run's tables and end Spark."""
        if self._connection:
            self._connection.close()
        if self._session:
            with closing(self._session) as session, translated_errors():
                self._drop(session)

    def _drop(self, session: Session) -> None:
        session.spark.sql(f"drop schema if exists {_name(self._schema)} cascade")
        shutil.rmtree(session.warehouse / f"{self._schema}.db", ignore_errors=True)

    def _files(self, relation: str) -> str:
        """Return what DuckDB selects from to read the files of a table."""
        assert self._session  # noqa: S101 - open() comes first
        assert self._connection  # noqa: S101 - as above
        with translated_errors():
            files = self._session.spark.table(relation).inputFiles()
        paths = sorted(url2pathname(urlsplit(file).path) for file in files)
        listed = ", ".join(literal(glob.escape(path)) for path in paths)
        source = f"read_parquet([{listed}], hive_partitioning = false)"
        if not self._is_utf8(source):
            self._connection.register(relation, _unchecked(paths))
            return identifier(relation)
        return source

    def _is_utf8(self, source: str) -> bool:
        """Return whether all texts of a source are valid UTF-8.

        Spark accepts any bytes as text. DuckDB's Parquet reader fails the complete query because of
        one text that is not UTF-8, and does not say which row has it.
        """
        assert self._connection  # noqa: S101 - open() comes first
        with stage.translated_errors():
            described = self._connection.execute(f"describe from {source}").fetchall()
            texts = [identifier(name) for name, kind, *_ in described if kind == "VARCHAR"]
            if not texts:
                return True
            try:
                # length() decodes each text, and so checks it; strlen() and count() would not.
                longest = ", ".join(f"max(length({name}))" for name in texts)
                self._connection.execute(f"select {longest} from {source}")  # noqa: S608 - quoted
            except duckdb.InvalidInputException:
                return False
            return True


def _unchecked(paths: list[str]) -> "dataset.Dataset":
    """Return the files as an Arrow dataset, which DuckDB reads more slowly and without a check.

    Then orchestrator.files.writing finds the row, and only the files of its brand are not written.
    """
    from pyarrow import dataset  # noqa: PLC0415 - a run with nothing due does not need it

    return dataset.dataset(paths, format="parquet")


def _register_tables(session: Session) -> None:
    """Register each folder of Parquet files in the catalog. Raises UsageError if there is none."""
    spark = session.spark
    # A table format such as Delta keeps a log next to its Parquet files. Only its own reader knows
    # which of the files are current.
    folders = [
        folder
        for folder in sorted(session.warehouse.glob("*.db/*/"))
        if not (folder / "_delta_log").exists() and not (folder / "metadata").exists()
    ]
    if not folders:
        raise UsageError(
            f"no tables in {session.warehouse}: set SPARK_WAREHOUSE_DIR, or name a metastore in"
            " profiles.yml; docs/scale.md shows how to fill raw tables"
        )
    for folder in folders:
        schema = _name(folder.parent.name.removesuffix(".db"))
        table = f"{schema}.{_name(folder.name)}"
        location = f"file://{folder}".replace("\\", "\\\\").replace("'", "\\'")
        spark.sql(f"create schema if not exists {schema}")
        spark.sql(f"create table {table} using parquet location '{location}'")
        if any(column.isPartition for column in spark.catalog.listColumns(table)):
            spark.sql(f"alter table {table} recover partitions")


def _name(text: str) -> str:
    """Return a quoted name in Spark's SQL."""
    return "`" + text.replace("`", "``") + "`"
