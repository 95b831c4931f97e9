"""What many tests start: a real SFTP server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from place import Place
from postgres import Postgres
from sshd import Sshd


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Return a function that starts an OpenSSH server; all end with the test."""
    servers: list[Sshd] = []

    def start(*, sftp_options: str = "", subsystem: str = "", certified: bool = False) -> Sshd:
        folder = tmp_path / f"sshd{len(servers)}"
        server = Sshd(folder, sftp_options=sftp_options, subsystem=subsystem, certified=certified)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def sftp_server(start_sshd: Callable[..., Sshd]) -> Sshd:
    """An OpenSSH server with its files in `root`; `destination()` delivers there."""
    return start_sshd()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty warehouse and a folder to run exports in."""
    return Place(tmp_path, monkeypatch)
