"""Uploads against OpenSSH's own `sftp`, to OpenSSH's own server."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import timing
from figures import Figure, Size
from sshd import Sshd
from tcp_proxy import Proxy
from timing import Cost, interleaved

_HERE = Path(__file__).parent
_DELAY = 0.02  # seconds of a round trip


def upload(size: Size) -> Iterator[Figure]:
    """Measure the upload of one large file."""
    length = size.part(1024**3, least=1024**2)
    with _Server(size.folder) as server:
        server.create_files(1, length)
        costs = interleaved(
            lambda: {"ours": server.ours()},
            lambda: {"sftp": server.sftp("put")},
            lambda: {"flushed": server.sftp("put -f")},
            rounds=max(size.rounds, 7),
        )
    title = f"upload of {length / 1024**2:,.0f} MiB / sftp"
    yield Figure(title, costs["ours"], costs["sftp"], at_most=1.0)
    yield Figure(f"{title}, flushed too", costs["ours"], costs["flushed"])


def files(size: Size) -> Iterator[Figure]:
    """Measure the upload of many small files, over a network with a delay."""
    count = size.part(1000, least=20)
    with _Server(size.folder) as server, Proxy.before(server.port, delay=_DELAY / 2) as line:
        server.create_files(count, 50 * 1024)
        costs = interleaved(
            lambda: {"ours": server.ours(line.port)},
            lambda: {"sftp": server.sftp("put", line.port)},
            rounds=size.rounds,
            warm=False,
        )
    title = f"{count:,} files of 50 KiB at 20 ms / sftp -b"
    yield Figure(title, costs["ours"], costs["sftp"], at_most=0.1)


class _Server:
    """An OpenSSH server with files to upload to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[tuple[str, str, int]] = []  # name, SHA-256, bytes
        self._sshd = Sshd(folder / "server")

    def __enter__(self) -> Self:
        self._sshd.start()
        self.port = self._sshd.port
        return self

    def __exit__(self, *_: object) -> None:
        self._sshd.kill()

    def create_files(self, count: int, length: int) -> None:
        """Create files of random bytes, each of this length."""
        for number in range(count):
            path = self._folder / f"{number}.csv"
            path.write_bytes(os.urandom(length))
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._files.append((path.name, digest, length))

    def ours(self, port: int | None = None) -> Cost:
        """Upload all files, as a run does."""
        sending = {"destination": self._line(port), "files": self._files}
        (self._folder / "sending.json").write_text(json.dumps(sending))
        return self._upload(sys.executable, _HERE / "sending.py", "sending.json")

    def sftp(self, put: str, port: int | None = None) -> Cost:
        """Upload all files by `sftp -b`, with its defaults."""
        batch = "".join(f"{put} {name} {self._sshd.root}/{name}\n" for name, _, _ in self._files)
        (self._folder / "batch").write_text(batch)
        line = self._line(port)
        return self._upload(
            *("sftp", "-q", "-F", "none", "-b", "batch", "-P", str(line["port"])),
            *("-i", str(line["private_key"]), "-o", f"UserKnownHostsFile={line['known_hosts']}"),
            f"{line['username']}@{line['host']}",
        )

    def _line(self, port: int | None) -> dict[str, str | int]:
        chosen = port or self.port
        self._sshd.pin(f"[{self._sshd.host}]:{chosen} {self._sshd.host_key_line}")
        return {**self._sshd.line(), "port": chosen}

    def _upload(self, *command: str | Path) -> Cost:
        shutil.rmtree(self._sshd.root)
        self._sshd.root.mkdir()
        cost = timing.run(command, folder=self._folder, server=self._sshd.pid)
        found = [path.stat().st_size for path in self._sshd.root.iterdir()]
        if found != [length for _, _, length in self._files]:
            raise RuntimeError(f"{len(found)} of {len(self._files)} files arrived complete")
        return cost
