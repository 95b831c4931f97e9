"""Reconcile: compare the delivered files with the rows that the views have now, by window.

Each window is built once, without data tests, and its files are written again into a private
folder. The same rows give the same bytes, so equal files prove that nothing is missing. If a file
differs, its records are compared with those of the new file. Nothing is delivered, and the ledger
is only read.
"""

import asyncio
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import TextIOWrapper
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator import system
from orchestrator.config import Config, openpgp
from orchestrator.config.destinations import Directory
from orchestrator.config.dialect import Dialect
from orchestrator.config.exports import KINDS, File, Kind
from orchestrator.delivery.destination import Destination, StoredKind
from orchestrator.delivery.visits import visit
from orchestrator.errors import ExportError
from orchestrator.files.formats import FileFormat
from orchestrator.files.outbox import Outbox
from orchestrator.files.packing import WrittenFile
from orchestrator.jobs import Job, Request, Subject, due
from orchestrator.ledger import Delivery, Entry, Ledger
from orchestrator.pipeline import Run
from orchestrator.pipeline.making import Maker
from orchestrator.pipeline.window_files import packed_suffix
from orchestrator.progress import Progress, Tally, no_progress
from orchestrator.warehouse.project import Project
from orchestrator.windows import Window

OUTBOX = "outbox"
_KEYS: Mapping[Kind, Sequence[Sequence[str]]] = {
    "activity": (("event_id",), ("broadcast_id", "customer_id", "activity", "activity_date")),
    "broadcast": (("broadcast_id",),),
}
"""Groups of columns that identify a record. The first group whose columns are all in the file is
used, to tell a changed record from a missing and a gone one."""


@dataclass(frozen=True)
class RowCheck:
    """The number of rows of one file: delivered, in the views now, and how the two differ.

    `missing` rows are in the views and were not delivered. `gone` rows were delivered and are not
    in the views any more. `changed` rows have other values now. If the delivered file cannot be
    read, the three numbers are the minimum that the ledger proves, and `is_exact` is false.
    """

    kind: Kind
    delivered: int
    now: int
    missing: int = 0
    gone: int = 0
    changed: int = 0
    is_exact: bool = True


@dataclass(frozen=True)
class FileCheck:
    """A file that differs from the ledger; `state` is `absent`, `different` or `unknown`.

    `place` is the name of a destination, or `outbox`. `unknown`: the destination does not show it.
    """

    place: str
    path: str
    state: str


@dataclass(frozen=True)
class WindowCheck(Subject):
    """The comparison of one brand's window. If `delivered` is false, it was never delivered.

    `command` delivers the missing rows; None if no rows are missing.
    """

    delivered: bool
    rows: Sequence[RowCheck]
    files: Sequence[FileCheck] = ()
    command: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether rows or files are missing."""
        rows = any(row.missing for row in self.rows)
        return not self.delivered or rows or any(each.state != "unknown" for each in self.files)

    @property
    def is_alike(self) -> bool:
        """Whether rows and files are the same as when they were delivered."""
        differ = any(row.missing or row.gone or row.changed for row in self.rows)
        return self.delivered and not self.files and not differ


@dataclass(frozen=True)
class ReconcileResult:
    """All windows that were compared, oldest first; `warnings` say what could not be compared."""

    windows: Sequence[WindowCheck]
    warnings: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 nothing is missing; 3 something is missing, or could not be compared."""
        return 3 if self.warnings or any(each.is_missing for each in self.windows) else 0


def reconcile(
    config: Config,
    project: Project,
    request: Request,
    *,
    now: datetime,
    progress: Progress = no_progress,
) -> ReconcileResult:
    """Compare the windows that begin on the days of a request.

    Raises UsageError if none of them has ended, ExportError if the warehouse cannot be read.
    """
    assert request.days  # noqa: S101 - the command requires them
    with (
        closing(Ledger(config.state, read_only=True)) as ledger,
        system.private_folder() as folder,
    ):
        scratch = Outbox(folder)
        run = Run(config, project, request, scratch, ledger, now, progress)
        # Forced: otherwise the brands of `*` that are delivered would be left out.
        jobs = due.requested(run.exports, ledger, request.days, now=now, forced=True)
        jobs.sort(key=lambda job: job.entry.window)
        since = min(job.entry.window.start for job in jobs)
        written = {(each.export, each.window): each for each in ledger.recounts.written(since)}
        with scratch.open(), closing(Maker(run)) as maker:
            comparison = _Comparison(run, maker, written)
            windows: list[WindowCheck] = []
            for window, group in groupby(jobs, key=lambda job: job.entry.window):
                windows += comparison.compare(window, list(group))
        files = _differing_files(run, comparison.deliveries)
    checked = [replace(each, files=files.get((each.export, each.window), ())) for each in windows]
    return ReconcileResult(checked, run.warnings)


@dataclass
class _Comparison:
    """Compares windows, and collects the deliveries whose files are checked later."""

    run: Run
    maker: Maker
    written: Mapping[tuple[str, Window], Entry]
    """The windows that were delivered, or wait for a destination, by export and window."""
    deliveries: dict[tuple[str, Window], list[Delivery]] = field(default_factory=dict)

    def compare(self, window: Window, jobs: list[Job]) -> Iterator[WindowCheck]:
        """Yield the comparison of each brand's window."""
        warehouse = self.maker.open()
        self.run.progress(f"{window}: building the views")
        try:
            stage, _ = warehouse.stage(window, tested=False)
        except ExportError as error:
            self.run.warn(f"{window}: not compared: {error}")
            return
        expanded = list(self.maker.expand(jobs, stage, {job.entry.export for job in jobs}))
        summaries = {job.entry.export: self.maker.summaries(stage, job) for job in expanded}
        rows = sum(each.rows for found in summaries.values() for each in found.values())
        done = Tally()
        self.run.progress(
            f"{window}: comparing {Tally(files=len(expanded) * len(KINDS), rows=rows)}",
            lambda: f"{done} written again",
        )
        rewritten = self.maker.write_files(stage, expanded, done, unpacked=True)
        for job in expanded:
            now = summaries[job.entry.export]
            entry = self.written.get((job.entry.export, window))
            if entry is None:
                checks = [
                    RowCheck(kind, 0, now[kind].rows, missing=now[kind].rows) for kind in KINDS
                ]
                command = job.command(force=False)
                yield WindowCheck(**job.subject, delivered=False, rows=checks, command=command)
                continue
            self.deliveries[entry.export, window] = self.run.ledger.deliveries(entry)
            keys = stage.fingerprint(now)
            checks = [
                self._compared(
                    RowCheck(kind, entry.rows.get(kind, 0), now[kind].rows),
                    job,
                    entry,
                    keys,
                    rewritten[entry.export, kind],
                )
                for kind in KINDS
            ]
            subject = replace(job, entry=entry).subject
            sends = job.command() if any(check.missing for check in checks) else None
            yield WindowCheck(**subject, delivered=True, rows=checks, command=sends)

    def _compared(
        self,
        check: RowCheck,
        job: Job,
        entry: Entry,
        keys: str,
        rewritten: WrittenFile | ExportError,
    ) -> RowCheck:
        """Return the check with the rows that differ: by record if the delivered file is at hand.

        `keys` is the fingerprint of the rows that the views have now.
        """
        items = self.deliveries[entry.export, entry.window]
        item = next((each for each in items if each.file.kind == check.kind), None)
        if item is None or not isinstance(rewritten, WrittenFile):
            return _by_numbers(check, entry, keys)
        if rewritten.file.sha256 == item.file.sha256:
            return check
        delivered = self._local_copy(item, items)
        if delivered is None:
            return _by_numbers(check, entry, keys)
        file_format = self.maker.format(job.export, check.kind)
        before = _records(delivered, packed_suffix(item.file.path), file_format.dialect)
        after = _records(rewritten.local, "", file_format.dialect)
        if file_format.dialect.header and next(before, None) != next(after, None):
            self.run.warn(
                f"{entry.export} {entry.window}: the {check.kind} file has other columns by now: "
                "only numbers of rows and keys are compared"
            )
            return _by_numbers(check, entry, keys)
        missing, gone, changed = _differences(before, after, file_format)
        return replace(check, missing=missing, gone=gone, changed=changed)

    def _local_copy(self, item: Delivery, items: Sequence[Delivery]) -> Path | None:
        """Return the path of a readable copy of the delivered bytes, None if there is none.

        The outbox has one until `keep_local` is over, and a destination that is a folder has one.
        """
        if item.file.path.endswith(openpgp.OPENPGP_SUFFIX):
            return None
        destinations = self.run.config.destinations
        folders = [
            config.directory
            for each in items
            if each.file == item.file
            and isinstance(config := destinations.get(each.destination), Directory)
        ]
        for folder in (self.run.config.outbox, *folders):
            if Outbox(folder).contains(item.file):
                return Outbox(folder).path(item.file.path)
        return None


def _by_numbers(check: RowCheck, entry: Entry, keys: str) -> RowCheck:
    """Return the check with the differences that the numbers of rows and the keys prove."""
    if difference := check.now - check.delivered:
        more, fewer = max(difference, 0), max(-difference, 0)
        return replace(check, missing=more, gone=fewer, is_exact=False)
    release, *now = keys.split(" ")
    known_release, *known = entry.keys.split(" ")
    number = KINDS.index(check.kind)
    # Fingerprints can be compared only if the same release of DuckDB computed both.
    if known_release == release and known[number] != now[number]:
        return replace(check, missing=1, gone=1, is_exact=False)
    return replace(check, is_exact=False)


def _records(path: Path, suffix: str, dialect: Dialect) -> Iterator[str]:
    """Yield the records of a file (RFC 4180), each with its line ending."""
    ending = "\r\n" if dialect.line_ending == "crlf" else "\n"
    with ExitStack() as stack:
        packed: Any  # a binary file
        if suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            packed = stack.enter_context(archive.open(archive.namelist()[0]))
        else:
            packed = stack.enter_context(pa.input_stream(path))  # decompresses .gz and .zst
        text = stack.enter_context(TextIOWrapper(packed, dialect.encoding, newline=ending))
        record = ""
        for line in text:
            record += line
            if record.count('"') % 2 == 0:  # otherwise the line ends inside a quoted field
                yield record
                record = ""


def _differences(
    before: Iterator[str], after: Iterator[str], file_format: FileFormat
) -> tuple[int, int, int]:
    """Return the numbers of missing, gone and changed records.

    Both files have the same order, so only the records that differ are kept in memory.
    """
    balance: Counter[str] = Counter()
    for old, new in zip_longest(before, after):
        if old == new:
            continue
        for record, step in ((new, 1), (old, -1)):
            if record is not None:
                balance[record] += step
                if not balance[record]:
                    del balance[record]
    positions = _key_positions(file_format)
    missing, gone = Counter[object](), Counter[object]()
    for record, number in balance.items():
        key = _key(record, file_format.dialect.delimiter, positions) if positions else record
        (missing if number > 0 else gone)[key] += abs(number)
    changed = (missing & gone).total()
    return missing.total() - changed, gone.total() - changed, changed


def _key_positions(file_format: FileFormat) -> list[int]:
    """Return the positions of the key fields in a record; none if the file lacks one of them."""
    columns = [field.column for field in file_format.fields]
    for key in _KEYS[file_format.kind]:
        if all(column in columns for column in key):
            return [columns.index(column) for column in key]
    return []


def _key(record: str, delimiter: str, positions: Sequence[int]) -> tuple[str, ...]:
    """Return the fields at some positions of a record, with their quotes."""
    field_of = re.compile(rf'("(?:[^"]|"")*"|.*?)(?:{re.escape(delimiter)}|\r?\n\Z)', re.DOTALL)
    values = field_of.findall(record)
    return tuple(values[position] for position in positions)


_DifferingFiles = dict[tuple[str, Window], list[FileCheck]]
"""The files that differ from the ledger, by export and window."""
_Delivered = tuple[tuple[str, Window], File]
"""A delivered file, with its export and window."""


def _differing_files(
    run: Run, deliveries: Mapping[tuple[str, Window], Sequence[Delivery]]
) -> _DifferingFiles:
    """Return the files that differ from the ledger. Files that retention removed are left out."""
    found: _DifferingFiles = defaultdict(list)
    in_outbox: dict[_Delivered, None] = {}  # a set in the order of delivery
    at_destinations: dict[str, list[_Delivered]] = defaultdict(list)
    for window, items in deliveries.items():
        for item in items:
            if item.tidied_at is None:
                in_outbox[window, item.file] = None
            if item.delivered_at and item.removed_at is None:
                at_destinations[item.destination].append((window, item.file))
    outbox = Outbox(run.config.outbox)  # `run.outbox` is the private folder
    checked = Tally()
    to_check = Tally(files=len(in_outbox), bytes=sum(file.size for _, file in in_outbox))
    run.progress(f"checking {to_check} in the outbox", lambda: f"{checked} checked")
    for window, file in in_outbox:
        if not outbox.contains(file):
            state = "different" if outbox.path(file.path).exists() else "absent"
            found[window].append(FileCheck(OUTBOX, file.path, state))
        checked.files += 1
        checked.bytes += file.size
    for name, delivered in at_destinations.items():
        if name in run.config.destinations:
            run.progress(f"checking {Tally(files=len(delivered))} at destination '{name}'")
            _check_destination(run, name, delivered, found)
        else:
            run.warn(f"destination '{name}' is not in exports.yml: its files are not checked")
    return found


def _check_destination(
    run: Run, name: str, delivered: Sequence[_Delivered], found: _DifferingFiles
) -> None:
    """Add the files that differ at a destination to `found`."""

    async def look(destination: Destination, item: _Delivered) -> None:
        window, file = item
        stored = await destination.find(file.path, digest=True)
        if stored is None:
            state = "absent"
        elif stored.kind is StoredKind.UNKNOWN and stored.size is None:
            state = "unknown"
        elif stored.is_same(file):
            return
        else:
            state = "different"
        found[window].append(FileCheck(name, file.path, state))

    for error in asyncio.run(visit(run.config.destinations[name], delivered, look)):
        run.warn(f"destination '{name}': {error}")
