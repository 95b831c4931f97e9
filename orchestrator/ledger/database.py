"""The ledger's database: one connection, which is also the lock that keeps runs apart."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from orchestrator import system
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.errors import LedgerError
from orchestrator.ledger.session import LedgerSession, Row
from orchestrator.ledger.sqlite import SqliteSession

TABLES = ("windows", "deliveries", "recounts", "removals", "activities", "failures")


class LedgerDatabase:
    """One connection to SQLite or PostgreSQL, from opening to closing.

    Opened for writing it is locked: by flock(2) beside the file, or by an advisory lock of the
    server's session. All work goes over the connection that holds the lock, and it is never made
    anew: a run that lost the lock, because the connection broke, can write no more.
    """

    def __init__(self, url: LedgerUrl, *, read_only: bool) -> None:
        """Connect, lock, and make the tables where there are none.

        With `read_only` nothing is locked or made; a ledger that does not exist is empty.
        Raises LockedError where another run holds the lock, else LedgerError.
        """
        self.name = url.name
        self._held = ExitStack()
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, ImportError, OSError)
        try:
            with self._explained("cannot be opened", _OF_A_FILE if url.file else _OF_A_SERVER):
                self._session = self._open(url, read_only=read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database, which frees the lock."""
        self._held.close()

    @contextmanager
    def begin(self) -> Iterator[LedgerSession]:
        """Yield the session in a transaction. Raises LedgerError where the database fails."""
        with self._explained("failed"):
            try:
                with self._session.transaction():
                    yield self._session
            except self._errors as error:
                if self._session.lost:
                    raise self._lost() from error
                raise

    def rows(self, statement: str, /, **parameters: object) -> list[Row]:
        """Return what a statement finds. Raises LedgerError where the database fails."""
        with self.begin() as session:
            return list(session.rows(statement, **parameters))

    def stream(self, table: str, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Yield rows as they come, for there may be millions; none if an old ledger lacks a table.

        Raises LedgerError where the database fails.
        """
        with self.begin() as session:
            if session.has(table):
                yield from session.stream(statement, **parameters)

    def each(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Carry out a statement for each of many parameters, all or none.

        Raises LedgerError where the database fails.
        """
        with self.begin() as session:
            session.each(statement, parameters)

    def _open(self, url: LedgerUrl, *, read_only: bool) -> LedgerSession:
        if url.file:
            file = url.file.resolve()
            if read_only and not file.exists():
                return self._empty()
            session = self._in_file(file, read_only=read_only)
        else:
            session = self._on_server(url, read_only=read_only)
        with session.transaction():
            missing = [table for table in TABLES if not session.has(table)]
            if read_only:
                return self._empty() if "windows" in missing else session
            for table in missing:
                session.run(f"tables/{table}")
        return session

    def _in_file(self, file: Path, *, read_only: bool) -> LedgerSession:
        if not read_only:
            self._held.enter_context(system.exclusive_lock(file.with_name(f"{file.name}.lock")))
            file.touch(mode=0o600)  # what SQLite puts beside it takes its mode
        session = self._held.enter_context(closing(SqliteSession(file, read_only=read_only)))
        if not read_only:
            session.flush()
        return session

    def _on_server(self, url: LedgerUrl, *, read_only: bool) -> LedgerSession:
        from orchestrator.ledger.postgresql import (  # noqa: PLC0415 - psycopg is for this alone
            ERROR,
            PostgresqlSession,
        )

        self._errors += (ERROR,)
        session = self._held.enter_context(closing(PostgresqlSession(url.server)))
        if not read_only:
            session.lock(f"with the ledger {self.name}")
        return session

    def _empty(self) -> LedgerSession:
        session = self._held.enter_context(closing(SqliteSession(None, read_only=True)))
        for table in TABLES:
            session.run(f"tables/{table}")
        return session

    @contextmanager
    def _explained(self, what: str, advice: str = "") -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            if full := system.disk_full(error, self.name):
                raise LedgerError(f"the ledger {what}: {full}") from error
            reason = " ".join(str(error).split())
            raise LedgerError(f"the ledger {self.name} {what}: {reason}{advice}") from error

    def _lost(self) -> LedgerError:
        return LedgerError(
            f"the connection to the ledger {self.name} was lost, and with it the lock that keeps "
            "other runs away: this run stops. The next one goes on where it stopped"
        )


_OF_A_SERVER = (
    "; correct 'state' in exports.yml, or see to it that the server is up, lets this user in, and "
    "lets it make tables"
)
_OF_A_FILE = (
    "; correct 'state' in exports.yml, or see to it that the file is a ledger, and that this user "
    "may write to it and in its folder"
)
