"""The columns of PostgreSQL on their way into DuckDB, so that both show the same."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from orchestrator.warehouse.sql import identifier
from orchestrator.warehouse.stage import runs

_DAYS = 10_957  # from 1970 to 2000
_PART = 64 * 1024 * 1024  # bytes of a table; DuckDB needs twice as many to order them
_MOST_PARTS = 128  # files that are open at once
_SAMPLE = 8 * 1024 * 1024  # bytes that tell where the parts begin
# ADBC gives these as numbers that are not what PostgreSQL shows; what it gives as bytes of a
# kind of its own is text too.
_AS_TEXT = ("money", "oid")


def selected(known: pa.Schema, wanted: set[str] | None) -> str:
    """Return what to select in PostgreSQL: the wanted columns, as dbt's YAML names them.

    PostgreSQL lowers the capitals of a name that SQL does not quote.
    """
    return ", ".join(_column(*pair) for pair in _named(known, wanted))


def part(known: pa.Schema, moment: str, relation: str, *, size: int) -> str:
    """Return the SQL of a row's part, from 0 on: those of later moments have greater numbers.

    `size` is that of the table in bytes; its parts are about as large. A table that is small, or
    has no such moments, has one part.
    """
    parts = min(_MOST_PARTS, size // _PART + 1)
    is_moment = moment in known.names and pa.types.is_timestamp(known.field(moment).type)
    if parts == 1 or not is_moment:
        return "0"
    name, shares = identifier(moment), [number / parts for number in range(1, parts)]
    return f"""coalesce(width_bucket({name}, (
        select percentile_disc(array{shares}) within group (order by {name})
        from {relation} tablesample system ({min(100, 100 * _SAMPLE / size)})
    )), {parts - 1})"""  # noqa: S608 - quoted


def shown(copied: pa.Schema) -> str:
    """Return what to select in DuckDB of the columns that were copied.

    PostgreSQL counts moments from 2000 on and has its last number for infinity; ADBC counts from
    1970, and so beyond the end of numbers.
    """
    return ", ".join(map(_shown, copied))


def _shown(field: "pa.Field[Any]") -> str:
    name = identifier(field.name)
    if pa.types.is_date32(field.type):
        kind, bits, shift, number = "date", 32, _DAYS, f"{name} - date '1970-01-01'"
    elif pa.types.is_timestamp(field.type):
        kind = "timestamptz" if field.type.tz else "timestamp"
        bits, shift, number = 64, _DAYS * 86_400_000_000, f"epoch_us({name})"
    else:
        return name
    least = shift - (1 << bits - 1)
    return f"""case {number}
        when {least - 1} then {kind} 'infinity'
        when {least} then {kind} '-infinity'
        else {name}
    end as {name}"""


def _named(known: pa.Schema, wanted: set[str] | None) -> Iterator[tuple["pa.Field[Any]", str]]:
    if wanted is None:
        yield from ((field, field.name) for field in known)
        return
    lowered = {name.lower(): name for name in wanted}
    for field in known:
        if field.name in wanted:
            yield field, field.name
        elif field.name in lowered:
            yield field, lowered[field.name]


def _column(field: "pa.Field[Any]", name: str) -> str:
    found, name = identifier(field.name), identifier(name)
    kind = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    opaque = isinstance(field.type, pa.OpaqueType) and field.type.storage_type == pa.binary()
    value = f"cast({found} as text)" if opaque or kind in _AS_TEXT else found
    return f"{value} as {name}"


_ROWS = 20_000  # in a batch of a file, of which several are in memory as it is read


def write(folder: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> list[Path]:
    """Write rows to the files that their last column numbers, and return these in order.

    The column itself is left out, and the folder made anew. `schema` is that of the batches.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kept = schema.remove(len(schema) - 1)
    files: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    with ExitStack() as open_files:

        def open_file(number: int) -> pa.ipc.RecordBatchFileWriter:
            sink = open_files.enter_context(pa.OSFile(str(folder / f"{number}.arrow"), "wb"))
            return open_files.enter_context(pa.ipc.new_file(sink, kept))

        files[0] = open_file(0)  # also where there is no row
        for batch in batches:
            for number, rows in _parted(batch):
                if number not in files:
                    files[number] = open_file(number)
                files[number].write_batch(rows)
    return [folder / f"{number}.arrow" for number in sorted(files)]


def scanner(paths: Iterable[Path]) -> dataset.Scanner:
    """Return what DuckDB reads files by, as often as it likes.

    Threads that read ahead would hold hundreds of MB more, and take longer.
    """
    files = dataset.dataset([str(path) for path in paths], format="ipc")
    return files.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False)


def _parted(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of each number, some thousands at a time."""
    last = batch.num_columns - 1
    numbers = batch.column(last)
    least_and_most = pc.min_max(numbers)
    if least_and_most["min"] != least_and_most["max"]:
        batch = batch.take(pc.sort_indices(numbers))
    rows = batch.select(range(last))
    for number, start, end in runs(batch.column(last)):
        for begin in range(start, end, _ROWS):
            yield number, rows.slice(begin, min(_ROWS, end - begin))
