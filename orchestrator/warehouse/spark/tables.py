"""The raw tables that `load` keeps for Spark: folders of Parquet below the warehouse's folder.

    raw.db/email_opens/_common_metadata                 the columns
    raw.db/email_opens/load=7/received_on=2026-11-21/   what the seventh load added, by UTC day
    raw.db/customers/version=3/                         every customer, as of the third load

A load becomes visible by one rename, and a file is never changed. Spark's own catalog ends with
its session, so each session is told of the tables anew; a metastore is not needed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = "received_on"
_COLUMNS = "_common_metadata"  # Parquet's own name for it
_TYPES = {pa.string(): "string", pa.bool_(): "boolean", pa.timestamp("us", tz="UTC"): "timestamp"}


@dataclass(frozen=True)
class Folder:
    """The folder of one raw table."""

    path: Path

    @property
    def exists(self) -> bool:
        """Tell whether a load has made the table."""
        return (self.path / _COLUMNS).is_file()

    @property
    def schema(self) -> pa.Schema:
        """Return the columns."""
        return pq.read_schema(self.path / _COLUMNS)

    def make(self, schema: pa.Schema) -> None:
        """Make the table, or change its columns; its files stay as they are."""
        self.path.mkdir(parents=True, exist_ok=True)
        pq.write_metadata(schema, str(self.path / ".columns"))
        (self.path / ".columns").replace(self.path / _COLUMNS)

    def numbers(self, kind: str) -> list[int]:
        """Return the numbers of its loads (`load`) or versions (`version`), in order."""
        found = (path.name.removeprefix(f"{kind}=") for path in self.path.glob(f"{kind}=*"))
        return sorted(int(number) for number in found)

    def days(self, wanted: Collection[date]) -> list[Path]:
        """Return the folders of these UTC days, of all loads."""
        names = {f"{DAY}={day}" for day in wanted}
        return sorted(path for path in self.path.glob(f"load=*/{DAY}=*") if path.name in names)

    def part(self, kind: str, number: int) -> Path:
        """Return the folder of a load or a version."""
        return self.path / f"{kind}={number}"


def columns(schema: pa.Schema) -> str:
    """Return the columns as Spark's DDL names them."""
    return ", ".join(f"{name(field.name)} {_TYPES[field.type]}" for field in schema)


def register(spark: "SparkSession", warehouse: Path) -> int:
    """Tell a session of every raw table that is there; return how many are."""
    folders = [Folder(path.parent) for path in sorted(warehouse.glob(f"*.db/*/{_COLUMNS}"))]
    for folder in folders:
        schema = name(folder.path.parent.name.removesuffix(".db"))
        spark.sql(f"create schema if not exists {schema}")
        table, described = f"{schema}.{name(folder.path.name)}", columns(folder.schema)
        versions = folder.numbers("version")
        if versions:
            place = _location(folder.part("version", versions[-1]))
            spark.sql(f"create table {table} ({described}) using parquet {place}")
            continue
        spark.sql(
            f"create table {table} ({described}, load int, {DAY} date) using parquet"
            f" partitioned by (load, {DAY}) {_location(folder.path)}"
        )
        spark.sql(f"alter table {table} recover partitions")
    return len(folders)


def name(text: str) -> str:
    """Return a name in Spark's SQL."""
    return "`" + text.replace("`", "``") + "`"


def _location(path: Path) -> str:
    text = f"file://{path}".replace("\\", "\\\\").replace("'", "\\'")
    return f"location '{text}'"
