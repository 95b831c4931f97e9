"""Host keys: those that are pinned for a server, and what to do about one that is not."""

from collections.abc import Sequence

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.uploads import UnreachableError

# The types that are pinned come first. The others are offered too: a server that has none of the
# pinned types just hangs up, and nobody would see that its key has changed.
ALGORITHMS = "+ssh-ed25519,ecdsa-sha2-nistp*,rsa-sha2-*"
"""The types of host keys to ask for."""


class HostKeyRecorder(asyncssh.SSHClient):
    """Remembers the key that was refused, so that people can compare its fingerprint."""

    shown = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Remember the key, and trust it no more for that."""
        del host, addr, port
        self.shown = f" It shows {key.get_algorithm()} {key.get_fingerprint()}."
        return False

    validate_host_ca_key = validate_host_public_key


Pinned = tuple[
    Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]
]  # trusted, certificate authorities, revoked


def pinned(destination: Sftp) -> Pinned:
    """Return the keys that `known_hosts` has for the server, none where there is no such file.

    Raises UnreachableError where it cannot be read.
    """
    path = destination.known_hosts
    try:
        known = asyncssh.read_known_hosts(str(path))
    except FileNotFoundError:
        return (), (), ()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{path}: cannot be read as a known_hosts file ({error})."
        ) from error
    # By name only: a key pinned for another host's address must not do for this one.
    port = None if destination.port == asyncssh.DEFAULT_PORT else destination.port
    return known.match(destination.host.lower(), "", port)[:3]


def untrusted(
    destination: Sftp, witness: HostKeyRecorder, *, known: bool, why: asyncssh.DisconnectError
) -> UnreachableError:
    """Return the error for a key that is not pinned; `known` tells whether another one is."""
    host, port, path = destination.host, destination.port, destination.known_hosts
    entry = host if port == asyncssh.DEFAULT_PORT else f"'[{host}]:{port}'"
    add = f"ssh-keyscan -p {port} {host} >> {path}"
    if not known:
        return UnreachableError(
            f"{destination.address}: its host key is not in {path}, so it is not trusted."
            f"{witness.shown} Ask the receiver for the fingerprint; only if it is the same, add "
            f"the key: {add}"
        )
    return UnreachableError(
        f"{destination.address}: its host key is not the one that {path} has for it "
        f"({why.reason}). The receiver may have a new key, or someone stands in between."
        f"{witness.shown} Ask the receiver for the fingerprint; only if it is the same, replace "
        f"the key: ssh-keygen -R {entry} -f {path}; {add}"
    )
