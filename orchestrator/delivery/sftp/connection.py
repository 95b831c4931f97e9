"""Connection: one SSH connection to a host with a pinned key, by any of the host's addresses."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import asyncssh

from orchestrator.config.destinations import OLD_ALGORITHMS, Sftp
from orchestrator.delivery.destination import LostError, UnreachableError
from orchestrator.delivery.sftp.credentials import (
    BOM,
    MIN_RSA_BITS,
    Credentials,
    LoginDialog,
    credentials_of,
    is_short,
    reason_of,
)

_log = logging.getLogger(__name__)

# asyncssh prefers chacha20, which reached only two thirds of the speed of these. It stays allowed.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"

# All types are offered, not only those of the pinned keys. Otherwise a server that has no key of a
# pinned type would end the connection, and the error would not say that its key has changed.
_HOST_KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
_HEAD_START = 0.25  # seconds before the next address is tried too (RFC 8305, section 5)

_Address = tuple[int, Any]  # address family, and the address in the format of its sockets
_Pinned = tuple[
    Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]
]  # trusted keys, certificate authorities, revoked keys


async def connect(config: Sftp) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `config.timeout` for each address of the host.

    The host key must be in `config.known_hosts` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); no option
    switches that off. If a private key is configured, only that key is tried, and otherwise the
    keys of the agent at $SSH_AUTH_SOCK; then the password, if one is configured. No other key and
    no ssh_config is read.

    Raises LostError if the server cannot be reached. Raises UnreachableError if the host key is not
    trusted or the login is refused: another attempt would fail too.
    """
    pinned = _pinned_keys(config)
    async with credentials_of(config) as credentials:
        addresses = await _addresses(config)
        while True:
            connected, address = await _reach(config, addresses)
            try:
                return await _log_in(config, connected, pinned, credentials)
            except LostError as error:
                addresses.remove(address)
                if not addresses:
                    raise
                _log.info("%s Trying the next address.", error)


async def _addresses(config: Sftp) -> list[_Address]:
    """Return the addresses of the host, IPv6 and IPv4 in alternation (RFC 8305, section 4)."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LostError(
            f"{config.address}: no address is known for that host ({reason})."
        ) from error
    families: dict[int, list[_Address]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    turns = zip_longest(*families.values())
    return [address for turn in turns for address in turn if address]


async def _reach(config: Sftp, addresses: Sequence[_Address]) -> tuple[socket.socket, _Address]:
    """Connect to the address that answers first. Each is tried a moment after the one before it."""
    loop = asyncio.get_running_loop()

    async def attempt(number: int, address: _Address) -> tuple[socket.socket, _Address]:
        await asyncio.sleep(number * _HEAD_START)
        attempted = socket.socket(address[0], socket.SOCK_STREAM)
        try:
            attempted.settimeout(0)
            await loop.sock_connect(attempted, address[1])
        except BaseException:
            attempted.close()
            raise
        return attempted, address

    tasks = [asyncio.create_task(attempt(*each)) for each in enumerate(addresses)]
    timeout = config.timeout.total_seconds()
    reasons = []
    first = None
    try:
        for task in asyncio.as_completed(tasks, timeout=timeout):
            try:
                first = await task
            except OSError as error:
                if error.errno is None:  # the timeout of as_completed
                    reasons.append(f"no answer within {timeout:g} s")
                    break
                reasons.append(os.strerror(error.errno))
            else:
                return first
    finally:
        for each in tasks:
            each.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, BaseException) and result is not first:
                result[0].close()
    raise LostError(f"{config.address}: cannot connect ({', '.join(dict.fromkeys(reasons))}).")


async def _log_in(
    config: Sftp, connected: socket.socket, pinned: _Pinned, credentials: Credentials
) -> asyncssh.SSHClientConnection:
    """Log in over a connected socket; close it if the login fails."""
    server = config.address
    client = LoginDialog(credentials.password)
    timeout = config.timeout.total_seconds()
    try:
        return await asyncssh.connect(
            config.host.lower(),  # known_hosts and host certificates use lower case
            config.port,
            sock=connected,
            config=None,
            client_factory=lambda: client,
            known_hosts=_long_enough(config, pinned),
            x509_trusted_certs=None,  # otherwise ~/.ssh/ca-bundle.crt is trusted too
            username=config.username,
            client_keys=credentials.keys or None,
            agent_path=None,
            # The password is sent only once. "password" comes before "keyboard-interactive" since
            # only with it can a server report that the password has expired (RFC 4252, section 8).
            preferred_auth="publickey,password,keyboard-interactive",
            gss_host=None,
            connect_timeout=timeout,
            login_timeout=timeout,
            keepalive_interval=min(15.0, timeout / 3),
            keepalive_count_max=3,
            utf8_decode_errors="backslashreplace",  # a server's texts may be in any encoding
            **_algorithms(config, pinned),
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _untrusted(config, client.host_key, pinned, error) from error
    except asyncssh.PermissionDenied as error:
        raise UnreachableError(
            f"{server}: the server refused the login of user {config.username} with "
            f"{' and '.join(credentials.tried)}.{client.said} Ask the receiver whether this user "
            "may log in this way, and correct username, private_key or password."
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        old = [name for name in OLD_ALGORITHMS if re.search(rf"\b{name}\b", error.reason)]
        allow = f" To allow old ones for this server alone: algorithms: {old}." if old else ""
        raise UnreachableError(
            f"{server}: no algorithm is supported on both sides ({reason_of(error)}). "
            f"Ask the receiver to update the server.{allow}"
        ) from error
    except (
        asyncssh.ProtocolError,  # such as: too many keys were tried
        asyncssh.ProtocolNotSupported,
        asyncssh.IllegalUserName,
        ValueError,
    ) as error:
        raise UnreachableError(
            f"{server}: cannot log in ({reason_of(error)}).{client.said} Check host and port, "
            "and ask the receiver whether an SFTP server listens there."
        ) from error
    except TimeoutError as error:
        raise LostError(f"{server}: no answer within {timeout:g} s.") from error
    except (OSError, asyncssh.Error) as error:
        raise LostError(f"{server}: cannot connect ({reason_of(error)}).{client.said}") from error


def _algorithms(config: Sftp, pinned: _Pinned) -> dict[str, Any]:
    """Return the algorithms to offer, as options of asyncssh.connect.

    As in OpenSSH, signatures and key exchanges that use SHA-1 are not offered, though asyncssh
    offers them by default. The old algorithms that the destination allows are added.
    """
    old = config.algorithms
    ciphers = [name for name in old if name.endswith("-cbc")]
    exchanges = [name for name in old if name.startswith("diffie-hellman-")]
    signatures = [name for name in old if name == "ssh-rsa"]
    macs = [name for name in old if name.startswith("hmac-")]
    pinned_types = {key.get_algorithm() for key in pinned[0]}
    host_keys = sorted(  # the types of the pinned keys first
        (*_HOST_KEYS, *signatures),
        key=lambda name: ("ssh-rsa" if name.startswith("rsa-") else name) not in pinned_types,
    )
    if pinned[1]:
        host_keys[:0] = [f"{name}-cert-v01@openssh.com" for name in host_keys]
    return {
        "server_host_key_algs": host_keys,
        "signature_algs": () if "ssh-rsa" in old else "-ssh-rsa",
        "kex_algs": f"+{','.join(exchanges)}" if exchanges else "-*sha1",
        "encryption_algs": f"+{','.join(ciphers)}" if ciphers else _CIPHERS,
        "mac_algs": f"+{','.join(macs)}" if macs else (),
    }


def _pinned_keys(config: Sftp) -> _Pinned:
    """Return the keys that known_hosts has for the server. A missing file reads as empty.

    Raises UnreachableError if the file cannot be read.
    """
    path = config.known_hosts
    try:
        # Names and keys are ASCII. Comments may be in any encoding, and are ignored.
        text = path.read_bytes().removeprefix(BOM).decode("ascii", "ignore")
        known = asyncssh.import_known_hosts(text)
    except FileNotFoundError:
        return (), (), ()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{path}: cannot be read as a known_hosts file ({error})."
        ) from error
    # The address is not compared: a key pinned for the address is not pinned for this name.
    port = None if config.port == asyncssh.DEFAULT_PORT else config.port
    return known.match(config.host.lower(), "", port)[:3]


def _long_enough(config: Sftp, pinned: _Pinned) -> _Pinned:
    """Return the pinned keys without RSA keys that are too short to be trusted."""
    trusted, authorities = (
        [key for key in keys if not is_short(config, key)] for keys in pinned[:2]
    )
    return trusted, authorities, pinned[2]


def _untrusted(
    config: Sftp, shown: asyncssh.SSHKey | None, pinned: _Pinned, error: asyncssh.DisconnectError
) -> UnreachableError:
    """Return the error for a host key that is not trusted."""
    server, host, port, path = config.address, config.host, config.port, config.known_hosts
    if "is revoked" in error.reason:
        return UnreachableError(
            f"{server}: its host key is marked as @revoked in {path}: it may have been stolen, and "
            "someone may intercept the connection. Ask the receiver which key is valid now."
        )
    if shown in pinned[0] or shown in pinned[1]:
        return UnreachableError(
            f"{server}: its host key is an RSA key of less than {MIN_RSA_BITS} bits, which is too "
            "short to be trusted. Ask the receiver for another key. To allow it for this server "
            "alone: algorithms: [rsa-1024]."
        )
    key = (
        f" The server's key is {shown.get_algorithm()} {shown.get_fingerprint()}." if shown else ""
    )
    entry = host if port == asyncssh.DEFAULT_PORT else f"'[{host}]:{port}'"
    add = f"ssh-keyscan -p {port} {host} >> {path}"
    if not any(pinned[:2]):
        return UnreachableError(
            f"{server}: its host key is not in {path}, so it is not trusted.{key} Ask the receiver "
            f"for the fingerprint; only if it is the same, add the key: {add}"
        )
    return UnreachableError(
        f"{server}: its host key differs from the one in {path} ({reason_of(error)}). The receiver "
        f"may have a new key, or someone may intercept the connection.{key} Ask the receiver for "
        "the fingerprint; only if it is the same, replace the key: "
        f"ssh-keygen -R {entry} -f {path}; {add}"
    )
