"""The stage: one window's rows of every brand, read from the warehouse once.

Two relations in DuckDB, `stage.activities` and `stage.broadcasts`: the rows that dbt froze, where
they lie or copied. Files are written from them and from nowhere else.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.warehouse.sql import names
from orchestrator.warehouse.stage_database import translated_errors

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TABLES = {"activity": "stage.activities", "broadcast": "stage.broadcasts"}
VIEWS = {"activity": "activities_daily", "broadcast": "broadcasts_daily"}
ORDER = {
    "activity": ("activity_date", "broadcast_id", "customer_id", "activity", "event_id"),
    "broadcast": ("sent_on", "broadcast_id"),
}
"""The order of rows within a brand: instants first, texts by their bytes (DuckDB's own order)."""
KEYS = {kind: {"brand", *columns} for kind, columns in ORDER.items()}
"""The columns that a stage cannot do without."""
_ROWS_PER_BATCH = 50_000


@dataclass(frozen=True)
class Stage:
    """A filled stage, its columns' types, and the brands of the warehouse.

    `parts` are relations which together hold the rows of a table, by kind: those of each come
    after those of the one before, so that each can be ordered by itself, in less memory.
    With `most`, no more rows are read at once: the first of one brand, for those who only look.
    """

    connection: "duckdb.DuckDBPyConnection"
    types: Mapping[str, Mapping[str, str]]
    brands: Sequence[str]
    parts: Mapping[str, Sequence[str]]
    most: int | None = None

    @classmethod
    def of(
        cls,
        connection: "duckdb.DuckDBPyConnection",
        brands: Sequence[str],
        parts: Mapping[str, Sequence[str]] | None = None,
    ) -> "Stage":
        """Look at the tables that an engine has filled."""
        types = {
            kind: {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}
            for kind, table in TABLES.items()
        }
        whole = {kind: [table] for kind, table in TABLES.items()}
        return cls(connection, types, brands, parts or whole)

    def text(self, expression: str) -> str:
        """Return the value of an SQL expression of texts."""
        rows = self.connection.sql(f"select {expression}").fetchall()
        return str(rows[0][0])

    def counts(self, kind: str, *, condition: str = "true") -> dict[str, int]:
        """Return how many rows each brand has of those that a condition wants."""
        with translated_errors():
            rows = self.connection.sql(
                f"select brand, count(*) from {TABLES[kind]} where {condition} group by brand"  # noqa: S608 - as in lines()
            )
            return dict(rows.fetchall())

    def activities(self, condition: str) -> dict[str, dict[str, int]]:
        """Return how many rows each brand has of each activity, of those a condition wants."""
        found: dict[str, dict[str, int]] = {}
        with translated_errors():
            rows = self.connection.sql(
                f"""
                select brand, activity, count(*)
                from {TABLES["activity"]}
                where {condition}
                group by brand, activity
                """  # noqa: S608 - as in lines()
            )
            for brand, activity, number in rows.fetchall():
                found.setdefault(brand, {})[activity] = number
        return found

    def lines(
        self, kind: str, line: str, *, brands: Sequence[str], condition: str = "true"
    ) -> Iterator[tuple[str, "pa.Array[Any]"]]:
        """Yield `(brand, lines)`, ordered, some thousands of lines of one brand at a time.

        `line` is the expression of a row's line, `condition` that of the rows wanted.
        """
        several = len(brands) > 1
        what = f"brand, {line} as line" if several else f"{line} as line"
        whole = several or self.most is not None
        with translated_errors():
            for relation in [TABLES[kind]] if whole else self.parts[kind]:
                rows = self._select(kind, what, relation, brands=brands, condition=condition)
                for batch in ahead(rows.to_arrow_reader(_ROWS_PER_BATCH)):
                    lines = batch.column("line")
                    if not several:
                        yield brands[0], lines
                        continue
                    for brand, start, end in runs(batch.column("brand")):
                        yield brand, lines.slice(start, end - start)

    def texts(
        self, kind: str, texts: Sequence[str], *, brand: str, condition: str = "true"
    ) -> Sequence[Sequence[str | None]]:
        """Return the texts of each row of a brand, in the order of lines()."""
        with translated_errors():
            rows = self._select(
                kind, ", ".join(texts), TABLES[kind], brands=[brand], condition=condition
            )
            return rows.fetchall()

    def _select(
        self, kind: str, what: str, relation: str, *, brands: Sequence[str], condition: str
    ) -> "duckdb.DuckDBPyRelation":
        # A column that is alike in every row would only cost, as a key a third of a sort's time.
        order = ", ".join(ORDER[kind] if len(brands) == 1 else ("brand", *ORDER[kind]))
        return self.connection.sql(
            f"""
            select {what}
            from {relation}
            where brand in (select unnest($brands)) and {condition}
            order by {order}
            {"" if self.most is None else f"limit {self.most:d}"}
            """,  # noqa: S608 - names and texts are quoted where the expressions are made
            params={"brands": list(brands)},
        )


def ahead(batches: Iterator["pa.RecordBatch"]) -> Generator["pa.RecordBatch"]:
    """Yield the batches; a thread gets the next one meanwhile.

    Close it before what the batches come from: it returns once the thread has ended.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:  # one without rows is no end
            coming = thread.submit(next, batches, None)
            yield batch


def runs(values: "pa.Array[Any]") -> Iterator[tuple[Any, int, int]]:
    """Yield each value that stands in a row of them, where it begins, and where it ends."""
    import pyarrow.compute as pc  # noqa: PLC0415 - a run with nothing due does not need it

    encoded = pc.call_function("run_end_encode", [values])
    start = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield value, start, end
        start = end


def show(
    connection: "duckdb.DuckDBPyConnection",
    sources: Mapping[str, str],
    brands_source: str,
    columns: Mapping[str, set[str]],
) -> Stage:
    """Return the stage of one window's rows.

    `sources` are what DuckDB selects from, by view, and `columns` those wanted, as Engine.read has
    it. Raises ExportError.
    """
    with translated_errors():
        for kind, table in TABLES.items():
            view = VIEWS[kind]
            rows = f"select {names(columns.get(view))} from {sources[view]}"  # noqa: S608 - quoted
            connection.execute(f"create or replace view {table} as {rows}")
        brands = connection.sql(f"from {brands_source}").order("brand").fetchall()
        return Stage.of(connection, [row[0] for row in brands])
