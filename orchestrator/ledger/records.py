"""The ledger's records: revisions of windows, their files, and the rows that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.config.exports import File
from orchestrator.ledger.session import Row
from orchestrator.windows import Window

PLANNED, WRITTEN, DELIVERED = "planned", "written", "delivered"


@dataclass(frozen=True)
class Entry:
    """One revision of one export's window."""

    export: str
    window: Window
    revision: int
    state: str = PLANNED
    scheduled: bool = True  # found due, not asked for by date
    activity_rows: int | None = None
    broadcast_rows: int | None = None
    choice: str = ""  # which rows were chosen, where files were made just now or are recounted
    # The rows of the activity file by activity, where it was made just now.
    activities: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Delivery:
    """One file of an entry at one destination; `delivered_at` is None until it is delivered."""

    file: File
    destination: str
    delivered_at: datetime | None = None
    rename_sent: bool = False


@dataclass(frozen=True)
class DeliveryKey:
    """Where a file of an entry goes: to a path at a destination."""

    entry: Entry
    destination: str
    path: str


def key(of: Entry) -> dict[str, Any]:
    """Return the key of a revision, which its files have too."""
    return {
        "export": of.export,
        "window_start": of.window.start,
        "window_end": of.window.end,
        "revision": of.revision,
    }


def values(of: Entry) -> dict[str, Any]:
    """Return the row of a revision."""
    return {
        **key(of),
        "state": of.state,
        "scheduled": of.scheduled,
        "activity_rows": of.activity_rows,
        "broadcast_rows": of.broadcast_rows,
        "updated_at": datetime.now(UTC),
    }


def chosen(of: Entry) -> dict[str, Any]:
    """Return the row that holds which rows its files have, before any is counted again."""
    counted = {"counted_at": None, "activity_rows": None, "broadcast_rows": None}
    return {**key(of), "choice": of.choice, **counted}


def file_of(row: Row) -> File:
    """Read the file that a row is about."""
    return File(row["kind"], row["path"], row["bytes"], row["sha256"])


def file(of: Delivery) -> dict[str, Any]:
    """Return the row of a file, but for its key and its place."""
    return {
        "kind": of.file.kind,
        "destination": of.destination,
        "path": of.file.path,
        "bytes": of.file.size,
        "sha256": of.file.sha256,
        "delivered_at": of.delivered_at,
        "rename_sent": of.rename_sent,
    }


def window(row: Row) -> Window:
    """Read the window of a row."""
    return Window(row["window_start"], row["window_end"])


def delivery(row: Row) -> Delivery:
    """Read the row of a file."""
    return Delivery(file_of(row), row["destination"], row["delivered_at"], row["rename_sent"])


def entry(row: Row) -> Entry:
    """Read the row of a revision."""
    return Entry(
        row["export"],
        window(row),
        row["revision"],
        row["state"],
        row["scheduled"],
        row["activity_rows"],
        row["broadcast_rows"],
    )
