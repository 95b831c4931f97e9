"""The ledger's records: revisions of windows, their files and failures, and the rows of each."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.config.exports import File
from orchestrator.config.patterns import path_identity
from orchestrator.errors import escaped
from orchestrator.ledger.session import Row
from orchestrator.windows import Window

PLANNED, WRITTEN, DELIVERED = "planned", "written", "delivered"
"""The states of a revision: due, its files are in the outbox, all are delivered."""
LONGEST_WINDOW = timedelta(days=32)
"""No window is longer: a month, and what clock and time zone changes add."""
_NAME = 300
"""Characters of an export's name that the database has room for."""
_REASON = 500
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Entry:
    """One revision of one export's window.

    `scheduled` is false for a window that was requested by date. `choice` says which rows the
    files contain, and `keys` is a fingerprint of their keys, where the files were just written or
    are recounted. `activities` are the rows of the activity file by activity, where it was just
    written.
    """

    export: str
    window: Window
    revision: int
    state: str = PLANNED
    scheduled: bool = True
    activity_rows: int | None = None
    broadcast_rows: int | None = None
    choice: str = ""
    keys: str = ""
    activities: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Delivery:
    """One file of a revision at one destination; `delivered_at` is None until it is delivered.

    `rename_sent` says that its rename was announced, and `announced_to` at which host and folder
    (None where an earlier release announced it).
    """

    file: File
    destination: str
    delivered_at: datetime | None = None
    rename_sent: bool = False
    announced_to: str | None = None
    removed_at: datetime | None = field(default=None, compare=False)
    """When retention was done with it at the destination,"""
    tidied_at: datetime | None = field(default=None, compare=False)
    """and in the outbox."""


@dataclass(frozen=True)
class DeliveryKey:
    """Which file of a revision, at which destination."""

    entry: Entry
    destination: str
    path: str


@dataclass(frozen=True)
class ManifestLinks:
    """What the manifest of a revision says of the earlier manifests of its export.

    `sequence` counts the export's manifests in the order in which they were written. `previous` is
    the hash (SHA-256, in hexadecimal) of the one before this one, None for the first. `replaced`
    are the hashes of the manifests of the window's earlier revisions, the first one first.
    """

    export: str
    sequence: int = 1
    previous: str | None = None
    replaced: Sequence[str] = ()


@dataclass(frozen=True)
class OldFile:
    """A delivered file that retention may remove; `position` is its place in its window's order."""

    export: str
    window: Window
    position: int
    file: File
    delivered_at: datetime


@dataclass(frozen=True)
class NewestWindow:
    """The newest window of an export that has files: its newest revision with files.

    `activities` are the rows of the activity file by activity. `complete_at` is when the first of
    the window's revisions was delivered to every destination, None before that.
    """

    entry: Entry
    deliveries: Sequence[Delivery]
    activities: Mapping[str, int]
    complete_at: datetime | None


@dataclass(frozen=True)
class Look:
    """A look for late rows: when, and which rows had reached the warehouse by then, as text.

    `loaded_since` is the `loaded_at` from which the next look asks for rows.
    """

    looked_at: datetime
    loaded_since: datetime | None
    arrivals: str


@dataclass(frozen=True)
class Failure:
    """Why a revision was not built or delivered, from when to when, and in how many runs.

    `status` is `failed` or `stopped`, as in orchestrator.pipeline.result.Status.
    """

    export: str
    window: Window
    revision: int
    status: str
    reason: str
    first_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: int = 1


def key(of: Entry | Failure) -> dict[str, Any]:
    """Return the key of a revision, with which all its rows begin."""
    return {
        "export": of.export,
        "window_start": of.window.start,
        "window_end": of.window.end,
        "revision": of.revision,
    }


def values(of: Entry) -> dict[str, Any]:
    """Return the row of a revision in `windows`."""
    return {
        **key(of),
        "state": of.state,
        "scheduled": of.scheduled,
        "activity_rows": of.activity_rows,
        "broadcast_rows": of.broadcast_rows,
        # Of files that an earlier run wrote, the ledger has them.
        "activities": _compact_json(of.activities) if of.choice else None,
        "updated_at": datetime.now(UTC),
    }


def _compact_json(rows: Mapping[str, int]) -> str:
    return json.dumps(rows, sort_keys=True, separators=(",", ":"))


def chosen(of: Entry) -> dict[str, Any]:
    """Return the row of a revision in `recounts` before its rows are counted again."""
    counted = {"counted_at": None, "activity_rows": None, "broadcast_rows": None, "is_late": False}
    return {**key(of), "choice": of.choice, "keys": of.keys or None, **counted}


def file_of(row: Row) -> File:
    """Read the file that a row is about."""
    return File(row["kind"], row["path"], row["bytes"], row["sha256"])


def file(of: Delivery) -> dict[str, Any]:
    """Return the row of a file in `deliveries`, except its key and its position."""
    return {
        "kind": of.file.kind,
        "destination": of.destination,
        "path": of.file.path,
        "bytes": of.file.size,
        "sha256": of.file.sha256,
        "delivered_at": of.delivered_at,
        "rename_sent": of.rename_sent,
        "path_key": path_key(of.file.path),
        "announced_to": of.announced_to,
    }


def path_key(path: str) -> int:
    """Return a number of 64 bits that is the same for paths that are one file to some receiver."""
    digest = hashlib.blake2b(path_identity(path).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def failed(of: Failure) -> dict[str, Any]:
    """Return the row of a failure in `failures`, with its reason on one line of bounded length."""
    reason = escaped(" ".join(of.reason.split()), _REASON)
    return {
        **key(of),
        # Also of a brand that no window can have: its name may be too long, or be no text.
        "export": escaped(of.export, _NAME) if _is_odd(of.export) else of.export,
        "digest": hashlib.sha256(f"{of.status} {reason}".encode()).hexdigest(),
        "status": of.status,
        "reason": reason,
        "first_at": of.first_at,
        "last_at": of.last_at,
        "times": of.times,
    }


def _is_odd(name: str) -> bool:
    """Tell whether a database refuses the name: it is too long, or has NUL or lone surrogates."""
    return len(name) > _NAME or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name)


def window(row: Row) -> Window:
    """Read the window of a row."""
    return Window(row["window_start"], row["window_end"])


def entry(row: Row) -> Entry:
    """Read the row of a revision."""
    names = ("revision", "state", "scheduled", "activity_rows", "broadcast_rows")
    return Entry(row["export"], window(row), *(row[name] for name in names))


def delivery(row: Row) -> Delivery:
    """Read the row of a file."""
    return Delivery(
        file_of(row),
        row["destination"],
        row["delivered_at"],
        row["rename_sent"],
        # The ledger of an earlier release that is only read lacks these.
        *(row.get(name) for name in ("announced_to", "removed_at", "tidied_at")),
    )


def old_file(row: Row) -> OldFile:
    """Read the row of a file that was delivered."""
    return OldFile(row["export"], window(row), row["position"], file_of(row), row["delivered_at"])


def failure(row: Row) -> Failure:
    """Read the row of a failure."""
    names = ("revision", "status", "reason", "first_at", "last_at", "times")
    return Failure(row["export"], window(row), *(row[name] for name in names))


def complete_at(revisions: Iterable[Sequence[Delivery]]) -> datetime | None:
    """Return when the first of these revisions was at every destination, None if none is."""
    moments = [[item.delivered_at for item in files] for files in revisions]
    complete = [max(filter(None, found)) for found in moments if found and all(found)]
    return min(complete, default=None)
