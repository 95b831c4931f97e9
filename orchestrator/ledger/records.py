"""The records of the ledger (revisions, files, failures), and how each becomes a database row."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.config.exports import File
from orchestrator.config.patterns import path_identity
from orchestrator.errors import escaped
from orchestrator.ledger.session import Row
from orchestrator.windows import Window

PLANNED, WRITTEN, DELIVERED = "planned", "written", "delivered"
"""The states of a revision: it is due; its files are in the outbox; they are all delivered."""
LONGEST_WINDOW = timedelta(days=32)
"""No window is longer: a month, plus the hours that clock and time zone changes add."""
_NAME_LENGTH = 300
"""The longest name of an export, in characters, that the database can store."""
_REASON_LENGTH = 500
"""The characters of a reason that are kept."""


@dataclass(frozen=True)
class Entry:
    """One revision of a window of an export.

    `scheduled` is false for a window that was requested by date. `choice` is a text that identifies
    the filter of the rows in the files, and `keys` is a fingerprint of the keys of these rows.
    `activities` has the number of rows of the activity file by activity. These three are set only
    by the run that wrote the files, and the first two also in recounts.
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

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each data file, by kind; empty if no files were written."""
        counts = {"broadcast": self.broadcast_rows, "activity": self.activity_rows}
        return {kind: number for kind, number in counts.items() if number is not None}


@dataclass(frozen=True)
class Delivery:
    """One file of a revision at one destination; `delivered_at` is None until it is delivered.

    `rename_sent` is true once the rename to the final name was announced. `announced_to` is the
    host and folder of that rename (None if an earlier release announced it).
    """

    file: File
    destination: str
    delivered_at: datetime | None = None
    rename_sent: bool = False
    announced_to: str | None = None
    removed_at: datetime | None = field(default=None, compare=False)
    """The time at which retention finished with the file at the destination."""
    tidied_at: datetime | None = field(default=None, compare=False)
    """The time at which retention finished with the file in the outbox."""


@dataclass(frozen=True)
class DeliveryKey:
    """Identifies one file of a revision at one destination."""

    entry: Entry
    destination: str
    path: str


@dataclass(frozen=True)
class ManifestLinks:
    """The links from the manifest of a revision to the earlier manifests of its export.

    `sequence` is the manifest's number, from 1, in the order in which the export's manifests were
    written. `previous` is the hash (SHA-256, in hexadecimal) of the manifest before it, None for
    the first one. `replaced` has the hashes of the manifests of the window's earlier revisions,
    oldest first.
    """

    export: str
    sequence: int = 1
    previous: str | None = None
    replaced: Sequence[str] = ()


@dataclass(frozen=True)
class OldFile:
    """A delivered file that retention may remove.

    `position` is its place in the order in which the files of its window were delivered.
    """

    export: str
    window: Window
    position: int
    file: File
    delivered_at: datetime


@dataclass(frozen=True)
class NewestWindow:
    """The newest window of an export that has files, as its newest revision with files.

    `activities` has the number of rows of the activity file by activity. `complete_at` is the time
    at which a revision of the window was first at every destination, None before that.
    """

    entry: Entry
    deliveries: Sequence[Delivery]
    activities: Mapping[str, int]
    complete_at: datetime | None


@dataclass(frozen=True)
class Look:
    """One look for late rows: its time, and the rows that had reached the warehouse by then.

    `loaded_since` is the `loaded_at` from which the next look asks for rows. `arrivals` is JSON
    that `pipeline/late.py` reads and writes.
    """

    looked_at: datetime
    loaded_since: datetime | None
    arrivals: str


@dataclass(frozen=True)
class Failure:
    """Why a revision was not built or delivered, in how many runs, and when first and last.

    `status` is `failed`, `stopped` or `held`, as in the class `Status` of the pipeline.
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
    """Return the columns that identify a revision in every table."""
    return {
        "export": of.export,
        "window_start": of.window.start,
        "window_end": of.window.end,
        "revision": of.revision,
    }


def entry_row(of: Entry) -> dict[str, Any]:
    """Return the row of a revision for the table `windows`."""
    return {
        **key(of),
        "state": of.state,
        "scheduled": of.scheduled,
        "activity_rows": of.activity_rows,
        "broadcast_rows": of.broadcast_rows,
        # null keeps the value that the ledger has: an earlier run wrote the files.
        "activities": json.dumps(of.activities, sort_keys=True, separators=(",", ":"))
        if of.choice
        else None,
        "updated_at": datetime.now(UTC),
    }


def recount_row(of: Entry) -> dict[str, Any]:
    """Return the row of a revision for the table `recounts`, before its rows are counted again."""
    counted = {"counted_at": None, "activity_rows": None, "broadcast_rows": None, "is_late": False}
    return {**key(of), "choice": of.choice, "keys": of.keys or None, **counted}


def file_row(of: Delivery) -> dict[str, Any]:
    """Return the row of a file for the table `deliveries`, without its key and position."""
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
    """Return a 64-bit number, the same for paths that some receiver treats as one file."""
    digest = hashlib.blake2b(path_identity(path).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def failure_row(of: Failure) -> dict[str, Any]:
    """Return the row of a failure for the table `failures`; its reason is cut to one short line."""
    reason = escaped(" ".join(of.reason.split()), _REASON_LENGTH)
    return {
        **key(of),
        # The failure may be the brand's name itself, which is too long or not valid text.
        "export": escaped(of.export, _NAME_LENGTH) if _is_invalid(of.export) else of.export,
        "digest": hashlib.sha256(f"{of.status} {reason}".encode()).hexdigest(),
        "status": of.status,
        "reason": reason,
        "first_at": of.first_at,
        "last_at": of.last_at,
        "times": of.times,
    }


def _is_invalid(name: str) -> bool:
    """Return whether a database refuses the name: it is too long, or has NUL or lone surrogates."""
    return len(name) > _NAME_LENGTH or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name)


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
        _file(row),
        row["destination"],
        row["delivered_at"],
        row["rename_sent"],
        # The ledger of an earlier release lacks these columns if it is opened to be read only.
        *(row.get(name) for name in ("announced_to", "removed_at", "tidied_at")),
    )


def old_file(row: Row) -> OldFile:
    """Read the row of a file that was delivered."""
    return OldFile(row["export"], window(row), row["position"], _file(row), row["delivered_at"])


def _file(row: Row) -> File:
    return File(row["kind"], row["path"], row["bytes"], row["sha256"])


def failure(row: Row) -> Failure:
    """Read the row of a failure."""
    names = ("revision", "status", "reason", "first_at", "last_at", "times")
    return Failure(row["export"], window(row), *(row[name] for name in names))
