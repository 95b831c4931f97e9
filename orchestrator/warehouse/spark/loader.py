"""Raw rows into the folders of Parquet that Spark reads."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator import system
from orchestrator.errors import UsageError
from orchestrator.warehouse.contract import RECEIVED, Table
from orchestrator.warehouse.engines import Loaded
from orchestrator.warehouse.spark.session import Session, explained, warehouse_folder
from orchestrator.warehouse.spark.tables import DAY, Folder, columns, name

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "boolean": pa.bool_(),
}
_ASIDE = ".aside"  # what is not whole yet; a killed load leaves it, the next one removes it


@contextmanager
def open_loader(output: Mapping[str, Any], *, schema: str = "raw") -> Iterator["SparkLoader"]:
    """Start Spark with dbt's target, and hold the schema's folder as long as the `with` lasts.

    Raises LockedError where another process loads into it, UsageError where the raw tables are a
    metastore's, and as Session does.
    """
    folder = warehouse_folder(output) / f"{schema}.db"
    folder.mkdir(parents=True, exist_ok=True)  # the workers may be other users
    with system.exclusive_lock(folder / ".lock"), closing(Session(output)) as session:
        if session.has_metastore:
            raise UsageError("the raw tables are a metastore's: fill them with its own tools")
        yield SparkLoader(session, folder)


class SparkLoader:
    """Takes raw rows. A load is made aside and renamed: a killed one leaves the table as it was."""

    def __init__(self, session: Session, folder: Path) -> None:
        """Take a running session and the folder of the schema."""
        self._spark = session.spark
        self._folder = folder

    def prepare(self, table: Table) -> None:
        """Make the raw table, or add the columns that it lacks.

        Raises UsageError where rows that are there lack a column that may not be null, or have
        one of another type.
        """
        folder = Folder(self._folder / table.name)
        shutil.rmtree(folder.path / _ASIDE, ignore_errors=True)
        wanted = pa.schema([(column.name, _TYPES[column.type]) for column in table.columns])
        if table.kind == "event" and not table.is_received:
            raise UsageError(
                f"{table.name} has no {RECEIVED}: Spark keeps events by the day of it."
            )
        held = folder.schema if folder.exists else wanted
        added = {*wanted.names} - {*held.names}
        needed = [c.name for c in table.columns if c.name in added and not c.nullable]
        if needed:
            raise UsageError(
                f"{folder.path} lacks {', '.join(needed)}, which may not be null: mark it nullable"
                " in the raw contract, or move the folder away and load everything again."
            )
        other = [f.name for f in wanted if f.name not in added and f != held.field(f.name)]
        if other:
            raise UsageError(f"{folder.path}: {', '.join(other)} has another type in its files.")
        kept = [field for field in held if field.name not in wanted.names]
        folder.make(pa.schema([*wanted, *kept]))
        if table.kind == "entity":
            folder.part("version", 0).mkdir(exist_ok=True)

    def load(self, table: Table, rows: pa.RecordBatchReader) -> Loaded:
        """Bring `rows` into the raw table, all or nothing, as orchestrator.engines.Loader says."""
        folder = Folder(self._folder / table.name)
        aside = folder.path / _ASIDE
        aside.mkdir()
        try:
            schema = pa.schema([folder.schema.field(column) for column in rows.schema.names])
            count, days = _write(rows, schema, aside / "incoming.parquet")
            if not count:
                return Loaded(added=0, replaced=0, present=0)
            with explained():
                incoming = self._read(schema, [aside / "incoming.parquet"])
                if table.kind == "entity":
                    fresh, replaced = self._replace(table, folder, incoming)
                else:
                    fresh, replaced = self._add(folder, incoming, days), 0
            return Loaded(added=fresh - replaced, replaced=replaced, present=count - fresh)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _add(self, folder: Folder, incoming: "DataFrame", days: set[date]) -> int:
        """Add the events that are not there yet as a load of its own; return how many."""
        schema = pa.schema([folder.schema.field(column) for column in incoming.columns])
        there = folder.days(days)
        held = self._read(schema, there) if there else incoming.limit(0)
        fresh = _not_in(incoming, held, incoming.columns)
        made = folder.path / _ASIDE / "load"
        by_day = fresh.selectExpr("*", f"cast({RECEIVED} as date) as {DAY}")
        # Files of a like size, in order of arrival, so that an hour reads little of its day.
        files = by_day.hint("rebalance", DAY).sortWithinPartitions(DAY, RECEIVED)
        files.write.partitionBy(DAY).parquet(f"file://{made}")
        if count := _rows(made):
            made.rename(folder.part("load", max(folder.numbers("load"), default=0) + 1))
        return count

    def _replace(self, table: Table, folder: Folder, incoming: "DataFrame") -> tuple[int, int]:
        """Write all entities anew where any is new; return how many are, and replace older rows."""
        version = folder.numbers("version")[-1]
        held = self._read(folder.schema, [folder.part("version", version)])
        aside = folder.path / _ASIDE
        new = _not_in(incoming, held, incoming.columns)
        new.write.parquet(f"file://{aside / 'fresh'}")
        count = _rows(aside / "fresh")
        if not count:
            return 0, 0
        schema = pa.schema([folder.schema.field(column) for column in incoming.columns])
        fresh = self._read(schema, [aside / "fresh"])
        every = _not_in(held, fresh, table.key).unionByName(fresh, allowMissingColumns=True)
        every.write.parquet(f"file://{aside / 'version'}")
        replaced = _rows(folder.part("version", version)) + count - _rows(aside / "version")
        (aside / "version").rename(folder.part("version", version + 1))
        for older in folder.numbers("version")[:-2]:  # a run may still be reading the last but one
            shutil.rmtree(folder.part("version", older))
        return count, replaced

    def _read(self, schema: pa.Schema, paths: Sequence[Path]) -> "DataFrame":
        reader = self._spark.read.schema(columns(schema))
        return reader.parquet(*(f"file://{path}" for path in paths))


def _not_in(rows: "DataFrame", others: "DataFrame", names: Sequence[str]) -> "DataFrame":
    """Return the rows that have no row among the others that is alike in these columns."""
    from pyspark.sql.functions import expr  # noqa: PLC0415 - an extra

    left, right = rows.alias("new"), others.alias("old")
    alike = " and ".join(f"new.{name(column)} <=> old.{name(column)}" for column in names)
    return left.join(right, expr(alike), "left_anti")


def _rows(made: Path) -> int:
    """Count the rows that the workers have written, by what the files say of themselves."""
    return sum(pq.read_metadata(file).num_rows for file in made.rglob("*.parquet"))


def _write(rows: pa.RecordBatchReader, schema: pa.Schema, file: Path) -> tuple[int, set[date]]:
    """Write the rows where the workers see them; return how many, and on which UTC days."""
    count, days = 0, set[date]()
    with pq.ParquetWriter(file, schema) as writer:
        for batch in rows:
            table = pa.Table.from_batches([batch]).cast(schema)
            writer.write_table(table)
            count += len(table)
            if RECEIVED in schema.names:
                found = pc.unique(table[RECEIVED].cast(pa.date32())).to_pylist()
                days.update(day for day in found if day)
    return count, days
