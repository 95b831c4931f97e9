"""The stage: the rows of one window, of every brand, read from the warehouse once.

It is two relations in a DuckDB database, `stage.activities` and `stage.broadcasts`. They are
views of the rows that dbt froze: the tables themselves, or copies of them. All files of a window
are written from the stage and from nothing else.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import system
from orchestrator.config.exports import KINDS, Kind
from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse.sql import identifier, literal, names, redacted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TABLES = {"activity": "stage.activities", "broadcast": "stage.broadcasts"}
VIEWS = {"activity": "activities_daily", "broadcast": "broadcasts_daily"}
ORDER = {
    "activity": ("activity_date", "broadcast_id", "customer_id", "activity", "event_id"),
    "broadcast": ("sent_on", "broadcast_id"),
}
"""The order of rows within a brand: moments as instants, texts by their bytes (DuckDB's order)."""
_GROUPS = {"activity": ("activity", "activity, event_id"), "broadcast": ("null", "broadcast_id")}
"""What a summary groups the rows of a brand by, and their key within the brand."""
KEYS = {kind: {"brand", *columns} for kind, columns in ORDER.items()}
"""The columns that every stage needs."""
_WIDE = 1_000  # bytes of text in a row, from which on rows are sorted in pieces
_PIECE = 48_000_000  # bytes of text that are sorted at once then
_ROWS_PER_BATCH = 8_192  # rows of 5 kB are 40 MB then, of which two batches are in memory
# Texts of failures that end by themselves, or with more memory: those of DuckDB, then those of
# PostgreSQL and libpq, which dbt passes on without their SQLSTATE.
_OUT_OF_MEMORY = "Out of Memory Error"
_TEMPORARY = (
    "server closed the connection unexpectedly",
    "terminating connection",
    "connection already closed",
    "the database system is",  # shutting down, starting up, in recovery mode
    "too many clients already",
    "too many connections for",
    "remaining connection slots are reserved",
    "connection to server",
    "could not receive data from server",
    "SSL connection has been closed",
    "out of shared memory",
    "out of memory",
    "deadlock detected",
)
_MEMORY = "512MB"
_THREADS = 4  # each needs about 100 MB of the limit


@dataclass(frozen=True)
class Summary:
    """How many rows a brand has, a fingerprint of their keys, and the rows by activity, if any.

    `size` is the number of bytes of all their texts.
    """

    rows: int = 0
    fingerprint: int = 0
    size: int = 0
    activities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A filled stage, the types of its columns, and the brands of the warehouse.

    `parts` lists, by kind of file, relations that together are the table of that kind. All rows of
    one part are ordered before all rows of the next, so each part can be sorted separately, which
    needs less memory. `most` limits how many rows a query returns, for commands that only look at
    the first rows of one brand.
    """

    connection: "duckdb.DuckDBPyConnection"
    types: Mapping[str, Mapping[str, str]]
    brands: Sequence[str]
    parts: Mapping[str, Sequence[str]]
    most: int | None = None
    _summaries: dict[tuple[str, str], dict[str, Summary]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        connection: "duckdb.DuckDBPyConnection",
        brands: Sequence[str],
        parts: Mapping[str, Sequence[str]] | None = None,
    ) -> "Stage":
        """Return the stage of a connection whose two relations an engine has created."""
        types = {
            kind: {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}
            for kind, table in TABLES.items()
        }
        undivided = {kind: [table] for kind, table in TABLES.items()}
        return cls(connection, types, brands, parts or undivided)

    @classmethod
    def over(
        cls,
        connection: "duckdb.DuckDBPyConnection",
        sources: Mapping[str, str],
        brands_source: str,
        columns: Mapping[str, set[str]],
    ) -> "Stage":
        """Create the two relations over what DuckDB can read in place, and return their stage.

        `sources` maps a view to an SQL source; `columns` is as in Engine.read. Raises ExportError.
        """
        with translated_errors():
            for kind, table in TABLES.items():
                view = VIEWS[kind]
                rows = f"select {names(columns.get(view))} from {sources[view]}"  # noqa: S608 - quoted
                connection.execute(f"create or replace view {table} as {rows}")
            brands = connection.sql(f"from {brands_source}").order("brand").fetchall()
            return cls.of(connection, [row[0] for row in brands])

    def text(self, expression: str) -> str:
        """Return the value of an SQL expression of type text."""
        rows = self.connection.sql(f"select {expression}").fetchall()
        return str(rows[0][0])

    def summaries(self, kind: str, *, condition: str = "true") -> Mapping[str, Summary]:
        """Return the summary of the rows of each brand that meet an SQL condition.

        It is computed once for each condition: most exports want the same rows.
        """
        if (kind, condition) not in self._summaries:
            self._summaries[kind, condition] = self._summarised(kind, condition)
        return self._summaries[kind, condition]

    def _summarised(self, kind: str, condition: str) -> dict[str, Summary]:
        group, key = _GROUPS[kind]
        texts = [name for name, type_name in self.types[kind].items() if type_name == "VARCHAR"]
        size = " + ".join(f"coalesce(strlen({identifier(name)}), 0)" for name in texts) or "0"
        found: dict[str, Summary] = {}
        with translated_errors():
            rows = self.connection.sql(
                f"""
                select brand, {group}, count(*), bit_xor(hash({key})), cast(sum({size}) as bigint)
                from {TABLES[kind]}
                where {condition}
                group by all
                """  # noqa: S608 - as in lines()
            )
            for brand, activity, number, mark, total in rows.fetchall():
                known = found.get(brand, Summary())
                found[brand] = Summary(
                    known.rows + number,
                    known.fingerprint ^ mark,
                    known.size + total,
                    {**known.activities, **({activity: number} if activity else {})},
                )
        return found

    def fingerprint(self, summaries: Mapping[Kind, Summary]) -> str:
        """Return a text that differs between two sets of rows of a brand, by their keys.

        Its first word is the release of DuckDB, on which the hashes depend.
        """
        import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

        marks = " ".join(f"{summaries[kind].fingerprint:x}" for kind in KINDS)
        return f"v{duckdb.__version__} {marks}"

    def lines(
        self, kind: str, line: str, *, brands: Sequence[str], condition: str = "true"
    ) -> Iterator[tuple[str, "pa.Array[Any] | ExportError"]]:
        """Yield `(brand, lines)` in file order, up to 8,192 lines of one brand at a time.

        `line` is the SQL expression of a row's line; `condition` selects rows. A brand whose rows
        are sorted without those of others, and need too much memory, yields an error instead.
        """
        import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

        several = len(brands) > 1
        selected = f"brand, {line} as line" if several else f"{line} as line"
        with translated_errors():
            for relation, some, those in self._pieces(kind, brands=brands, condition=condition):
                try:
                    rows = self._select(kind, selected, relation, brands=some, condition=those)
                    for batch in read_ahead(rows.to_arrow_reader(_ROWS_PER_BATCH)):
                        lines = batch.column("line")
                        if not several:
                            yield brands[0], lines
                            continue
                        for brand, start, end in runs(batch.column("brand")):
                            yield brand, lines.slice(start, end - start)
                except duckdb.OutOfMemoryException:
                    if len(some) > 1:
                        raise
                    yield some[0], ExportError(f"the rows of {some[0]} are wide: {out_of_memory()}")

    def _pieces(
        self, kind: str, *, brands: Sequence[str], condition: str
    ) -> Iterator[tuple[str, Sequence[str], str]]:
        """Yield relation, brands and condition of what is sorted at once, in file order.

        DuckDB sorts narrow rows in any number within its memory limit, but cannot spill enough of
        rows of some kB. So those are sorted in pieces, a brand at a time.
        """
        table = TABLES[kind]
        if self.most is None and len(brands) == 1 and len(self.parts[kind]) > 1:
            yield from ((relation, brands, condition) for relation in self.parts[kind])
            return
        found = {} if self.most is not None else self.summaries(kind, condition=condition)
        sizes = {brand: found[brand] for brand in brands if brand in found}
        wide = {b for b, of in sizes.items() if of.size > max(_PIECE, of.rows * _WIDE)}
        if not wide:
            yield table, brands, condition
            return
        for brand in sorted(sizes):  # as UTF-8 bytes are ordered
            edges = 0
            if brand in wide:
                every = max(1, sizes[brand].rows * _PIECE // sizes[brand].size)
                edges = self._edge(kind, brand, condition, every=every)
            for number in range(edges + 1):
                key = f"row({', '.join(ORDER[kind])})"
                above = f"{key} > (select key from temp.edges where number = {number})"  # noqa: S608 - a number
                below = f"{key} <= (select key from temp.edges where number = {number + 1})"  # noqa: S608 - a number
                bounds = [above] * (number > 0) + [below] * (number < edges)
                yield table, [brand], " and ".join([f"({condition})", *bounds])

    def _edge(self, kind: str, brand: str, condition: str, *, every: int) -> int:
        """Keep the sort key of each `every`-th row of a brand in `temp.edges`; return how many."""
        keys = ", ".join(ORDER[kind])
        self.connection.execute(
            f"""
            create or replace temp table edges as
            select row_number() over (order by place) as number, key
            from (
                select row({keys}) as key, row_number() over (order by {keys}) as place
                from {TABLES[kind]}
                where brand = $brand and {condition}
            )
            where place % $every = 0
            """,  # noqa: S608 - as in _select()
            {"brand": brand, "every": every},
        )
        ((number,),) = self.connection.sql("select count(*) from temp.edges").fetchall()
        return int(number)

    def texts(
        self, kind: str, texts: Sequence[str], *, brand: str, condition: str = "true"
    ) -> Sequence[Sequence[str | None]]:
        """Return the values of SQL expressions for each row of a brand, in file order."""
        with translated_errors():
            rows = self._select(
                kind, ", ".join(texts), TABLES[kind], brands=[brand], condition=condition
            )
            return rows.fetchall()

    def _select(
        self, kind: str, selected: str, relation: str, *, brands: Sequence[str], condition: str
    ) -> "duckdb.DuckDBPyRelation":
        # A sort key that is equal in every row would cost a third of the sort's time.
        order = ", ".join(ORDER[kind] if len(brands) == 1 else ("brand", *ORDER[kind]))
        return self.connection.sql(
            f"""
            select {selected}
            from {relation}
            where brand in (select unnest($brands)) and {condition}
            order by {order}
            {"" if self.most is None else f"limit {self.most:d}"}
            """,  # noqa: S608 - names and texts are quoted where the expressions are built
            params={"brands": list(brands)},
        )


def read_ahead(batches: Iterator["pa.RecordBatch"]) -> Generator["pa.RecordBatch"]:
    """Yield the batches, while one thread already fetches the next one.

    To fetch a batch (DuckDB sorts, PostgreSQL sends) and to write it to files take about the same
    time, and both release Python's lock, so a run with two cores needs half the time. At most one
    batch is fetched in advance: memory stays bounded. The thread uses the connection behind
    `batches`, so close this generator before that connection; closing waits for the thread.
    """
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, batches, None)
        while (batch := following.result()) is not None:  # an empty batch is not the end
            following = thread.submit(next, batches, None)
            yield batch


def runs(values: "pa.Array[Any]") -> Iterator[tuple[Any, int, int]]:
    """Yield `(value, start, end)` for each run of equal values; `end` is exclusive."""
    import pyarrow.compute as pc  # noqa: PLC0415 - a run with nothing due does not need it

    encoded = pc.call_function("run_end_encode", [values])
    start = 0
    for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
        yield value, start, end
        start = end


def limits() -> dict[str, str]:
    """Return the settings that limit one DuckDB instance; larger work goes to disk.

    The memory is $DUCKDB_MEMORY_LIMIT. Raises UsageError if DuckDB cannot read that value.
    """
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    memory = os.environ.get("DUCKDB_MEMORY_LIMIT", _MEMORY)
    try:
        duckdb.connect(config={"memory_limit": memory}).close()
    except duckdb.Error:
        raise UsageError(
            f"DUCKDB_MEMORY_LIMIT is '{memory}': expected a size such as {_MEMORY}"
        ) from None
    threads = str(min(os.cpu_count() or 1, _THREADS))
    # DuckDB draws a progress bar on stdout where it takes the process for an interactive one.
    return {"memory_limit": memory, "threads": threads, "enable_progress_bar": "false"}


def settings() -> dict[str, str]:
    """Return DuckDB's settings in a run: a window of any size within limited memory."""
    return {
        "TimeZone": "UTC",
        **limits(),
        # Each query names its order. To keep the order of tables would hold their rows in memory.
        "preserve_insertion_order": "false",
        # Offsets of 64 bits in Arrow: the texts of one batch may be more than 2 GB together.
        "arrow_large_buffer_size": "true",
    }


def apply(connection: "duckdb.DuckDBPyConnection", chosen: Mapping[str, object]) -> None:
    """Set settings on a connection: in the config of connect(), TimeZone would precede ICU."""
    for name, value in chosen.items():
        connection.execute(f"set {name} = {literal(str(value))}")


def connect(folder: Path) -> "duckdb.DuckDBPyConnection":
    """Open a new stage database in a file in `folder`; its catalog is named `stage`."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    connection = duckdb.connect(folder / "stage.duckdb")
    apply(connection, settings())
    return connection


def out_of_memory() -> str:
    """Return the words for DuckDB's out-of-memory error, with the remedy."""
    return (
        f"DuckDB ran out of memory; let DUCKDB_MEMORY_LIMIT be more than {limits()['memory_limit']}"
    )


def temporary_failure(text: str) -> ExportError | None:
    """Return the error to raise if a text that dbt passes on says that the warehouse failed.

    Such a failure says nothing about the models or the rows: the same command works later, or
    with more memory. None for every other text.
    """
    if _OUT_OF_MEMORY in text:
        return ExportError(f"dbt failed: {out_of_memory()}")
    for words in _TEMPORARY:
        if words in text:
            line = next(line for line in text.splitlines() if words in line)
            return ExportError(f"the warehouse failed while dbt worked: {redacted(line.strip())}")
    return None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate DuckDB's errors to ExportError, without the values that their texts may quote."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ExportError(f"the stage failed: {out_of_memory()}") from error
    except duckdb.OperationalError as error:  # of the disk or the memory: it quotes no value
        full = system.disk_full(error, "the outbox")
        raise full or ExportError(f"the stage failed: {error}") from error
    except duckdb.Error as error:
        raise ExportError(f"the stage failed: {redacted(str(error))}") from error
