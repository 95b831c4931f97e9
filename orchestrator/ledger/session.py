"""A session with the ledger's database, SQLite or PostgreSQL, which executes statements by name.

The name is that of a file of plain SQL in the folder `sql`. Both databases execute the same text.
A few words differ between them, such as the type of a moment; the file contains a name in braces
(`{moment}`) in their place, which the session replaces.

The files in `sql/views` are replaced in the same way: `from {newest} as windows` reads the view.
They are not views in the database for three reasons: the ledger of an older release does not have
them, they cannot be created in a ledger that is opened to be read only, and a user who may read
the tables of a PostgreSQL ledger would need a grant for each view.
"""

import os
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from orchestrator import system

Row = Mapping[str, Any]
"""The values of a row by column. Moments are in UTC."""
_FOLDER = Path(__file__).parent / "sql"
_MOMENTS = ("_at", "_start", "_end", "_since")  # the endings of columns that contain a moment
_FLAGS = ("scheduled", "rename_sent", "is_late")  # columns that contain a boolean
_LOCK = 0x45424558  # one lock for a database, whatever the schema; the number is "EBEX" in ASCII
_FETCH_SIZE = 10_000
"""Rows of a PostgreSQL cursor that are in memory at a time."""


class LedgerSession(ABC):
    """One connection to a database, through the DB-API of its driver.

    Rows are dictionaries. The driver's errors are not translated.
    """

    words: ClassVar[Mapping[str, str]]
    """The words of this database for `moment`, `compact` and `json_object`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - the drivers share no base class
        """Take a connection in autocommit mode, which begins no transaction by itself."""
        self.connection = connection

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return False

    @abstractmethod
    def has(self, name: str, *, column: str | None = None) -> bool:
        """Return whether a table or an index exists or, with `column`, a column of a table."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""

    def execute(self, statement: str) -> None:
        """Execute a statement that returns no rows."""
        self.connection.execute(self._text(statement))

    def executemany(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Execute a statement once for each set of parameters."""
        cursor = self.connection.cursor()
        cursor.executemany(self._text(statement), [*map(self._stored, parameters)])

    def rows(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Execute a statement, and yield its rows."""
        return self._found(self.connection.cursor(), statement, parameters)

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Do the same as `rows`, with only some of many rows in memory at a time."""
        return self.rows(statement, **parameters)

    def fill_path_keys(self, path_key: Callable[[str], int]) -> None:
        """Add the path keys of files that an earlier release recorded without one."""
        while rows := list(self.rows("files_without_key")):
            self.executemany(
                "put_path_key", [{**row, "path_key": path_key(row["path"])} for row in rows]
            )

    def close(self) -> None:
        """End the session."""
        self.connection.close()

    def _found(self, cursor: Any, statement: str, values: Mapping[str, object]) -> Iterator[Row]:  # noqa: ANN401 - as above
        cursor.execute(self._text(statement), self._stored(values))
        yield from cursor

    def _stored(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """Return parameters in types that the driver accepts."""
        return parameters

    def _text(self, statement: str) -> str:
        """Return a statement in the syntax that the driver accepts."""
        text = _read(statement)
        while "{" in text:  # once more after a view that reads another view
            text = text.format(**_views(), **self.words)
        return text


class SqliteSession(LedgerSession):
    """A connection to a SQLite file or, without a file, to an empty database in memory.

    SQLite has no type for a moment. It is stored as text in UTC: 2026-11-20 06:00:00.000000.
    """

    words: ClassVar = {
        "moment": "datetime",
        "compact": "without rowid",
        "json_object": "json_group_object",
    }

    def __init__(self, file: Path | None, *, read_only: bool) -> None:
        """Open the file. With `read_only` it must exist; otherwise SQLite creates it."""
        name = _readable(file) if file and read_only else file or ":memory:"
        super().__init__(sqlite3.connect(name, uri=read_only, isolation_level=None))

    def flush_commits(self) -> None:
        """Make SQLite flush each commit to the disk from now on, so that it survives a power cut.

        If the ledger lost the record of a delivery, the file would be sent twice. In WAL mode a
        commit costs one flush, otherwise more (SQLite, "Write-Ahead Logging").
        """
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = full")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""
        with self.connection:
            self.connection.execute("begin")
            yield

    def has(self, name: str, *, column: str | None = None) -> bool:
        """Return whether a table or an index exists or, with `column`, a column of a table."""
        if column:
            return any(self.rows("sqlite/has_column", table=name, name=column))
        return any(self.rows("sqlite/has_table", name=name))

    def fill_path_keys(self, path_key: Callable[[str], int]) -> None:
        """Do the same in one statement, which calls `path_key` from SQL."""
        self.connection.create_function("path_key", 1, path_key, deterministic=True)
        self.execute("sqlite/fill_path_keys")

    def _found(self, cursor: Any, statement: str, values: Mapping[str, object]) -> Iterator[Row]:  # noqa: ANN401 - as in the base class
        cursor.execute(self._text(statement), self._stored(values))
        columns = [(column[0], _reader(column[0])) for column in cursor.description]
        for row in cursor:
            yield {name: read(value) for (name, read), value in zip(columns, row, strict=True)}

    def _stored(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        return {
            name: _moment_text(value.astimezone(UTC)) if isinstance(value, datetime) else value
            for name, value in parameters.items()
        }


class PostgresqlSession(LedgerSession):
    """A connection to a PostgreSQL server."""

    words: ClassVar = {
        "moment": "timestamp with time zone",
        "compact": "",
        "json_object": "json_object_agg",
    }

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - psycopg is imported only if needed
        """Take a psycopg connection in autocommit mode, with rows as dictionaries."""
        super().__init__(connection)
        self.connection.execute("set time zone 'UTC'")

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return bool(self.connection.closed)

    def lock(self, where: str) -> None:
        """Acquire the lock, which the server releases when this session ends.

        `where` ends the message of the LockedError, which is raised if another run holds the lock.
        """
        self.execute("postgresql/session")
        (lock,) = self.rows("postgresql/lock", lock=_LOCK)
        if lock["held"]:
            return
        holder = next(self.rows("postgresql/holder", lock=_LOCK), None)
        name = holder["application_name"] if holder else ""
        if holder and holder["backend_start"]:
            name += f" since {holder['backend_start']:%Y-%m-%d %H:%M %Z}"
        raise system.locked(name, where)

    def transaction(self) -> AbstractContextManager[object]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""
        transaction: AbstractContextManager[object] = self.connection.transaction()
        return transaction

    def has(self, name: str, *, column: str | None = None) -> bool:
        """Return whether a table or an index exists or, with `column`, a column of a table."""
        if column:
            return any(self.rows("postgresql/has_column", table=name, name=column))
        return any(self.rows("postgresql/has_table", name=name))

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Yield rows from a cursor on the server, of which some are in memory at a time."""
        with self.connection.cursor("rows") as cursor:
            cursor.itersize = _FETCH_SIZE
            yield from self._found(cursor, statement, parameters)

    def _text(self, statement: str) -> str:
        return re.sub(r":(\w+)", r"%(\1)s", super()._text(statement))


@cache
def _read(statement: str) -> str:
    return (_FOLDER / f"{statement}.sql").read_text(encoding="utf-8")


@cache
def _views() -> Mapping[str, str]:
    """Return each view, by name, as a subquery."""
    return {path.stem: f"(\n{path.read_text('utf-8')})" for path in _FOLDER.glob("views/*.sql")}


@lru_cache  # many rows have the same moment, and the conversion was a measurable cost
def _moment_text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


@cache
def _reader(column: str) -> Callable[[Any], object]:
    if column.endswith(_MOMENTS):
        return _moment
    if column in _FLAGS:
        return lambda value: None if value is None else bool(value)
    return lambda value: value


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(f"{text}+00:00") if text else None


def _readable(file: Path) -> str:
    """Return the URI with which SQLite reads the file, even if its folder is not writable.

    To read in WAL mode, SQLite creates two files next to the ledger ("Write-Ahead Logging",
    Read-Only Databases). With `immutable` it creates none and ignores what they contain. This is
    safe if they do not exist: they exist while a run is at work, and after a run was killed.
    """
    uri = f"file:{quote(str(file))}"
    if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
        return uri
    return f"{uri}?mode=ro&immutable=1"
