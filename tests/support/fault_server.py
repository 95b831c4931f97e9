"""The SFTP server of asyncssh, for faults that OpenSSH cannot be configured to have."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import asyncssh

from orchestrator.config.destinations import Sftp

PASSWORD = "a pass word"  # noqa: S105 - of a server that lives for one test


class Login(asyncssh.SSHServer):
    """Accepts the user `receiver` with `PASSWORD`."""

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("receiver", PASSWORD)


@contextmanager
def serve(
    folder: Path,
    faults: type[asyncssh.SFTPServer] = asyncssh.SFTPServer,
    login: type[asyncssh.SSHServer] = Login,
) -> Iterator[Callable[..., Sftp]]:
    """Serve folder/root with `faults`; yield a function that returns a destination's settings.

    The user is `receiver`, with `PASSWORD`.
    """
    root = folder / "root"
    root.mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=login,
            server_host_keys=[key],
            sftp_factory=lambda channel: faults(channel, chroot=bytes(root)),
            gss_host=None,
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    port = server.get_port()
    known_hosts = folder / "fault_known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")

    def destination(*, password: str = PASSWORD, seconds: float = 10) -> Sftp:
        return Sftp(
            host="127.0.0.1",
            port=port,
            username="receiver",
            password=password,
            known_hosts=known_hosts,
            timeout=timedelta(seconds=seconds),
        )

    try:
        yield destination
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
