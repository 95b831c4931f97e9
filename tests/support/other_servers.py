"""Real SFTP servers that are not OpenSSH: ProFTPD's mod_sftp, and rclone over a folder."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from sshd import free_port, make_key

from orchestrator.config.destinations import Sftp


class OtherServer(ABC):
    """A server of the folder `root` on a free loopback port; this process's user logs in by key."""

    program: str
    package: str

    def __init__(self, folder: Path) -> None:
        """Prepare the server's files below `folder`; `start` starts it."""
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.folder = folder
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self.client_key = make_key(folder / "client_key")
        self.host_key = make_key(folder / "host_key")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Write the server's config files; return the command that serves in the foreground."""

    def start(self) -> None:
        """Start listening."""
        self.port = free_port()
        program, *arguments = self.command()
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path, f"install {self.package} to run this test"
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen([path, *arguments], stdout=output, stderr=output)
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
                if client.recv(4) == b"SSH-":
                    break
            time.sleep(0.02)
        else:
            raise RuntimeError(log.read_text())
        key = Path(f"{self.host_key}.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def stop(self) -> None:
        """End the server."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)

    def destination(self, **changes: Any) -> Sftp:  # noqa: ANN401 - any of its settings
        """Return the settings that deliver here."""
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "username": self.username,
            "private_key": self.client_key,
            "known_hosts": self.folder / "known_hosts",
            "timeout": timedelta(seconds=10),
        }
        return Sftp(**settings | changes)


class Proftpd(OtherServer):
    """ProFTPD with mod_sftp, as its documentation configures it."""

    program = "proftpd"
    package = "proftpd-core and proftpd-mod-crypto"

    def command(self) -> list[str]:
        uid, gid = os.getuid(), os.getgid()
        group = grp.getgrgid(gid).gr_name
        users, keys = self.folder / "users", self.folder / "authorized_keys"
        users.write_text(f"{self.username}:*:{uid}:{gid}::{self.root}:/bin/sh\n")
        users.chmod(0o600)
        public = ["ssh-keygen", "-e", "-m", "RFC4716", "-f", f"{self.client_key}.pub"]
        keys.write_bytes(subprocess.run(public, check=True, capture_output=True).stdout)
        config = self.folder / "proftpd.conf"
        config.write_text(
            f"""\
ModulePath /usr/lib/proftpd
LoadModule mod_sftp.c
ServerType standalone
DefaultAddress 127.0.0.1
SocketBindTight on
Port {self.port}
User {self.username}
Group {group}
PidFile {self.folder}/pid
ScoreboardFile {self.folder}/scoreboard
DelayEngine off
UseReverseDNS off
WtmpLog off
AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
RootLogin on
UseFtpUsers off
DefaultRoot {self.root}
AllowOverwrite on
AllowStoreRestart on
SFTPEngine on
SFTPLog {self.folder}/sftp.log
SFTPHostKey {self.host_key}
SFTPAuthMethods publickey
SFTPAuthorizedUserKeys file:{keys}
"""
        )
        return [self.program, "--nodaemon", "--config", str(config)]


class Rclone(OtherServer):
    """Rclone over a folder; without a cache it writes a file from its beginning to its end."""

    program = package = "rclone"
    cache = "off"

    def command(self) -> list[str]:
        return [
            *("rclone", "serve", "sftp", str(self.root), "--addr", f"127.0.0.1:{self.port}"),
            *("--config", "/dev/null", "--cache-dir", str(self.folder / "cache")),
            *("--key", str(self.host_key), "--authorized-keys", f"{self.client_key}.pub"),
            *("--vfs-cache-mode", self.cache, "--vfs-write-back", "1s"),
            *("--dir-cache-time", "1ms"),  # tests read and change the folder directly
        ]


class CachingRclone(Rclone):
    """Rclone with its cache of written files."""

    cache = "writes"
