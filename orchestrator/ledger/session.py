"""A session with the ledger's database, which takes statements by name.

Each statement is a file of plain SQL below `sql`, the same for SQLite and PostgreSQL. Where the two
have different words for one thing the statement has a word in braces, which the session replaces.

The files in `sql/views` are replaced in the same way: `from {newest} as windows` reads the view.
They are not views of the database because a ledger that an older release wrote does not have them,
a ledger that is only read cannot get them, and a user who may read the tables of a PostgreSQL
ledger would need a grant for each.
"""

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

Row = Mapping[str, Any]
"""A row that was found, by column. Moments are in UTC."""
_FOLDER = Path(__file__).parent / "sql"
_MOMENTS = ("_at", "_start", "_end", "_since")  # how the names of such columns end
_FLAGS = ("scheduled", "rename_sent", "is_late")


class LedgerSession(ABC):
    """One connection to a database through the DB-API of its driver, whose errors pass through.

    Rows are dictionaries.
    """

    words: ClassVar[Mapping[str, str]]
    """What this database writes for `moment`, `compact` and so on."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - the drivers share no base class
        """Take a connection that begins no transaction by itself."""
        self._connection = connection

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return False

    @abstractmethod
    def has(self, name: str, *, column: str | None = None) -> bool:
        """Tell whether a table or an index exists, or a column of a table."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""

    def run(self, statement: str) -> None:
        """Execute a statement that returns no rows."""
        self._connection.execute(self._text(statement))

    def each(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Execute a statement once for each set of parameters."""
        cursor = self._connection.cursor()
        cursor.executemany(self._text(statement), [*map(self._stored, parameters)])

    def rows(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Execute a statement, and yield its rows."""
        return self._found(self._connection.cursor(), statement, parameters)

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Do the same for millions of rows, few of which are in memory at a time."""
        return self.rows(statement, **parameters)

    def fill_path_keys(self, path_key: Callable[[str], int]) -> None:
        """Give the files of an earlier release their path keys."""
        while rows := list(self.rows("files_without_key")):
            self.each("put_path_key", [{**row, "path_key": path_key(row["path"])} for row in rows])

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def _found(self, cursor: Any, statement: str, values: Mapping[str, object]) -> Iterator[Row]:  # noqa: ANN401 - as above
        cursor.execute(self._text(statement), self._stored(values))
        yield from cursor

    def _stored(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """Return parameters as the driver takes them."""
        return parameters

    def _text(self, statement: str) -> str:
        """Return a statement as the driver takes it. A view may read another one."""
        text = _read(statement)
        while "{" in text:
            text = text.format(**_views(), **self.words)
        return text


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
        """Open the file, which may be new unless it is only read."""
        name = _readable(file) if file and read_only else file or ":memory:"
        super().__init__(sqlite3.connect(name, uri=read_only, isolation_level=None))

    def flush(self) -> None:
        """Flush every commit from now on, so that it survives a power cut.

        A delivery that the ledger forgot would be sent twice. In WAL mode a commit costs one flush
        (SQLite, "Write-Ahead Logging").
        """
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a transaction; commit it at the end, or roll it back after an error."""
        with self._connection:
            self._connection.execute("begin")
            yield

    def has(self, name: str, *, column: str | None = None) -> bool:
        """Tell whether a table or an index exists, or a column of a table."""
        if column:
            return any(self.rows("sqlite/has_column", table=name, name=column))
        return any(self.rows("sqlite/has_table", name=name))

    def fill_path_keys(self, path_key: Callable[[str], int]) -> None:
        """Give the files of an earlier release their path keys, in one statement."""
        self._connection.create_function("path_key", 1, path_key, deterministic=True)
        self.run("sqlite/fill_path_keys")

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


@cache
def _read(statement: str) -> str:
    return (_FOLDER / f"{statement}.sql").read_text(encoding="utf-8")


@cache
def _views() -> Mapping[str, str]:
    """Return the views by name, each as a subquery."""
    return {path.stem: f"(\n{path.read_text('utf-8')})" for path in _FOLDER.glob("views/*.sql")}


@lru_cache  # many rows share few moments
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
    """Return the URI that reads the file, also where no file can be created next to it.

    SQLite creates files there to read in WAL mode ("Write-Ahead Logging", Read-Only Databases).
    Without them it reads the file alone. That is complete unless a run is at work or was cut short,
    and then those files exist.
    """
    uri = f"file:{quote(str(file))}"
    if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
        return uri
    return f"{uri}?mode=ro&immutable=1"
