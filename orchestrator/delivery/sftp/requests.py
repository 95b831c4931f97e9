"""The clock of a destination: it tells what a file that is made there now has for its time."""

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

import asyncssh

from orchestrator.delivery.sftp.session import Session, refused
from orchestrator.delivery.uploads import LostError
from orchestrator.errors import DeliveryError

NAME = ".orchestrate.part"
"""The name of the file that is made to ask; it is gone at once."""


async def of_server(session: Session, folder: PurePosixPath) -> float:
    """Return the time in a folder of a server, in seconds.

    Raises LostError if the connection goes, and DeliveryError if the server refuses.
    """
    path = folder / NAME
    call, client = session.call, session.client
    try:
        with suppress(asyncssh.SFTPNoSuchFile):  # of a run that was killed, or a link
            await call(client.remove(str(path)))
        file = await call(client.open(str(path), "xb"))
        try:
            await call(file.write(b"\n"))
            seen = await call(file.stat())
        finally:
            with suppress(LostError):
                await call(file.close())
        await call(client.remove(str(path)))
    except asyncssh.SFTPError as error:
        raise refused(session, "making and removing", path, error) from error
    return modified_at(session, seen, path)


def modified_at(session: Session, seen: asyncssh.SFTPAttrs, path: PurePosixPath) -> float:
    """Return the time of a file on a server, in seconds.

    Raises DeliveryError if the server does not say.
    """
    if seen.mtime is None:
        raise DeliveryError(
            f"{session.server}: does not say how old {path} is, so nothing is removed "
            "there. Leave out its retention in exports.yml."
        )
    return float(seen.mtime)


def of_folder(folder: Path) -> float:
    """Return the time in a local or mounted folder, in seconds. Raises OSError."""
    path = folder / NAME
    path.unlink(missing_ok=True)  # of a run that was killed, or a link
    with path.open("xb") as file:
        file.write(b"\n")
        seen = os.fstat(file.fileno())
    path.unlink()
    return seen.st_mtime
