"""The URL of the ledger: the values that `state` may have in exports.yml."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode

_URL = re.compile(
    r"""
    (?P<scheme>[\w+]+)://
    (?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?
    (?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?
    (?::(?P<port>\d*))?
    (?:/(?P<database>[^?]*))?
    (?:\?(?P<query>.*))?
    """,
    re.VERBOSE,
)
# Only these databases: they release a lock when the process or connection that has it ends.
_SQLITE = ("sqlite", "sqlite+pysqlite")
_POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
_WITH_PORT = re.compile(r"([\w.-]+):(\d+)")


@dataclass(frozen=True)
class LedgerUrl:
    """The address of the ledger: an SQLite file, or the libpq parameters of a PostgreSQL server."""

    name: str
    """The URL as messages show it, without its password."""
    file: Path | None = None
    server: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse(value: str, folder: Path) -> LedgerUrl:
    """Parse and check a URL; a relative path of a file starts from `folder`.

    Raises ValueError with the value that is expected.
    """
    if re.search(r"[\0-\x1f\x7f]", value):
        raise ValueError("a URL cannot contain control characters or line breaks")
    url = _URL.fullmatch(value)
    parts: dict[str, str] = url.groupdict(default="") if url else {}
    scheme = parts.get("scheme")
    if scheme in _SQLITE and not parts["host"]:
        if parts["database"] in ("", ":memory:"):
            raise ValueError("a ledger in memory is lost at the end of the run; name a file")
        if parts["query"]:
            raise ValueError("sqlite takes no options after '?'; a '?' in the file's name is %3F")
        file = folder / Path(unquote(parts["database"])).expanduser()
        if file.is_dir():
            raise ValueError(f"{file} is a folder; name a file in it")
        return LedgerUrl(f"{scheme}:///{quote(str(file), safe=' +/')}", file)
    if scheme not in _POSTGRESQL:
        raise ValueError(
            "expected sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE if several "
            "hosts share the ledger; other databases have no lock that ends with the process"
        )
    # Otherwise messages would show the end of the password as the host.
    if value.partition("?")[0].count("@") > 1:
        raise ValueError("in a password write '@' as %40, ':' as %3A, '/' as %2F, '?' as %3F")
    if re.search(r"\s", parts["host"]) or not 0 < int(parts["port"] or 5432) < 1 << 16:
        raise ValueError("expected a host without blanks, and a port from 1 to 65535")
    query = {key: ",".join(values) for key, values in parse_qs(parts["query"]).items()}
    return LedgerUrl(_name(parts, query), server=_server(parts, query))


def _name(parts: Mapping[str, str], query: Mapping[str, str]) -> str:
    host = f"[{parts['ipv6']}]" if parts["ipv6"] else parts["host"]
    port = f":{parts['port']}" if parts["port"] else ""
    user = parts["user"] + (":***" if parts["password"] else "")
    where = f"{user}@{host}{port}" if user else f"{host}{port}"
    database = f"/{parts['database']}" if parts["database"] else ""
    shown = urlencode({key: query[key] for key in ("host", "port") if key in query})
    return f"{parts['scheme']}://{where}{database}" + (f"?{shown}" if shown else "")


def _server(parts: Mapping[str, str], query: Mapping[str, str]) -> dict[str, str]:
    found = {
        "user": unquote(parts["user"]),
        "password": unquote(parts["password"]),
        "host": parts["ipv6"] or parts["host"],
        "port": parts["port"],
        "dbname": unquote(parts["database"]),
        **query,
    }
    # In `?host=one:5432&host=two:5433` a host has its port; libpq expects two separate lists.
    named = [_WITH_PORT.fullmatch(host) or host for host in found["host"].split(",")]
    if any(isinstance(host, re.Match) for host in named):
        found["host"] = ",".join(h if isinstance(h, str) else h[1] for h in named)
        found["port"] = ",".join("" if isinstance(h, str) else h[2] for h in named)
    return {key: value for key, value in found.items() if value}
