"""Where files go: the `destinations` of exports.yml."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from orchestrator.values import FilePath, SomeTime, Strict


class Sftp(Strict):
    """An SFTP server whose host key is pinned in an OpenSSH known_hosts file."""

    host: str = Field(min_length=1)
    port: int = Field(22, ge=1, le=65535)
    username: str = Field(min_length=1)
    private_key: FilePath | None = None
    passphrase: SecretStr | None = None
    password: SecretStr | None = None
    known_hosts: FilePath = Field(Path("~/.ssh/known_hosts"), validate_default=True)
    timeout: SomeTime = timedelta(seconds=60)


class Directory(Strict):
    """A local or mounted folder."""

    directory: FilePath


Destination = Sftp | Directory


class DestinationLine(Strict):
    """One line under `destinations`: which kind it is, and how long files stay there."""

    sftp: Sftp | None = None
    directory: FilePath | None = None
    retention: SomeTime | None = None  # None: never delete

    @property
    def destination(self) -> Destination:
        """The one kind that this line names."""
        if self.sftp:
            return self.sftp
        assert self.directory  # noqa: S101 - _one_kind saw to it
        return Directory(directory=self.directory)

    @model_validator(mode="after")
    def _one_kind(self) -> "DestinationLine":
        if (self.sftp is None) == (self.directory is None):
            raise ValueError("a destination is either 'sftp' or 'directory'")
        return self
