"""The ledger in a file of SQLite."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from orchestrator.ledger.session import LedgerSession, Row

_MOMENTS = ("_at", "_start", "_end")  # how their names end
_FLAGS = ("scheduled", "rename_sent")


class SqliteSession(LedgerSession):
    """A connection to a file, or to an empty database in memory.

    SQLite has no type for a moment: it is text in UTC, such as 2026-11-20 06:00:00.000000.
    """

    words: ClassVar = {
        "moment": "datetime",
        "compact": "without rowid",
        "json_object": "json_group_object",
    }

    def __init__(self, file: Path | None, *, read_only: bool) -> None:
        """Open the file, which may be new unless it is to be read only."""
        name = _readable(file) if file and read_only else file or ":memory:"
        super().__init__(sqlite3.connect(name, uri=read_only, isolation_level=None))

    def flush(self) -> None:
        """Have each commit flushed from now on.

        In this mode it costs one flush, and outlasts a power cut: what the ledger forgot would be
        sent twice.
        """
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin; commit at the end, or roll back where that is an error."""
        with self._connection:
            self._connection.execute("begin")
            yield

    def has(self, table: str) -> bool:
        """Tell whether there is such a table."""
        return any(self.rows("sqlite/has_table", name=table))

    def _found(self, cursor: Any, statement: str, values: Mapping[str, object]) -> Iterator[Row]:  # noqa: ANN401 - as its base
        cursor.execute(self._text(statement), self._stored(values))
        columns = [(column[0], _reader(column[0])) for column in cursor.description]
        for row in cursor:
            yield {name: read(value) for (name, read), value in zip(columns, row, strict=True)}

    def _stored(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        return {
            name: _moment_text(value.astimezone(UTC)) if isinstance(value, datetime) else value
            for name, value in parameters.items()
        }


@lru_cache  # many rows have the same few
def _moment_text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def _reader(column: str) -> Callable[[Any], object]:
    if column.endswith(_MOMENTS):
        return _moment
    if column in _FLAGS:
        return lambda value: None if value is None else bool(value)
    return lambda value: value


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(f"{text}+00:00") if text else None


def _readable(file: Path) -> str:
    """Return the URI that reads the file also where nothing can be made beside it.

    SQLite makes files there to read in WAL mode ("Write-Ahead Logging", Read-Only Databases).
    Without them it reads the file alone, which holds everything unless a run is at work, or was
    cut short: then they are there.
    """
    uri = f"file:{quote(str(file))}"
    if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
        return uri
    return f"{uri}?mode=ro&immutable=1"
