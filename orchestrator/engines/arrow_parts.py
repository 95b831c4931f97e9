"""Rows in several Arrow files, one after the other in order, so that each is ordered in memory."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from orchestrator.stage import runs

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
