"""One SSH connection: pinned host keys, login, and errors that say what to do."""

import os
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
from pydantic import SecretStr

from orchestrator.delivery.uploads import LostError, UnreachableError
from orchestrator.destinations import Sftp

_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"  # faster than chacha20; rest still on
# The types that are pinned come first. The others are offered too: a server that has none of the
# pinned types just hangs up, and nobody would see that its key has changed.
_HOST_KEYS = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"


def address(destination: Sftp) -> str:
    """Return the server as people write it: `host:port`, with an IPv6 address in brackets."""
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    return f"{host}:{destination.port}"


async def connect(destination: Sftp) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `destination.timeout`.

    The host key must stand in `destination.known_hosts` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT);
    nothing switches that off. With a private key only that key (and the password, if given) is
    tried, else the keys of the agent at $SSH_AUTH_SOCK and the password. No other key and no
    ssh_config is read.

    Raises LostError if the server cannot be reached, which may pass, else UnreachableError, for a
    host key or a login that is refused, which does not.
    """
    server = address(destination)
    pinned = _pinned(destination)
    witness = _Witness()
    timeout = destination.timeout.total_seconds()
    async with _keys(destination) as (keys, tried):
        try:
            return await asyncssh.connect(
                destination.host.lower(),  # as known_hosts and host certificates have it
                destination.port,
                config=None,
                client_factory=lambda: witness,
                known_hosts=pinned,
                server_host_key_algs=_HOST_KEYS,
                x509_trusted_certs=None,  # else ~/.ssh/ca-bundle.crt is a second list of trust
                username=destination.username,
                client_keys=keys or None,
                agent_path=None,
                password=_text(destination.password),
                gss_host=None,
                encryption_algs=_CIPHERS,
                connect_timeout=timeout,
                login_timeout=timeout,
                keepalive_interval=min(15.0, timeout / 3),
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise _untrusted(destination, witness, known=any(pinned[:2]), why=error) from error
        except asyncssh.PermissionDenied as error:
            raise UnreachableError(
                f"{server}: the server refused the login of user {destination.username} with "
                f"{' and '.join(tried)} ({error.reason}). Ask the receiver whether this user may "
                "log in this way, and correct username, private_key or password."
            ) from error
        except asyncssh.KeyExchangeFailed as error:
            raise UnreachableError(
                f"{server}: no way of encrypting in common ({error.reason}). "
                "Ask the receiver to update the server."
            ) from error
        except (
            asyncssh.ProtocolError,  # too many keys tried, for one
            asyncssh.ProtocolNotSupported,
            asyncssh.IllegalUserName,
            ValueError,
        ) as error:
            raise UnreachableError(
                f"{server}: cannot log in ({error}). Check host and port, and ask the receiver "
                "whether an SFTP server answers there."
            ) from error
        except TimeoutError as error:
            raise LostError(f"{server}: no answer within {timeout:g} s.") from error
        except socket.gaierror as error:
            raise LostError(
                f"{server}: no address is known for that host ({error.strerror})."
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise LostError(
                f"{server}: cannot connect ({str(error) or type(error).__name__})."
            ) from error


class _Witness(asyncssh.SSHClient):
    """Remembers the key that was refused, so that people can compare its fingerprint."""

    shown = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        del host, addr, port
        self.shown = f" It shows {key.get_algorithm()} {key.get_fingerprint()}."
        return False

    validate_host_ca_key = validate_host_public_key


_Pinned = tuple[
    Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]
]  # trusted, certificate authorities, revoked


def _pinned(destination: Sftp) -> _Pinned:
    path = destination.known_hosts
    try:
        known = asyncssh.read_known_hosts(str(path))
    except FileNotFoundError:
        return (), (), ()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{path}: cannot be read as a known_hosts file ({error})."
        ) from error
    # By name only: a key pinned for another host's address
    # must not do for this one.
    port = None if destination.port == asyncssh.DEFAULT_PORT else destination.port
    return known.match(destination.host.lower(), "", port)[:3]


def _untrusted(
    destination: Sftp, witness: _Witness, *, known: bool, why: asyncssh.DisconnectError
) -> UnreachableError:
    host, port, path = destination.host, destination.port, destination.known_hosts
    entry = host if port == asyncssh.DEFAULT_PORT else f"'[{host}]:{port}'"
    add = f"ssh-keyscan -p {port} {host} >> {path}"
    if not known:
        return UnreachableError(
            f"{address(destination)}: its host key is not in {path}, so it is not trusted."
            f"{witness.shown} Ask the receiver for the fingerprint; only if it is the same, add "
            f"the key: {add}"
        )
    return UnreachableError(
        f"{address(destination)}: its host key is not the one that {path} has for it "
        f"({why.reason}). The receiver may have a new key, or someone stands in between."
        f"{witness.shown} Ask the receiver for the fingerprint; only if it is the same, replace "
        f"the key: ssh-keygen -R {entry} -f {path}; {add}"
    )


@asynccontextmanager
async def _keys(
    destination: Sftp,
) -> AsyncIterator[tuple[Sequence[asyncssh.SSHKeyPair], list[str]]]:
    """Yield the keys to log in with, and in words all that will be tried."""
    password = ["the password"] if destination.password else []
    if destination.private_key:
        yield _private_key(destination), [f"the key {destination.private_key}", *password]
        return
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path and not password:
        raise UnreachableError(
            f"{address(destination)}: nothing to log in with as user {destination.username}. Set "
            "private_key or password, or start an ssh-agent and set SSH_AUTH_SOCK."
        )
    if not path:
        yield (), password
        return
    try:
        agent = await asyncssh.connect_agent(path)
        keys = await agent.get_keys()
    except (OSError, ValueError) as error:
        if not password:
            raise UnreachableError(
                f"{address(destination)}: no ssh-agent answers at {path}, where SSH_AUTH_SOCK "
                f"points ({error}). Start it, or set private_key or password."
            ) from error
        yield (), password
        return
    try:
        yield keys, [f"{len(keys)} key(s) of the agent at {path}", *password]
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
            f"{address(destination)}: the private key {path} cannot be read ({error.strerror}). "
            "Correct private_key, or the file's permissions."
        ) from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if not re.search(b"-----END .*PRIVATE KEY-----", path.read_bytes()):
            raise UnreachableError(
                f"{address(destination)}: {path} holds no private key ({error}). Correct "
                "private_key; a name that ends in .pub is that of a public one."
            ) from error
        need = "the passphrase is not the right one" if passphrase else "does it need a passphrase?"
        raise UnreachableError(
            f"{address(destination)}: the private key {path} cannot be opened: {need} ({error})"
        ) from error
