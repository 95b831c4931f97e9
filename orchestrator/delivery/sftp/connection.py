"""Connection: one SSH connection, with a pinned host key and the credentials of one destination."""

import os
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from pydantic import SecretStr

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.uploads import LostError, UnreachableError

# asyncssh prefers chacha20, which reached two thirds of the speed. The others stay allowed.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"

# asyncssh puts the types of the pinned keys first. The others are offered too: a server that has
# none of the pinned types would end the connection, and nobody would see that its key has changed.
_HOST_KEY_ALGORITHMS = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"


async def connect(config: Sftp) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `config.timeout`.

    The host key must be in `config.known_hosts` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); no option
    switches that off. With a private key only that key is tried, and the password, if given. Else
    the keys of the agent at $SSH_AUTH_SOCK are tried, and the password. No other key and no
    ssh_config is read.

    Raises LostError if the server cannot be reached, else UnreachableError, for a host key or a
    login that is refused: another attempt would be refused too.
    """
    server = config.address
    pinned = _pinned_keys(config)
    recorder = HostKeyRecorder()
    timeout = config.timeout.total_seconds()
    async with _credentials(config) as credentials:
        try:
            return await asyncssh.connect(
                config.host.lower(),  # as known_hosts and host certificates have it
                config.port,
                config=None,
                client_factory=lambda: recorder,
                known_hosts=pinned,
                server_host_key_algs=_HOST_KEY_ALGORITHMS,
                x509_trusted_certs=None,  # else ~/.ssh/ca-bundle.crt is trusted too
                username=config.username,
                client_keys=credentials.keys or None,
                agent_path=None,
                password=credentials.password,
                gss_host=None,
                encryption_algs=_CIPHERS,
                connect_timeout=timeout,
                login_timeout=timeout,
                keepalive_interval=min(15.0, timeout / 3),
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise _untrusted(config, recorder, known=any(pinned[:2]), reason=error) from error
        except asyncssh.PermissionDenied as error:
            raise UnreachableError(
                f"{server}: the server refused the login of user {config.username} with "
                f"{' and '.join(credentials.tried)} ({error.reason}). Ask the receiver whether "
                "this user may log in this way, and correct username, private_key or password."
            ) from error
        except asyncssh.KeyExchangeFailed as error:
            raise UnreachableError(
                f"{server}: no encryption algorithm is supported on both sides ({error.reason}). "
                "Ask the receiver to update the server."
            ) from error
        except (
            asyncssh.ProtocolError,  # such as: too many keys were tried
            asyncssh.ProtocolNotSupported,
            asyncssh.IllegalUserName,
            ValueError,
        ) as error:
            raise UnreachableError(
                f"{server}: cannot log in ({error}). Check host and port, and ask the receiver "
                "whether an SFTP server listens there."
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


class HostKeyRecorder(asyncssh.SSHClient):
    """Records the host key that is not trusted, so that people can compare its fingerprint."""

    shown = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Record the key, and refuse it: asyncssh asks here for keys that are not pinned."""
        del host, addr, port
        self.shown = f" The server's key is {key.get_algorithm()} {key.get_fingerprint()}."
        return False

    validate_host_ca_key = validate_host_public_key


_Pinned = tuple[
    Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]
]  # trusted keys, certificate authorities, revoked keys


def _pinned_keys(config: Sftp) -> _Pinned:
    """Return the keys that known_hosts has for the server; a missing file has none.

    Raises UnreachableError where the file cannot be read.
    """
    path = config.known_hosts
    try:
        known = asyncssh.read_known_hosts(str(path))
    except FileNotFoundError:
        return (), (), ()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{path}: cannot be read as a known_hosts file ({error})."
        ) from error
    # Matched by name only: a key that is pinned for an address is not one of this name.
    port = None if config.port == asyncssh.DEFAULT_PORT else config.port
    return known.match(config.host.lower(), "", port)[:3]


def _untrusted(
    config: Sftp, recorder: HostKeyRecorder, *, known: bool, reason: asyncssh.DisconnectError
) -> UnreachableError:
    """Return the error for a key that is not pinned; `known`: whether another key is."""
    host, port, path = config.host, config.port, config.known_hosts
    entry = host if port == asyncssh.DEFAULT_PORT else f"'[{host}]:{port}'"
    add = f"ssh-keyscan -p {port} {host} >> {path}"
    if not known:
        return UnreachableError(
            f"{config.address}: its host key is not in {path}, so it is not trusted."
            f"{recorder.shown} Ask the receiver for the fingerprint; only if it is the same, add "
            f"the key: {add}"
        )
    return UnreachableError(
        f"{config.address}: its host key differs from the one in {path} ({reason.reason}). The "
        "receiver may have a new key, or someone may intercept the connection."
        f"{recorder.shown} Ask the receiver for the fingerprint; only if it is the same, replace "
        f"the key: ssh-keygen -R {entry} -f {path}; {add}"
    )


@dataclass(frozen=True)
class Credentials:
    """The keys and the password to log in with; `tried` names them for messages."""

    keys: Sequence[asyncssh.SSHKeyPair]
    password: str | None = field(repr=False)
    tried: Sequence[str]


@asynccontextmanager
async def _credentials(config: Sftp) -> AsyncIterator[Credentials]:
    """Yield what to log in with; keys of an agent work until the `with` block ends.

    Raises UnreachableError where there is nothing, or a key cannot be read.
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
            f"{config.address}: nothing to log in with as user {config.username}. Set "
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
    path, passphrase = Path(str(config.private_key)), _secret(config.passphrase)
    try:
        return asyncssh.load_keypairs([str(path)], passphrase)
    except OSError as error:
        raise UnreachableError(
            f"{config.address}: the private key {path} cannot be read ({error.strerror}). "
            "Correct private_key, or the file's permissions."
        ) from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        if not re.search(b"-----END .*PRIVATE KEY-----", path.read_bytes()):
            raise UnreachableError(
                f"{config.address}: {path} does not contain a private key ({error}). Correct "
                "private_key; a file whose name ends in .pub has the public key."
            ) from error
        hint = "the passphrase is wrong" if passphrase else "does it need a passphrase?"
        raise UnreachableError(
            f"{config.address}: the private key {path} cannot be opened: {hint} ({error})"
        ) from error
