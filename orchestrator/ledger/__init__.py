"""The ledger: a database of every window, its files, and where and when each file was delivered.

Each file must reach each destination exactly once, and a run can be killed between any two
statements. So the ledger records a step *before* the run takes it, and the next run can tell from
the ledger and the disk how far the killed run came. A window passes these steps:

1. `plan` records the windows that are due. From then on each run tries them until they succeed.
2. The run writes the files of a window into the outbox and flushes them to the disk. Then `write`
   records a new *revision* of the window (its first content is revision 1) with the path, size and
   hash of each file. A later run delivers exactly these bytes.
3. The run uploads each file to its destination under a temporary name.
4. *Announce*: `announce` records `rename_sent`, which means: the file may have its final name from
   now on.
5. *Rename*: the destination gives the file its final name. The receiver may take it at once.
6. *Note*: `announce` with `arrived` records the time of delivery. It is part of the transaction
   that announces the next files.
7. `finish` records that all files of the revision are at all their destinations.

Suppose that a run is killed between 4 and 6. The next run finds `rename_sent` without a time of
delivery, and looks for the temporary file at the destination. If it is still there, the rename did
not happen, and the upload is resumed. If it is gone, the rename did happen, and the file counts as
delivered, even if the receiver has moved it away since.

Each method that records a step is one transaction. Each transaction waits until the disk has it (a
flush), which can take longer than the upload of a small file. So files that reach step 4 at the
same time share one transaction (`pipeline/shipping.py`), and so do all files of a window.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from orchestrator.config.exports import File, FileKind
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.errors import ExportError, escaped
from orchestrator.ledger import records
from orchestrator.ledger.database import LedgerDatabase
from orchestrator.ledger.history import Failures, History, Recounts, Removals
from orchestrator.ledger.records import (
    DELIVERED,
    PLANNED,
    WRITTEN,
    Delivery,
    DeliveryKey,
    Entry,
    Failure,
    Look,
    ManifestLinks,
    NewestWindow,
    OldFile,
)
from orchestrator.windows import Window

__all__ = [
    "DELIVERED",
    "PLANNED",
    "WRITTEN",
    "Delivery",
    "DeliveryKey",
    "Entry",
    "Failure",
    "Ledger",
    "Look",
    "ManifestLinks",
    "NewestWindow",
    "OldFile",
]

_NO_SEQUENCE = 2**31 - 1
_LONG_AGO = datetime(1000, 1, 1, tzinfo=UTC)


class Ledger:
    """Records windows and deliveries in SQLite or PostgreSQL. One run at a time writes to it.

    Every method, here and in the attributes below, raises LedgerError if the database fails.

    Attributes:
        failures: why windows were not built or delivered.
        history: newest windows, and rows and delays by day.
        recounts: rows of delivered windows, counted again later.
        removals: delivered files that are old, and those that were removed.

    """

    def __init__(self, url: LedgerUrl, *, read_only: bool = False) -> None:
        """Open and lock the ledger, and create the tables that it lacks.

        With `read_only` nothing is locked or created, and a missing ledger reads as empty.
        Raises LockedError if another run holds the lock.
        """
        self._database = LedgerDatabase(url, read_only=read_only)
        self._claims: dict[int, tuple[str, Window, str]] = {}  # who claimed a path, by path key
        self.failures = Failures(self._database)
        self.history = History(self._database)
        self.recounts = Recounts(self._database)
        self.removals = Removals(self._database)

    def close(self) -> None:
        """Close the ledger and release its lock."""
        self._database.close()

    def check_writable(self) -> None:
        """Raise LedgerError if this user may not write to the ledger. Nothing is changed."""
        self._database.executemany("write_nothing", [{}])

    # Questions about windows

    def is_empty(self) -> bool:
        """Return whether the ledger contains no window."""
        return not self._database.rows("any_window")

    def has_files(self) -> bool:
        """Return whether the ledger contains a file."""
        return bool(self._database.rows("any_file"))

    def exports(self) -> list[str]:
        """Return the names of all exports with windows, even if exports.yml no longer has them."""
        return [row["export"] for row in self._database.rows("exports")]

    def overlapping(self, exports: Iterable[str], window: Window) -> dict[str, Window]:
        """Return, by export, the last of its windows that overlaps with `window`.

        Exports without such a window are left out. So are windows that were requested by date and
        never built.
        """
        bounds = {"window_start": window.start, "window_end": window.end}
        rows = self._database.rows("overlapping", names=_json_keys(exports), **bounds)
        return {row["export"]: records.window(row) for row in rows}

    def spans(self, exports: Iterable[str]) -> dict[str, Window]:
        """Return, by export, the time from its first scheduled window to the end of its last.

        Exports without a scheduled window are left out.
        """
        rows = self._database.rows("spans", names=_json_keys(exports))
        return {row["export"]: records.window(row) for row in rows if row["window_start"]}

    def entries(
        self,
        *,
        window: Window | None = None,
        since: datetime | None = None,
        exports: Iterable[str] | None = None,
        written: bool = False,
    ) -> dict[tuple[str, Window], Entry]:
        """Return the newest revision of each export's window: of one window, or of many.

        Windows that end at `since` or earlier are left out, and so are exports that are not in
        `exports`. With `written` the result is the newest revision that has files.
        """
        since = max(since or _LONG_AGO, _LONG_AGO)
        bounds = {"since": since, "earliest": since - records.LONGEST_WINDOW}
        if window:
            bounds = {"window_start": window.start, "window_end": window.end}
            rows = self._database.rows("entries_of_window", **bounds)
        elif exports is None:
            rows = self._database.rows("entries_since", **bounds)
        else:
            rows = self._database.rows("entries_of_exports", names=_json_keys(exports), **bounds)
        # The rows are ordered by revision, so the dict keeps the newest one of each window.
        found = map(records.entry, rows)
        return {
            (entry.export, entry.window): entry
            for entry in found
            if not written or entry.state != PLANNED
        }

    def open_entries(self) -> list[Entry]:
        """Return the newest revisions that are planned, or written and not delivered everywhere."""
        return [records.entry(row) for row in self._database.rows("open_entries")]

    # Questions about files

    def deliveries(self, entry: Entry) -> list[Delivery]:
        """Return the files of a revision, in the order of their delivery."""
        return [*map(records.delivery, self._database.rows("files", **records.key(entry)))]

    def earlier(self, entry: Entry) -> list[Delivery]:
        """Return the files of earlier revisions of this window."""
        if entry.revision == 1:
            return []
        rows = self._database.rows("files_of_earlier_revisions", **records.key(entry))
        return [*map(records.delivery, rows)]

    def manifest_links(self, entry: Entry) -> ManifestLinks:
        """Return the links from the manifest of a revision to the manifests written before it.

        If the ledger has a manifest of this revision already, the new one gets the same place in
        the sequence. So a manifest that is built again has the same bytes.
        """
        of_window = self._database.rows("manifests_of_window", **records.key(entry))
        sequence = {row["revision"]: int(row["sequence"]) for row in of_window}.get(entry.revision)
        bounds = {"export": entry.export, "before": sequence or _NO_SEQUENCE}
        before = self._database.rows("manifest_before", **bounds)
        return ManifestLinks(
            entry.export,
            sequence or (before[0]["sequence"] + 1 if before else 1),
            before[0]["sha256"] if before else None,
            [row["sha256"] for row in of_window if row["revision"] < entry.revision],
        )

    def holders(self) -> dict[tuple[str, Window], set[str]]:
        """Return the destinations that have all files of a written window, by export and window.

        Windows that are planned, or delivered everywhere, are left out.
        """
        complete: dict[tuple[str, Window], set[str]] = {}
        incomplete: dict[tuple[str, Window], set[str]] = {}
        for row in self._database.rows("files_of_written"):
            found = complete if row["delivered_at"] else incomplete
            found.setdefault((row["export"], records.window(row)), set()).add(row["destination"])
        return {key: names - incomplete.get(key, set()) for key, names in complete.items()}

    # Steps of a run

    def plan(self, entries: Iterable[Entry]) -> None:
        """Record the windows that are due, so that the next run tries again what fails.

        If a window was requested by date earlier and is now due, it counts as scheduled.
        """
        self._database.executemany("plan", [records.entry_row(entry) for entry in entries])

    def write(self, entries: Iterable[tuple[Entry, Sequence[Delivery]]]) -> None:
        """Record the files of revisions before the first of these files is delivered."""
        written = list(entries)
        built = [entry for entry, _ in written if entry.choice]
        files = [
            {**records.key(entry), "position": position, **records.file_row(delivery)}
            for entry, deliveries in written
            for position, delivery in enumerate(deliveries)
        ]
        manifests = [
            {**records.key(entry), "sha256": delivery.file.sha256}
            for entry, deliveries in written
            for delivery in deliveries
            if delivery.file.kind == "manifest"
        ]
        with self._database.begin() as session:
            session.executemany("put_entry", [records.entry_row(entry) for entry, _ in written])
            session.executemany("forget_files", [records.key(entry) for entry, _ in written])
            session.executemany("put_file", files)
            session.executemany("put_recount", [records.recount_row(entry) for entry in built])
            session.executemany("put_manifest", manifests)

    def taken(
        self, entry: Entry, files: Mapping[str, FileKind]
    ) -> tuple[str, str, Window, str] | None:
        """Return the first of these paths that another file owns, and its owner; None if none is.

        `files` has the kind of each file by path. The result is a path, and the export, window and
        kind of file that own it. A path belongs to one kind of file of one window of one export, at
        every destination and in the outbox. It does so for ever, because a receiver may still have
        the file. Two paths are the same if `path_identity` returns the same for both.
        """
        keys = {records.path_key(path): path for path in files}
        owners = {key: self._claims[key] for key in keys if key in self._claims}
        for row in self._database.rows("files_alike", path_keys=_json_keys(map(str, keys))):
            owners.setdefault(row["path_key"], (row["export"], records.window(row), row["kind"]))
        for key, path in keys.items():
            mine = entry.export, entry.window, files[path]
            if owners.get(key, mine) != mine:
                return path, *owners[key]
        return None

    def claim(self, entry: Entry, files: Iterable[File]) -> ExportError | None:
        """Reserve the paths of a revision's files, right before the files get these names.

        Returns None, or an error that names the first path that another file owns.
        """
        wanted = {file.path: file.kind for file in files}
        if found := self.taken(entry, wanted):
            path, export, window, kind = found
            return ExportError(
                f"{path}: the {kind} file of {escaped(export)} {window} has this path, or one that "
                "some receivers treat as the same. No file is published over another one: change "
                "'directory' or the file name patterns in exports.yml so that the two differ"
            )
        for path, kind in wanted.items():
            self._claims[records.path_key(path)] = entry.export, entry.window, kind
        return None

    def announce(
        self,
        files: Iterable[DeliveryKey],
        *,
        places: Mapping[str, str] | None = None,
        arrived: Mapping[DeliveryKey, datetime] | None = None,
    ) -> None:
        """Record that these files may get their final names from now on.

        `places` has the host and folder of each destination, by its name. `arrived` has the times
        of delivery of files that were announced earlier. They are recorded in the same transaction,
        so that one flush serves both.
        """
        places = places or {}
        announced = [
            {**_key_row(file), "rename_sent": True, "announced_to": places.get(file.destination)}
            for file in files
        ]
        arrivals = [{**_key_row(file), "delivered_at": at} for file, at in (arrived or {}).items()]
        with self._database.begin() as session:
            session.executemany("arrived", arrivals)
            session.executemany("announce", announced)

    def withdraw(self, files: Iterable[DeliveryKey]) -> None:
        """Record that announced files did not get their final names."""
        withdrawn = [
            {**_key_row(file), "rename_sent": False, "announced_to": None} for file in files
        ]
        self._database.executemany("announce", withdrawn)

    def finish(self, entries: Iterable[Entry]) -> None:
        """Record that every file of these revisions was delivered to every destination."""
        delivered = [records.entry_row(replace(entry, state=DELIVERED)) for entry in entries]
        self._database.executemany("put_entry", delivered)

    def reopen(self, entries: Iterable[tuple[Entry, Sequence[str]]]) -> None:
        """Record that the files of these revisions must be delivered to these destinations again.

        A later revision that was planned and never written is dropped.
        """
        keys = [(records.key(entry), destinations) for entry, destinations in entries]
        files = [{**key, "destination": name} for key, names in keys for name in names]
        with self._database.begin() as session:
            session.executemany("reopen_files", files)
            session.executemany("reopen_entry", [key for key, _ in keys])
            session.executemany("drop_plans", [key for key, _ in keys])

    def abandon(self, entries: Iterable[Entry]) -> list[str]:
        """Give up the undelivered files of these revisions, and return their paths in the outbox.

        If a destination received a file of a revision, the revision counts as delivered, so that
        retention continues at that destination. Any other revision is deleted from the ledger.
        Paths of files that arrived at one of several destinations are not returned.
        """
        paths: list[str] = []
        delivered: list[Entry] = []
        forgotten: list[Entry] = []
        for entry in entries:
            files = self.deliveries(entry)
            arrived = {item.file.path for item in files if item.delivered_at}
            paths += [item.file.path for item in files if item.file.path not in arrived]
            (delivered if arrived else forgotten).append(replace(entry, state=DELIVERED))
        with self._database.begin() as session:
            session.executemany("forget_waiting_files", map(records.key, [*delivered, *forgotten]))
            session.executemany("put_entry", map(records.entry_row, delivered))
            session.executemany("forget_entry", map(records.key, forgotten))
        return paths


def _json_keys(values: Iterable[str]) -> str:
    """Return texts as the keys of a JSON object, which both databases can read as rows."""
    return json.dumps(dict.fromkeys(values), ensure_ascii=False)


def _key_row(file: DeliveryKey) -> dict[str, object]:
    return {**records.key(file.entry), "destination": file.destination, "path": file.path}
