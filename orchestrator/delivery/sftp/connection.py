"""One SSH connection: made and logged in, or an error that says what to do."""

import socket

import asyncssh

from orchestrator.config.destinations import Sftp
from orchestrator.delivery.sftp import host_keys
from orchestrator.delivery.sftp.login import credentials_of
from orchestrator.delivery.uploads import LostError, UnreachableError

_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"  # faster than chacha20; rest still on


async def connect(destination: Sftp) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `destination.timeout`.

    The host key must stand in `destination.known_hosts` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT);
    nothing switches that off. With a private key only that key (and the password, if given) is
    tried, else the keys of the agent at $SSH_AUTH_SOCK and the password. No other key and no
    ssh_config is read.

    Raises LostError if the server cannot be reached, which may pass, else UnreachableError, for a
    host key or a login that is refused, which does not.
    """
    server = destination.address
    pinned = host_keys.pinned(destination)
    witness = host_keys.HostKeyRecorder()
    timeout = destination.timeout.total_seconds()
    async with credentials_of(destination) as login:
        try:
            return await asyncssh.connect(
                destination.host.lower(),  # as known_hosts and host certificates have it
                destination.port,
                config=None,
                client_factory=lambda: witness,
                known_hosts=pinned,
                server_host_key_algs=host_keys.ALGORITHMS,
                x509_trusted_certs=None,  # else ~/.ssh/ca-bundle.crt is a second list of trust
                username=destination.username,
                client_keys=login.keys or None,
                agent_path=None,
                password=login.password,
                gss_host=None,
                encryption_algs=_CIPHERS,
                connect_timeout=timeout,
                login_timeout=timeout,
                keepalive_interval=min(15.0, timeout / 3),
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise host_keys.untrusted(
                destination, witness, known=any(pinned[:2]), why=error
            ) from error
        except asyncssh.PermissionDenied as error:
            raise UnreachableError(
                f"{server}: the server refused the login of user {destination.username} with "
                f"{' and '.join(login.tried)} ({error.reason}). Ask the receiver whether this "
                "user may log in this way, and correct username, private_key or password."
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
