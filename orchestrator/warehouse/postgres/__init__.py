"""Connect to a PostgreSQL server, and translate its errors for operators."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from adbc_driver_manager import dbapi as adbc
from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped] # has no types
from psycopg.conninfo import make_conninfo

from orchestrator.errors import ConfigError, ExportError, LockedError, UsageError
from orchestrator.warehouse.project import rendered

_T = TypeVar("_T")

# Classes of SQLSTATE (PostgreSQL manual, appendix A) whose error texts may quote a value: data
# exceptions, constraint violations, and errors that a trigger raises.
_QUOTING = ("22", "23", "P0")
# Of these classes, but the text quotes only a character that the encoding does not have.
_QUOTING_A_CHARACTER = ("22P05", "22021")
# Classes that need a change of tables, privileges or the profile: a retry does not help.
_PERMANENT = ("0A", "22", "23", "3D", "3F", "42")


def credentials(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return dbt's credentials of a target: rendered, aliases resolved, defaults filled in.

    Raises ConfigError if an environment variable is not set or a value is not valid.
    """
    # dbt's own code, so that dbt and this module always connect to the same server.
    from dbt.adapters.postgres.connections import (  # noqa: PLC0415 - slow
        PostgresCredentials,
    )
    from dbt_common.dataclass_schema import ValidationError  # noqa: PLC0415 - the same
    from dbt_common.exceptions import DbtBaseException  # noqa: PLC0415 - the same

    given = {k: v for k, v in rendered(output).items() if k not in ("type", "threads")}
    try:
        values = PostgresCredentials.translate_aliases(given)
        PostgresCredentials.validate(values)
        return dict(PostgresCredentials.from_dict(values).to_dict())
    except DbtBaseException as error:
        raise ConfigError(f"profiles.yml: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.path) or "target"
        reason = "expected a text" if where in ("password", "pass") else error.message
        raise ConfigError(f"profiles.yml: {where}: {reason}") from error


def connect(given: Mapping[str, Any], *, autocommit: bool) -> adbc.Connection:
    """Connect as dbt does, in UTC and UTF-8. `given` are dbt's credentials.

    Raises ExportError if the server cannot be reached.
    """
    # These are libpq's variables, so they apply to dbt's connections too. UTC, because a timestamp
    # without a time zone means UTC. UTF-8, because ADBC and DuckDB assume it for every text: the
    # server then converts from the encoding of the database, and refuses invalid bytes.
    os.environ["PGTZ"] = "UTC"
    os.environ["PGCLIENTENCODING"] = "UTF8"
    path = str(given.get("search_path") or "").replace(" ", "\\ ")
    conninfo = make_conninfo(
        "",
        host=given["host"],
        port=given["port"],
        user=given["user"],
        password=given.get("password") or None,  # without one, libpq reads ~/.pgpass
        dbname=given["database"],
        connect_timeout=given["connect_timeout"],
        application_name="orchestrate",
        client_encoding="UTF8",
        options=f"-c search_path={path}" if path else None,
        sslmode=given.get("sslmode"),
        sslcert=given.get("sslcert"),
        sslkey=given.get("sslkey"),
        sslrootcert=given.get("sslrootcert"),
    )
    try:
        connection: adbc.Connection = dbapi.connect(conninfo, autocommit=autocommit)
    except adbc.Error as error:
        reason = " ".join(str(error).rpartition("Failed to connect: ")[2].split())
        raise ExportError(
            f"PostgreSQL cannot be reached; check the server and the PG… variables: {reason}"
        ) from error
    if given.get("role"):
        with translated_errors("the target"), connection.cursor() as cursor:
            cursor.execute(f"set role {given['role']}")
    return connection


def run_cancellable(connection: adbc.Connection, work: Callable[[], _T]) -> _T:
    """Run `work`, which uses the connection, and return its result. A signal cancels its query.

    It runs in a thread, because in the main thread ADBC turns Ctrl-C into an error of the server
    and Python handles no other signal before the server answers.
    """
    with ThreadPoolExecutor(1, "postgres") as thread:
        done = thread.submit(work)
        try:
            return done.result()
        except BaseException:
            if not done.done():
                connection.adbc_cancel()
            raise


@contextmanager
def translated_errors(where: str) -> Iterator[None]:
    """Translate the server's errors, without the values that their texts may quote.

    Raises LockedError if another session keeps a lock for too long, UsageError if a table, a
    privilege or a type must be changed, else ExportError. The message begins with `where`.
    """
    try:
        yield
    except adbc.Error as error:
        raise translated(where, error) from None  # its text contains the query and the row


def translated(where: str, error: adbc.Error) -> ExportError:
    """Return the error to raise for an error of the server; `where` begins its message."""
    state = str(error.sqlstate or "")
    if not state:
        return ExportError(f"{where}: the connection to PostgreSQL was lost; run it again")
    details: dict[Any, bytes] = dict(error.details)  # ADBC's types are wrong: keys are bytes
    message = details.get(b"PG_DIAG_MESSAGE_PRIMARY", b"").decode(errors="replace")
    if (state.startswith(_QUOTING) and state not in _QUOTING_A_CHARACTER) or not message:
        message = f"a value does not fit: {psycopg.errors.lookup(state).__name__}"
    if state == "55P03":
        return LockedError(f"{where}: another process has locked it for too long; try again later")
    kind = UsageError if state.startswith(_PERMANENT) else ExportError
    return kind(f"{where}: PostgreSQL says: {message} ({state})")
