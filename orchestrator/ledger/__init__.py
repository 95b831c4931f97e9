"""The ledger: which window was delivered, in which files, to where, byte for byte.

A run can be killed at any statement, so the ledger is written ahead of what it describes:

1. `plan` notes the windows that are due. From then on they are caught up, whatever happens.
2. `write` notes a revision with all its files, which are flushed in the outbox by then. The next
   run delivers these very bytes.
3. `announce` notes, right before a file gets its final name at a destination, that the rename may
   have happened. A run that finds the announcement of a killed run, and no temporary file at the
   destination, knows that the rename did happen: the file is not sent twice, and a receiver may
   have moved it away already.
4. The destination renames the file.
5. `announce` with `arrived` notes the time of delivery, together with the next announcements.
   Until then the announcement says as much.
6. `finish` notes that a revision is complete at every destination.

Each of these is one transaction, and each transaction costs a flush of the disk. So files that
reach step 3 at the same time share one (`pipeline/shipping.py`), and so do the files of a window.
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
_EVER = datetime(1000, 1, 1, tzinfo=UTC)


class Ledger:
    """Remembers windows and deliveries, in SQLite or PostgreSQL. One run at a time writes to it.

    Every method, also those of the groups, raises LedgerError where the database fails.

    Attributes:
        failures: why windows were not built or delivered.
        history: newest windows, and rows and delays by day.
        recounts: rows of delivered windows, counted again later.
        removals: delivered files that are old, and those that were removed.

    """

    def __init__(self, url: LedgerUrl, *, read_only: bool = False) -> None:
        """Open and lock the ledger, and create its tables where they are missing.

        With `read_only` nothing is locked or created, and a missing ledger reads as empty.
        Raises LockedError where another run holds the lock.
        """
        self._database = LedgerDatabase(url, read_only=read_only)
        self._claims: dict[int, tuple[str, Window, str]] = {}  # paths of this run, by their keys
        self.failures = Failures(self._database)
        self.history = History(self._database)
        self.recounts = Recounts(self._database)
        self.removals = Removals(self._database)

    def close(self) -> None:
        """Close the ledger and release its lock."""
        self._database.close()

    def check_writable(self) -> None:
        """Raise LedgerError where this user may not write to the ledger. Nothing is changed."""
        self._database.each("write_nothing", [{}])

    # Questions about windows

    def is_empty(self) -> bool:
        """Tell whether the ledger knows of no window at all."""
        return not self._database.rows("any_window")

    def has_files(self) -> bool:
        """Tell whether the ledger knows of any file."""
        return bool(self._database.rows("any_file"))

    def exports(self) -> list[str]:
        """Return the names of all exports that have windows, also of those that are no more."""
        return [row["export"] for row in self._database.rows("exports")]

    def overlapping(self, exports: Iterable[str], window: Window) -> dict[str, Window]:
        """Return, by export, its last window that has time in common with a window.

        Exports without one are left out, and requested windows that were never built.
        """
        bounds = {"window_start": window.start, "window_end": window.end}
        rows = self._database.rows("overlapping", names=_names(exports), **bounds)
        return {row["export"]: records.window(row) for row in rows}

    def spans(self, exports: Iterable[str]) -> dict[str, Window]:
        """Return, by export, the time from its first scheduled window to the end of its last.

        Exports without a scheduled window are left out.
        """
        rows = self._database.rows("spans", names=_names(exports))
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

        `since` leaves out the windows that end at this moment or earlier, `exports` those of other
        exports. With `written` the result is the newest revision that has files.
        """
        since = max(since or _EVER, _EVER)
        bounds = {"since": since, "earliest": since - records.LONGEST_WINDOW}
        if window:
            bounds = {"window_start": window.start, "window_end": window.end}
            rows = self._database.rows("entries_of_window", **bounds)
        elif exports is None:
            rows = self._database.rows("entries_since", **bounds)
        else:
            rows = self._database.rows("entries_of_exports", names=_names(exports), **bounds)
        # The rows come in the order of revisions, and the last one of a window counts.
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
        rows = self._database.rows("files_of_earlier_revisions", **records.key(entry))
        return [*map(records.delivery, rows)]

    def manifest_links(self, entry: Entry) -> ManifestLinks:
        """Return what the manifest of a revision has to say of those written before it.

        A revision whose manifest the ledger knows keeps its place, so that it gets the same bytes
        when it is built again.
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
        """Return, by export and window, the destinations that have all files that are written.

        Windows that are planned or delivered everywhere are left out.
        """
        complete: dict[tuple[str, Window], set[str]] = {}
        incomplete: dict[tuple[str, Window], set[str]] = {}
        for row in self._database.rows("files_of_written"):
            found = complete if row["delivered_at"] else incomplete
            found.setdefault((row["export"], records.window(row)), set()).add(row["destination"])
        return {key: names - incomplete.get(key, set()) for key, names in complete.items()}

    # Steps of a run

    def plan(self, entries: Iterable[Entry]) -> None:
        """Note the windows that are due, so that the next run catches up what fails.

        A window that was requested by date and is due as well counts as scheduled from then on.
        """
        self._database.each("plan", [records.values(entry) for entry in entries])

    def write(self, entries: Iterable[tuple[Entry, Sequence[Delivery]]]) -> None:
        """Note the files of revisions before the first of them is delivered."""
        written = list(entries)
        built = [entry for entry, _ in written if entry.choice]
        files = [
            {**records.key(entry), "position": position, **records.file(delivery)}
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
            session.each("put_entry", [records.values(entry) for entry, _ in written])
            session.each("forget_files", [records.key(entry) for entry, _ in written])
            session.each("put_file", files)
            session.each("put_recount", [records.chosen(entry) for entry in built])
            session.each("put_manifest", manifests)

    def taken(
        self, entry: Entry, files: Mapping[str, FileKind]
    ) -> tuple[str, str, Window, str] | None:
        """Return the first of these paths that is not free for this entry, and who has it.

        `files` are the kinds of files by path; the owner is an export, a window and a kind. A path
        belongs to one kind of file of one window of one export, at every destination and in the
        outbox, and for ever: a receiver may have the file still. Paths are compared as
        `path_identity` does.
        """
        keys = {records.path_key(path): path for path in files}
        owners = {key: self._claims[key] for key in keys if key in self._claims}
        for row in self._database.rows("files_alike", path_keys=_names(map(str, keys))):
            owners.setdefault(row["path_key"], (row["export"], records.window(row), row["kind"]))
        for key, path in keys.items():
            mine = entry.export, entry.window, files[path]
            if owners.get(key, mine) != mine:
                return path, *owners[key]
        return None

    def claim(self, entry: Entry, files: Iterable[File]) -> ExportError | None:
        """Reserve the paths of a revision's files, right before the files get them.

        Returns None, or the error that names the first path that is taken.
        """
        wanted = {file.path: file.kind for file in files}
        if found := self.taken(entry, wanted):
            path, export, window, kind = found
            return ExportError(
                f"{path}: this path, or one that some receivers take for the same, is "
                f"that of the {kind} file of {escaped(export)} {window}. No file is "
                "published over another one: change 'directory' or the file name patterns in "
                "exports.yml so that the two differ"
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
        """Note that these files may get their final names from now on.

        `places` says for each destination at which host and folder. `arrived` are files announced
        earlier that were delivered, and when. They are noted in the same transaction, which is
        flushed once.
        """
        places = places or {}
        announced = [
            {**_at(file), "rename_sent": True, "announced_to": places.get(file.destination)}
            for file in files
        ]
        arrivals = [{**_at(file), "delivered_at": at} for file, at in (arrived or {}).items()]
        with self._database.begin() as session:
            session.each("arrived", arrivals)
            session.each("announce", announced)

    def withdraw(self, files: Iterable[DeliveryKey]) -> None:
        """Note that announced files did not get their final names."""
        withdrawn = [{**_at(file), "rename_sent": False, "announced_to": None} for file in files]
        self._database.each("announce", withdrawn)

    def finish(self, entries: Iterable[Entry]) -> None:
        """Note that every file of these revisions is delivered to every destination."""
        delivered = [records.values(replace(entry, state=DELIVERED)) for entry in entries]
        self._database.each("put_entry", delivered)

    def reopen(self, entries: Iterable[tuple[Entry, Sequence[str]]]) -> None:
        """Note that the files of these revisions are to be delivered to these destinations again.

        A later revision that was planned and never written is dropped.
        """
        keys = [(records.key(entry), destinations) for entry, destinations in entries]
        files = [{**key, "destination": name} for key, names in keys for name in names]
        with self._database.begin() as session:
            session.each("reopen_files", files)
            session.each("reopen_entry", [key for key, _ in keys])
            session.each("drop_plans", [key for key, _ in keys])

    def abandon(self, entries: Iterable[Entry]) -> list[str]:
        """Forget what waits of these revisions, and return the paths of files that never arrived.

        A revision of which files were delivered to some destination counts as delivered, so that
        retention goes on there; another one is forgotten.
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
            session.each("forget_waiting_files", map(records.key, [*delivered, *forgotten]))
            session.each("put_entry", map(records.values, delivered))
            session.each("forget_entry", map(records.key, forgotten))
        return paths


def _names(values: Iterable[str]) -> str:
    """Return texts as the keys of a JSON object, which both databases read as rows."""
    return json.dumps(dict.fromkeys(values), ensure_ascii=False)


def _at(file: DeliveryKey) -> dict[str, object]:
    return {**records.key(file.entry), "destination": file.destination, "path": file.path}
