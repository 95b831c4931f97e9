"""A PostgreSQL server: how to reach it, and what its errors mean to people."""

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

_T = TypeVar("_T")

# Classes of SQLSTATE whose words may quote a value: data, constraints, what a trigger says.
_QUOTING = ("22", "23", "P0")
# Classes that a change of the tables, the rights or the profile mends.
_OURS = ("0A", "22", "23", "3D", "3F", "42")


def credentials(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return what dbt's target says, with its templates filled in and its aliases resolved.

    Raises ConfigError where an environment variable that the target names is not set, or a value
    is not valid.
    """
    # dbt's own rendering and rules, so that both connect to one server in one way.
    from dbt.adapters.postgres.connections import (  # noqa: PLC0415 - a second
        PostgresCredentials,
    )
    from dbt.config.renderer import ProfileRenderer  # noqa: PLC0415 - the same
    from dbt_common.context import set_invocation_context  # noqa: PLC0415 - the same
    from dbt_common.dataclass_schema import ValidationError  # noqa: PLC0415 - the same
    from dbt_common.exceptions import DbtBaseException  # noqa: PLC0415 - the same

    set_invocation_context(os.environ)
    try:
        rendered = ProfileRenderer({}).render_data(dict(output))
        values = PostgresCredentials.translate_aliases(
            {key: value for key, value in rendered.items() if key not in ("type", "threads")}
        )
        PostgresCredentials.validate(values)
        return dict(PostgresCredentials.from_dict(values).to_dict())
    except DbtBaseException as error:
        raise ConfigError(f"profiles.yml: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        where = ".".join(str(part) for part in error.path) or "target"
        words = "expected a text" if where in ("password", "pass") else error.message
        raise ConfigError(f"profiles.yml: {where}: {words}") from error


def connect(given: Mapping[str, Any], *, autocommit: bool) -> adbc.Connection:
    """Connect as dbt does, in UTC. Raises ExportError where the server cannot be reached."""
    # libpq's own, for dbt's connections too: a moment without a zone is UTC.
    os.environ["PGTZ"] = "UTC"
    path = str(given.get("search_path") or "").replace(" ", "\\ ")
    conninfo = make_conninfo(
        "",
        host=given["host"],
        port=given["port"],
        user=given["user"],
        password=given.get("password") or None,  # else libpq looks for ~/.pgpass
        dbname=given["database"],
        connect_timeout=given["connect_timeout"],
        application_name="orchestrate",
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
        with explained("the target"), connection.cursor() as cursor:
            cursor.execute(f"set role {given['role']}")
    return connection


def waited(connection: adbc.Connection, work: Callable[[], _T]) -> _T:
    """Return what some work on the server returns; it is cancelled where a signal ends the command.

    It is done by a thread: in the main one ADBC takes Ctrl-C for itself, as an error of the
    server, and hears of no other signal until the server answers.
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
def explained(where: str) -> Iterator[None]:
    """Turn the server's errors into ours, without the values that its words may quote.

    LockedError where another holds a lock for too long, UsageError where a table, a right or a
    type is not as needed, else ExportError.
    """
    try:
        yield
    except adbc.Error as error:
        raise explanation(where, error) from None  # its words hold the query and the row


def explanation(where: str, error: adbc.Error) -> ExportError:
    """Return the error to raise for one of the server's."""
    state = str(error.sqlstate or "")
    if not state:
        return ExportError(f"{where}: the connection to PostgreSQL was lost; run it again")
    details: dict[Any, bytes] = dict(error.details)  # the names are bytes, whatever its types say
    message = details.get(b"PG_DIAG_MESSAGE_PRIMARY", b"").decode(errors="replace")
    if state.startswith(_QUOTING) or not message:
        message = f"a value does not fit: {psycopg.errors.lookup(state).__name__}"
    if state == "55P03":
        return LockedError(f"{where}: another process holds it for too long; try again later")
    kind = UsageError if state.startswith(_OURS) else ExportError
    return kind(f"{where}: PostgreSQL says: {message} ({state})")
