"""The ledger's database: one connection, which is also the lock that keeps runs apart."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from orchestrator import system
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.errors import LedgerError, LockedError
from orchestrator.ledger import records
from orchestrator.ledger.session import LedgerSession, Row, SqliteSession

TABLES = ("windows", "deliveries", "recounts", "failures", "manifests", "looks")
COLUMNS = {
    "activities": "windows",
    "path_key": "deliveries",
    "announced_to": "deliveries",
    "removed_at": "deliveries",
    "tidied_at": "deliveries",
    "keys": "recounts",
    "is_late": "recounts",
}
"""Columns that the ledgers of earlier releases lack, and their tables."""
INDEXES = (
    "windows_by_start",
    "windows_open",
    "windows_by_update",
    "deliveries_by_path",
    "deliveries_kept",
    "deliveries_untidied",
    "manifests_by_sequence",
    "recounts_late",
)


class LedgerDatabase:
    """One connection to SQLite or PostgreSQL, from opening to closing.

    Opened for writing it is locked: by flock(2) on a file next to it, or by an advisory lock of the
    server's session. All work goes over the connection that holds the lock, and a broken connection
    is never opened again: a run that lost the lock cannot write any more.
    """

    def __init__(self, url: LedgerUrl, *, read_only: bool) -> None:
        """Connect, lock, and create the tables where they are missing.

        With `read_only` nothing is locked or created; a missing ledger reads as empty.
        Raises LockedError where another run holds the lock, LedgerError for anything else.
        """
        self.name = url.name
        self._held = ExitStack()
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, ImportError, OSError)
        try:
            with self._translated("cannot be opened", _OF_A_FILE if url.file else _OF_A_SERVER):
                self._session = self._open(url, read_only=read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database, which releases the lock."""
        self._held.close()

    @contextmanager
    def begin(self) -> Iterator[LedgerSession]:
        """Yield the session in a transaction. Raises LedgerError where the database fails."""
        with self._translated("failed"):
            try:
                with self._session.transaction():
                    yield self._session
            except self._errors as error:
                if self._session.lost:
                    raise LedgerError(
                        f"the connection to the ledger {self.name} was lost, and with it the lock "
                        "that keeps other runs away, so this run stops. The next run continues "
                        "where this one stopped"
                    ) from error
                raise

    def rows(self, statement: str, /, **parameters: object) -> list[Row]:
        """Return the rows of a statement. Raises LedgerError where the database fails."""
        with self.begin() as session:
            return list(session.rows(statement, **parameters))

    def stream(self, table: str, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Yield rows as they come, for there may be millions; none if an old ledger lacks a table.

        `table` is the table, or one of COLUMNS.

        Raises LedgerError where the database fails.
        """
        with self.begin() as session:
            column = table if table in COLUMNS else None
            if session.has(COLUMNS.get(table, table), column=column):
                yield from session.stream(statement, **parameters)

    def each(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Execute a statement for each set of parameters, in one transaction.

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
            _upgrade(session)
        return session

    def _in_file(self, file: Path, *, read_only: bool) -> LedgerSession:
        if not read_only:
            self._held.enter_context(system.exclusive_lock(file.with_name(f"{file.name}.lock")))
            file.touch(mode=0o600)  # the files that SQLite creates next to it get its mode
        session = self._held.enter_context(closing(SqliteSession(file, read_only=read_only)))
        if not read_only:
            session.flush()
        return session

    def _on_server(self, url: LedgerUrl, *, read_only: bool) -> LedgerSession:
        # psycopg is imported for a PostgreSQL ledger alone: it takes as long as DuckDB.
        from orchestrator.ledger.postgresql import (  # noqa: PLC0415 - as above
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
    def _translated(self, what: str, advice: str = "") -> Iterator[None]:
        """Raise the database's errors as LedgerError: which ledger, what failed, why, advice."""
        try:
            yield
        except self._errors as error:
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise LockedError(
                    f"another program uses the ledger {self.name} ({error}); try again later"
                ) from error
            if full := system.disk_full(error, self.name):
                raise LedgerError(f"the ledger {what}: {full}") from error
            reason = " ".join(str(error).split())
            if "statement timeout" in reason:
                advice = (
                    "; the database or this user has a statement_timeout that is too short for the "
                    "ledger: 'alter role … set statement_timeout = 0', or add "
                    "?options=-cstatement_timeout%3D0 to 'state'"
                )
            raise LedgerError(f"the ledger {self.name} {what}: {reason}{advice}") from error


def _upgrade(session: LedgerSession) -> None:
    """Bring the ledger of an earlier release up to this one, in the transaction that is open.

    A kill undoes all of it. With a year of a thousand brands it takes some seconds, once.
    """
    for column, table in COLUMNS.items():
        if not session.has(table, column=column):
            session.run(f"upgrades/{column}")
            if column == "is_late":
                session.run("upgrades/late_windows")
    if session.has("activities"):
        session.run("upgrades/activity_rows")
        session.run("upgrades/drop_activities")
    if session.has("removals"):
        session.run("upgrades/removals")
        session.run("upgrades/drop_removals")
    for index in INDEXES:
        if not session.has(index):
            session.run(f"indexes/{index}")
    if next(session.rows("files_without_key"), None):
        session.fill_path_keys(records.path_key)


_OF_A_SERVER = (
    "; correct 'state' in exports.yml, or check that the server is running, accepts this user, and "
    "allows it to create tables"
)
_OF_A_FILE = (
    "; correct 'state' in exports.yml, or check that the file is a ledger, and that this user may "
    "write to it and to its folder"
)
