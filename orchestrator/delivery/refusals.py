"""What an SFTP server refuses, as an error for the person who must act."""

from pathlib import PurePosixPath

import asyncssh

from orchestrator.delivery.session import Session
from orchestrator.errors import DeliveryError


def refused(
    session: Session, what: str, path: PurePosixPath, error: asyncssh.SFTPError
) -> DeliveryError:
    """Return the error for a request that the server refused, in its own words, with advice."""
    advice = _ADVICE.get(type(error), "Ask the receiver.")
    return DeliveryError(
        f"{session.server}: {what} {path} was refused for user {session.destination.username}: "
        f"the server says {error.reason!r}. {advice}"
    )


_ADVICE: dict[type[asyncssh.SFTPError], str] = {
    asyncssh.SFTPPermissionDenied: "Ask the receiver for the right to write there, or set another "
    "directory in exports.yml.",
    asyncssh.SFTPNoSuchFile: "Ask the receiver whether that folder exists for this user.",
    asyncssh.SFTPNoSpaceOnFilesystem: "Ask the receiver to make room.",
    asyncssh.SFTPQuotaExceeded: "Ask the receiver to make room or raise the quota.",
    asyncssh.SFTPFailure: "Often a full disk or a quota: ask the receiver.",
}
