"""The settings of destinations: the entries under `destinations` in exports.yml."""

from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args

from pydantic import ConfigDict, Field, SecretStr, model_validator

from orchestrator.config.values import FilePath, Host, PositiveDuration, Strict

OldAlgorithm = Literal[
    "ssh-rsa",
    "rsa-1024",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group-exchange-sha1",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "3des-cbc",
    "hmac-sha1-96",
    "hmac-md5",
]
"""OpenSSH's names of algorithms that it disables; `rsa-1024` is our name for short RSA keys."""

OLD_ALGORITHMS: tuple[str, ...] = get_args(OldAlgorithm)


class Sftp(Strict):
    """An SFTP server whose host key is pinned in an OpenSSH known_hosts file."""

    host: Host = Field(min_length=1, examples=["sftp.example.org"])
    """Name or address of the server."""
    port: int = Field(22, ge=1, le=65535)
    """Port of the server."""
    username: str = Field(min_length=1, examples=["brandnaam"])
    """User to log in as."""
    private_key: FilePath | None = Field(None, examples=["~/.ssh/id_ed25519"])
    """Path of an OpenSSH private key; without it and `password`, keys of the SSH agent are used."""
    passphrase: SecretStr | None = Field(None, examples=["{{ env_var('KEY_PASSPHRASE') }}"])
    """Passphrase of the private key; take secrets from the environment."""
    password: SecretStr | None = None
    """Password to use instead of a key, such as "{{ env_var('SFTP_PASSWORD') }}"."""
    known_hosts: FilePath = Field(Path("~/.ssh/known_hosts"), validate_default=True)
    """File of trusted host keys: plain, hashed, `[host]:port` or `@cert-authority` lines."""
    timeout: PositiveDuration = timedelta(seconds=60)
    """How long a server may be silent before the delivery to it fails."""
    algorithms: list[OldAlgorithm] = Field([], examples=[["ssh-rsa"]])
    """Old SSH algorithms to allow for this server; rsa-1024 allows RSA keys under 2048 bits."""

    @property
    def address(self) -> str:
        """`host:port`, with an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """User and server. Paths of files are relative to the login folder of this user."""
        return f"{self.username}@{self.address}"


class Directory(Strict):
    """A local or mounted folder."""

    directory: FilePath

    @property
    def place(self) -> str:
        """The folder. Paths of files are relative to it."""
        return str(self.directory)


DestinationConfig = Sftp | Directory
"""The settings of one destination, of any kind."""


class DestinationLine(Strict):
    """One entry under `destinations`: the settings of one kind, and how long files stay there."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["sftp"], "properties": {"sftp": {"type": "object"}}},
                {"required": ["directory"], "properties": {"directory": {"type": "string"}}},
            ]
        }
    )
    sftp: Sftp | None = None
    """An SFTP server."""
    directory: FilePath | None = None
    """A local or mounted folder."""
    retention: PositiveDuration | None = None
    """The time after which a delivered file is deleted, such as 60d or 2mo; null: never."""

    @property
    def destination(self) -> DestinationConfig:
        """The settings of the destination."""
        if self.sftp:
            return self.sftp
        assert self.directory  # noqa: S101 - _one_kind checks it
        return Directory(directory=self.directory)

    @model_validator(mode="after")
    def _one_kind(self) -> "DestinationLine":
        if (self.sftp is None) == (self.directory is None):
            raise ValueError("a destination is either 'sftp' or 'directory'")
        return self
