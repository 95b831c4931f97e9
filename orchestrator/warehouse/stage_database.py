"""The stage's database: a DuckDB within bounds, and its errors in our words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import system
from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse.redaction import redacted
from orchestrator.warehouse.sql import literal

if TYPE_CHECKING:
    import duckdb

_MEMORY = "512MB"
_THREADS = 4  # each wants some 100 MB of it


def limits() -> dict[str, str]:
    """Return the settings that bound what one DuckDB takes: what does not fit goes to disk.

    The memory is $DUCKDB_MEMORY_LIMIT. Raises UsageError where DuckDB cannot read that.
    """
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    memory = os.environ.get("DUCKDB_MEMORY_LIMIT", _MEMORY)
    try:
        duckdb.connect(config={"memory_limit": memory}).close()
    except duckdb.Error:
        raise UsageError(
            f"DUCKDB_MEMORY_LIMIT is '{memory}': expected a size such as {_MEMORY}"
        ) from None
    return {"memory_limit": memory, "threads": str(min(os.cpu_count() or 1, _THREADS))}


def out_of_memory() -> str:
    """Return what to do where DuckDB says that its memory is used up."""
    return (
        f"DuckDB ran out of memory; let DUCKDB_MEMORY_LIMIT be more than {limits()['memory_limit']}"
    )


def settings() -> dict[str, str]:
    """Return the settings of DuckDB in a run: a window of any size within bounded memory."""
    return {
        "TimeZone": "UTC",
        **limits(),
        # Each sort says its order; keeping that of the tables would keep their rows in memory.
        "preserve_insertion_order": "false",
    }


def connect(folder: Path) -> "duckdb.DuckDBPyConnection":
    """Open a database for a stage of its own, in a file in `folder`; its catalog is `stage`."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    connection = duckdb.connect(folder / "stage.duckdb")
    for name, value in settings().items():  # as configuration, TimeZone comes before ICU is there
        connection.execute(f"set {name} = {literal(value)}")
    return connection


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn DuckDB's errors into ExportError, without the values that its words may quote."""
    import duckdb  # noqa: PLC0415 - a run with nothing due does not need it

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ExportError(f"the stage failed: {out_of_memory()}") from error
    except duckdb.OperationalError as error:  # the disk or the memory; no words of a row
        full = system.disk_full(error, "the outbox")
        raise full or ExportError(f"the stage failed: {error}") from error
    except duckdb.Error as error:
        raise ExportError(f"the stage failed: {redacted(str(error))}") from error
