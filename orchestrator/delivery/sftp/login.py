"""Credentials: the keys and the password that a user logs in with."""

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from pydantic import SecretStr

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.uploads import UnreachableError


@dataclass(frozen=True)
class Credentials:
    """The keys and the password to log in with; `tried` says in words which those are."""

    keys: Sequence[asyncssh.SSHKeyPair]
    password: str | None = field(repr=False)
    tried: Sequence[str]


@asynccontextmanager
async def credentials_of(destination: Sftp) -> AsyncIterator[Credentials]:
    """Yield what to log in with; the keys of an agent are good until the `with` ends.

    Raises UnreachableError where there is nothing, or a key cannot be opened.
    """
    secret = _text(destination.password)
    password = ["the password"] if secret else []
    if destination.private_key:
        tried = [f"the key {destination.private_key}", *password]
        yield Credentials(_private_key(destination), secret, tried)
        return
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path and not password:
        raise UnreachableError(
            f"{destination.address}: nothing to log in with as user {destination.username}. Set "
            "private_key or password, or start an ssh-agent and set SSH_AUTH_SOCK."
        )
    if not path:
        yield Credentials((), secret, password)
        return
    try:
        agent = await asyncssh.connect_agent(path)
        keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        if not password:
            raise UnreachableError(
                f"{destination.address}: no ssh-agent answers at {path}, where SSH_AUTH_SOCK "
                f"points ({error}). Start it, or set private_key or password."
            ) from error
        yield Credentials((), secret, password)
        return
    try:
        tried = [f"{len(keys)} key(s) of the agent at {path}", *password]
        yield Credentials(keys, secret, tried)
    finally:
        agent.close()


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None  # an empty one counts as none


def _private_key(destination: Sftp) -> Sequence[asyncssh.SSHKeyPair]:
    path, passphrase = Path(str(destination.private_key)), _text(destination.passphrase)
    try:
        return asyncssh.load_keypairs([str(path)], passphrase)
    except OSError as error:
        raise UnreachableError(
            f"{destination.address}: the private key {path} cannot be read ({error.strerror}). "
            "Correct private_key, or the file's permissions."
        ) from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if not re.search(b"-----END .*PRIVATE KEY-----", path.read_bytes()):
            raise UnreachableError(
                f"{destination.address}: {path} holds no private key ({error}). Correct "
                "private_key; a name that ends in .pub is that of a public one."
            ) from error
        need = "the passphrase is not the right one" if passphrase else "does it need a passphrase?"
        raise UnreachableError(
            f"{destination.address}: the private key {path} cannot be opened: {need} ({error})"
        ) from error
