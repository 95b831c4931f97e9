"""The ledger's database: one connection, and the lock that excludes a second run."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from orchestrator import system
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.errors import LedgerError, LockedError
from orchestrator.ledger import records
from orchestrator.ledger.session import LedgerSession, PostgresqlSession, Row, SqliteSession

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
_CONNECT = {  # seconds, except the last: milliseconds; libpq, "Parameter Key Words"
    "connect_timeout": "10",
    "keepalives_idle": "60",  # while dbt works for hours, firewalls drop idle connections
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "60000",
}
"""Parameters with which a run gives up an unreachable server. `state` may override them."""


class LedgerDatabase:
    """One connection to SQLite or PostgreSQL, from opening to closing.

    If it is opened for writing, it is locked: SQLite by flock(2) on a file next to the ledger,
    PostgreSQL by an advisory lock that belongs to the server's session. Every statement uses the
    connection that holds the lock, and a broken connection is never opened again. So a run that
    lost its lock cannot write any more, while another run may have acquired the lock.
    """

    def __init__(self, url: LedgerUrl, *, read_only: bool) -> None:
        """Connect, lock, create missing tables, and upgrade the ledger of an earlier release.

        With `read_only` nothing is locked or created, and a missing ledger reads as empty.
        Raises LockedError if another run holds the lock, LedgerError for anything else.
        """
        self.name = url.name
        self._resources = ExitStack()
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, ImportError, OSError)
        try:
            with self._translated("cannot be opened", _FILE_ADVICE if url.file else _SERVER_ADVICE):
                self._session = self._open(url, read_only=read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database, which releases the lock."""
        self._resources.close()

    @contextmanager
    def begin(self) -> Iterator[LedgerSession]:
        """Yield the session in a transaction. Raises LedgerError if the database fails."""
        with self._use() as session, session.transaction():
            yield session

    @contextmanager
    def _use(self) -> Iterator[LedgerSession]:
        """Yield the session. Raises LedgerError if the database fails."""
        with self._translated("failed"):
            try:
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
        """Return the rows of a statement. Raises LedgerError if the database fails."""
        with self._use() as session:  # one query needs no transaction
            return list(session.rows(statement, **parameters))

    def stream(self, table: str, statement: str, /, **parameters: object) -> Iterator[Row]:
        """Yield the rows of a statement one by one, because there may be millions.

        `table` is a table, or a column in COLUMNS, that the ledger of an earlier release may lack.
        Then no rows are yielded. Raises LedgerError if the database fails.
        """
        with self.begin() as session:
            column = table if table in COLUMNS else None
            if session.has(COLUMNS.get(table, table), column=column):
                yield from session.stream(statement, **parameters)

    def executemany(self, statement: str, parameters: Iterable[Mapping[str, object]], /) -> None:
        """Execute a statement for each set of parameters, in one transaction.

        Raises LedgerError if the database fails.
        """
        with self.begin() as session:
            session.executemany(statement, parameters)

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
                session.execute(f"tables/{table}")
            _upgrade(session)
        return session

    def _in_file(self, file: Path, *, read_only: bool) -> LedgerSession:
        if not read_only:
            self._resources.enter_context(
                system.exclusive_lock(file.with_name(f"{file.name}.lock"))
            )
            file.touch(mode=0o600)  # the files that SQLite creates next to it get the same mode
        session = self._resources.enter_context(closing(SqliteSession(file, read_only=read_only)))
        if not read_only:
            session.flush_commits()
        return session

    def _on_server(self, url: LedgerUrl, *, read_only: bool) -> LedgerSession:
        # The import takes as long as DuckDB's, so a run with a ledger in SQLite does without it.
        import psycopg  # noqa: PLC0415 - as above
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - as above
        from psycopg.rows import dict_row  # noqa: PLC0415 - as above

        self._errors += (psycopg.Error,)
        name = {"application_name": f"orchestrate, {system.this_process()}"}
        parameters = make_conninfo(**{**_CONNECT, **name, **url.server})
        connection = psycopg.connect(parameters, autocommit=True, row_factory=dict_row)
        session = self._resources.enter_context(closing(PostgresqlSession(connection)))
        if not read_only:
            session.lock(f"with the ledger {self.name}")
        return session

    def _empty(self) -> LedgerSession:
        session = self._resources.enter_context(closing(SqliteSession(None, read_only=True)))
        for table in TABLES:
            session.execute(f"tables/{table}")
        return session

    @contextmanager
    def _translated(self, what: str, advice: str = "") -> Iterator[None]:
        """Raise errors of the database as LedgerError, which names the ledger and what failed."""
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
    """Upgrade the ledger of an earlier release, in the transaction that is open.

    If the run is killed meanwhile, the database rolls all of it back. For the ledger of a thousand
    brands and a year it takes some seconds, once.
    """
    for column, table in COLUMNS.items():
        if not session.has(table, column=column):
            session.execute(f"upgrades/{column}")
            if column == "is_late":
                session.execute("upgrades/late_windows")
    if session.has("activities"):
        session.execute("upgrades/activity_rows")
        session.execute("upgrades/drop_activities")
    if session.has("removals"):
        session.execute("upgrades/removals")
        session.execute("upgrades/drop_removals")
    for index in INDEXES:
        if not session.has(index):
            session.execute(f"indexes/{index}")
    if next(session.rows("files_without_key"), None):
        session.fill_path_keys(records.path_key)


_SERVER_ADVICE = (
    "; correct 'state' in exports.yml, or check that the server is running, accepts this user, and "
    "allows it to create tables"
)
_FILE_ADVICE = (
    "; correct 'state' in exports.yml, or check that the file is a ledger, and that this user may "
    "write to it and to its folder"
)
