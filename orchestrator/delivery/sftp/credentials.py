"""Credentials: the keys and the password for one destination, and the login dialog."""

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
from pydantic import SecretStr

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.destination import UnreachableError
from orchestrator.errors import escaped

BOM = b"\xef\xbb\xbf"
"""The byte order mark that some editors write at the start of a file. OpenSSH ignores it too."""

_MAX_TEXT = 300
"""The most characters of a server's text that a message quotes."""

MIN_RSA_BITS = 2048
_ALLOWED_RSA_BITS = 1024  # with rsa-1024: the least that OpenSSH accepts (RequiredRSASize)


@dataclass(frozen=True)
class Credentials:
    """The keys and the password to log in with; `tried` names them for messages."""

    keys: Sequence[asyncssh.SSHKeyPair]
    password: str | None = field(repr=False)
    tried: Sequence[str]


@asynccontextmanager
async def credentials_of(config: Sftp) -> AsyncIterator[Credentials]:
    """Yield the credentials. Keys of an ssh-agent can be used until the `with` block ends.

    Raises UnreachableError if there is neither a key nor a password, or if a key cannot be read.
    """
    password = _secret(config.password)
    tried = ["the password"] if password else []
    if config.private_key:
        keys = _private_key(config)
        yield Credentials(keys, password, [f"the key {config.private_key}", *tried])
        return
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path and not password:
        raise UnreachableError(
            f"{config.address}: no key and no password to log in as user {config.username}. Set "
            "private_key or password, or start an ssh-agent and set SSH_AUTH_SOCK."
        )
    if not path:
        yield Credentials((), password, tried)
        return
    try:
        agent = await asyncssh.connect_agent(path)
        agent_keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        if not password:
            raise UnreachableError(
                f"{config.address}: no ssh-agent answers at {path}, which SSH_AUTH_SOCK names "
                f"({error}). Start it, or set private_key or password."
            ) from error
        yield Credentials((), password, tried)
        return
    try:
        tried = [f"{len(agent_keys)} key(s) of the agent at {path}", *tried]
        yield Credentials(agent_keys, password, tried)
    finally:
        agent.close()


def _secret(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None  # an empty one counts as none


def _private_key(config: Sftp) -> Sequence[asyncssh.SSHKeyPair]:
    """Return the destination's key, with its certificate if KEY-cert.pub exists."""
    path, passphrase = Path(str(config.private_key)), _secret(config.passphrase)
    where = f"{config.address}: the private key {path}"
    try:
        data = path.read_bytes().removeprefix(BOM)
        status = path.stat()
        certificate = path.with_name(f"{path.name}-cert.pub")
        if not re.search(b"-----END .*PRIVATE KEY-----", data):
            raise UnreachableError(
                f"{config.address}: {path} does not contain a private key. Correct private_key; a "
                "file whose name ends in .pub has the public key."
            )
        # As ssh does, only a key of this user is checked: another owner, such as that of a mounted
        # secret, must protect the key.
        if status.st_uid == os.getuid() and status.st_mode & 0o077:
            raise UnreachableError(
                f"{where} can be read or written by other users of this machine (mode "
                f"{status.st_mode & 0o777:04o}), so it is not used: chmod 600 {path}"
            )
        key = asyncssh.import_private_key(data, passphrase)
        if is_short(config, key):
            raise UnreachableError(
                f"{where} is an RSA key of less than {MIN_RSA_BITS} bits. Create another one (such "
                "as ssh-keygen -t ed25519), or allow it for this server: algorithms: [rsa-1024]"
            )
        return asyncssh.load_keypairs([(key, str(certificate)) if certificate.exists() else key])
    except OSError as error:
        raise UnreachableError(
            f"{where} cannot be read ({error.strerror}). Correct private_key, or the file's "
            "permissions."
        ) from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        hint = "the passphrase is wrong" if passphrase else "does it need a passphrase?"
        raise UnreachableError(f"{where} cannot be opened: {hint} ({error})") from error


def is_short(config: Sftp, key: asyncssh.SSHKey) -> bool:
    """Return whether this is an RSA key that is too short to be trusted."""
    bits: int = getattr(key.pyca_key, "key_size", 0)
    least = _ALLOWED_RSA_BITS if "rsa-1024" in config.algorithms else MIN_RSA_BITS
    return key.get_algorithm() == "ssh-rsa" and bits < least


def reason_of(error: Exception) -> str:
    """Return the reason of an asyncssh error, which may be the server's text, on one line."""
    text = getattr(error, "reason", "") or str(error)
    return escaped(text, _MAX_TEXT) or (
        "no answer" if isinstance(error, TimeoutError) else type(error).__name__
    )


class LoginDialog(asyncssh.SSHClient):
    """Answers the server's questions during the login, and records its messages."""

    def __init__(self, password: str | None) -> None:
        """Use the password, if there is one."""
        self.host_key: asyncssh.SSHKey | None = None
        self._password = password
        self._texts: list[str] = []

    @property
    def said(self) -> str:
        """The server's messages as one sentence; empty if there are none."""
        text = " ".join(self._texts)
        return f" The server says '{escaped(text, _MAX_TEXT)}'." if text else ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Record the key and refuse it: asyncssh calls this for keys that are not pinned."""
        del host, addr, port
        self.host_key = key
        return False

    validate_host_ca_key = validate_host_public_key

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Record the banner: it may say why a login is refused."""
        del lang
        self._record(msg)

    def password_auth_requested(self) -> str | None:
        """Return the password only once: a second attempt could lock the account."""
        password, self._password = self._password, None
        return password

    def password_change_requested(self, prompt: str, lang: str) -> Any:  # noqa: ANN401 - of asyncssh
        """Record the prompt that says that the password has expired; do not change it."""
        del lang
        self._record(prompt)
        return NotImplemented

    def kbdint_auth_requested(self) -> str | None:
        """Allow keyboard-interactive prompts (RFC 4256) if there is a password."""
        return None if self._password is None else ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        """Answer a single prompt with hidden input: it asks for the password."""
        del lang
        if not prompts:  # a message
            self._record(name, instructions)
            return []
        is_password = len(prompts) == 1 and not prompts[0][1]
        password = self.password_auth_requested() if is_password else None
        if password is None:
            self._record(name, instructions, *(prompt for prompt, _ in prompts))
            return None
        return [password]

    def _record(self, *texts: str) -> None:
        self._texts += [text.strip() for text in texts if text.strip()]
