"""The stage: one window's rows of every brand, read from the warehouse once.

Two tables in DuckDB, `stage.activities` and `stage.broadcasts`, copies of the views. Files are
written from them and from nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ExportError, without_addresses

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TABLES = {"activity": "stage.activities", "broadcast": "stage.broadcasts"}
VIEWS = {"activity": "activities_daily", "broadcast": "broadcasts_daily"}
# The order of rows within a brand: instants first, texts by their bytes (DuckDB's own order).
_ORDER = {
    "activity": "activity_date, broadcast_id, customer_id, activity, event_id",
    "broadcast": "sent_on, broadcast_id",
}
_ROWS_PER_BATCH = 50_000


@contextmanager
def explained() -> Iterator[None]:
    """Turn DuckDB's errors into ExportError, without the values that its words may quote."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    try:
        yield
    except duckdb.Error as error:
        raise ExportError(f"the stage failed: {without_addresses(str(error))}") from error


@dataclass(frozen=True)
class Stage:
    """A filled stage, its columns' types, and the brands of the warehouse."""

    connection: "duckdb.DuckDBPyConnection"
    types: Mapping[str, Mapping[str, str]]
    brands: Sequence[str]

    @classmethod
    def of(cls, connection: "duckdb.DuckDBPyConnection", brands: Sequence[str]) -> "Stage":
        """Look at the tables that an engine has filled."""
        types = {
            kind: {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}
            for kind, table in TABLES.items()
        }
        return cls(connection, types, brands)

    def text(self, expression: str) -> str:
        """Return the value of an SQL expression of texts."""
        rows = self.connection.sql(f"select {expression}").fetchall()
        return str(rows[0][0])

    def lines(
        self, kind: str, line: str, *, brands: Sequence[str], condition: str = "true"
    ) -> Iterator[tuple[str, "pa.StringArray"]]:
        """Yield `(brand, lines)`, ordered, some thousands of lines of one brand at a time.

        `line` is the expression of a row's line, `condition` that of the rows wanted.
        """
        import pyarrow.compute as pc  # noqa: PLC0415 - a run with nothing due does not need it

        with explained():
            rows = self.connection.sql(
                f"""
                select brand, {line} as line
                from {TABLES[kind]}
                where brand in (select unnest($brands)) and {condition}
                order by brand, {_ORDER[kind]}
                """,  # noqa: S608 - names and texts are quoted where the expressions are made
                params={"brands": list(brands)},
            )
            for batch in rows.to_arrow_reader(_ROWS_PER_BATCH):
                runs = pc.call_function("run_end_encode", [batch.column("brand")])
                lines, start = batch.column("line"), 0
                for brand, end in zip(
                    runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True
                ):
                    yield brand, lines.slice(start, end - start)
                    start = end
