"""The stage: the rows of one window, of every brand, read from the warehouse once.

The stage consists of two relations in a DuckDB database, `stage.activities` and
`stage.broadcasts`. They are views over the rows that dbt froze, either in place or over copies. All
files of a window are written from the stage and from nothing else.
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
"""The order of rows within a brand: timestamps by instant, texts by their bytes, as in DuckDB."""
ROW_KEYS = {"activity": ("activity", "event_id"), "broadcast": ("broadcast_id",)}
"""The columns that identify a row of a brand, also in the raw tables."""
REQUIRED_COLUMNS = {kind: {"brand", *columns} for kind, columns in ORDER.items()}
"""The columns that every stage has, by kind of file."""
_WIDE = 1_000  # bytes of text in an average row: wider rows are sorted in pieces
_PIECE = 48_000_000  # bytes of text in one piece
_ROWS_PER_BATCH = 8_192  # with rows of 5 kB a batch has 40 MB; two batches are in memory
# What error texts contain if a retry, or more memory, may help. dbt passes on the errors of
# PostgreSQL and libpq as text without SQLSTATE, so the text is all there is to compare.
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
_THREADS = 4  # each needs about 100 MB of the memory limit


@dataclass(frozen=True)
class Summary:
    """A summary of the rows of one brand."""

    rows: int = 0
    fingerprint: int = 0
    """A hash of the keys of the rows that does not depend on their order."""
    size: int = 0
    """The number of bytes of all texts."""
    activities: Mapping[str, int] = field(default_factory=dict)
    """The number of rows by activity; empty for broadcasts."""


@dataclass(frozen=True)
class Stage:
    """The rows of one window."""

    connection: "duckdb.DuckDBPyConnection"
    types: Mapping[str, Mapping[str, str]]
    """DuckDB's types of the columns, by kind of file and column."""
    brands: Sequence[str]
    """The brands of the warehouse."""
    parts: Mapping[str, Sequence[str]]
    """By kind of file, the relations that together are the table of that kind.

    Within a brand, all rows of one part come before all rows of the next. So each part can be
    sorted separately, which needs less memory.
    """
    most: int | None = None
    """How many rows a query returns at most, for commands that only show the first rows."""
    _summaries: dict[tuple[str, str], dict[str, Summary]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def from_relations(
        cls,
        connection: "duckdb.DuckDBPyConnection",
        brands: Sequence[str],
        parts: Mapping[str, Sequence[str]] | None = None,
    ) -> "Stage":
        """Return the stage of a connection in which the two relations exist."""
        types = {
            kind: {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}
            for kind, table in TABLES.items()
        }
        undivided = {kind: [table] for kind, table in TABLES.items()}
        return cls(connection, types, brands, parts or undivided)

    @classmethod
    def from_sources(
        cls,
        connection: "duckdb.DuckDBPyConnection",
        sources: Mapping[str, str],
        brands_source: str,
        columns: Mapping[str, set[str]],
    ) -> "Stage":
        """Create the two relations as views over what DuckDB can read, and return their stage.

        `sources` maps each view to what DuckDB selects from; `columns` is as in Engine.read. Raises
        ExportError if DuckDB cannot read it.
        """
        with translated_errors():
            for kind, table in TABLES.items():
                view = VIEWS[kind]
                rows = f"select {names(columns.get(view))} from {sources[view]}"  # noqa: S608 - quoted
                connection.execute(f"create or replace view {table} as {rows}")
            brands = connection.sql(f"from {brands_source}").order("brand").fetchall()
            return cls.from_relations(connection, [row[0] for row in brands])

    def text(self, expression: str) -> str:
        """Return the value of an SQL expression of type text."""
        rows = self.connection.sql(f"select {expression}").fetchall()
        return str(rows[0][0])

    def summaries(self, kind: str, *, condition: str = "true") -> Mapping[str, Summary]:
        """Return the summary of the rows of each brand that satisfy an SQL condition.

        It is computed once for each condition, because most exports have the same one.
        """
        if (kind, condition) not in self._summaries:
            self._summaries[kind, condition] = self._summarised(kind, condition)
        return self._summaries[kind, condition]

    def _summarised(self, kind: str, condition: str) -> dict[str, Summary]:
        group, key = "activity" if kind == "activity" else "null", ", ".join(ROW_KEYS[kind])
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
        """Return a text that is equal for equal sets of rows of a brand, compared by their keys.

        Its first word is the release of DuckDB, because the hashes depend on it.
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
        """Yield relation, brands and condition of each set of rows to sort, in file order.

        Within its memory limit DuckDB sorts any number of narrow rows, but with rows of some kB it
        cannot write enough to disk. So brands with wide rows are sorted one by one, in pieces.
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
        for brand in sorted(sizes):  # the same order as that of UTF-8 bytes, which DuckDB has
            bounds = 0
            if brand in wide:
                every = max(1, sizes[brand].rows * _PIECE // sizes[brand].size)
                bounds = self._find_bounds(kind, brand, condition, every=every)
            for number in range(bounds + 1):
                key = f"row({', '.join(ORDER[kind])})"
                above = f"{key} > (select key from temp.bounds where number = {number})"  # noqa: S608 - a number
                below = f"{key} <= (select key from temp.bounds where number = {number + 1})"  # noqa: S608 - a number
                within = [above] * (number > 0) + [below] * (number < bounds)
                yield table, [brand], " and ".join([f"({condition})", *within])

    def _find_bounds(self, kind: str, brand: str, condition: str, *, every: int) -> int:
        """Store the sort key of each `every`-th row of a brand in `temp.bounds`; count them."""
        keys = ", ".join(ORDER[kind])
        self.connection.execute(
            f"""
            create or replace temp table bounds as
            select row_number() over (order by position) as number, key
            from (
                select row({keys}) as key, row_number() over (order by {keys}) as position
                from {TABLES[kind]}
                where brand = $brand and {condition}
            )
            where position % $every = 0
            """,  # noqa: S608 - as in _select()
            {"brand": brand, "every": every},
        )
        ((number,),) = self.connection.sql("select count(*) from temp.bounds").fetchall()
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
        # With one brand it is left out of the sort key, which saves a third of the time.
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
    """Yield the batches, while a thread already fetches the next one.

    Fetching a batch (DuckDB sorts, PostgreSQL sends) and writing it to files take about the same
    time, and both release Python's global lock. So with two cores a run needs half the time. At
    most one batch is fetched in advance, which keeps memory bounded. The thread uses the connection
    behind `batches`, so close this generator before that connection; closing waits for the thread.
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
    """Return the settings that limit memory and threads of one DuckDB instance.

    The memory limit is $DUCKDB_MEMORY_LIMIT; beyond it, DuckDB writes to disk. Raises UsageError if
    the value is not valid.
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
    # In what it considers an interactive session, DuckDB prints a progress bar on stdout.
    return {"memory_limit": memory, "threads": threads, "enable_progress_bar_print": "false"}


def settings() -> dict[str, str]:
    """Return the settings of DuckDB in a run, which allow windows larger than memory."""
    return {
        "TimeZone": "UTC",
        **limits(),
        # Every query has an `order by`. Keeping the order of insertion as well needs memory.
        "preserve_insertion_order": "false",
        # 64-bit offsets in Arrow, because the texts of one batch may have more than 2 GB.
        "arrow_large_buffer_size": "true",
    }


def set_options(connection: "duckdb.DuckDBPyConnection", options: Mapping[str, object]) -> None:
    """Set settings of a connection.

    They are not passed to connect(), because TimeZone cannot be set before the extension ICU is
    loaded.
    """
    for name, value in options.items():
        connection.execute(f"set {name} = {literal(str(value))}")


def connect(folder: Path) -> "duckdb.DuckDBPyConnection":
    """Open a new database for a stage in the file `stage.duckdb` in `folder`."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    connection = duckdb.connect(folder / "stage.duckdb")
    set_options(connection, settings())
    return connection


def out_of_memory() -> str:
    """Return a message for DuckDB's out-of-memory error."""
    return (
        f"DuckDB ran out of memory; set DUCKDB_MEMORY_LIMIT to more than {limits()['memory_limit']}"
    )


def temporary_failure(text: str) -> ExportError | None:
    """Return an ExportError if an error text from dbt means that the warehouse failed, else None.

    Such a failure is not caused by the models or the rows: the same command works later, or with
    more memory.
    """
    if _OUT_OF_MEMORY in text:
        return ExportError(f"dbt failed: {out_of_memory()}")
    for phrase in _TEMPORARY:
        if phrase in text:
            line = next(line for line in text.splitlines() if phrase in line)
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
    except duckdb.OperationalError as error:  # about disk or memory: the text quotes no value
        full = system.disk_full(error, "the outbox")
        raise full or ExportError(f"the stage failed: {error}") from error
    except duckdb.Error as error:
        raise ExportError(f"the stage failed: {redacted(str(error))}") from error
