"""The ledger's database: one connection, which is also the lock that keeps runs apart."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, NullPool, create_engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from orchestrator import disk, locking
from orchestrator.errors import LedgerError
from orchestrator.ledger import urls
from orchestrator.ledger.tables import METADATA, WINDOWS

_LOCK = 0x45424558  # of this database, whatever the schema; nobody else's number
# As the client does by urls, the server finds out in two minutes that a host is gone, and
# frees its lock.
_SESSION = text("""
    select set_config(wanted.name, wanted.setting, false)
    from pg_settings
    inner join (values
        ('idle_session_timeout', '0'),
        ('tcp_keepalives_idle', '60'),
        ('tcp_keepalives_interval', '10'),
        ('tcp_keepalives_count', '6')
    ) as wanted (name, setting) on pg_settings.name = wanted.name
""")
_HOLDER = text("""
    select pg_stat_activity.application_name, pg_stat_activity.backend_start
    from pg_locks
    inner join pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
    inner join pg_database on pg_locks.database = pg_database.oid
    where
        pg_locks.locktype = 'advisory'
        and pg_locks.granted
        and pg_locks.classid = 0
        and pg_locks.objid = :lock
        and pg_database.datname = current_database()
""")


class LedgerDatabase:
    """One connection to SQLite or PostgreSQL, from opening to closing.

    Opened for writing it is locked: by flock(2) beside the file, or by an advisory lock of the
    server's session. All work goes over the connection that holds the lock, and it is never made
    anew: a run that lost the lock, because the connection broke, can write no more.
    """

    def __init__(self, url: URL, *, read_only: bool) -> None:
        """Connect, lock, and make the tables where there are none.

        With `read_only` nothing is locked or made; a ledger that does not exist is empty.
        Raises LockedError where another run holds the lock, else LedgerError.
        """
        shown = {key: url.query[key] for key in ("host", "port") if key in url.query}
        self.name = url.set(query=shown).render_as_string(hide_password=True)
        self._held = ExitStack()
        advice = _OF_A_FILE if url.get_backend_name() == "sqlite" else _OF_A_SERVER
        try:
            with self._explained("cannot be opened", advice):
                self._connection = self._open(url, read_only=read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database, which frees the lock."""
        self._held.close()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Yield the connection in a transaction. Raises LedgerError where the database fails."""
        with self._explained("failed"):
            if self._connection.invalidated:
                raise self._lost()
            with self._connection.begin():
                yield self._connection

    def _open(self, url: URL, *, read_only: bool) -> Connection:
        sqlite = url.get_backend_name() == "sqlite"
        file = Path(str(url.database)).resolve()
        if sqlite and not read_only:
            self._held.enter_context(locking.exclusive(file.with_name(f"{file.name}.lock")))
            file.touch(mode=0o600)  # what SQLite puts beside it takes its mode
        if sqlite and read_only:
            if not file.exists():
                return self._empty()
            url = urls.readable(url, file)
        connection = self._connect(url if sqlite else urls.with_patience(url))
        if read_only:
            with connection.begin():
                known = inspect(connection).has_table(WINDOWS.name)
            return connection if known else self._empty()
        if sqlite:
            # In this mode a commit costs one flush, and outlasts a power cut: what the ledger
            # forgot would be sent twice.
            connection.exec_driver_sql("pragma journal_mode = wal")
            connection.exec_driver_sql("pragma synchronous = full")
            connection.commit()
        else:
            self._lock(connection)
        with connection.begin():
            METADATA.create_all(connection)
        return connection

    def _connect(self, url: URL) -> Connection:
        # Each transaction is ended here: there is nothing to reset on a connection that is gone.
        engine = create_engine(url, poolclass=NullPool, pool_reset_on_return=None)
        return self._held.enter_context(engine.connect())

    def _empty(self) -> Connection:
        connection = self._connect(make_url("sqlite://"))
        with connection.begin():
            METADATA.create_all(connection)
        return connection

    def _lock(self, connection: Connection) -> None:
        lock = {"lock": _LOCK}
        with connection.begin():
            connection.execute(_SESSION)
            if connection.scalar(text("select pg_try_advisory_lock(:lock)"), lock):
                return
            holder = connection.execute(_HOLDER, lock).first()
        name = holder.application_name if holder else ""
        if holder and holder.backend_start:
            name += f" since {holder.backend_start:%Y-%m-%d %H:%M %Z}"
        raise locking.held(name, f"with the ledger {self.name}")

    @contextmanager
    def _explained(self, what: str, advice: str = "") -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if error.connection_invalidated:
                raise self._lost() from error
            if full := disk.full(error.orig, self.name):
                raise LedgerError(f"the ledger {what}: {full}") from error
            reason = " ".join(str(error.orig).split())
            raise LedgerError(f"the ledger {self.name} {what}: {reason}{advice}") from error
        except (SQLAlchemyError, ImportError, OSError) as error:
            if full := disk.full(error, self.name):
                raise LedgerError(f"the ledger {what}: {full}") from error
            raise LedgerError(f"the ledger {self.name} {what}: {error}{advice}") from error

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
