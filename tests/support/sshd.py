"""A real OpenSSH server on a free loopback port, started by the user who runs the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped] # has no types

from orchestrator.config.destinations import Sftp

_PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd needs it if root starts it


def make_key(path: Path, *, passphrase: str = "") -> Path:
    """Create an ed25519 key pair at `path` and `path`.pub."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


class Sshd:
    """An sshd whose SFTP sessions start in `root`; this process's user logs in by `client_key`.

    `sftp_options` are those of sftp-server(8): `-R` is read-only, `-P mkdir` forbids a request.
    `subsystem` is another command for the subsystem; with None there is no SFTP. `settings` are
    lines of sshd_config(5).
    """

    host = "127.0.0.1"

    def __init__(  # noqa: PLR0913 - each is a property of one test's server
        self,
        folder: Path,
        *,
        sftp_options: str = "",
        subsystem: str | None = "",
        settings: str = "MaxStartups 100",
        certified: bool = False,
        host_key: Path | None = None,
    ) -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.known_hosts = folder / "known_hosts"
        self.client_key = make_key(folder / "client_key")
        self.host_key = host_key or make_key(folder / "host_key")
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self.port = 0
        self._folder = folder
        command = subsystem or f"internal-sftp -d {self.root} {sftp_options}"
        self._settings = settings + ("" if subsystem is None else f"\nSubsystem sftp {command}")
        self._certificate = self._certify() if certified else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[psutil.Process] = []  # to kill at the end

    @property
    def host_key_line(self) -> str:
        """The host's public key, as known_hosts has it after the name."""
        return " ".join(Path(f"{self.host_key}.pub").read_text().split()[:2])

    @property
    def pid(self) -> int:
        """The id of the server's process; the processes of its sessions are its descendants."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start listening: the first time on a free port, later on the same port again."""
        wanted = self.port
        for _ in range(5):  # another process may take the port in between
            self.port = wanted or free_port()
            if self._listens():
                break
        else:
            raise RuntimeError((self._folder / "sshd.log").read_text())
        if not self.known_hosts.exists():
            self.pin(f"[{self.host}]:{self.port} {self.host_key_line}")

    def pin(self, *lines: str) -> None:
        """Replace the lines of known_hosts."""
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def line(self, **changes: str) -> dict[str, str | int]:
        """Return the value of `sftp` in exports.yml that delivers here."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "private_key": str(self.client_key),
            "known_hosts": str(self.known_hosts),
            **changes,
        }

    def destination(self, **changes: Any) -> Sftp:  # noqa: ANN401 - any of its settings
        """Return the settings that deliver here."""
        return Sftp(**(self.line() | {"timeout": timedelta(seconds=10)} | changes))

    def freeze(self) -> None:
        """Stop the processes that serve SFTP; their connections stay open."""
        assert self._process
        for process in _descendants(self._process.pid):
            if not process.children():
                process.suspend()
                self._sessions.append(process)

    def hang_up(self) -> None:
        """Kill every session; the server keeps listening."""
        assert self._process
        _kill(_descendants(self._process.pid))

    def stop_listening(self) -> None:
        """Terminate the server: it accepts nobody more, and open sessions continue."""
        assert self._process
        self._sessions += _descendants(self._process.pid)
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """Kill the server and every session at once."""
        if not self._process:
            return
        # A session outlives its server, and a frozen process outlives its session.
        found = {*_descendants(self._process.pid), *self._sessions}
        if self._process.poll() is None:
            self._process.kill()
        _kill(found)
        self._process.wait()
        self._process = None
        self._sessions.clear()

    def _listens(self) -> bool:
        if os.getuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        config = self._folder / "sshd_config"
        config.write_text(
            f"""\
{self._settings}
Port {self.port}
ListenAddress {self.host}
HostKey {self.host_key}
{self._certificate}
PidFile none
AuthorizedKeysFile {self.client_key}.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
        )
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert sshd, "install openssh-server to run this test"
        with (self._folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log)
        for _ in range(200):
            if self._process.poll() is not None:
                return False
            with suppress(OSError), socket.create_connection((self.host, self.port), 1) as client:
                return client.recv(4) == b"SSH-"
            time.sleep(0.02)
        self.kill()
        return False

    def _certify(self) -> str:
        authority = make_key(self._folder / "authority")
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-h", "-n", self.host]
        subprocess.run([*command, f"{self.host_key}.pub"], check=True)
        return f"HostCertificate {self.host_key}-cert.pub"


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def free_port() -> int:
    """Return a loopback port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []
