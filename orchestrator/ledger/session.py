"""A session with the ledger's database, which takes statements by name.

Each is plain SQL in a file of its own below `sql`, the same for SQLite and PostgreSQL: where they
have two names for one thing it stands in braces, and the session knows its word.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

Row = Mapping[str, Any]
"""What was found, by column. Moments are in UTC."""
_FOLDER = Path(__file__).parent / "sql"


class LedgerSession(ABC):
    """One connection to a database, by the DB-API of its driver, whose errors come through.

    Its rows are dictionaries.
    """

    words: ClassVar[Mapping[str, str]]
    """What this database calls `moment`, `compact` and so on."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - the drivers have no base
        """Take a connection that begins no transaction by itself."""
        self._connection = connection

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return False

    @abstractmethod
    def has(self, table: str) -> bool:
        """Tell whether there is such a table."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """Begin; commit at the end, or roll back where that is an error."""

    def run(self, statement: str) -> None:
        """Carry out a statement that finds nothing."""
        self._connection.execute(self._text(statement))

    def each(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Carry out a statement for each of many parameters."""
        cursor = self._connection.cursor()
        cursor.executemany(self._text(statement), [*map(self._stored, parameters)])

    def rows(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Carry out a statement, and yield what it finds."""
        return self._found(self._connection.cursor(), statement, parameters)

    def stream(self, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Do the same for millions of rows, of which few are in memory at a time."""
        return self.rows(statement, **parameters)

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
        """Return a statement as the driver takes it."""
        return _read(statement).format(**self.words)


@cache
def _read(statement: str) -> str:
    return (_FOLDER / f"{statement}.sql").read_text(encoding="utf-8")
