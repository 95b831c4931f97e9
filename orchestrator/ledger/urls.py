"""The URL of the ledger: what `state` may be, and how a database is reached by it."""

import os
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from orchestrator import locking

# What a ledger can live in: a lock must end with its holder, and only here it does.
_DRIVERS = ("sqlite+pysqlite", "postgresql+psycopg", "postgresql+psycopg2")
_PATIENCE = {  # seconds, but for the last; libpq, "Parameter Key Words"
    "connect_timeout": "10",
    "keepalives_idle": "60",  # dbt may work for hours, and a firewall forgets
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "60000",
}


def checked(value: str, folder: Path) -> URL:
    """Return the URL; a relative path of a file starts from the folder.

    Raises ValueError that says what was expected.
    """
    try:
        url = make_url(value)
        driver = f"{url.get_backend_name()}+{url.get_driver_name()}"
    except (ArgumentError, NoSuchModuleError, ValueError):
        driver = ""
    if driver not in _DRIVERS:
        raise ValueError(
            "expected sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE where several "
            "hosts share the ledger; other databases have no lock that ends with its holder"
        )
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("a ledger in memory would forget; name a file")
        return url.set(database=str(folder / Path(str(url.database)).expanduser()))
    if value.partition("?")[0].count("@") > 1:  # its rest would be shown as host or database
        raise ValueError("a password with '@', ':', '/' or '?' writes them %40 %3A %2F %3F")
    return url


def readable(url: URL, file: Path) -> URL:
    """Return what opens the file also where nothing can be made beside it.

    SQLite makes files there to read in WAL mode ("Write-Ahead Logging", Read-Only Databases).
    Without them it reads the file alone, which holds everything unless a run is at work, or was
    cut short: then they are there.
    """
    if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
        return url
    alone = {"mode": "ro", "immutable": "1", "uri": "true"}
    return url.set(database=f"file:{quote(str(file))}", query=alone)


def with_patience(url: URL) -> URL:
    """Return what gives up a server that is gone, and tells it who holds the lock."""
    query = {**_PATIENCE, "application_name": f"orchestrate, {locking.this_process()}"}
    return url.update_query_dict(
        {key: value for key, value in query.items() if key not in url.query}
    )
