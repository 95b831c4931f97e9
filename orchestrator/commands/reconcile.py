"""Reconcile: compare what was delivered with what the views have now, window by window.

It builds each window once, without tests, and writes its files again into a private folder. The
same rows give the same bytes, so equal files prove that nothing is missing. If they differ, the
records of the delivered file are compared with those of the new one. Nothing is delivered, and the
ledger is only read.
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
from orchestrator.config.exports import EVERY_BRAND, KINDS, Kind
from orchestrator.delivery.destination import Destination, StoredKind, Upload
from orchestrator.delivery.visits import visit
from orchestrator.errors import DeliveryError, ExportError
from orchestrator.files import writing
from orchestrator.files.formats import FileFormat
from orchestrator.files.outbox import Outbox
from orchestrator.files.packing import WrittenFile
from orchestrator.jobs import Job, Request, Subject, due
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import Delivery, Entry, Ledger
from orchestrator.pipeline import Run
from orchestrator.pipeline.making import Maker
from orchestrator.pipeline.window_files import packed_suffix
from orchestrator.progress import Progress, Tally, no_progress
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import Stage, Summary
from orchestrator.windows import Window

OUTBOX = "outbox"
_IN_THE_CLEAR = {"compression": "none", "encrypt_for": None, "sign_with": None}
_KEYS: Mapping[Kind, Sequence[Sequence[str]]] = {
    "activity": (("event_id",), ("broadcast_id", "customer_id", "activity", "activity_date")),
    "broadcast": (("broadcast_id",),),
}
"""Columns that identify a changed record: the first group of which the file has every column."""


@dataclass(frozen=True)
class RowCheck:
    """The rows of one file: delivered, in the views now, and what differs between the two.

    `missing` rows are in the views and were not delivered, `gone` rows were delivered and are not
    in the views, `changed` rows have other values now. Without the delivered file at hand the
    numbers are the least that the ledger proves, and `is_exact` is false.
    """

    kind: str
    delivered: int
    now: int
    missing: int = 0
    gone: int = 0
    changed: int = 0
    is_exact: bool = True


@dataclass(frozen=True)
class FileCheck:
    """A file that is not where, or not what, the ledger says: `absent`, `different` or `unknown`.

    `place` is a destination, or the outbox.
    """

    place: str
    path: str
    state: str


@dataclass(frozen=True)
class WindowCheck(Subject):
    """What was found of one brand's window. A window without `delivered` was never delivered.

    `command` delivers what is missing.
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
        """Whether everything is as it was delivered."""
        differ = any(row.missing or row.gone or row.changed for row in self.rows)
        return self.delivered and not self.files and not differ


@dataclass(frozen=True)
class ReconcileResult:
    """All windows that were compared, oldest first, and what could not be compared."""

    windows: Sequence[WindowCheck]
    warnings: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 nothing is missing; 3 something is, or could not be compared."""
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

    Raises UsageError where none has ended, ExportError where the warehouse cannot be read.
    """
    assert request.days  # noqa: S101 - the command requires them
    with (
        closing(Ledger(config.state, read_only=True)) as ledger,
        system.private_folder() as folder,
    ):
        scratch = Outbox(folder)
        run = Run(config, project, request, scratch, ledger, now, progress)
        jobs = due.requested(run.exports, ledger, request.days, now=now)
        jobs.sort(key=lambda job: job.entry.window)
        since = min(job.entry.window.start for job in jobs)
        written = {(each.export, each.window): each for each in ledger.recounts.written(since)}
        with scratch.open(), closing(Maker(run)) as maker:
            found = _Comparison(run, maker, written)
            windows: list[WindowCheck] = []
            for window, group in groupby(jobs, key=lambda job: job.entry.window):
                windows += found.compare(window, list(group))
        files, errors = _files(config, found.deliveries, progress)
        for error in errors:
            run.warn(error)
    checked = [replace(each, files=files.get((each.export, each.window), ())) for each in windows]
    return ReconcileResult(checked, run.warnings)


@dataclass
class _Comparison:
    """Compares windows, and collects the deliveries of which the files are looked at later."""

    run: Run
    maker: Maker
    written: Mapping[tuple[str, Window], Entry]
    """What was delivered, or waits for a destination."""
    deliveries: dict[tuple[str, Window], list[Delivery]] = field(default_factory=dict)

    def compare(self, window: Window, jobs: list[Job]) -> Iterator[WindowCheck]:
        """Yield what is found of each brand's window."""
        warehouse = self.maker.open()
        self.run.progress(f"{window}: building the views")
        try:
            stage, _ = warehouse.stage(window, tested=False)
        except ExportError as error:
            self.run.warn(f"{window}: not compared: {error}")
            return
        expanded = list(self._by_brand(jobs, stage))
        rows = sum(self._summary(stage, job, kind).rows for job in expanded for kind in KINDS)
        again = Tally()
        self.run.progress(
            f"{window}: comparing {Tally(files=len(expanded) * len(KINDS), rows=rows)}",
            lambda: f"{again} written again",
        )
        written = self._write(stage, expanded, again)
        for job in expanded:
            entry = self.written.get((job.entry.export, window))
            if entry is None:
                checks = [
                    RowCheck(kind, 0, found := self._summary(stage, job, kind).rows, missing=found)
                    for kind in KINDS
                ]
                command = job.command(force=False)
                yield WindowCheck(**job.subject, delivered=False, rows=checks, command=command)
                continue
            self.deliveries[entry.export, window] = self.run.ledger.deliveries(entry)
            checks = [
                self._rows(stage, job, entry, kind, written[entry.export, kind]) for kind in KINDS
            ]
            subject = replace(job, entry=entry).subject
            sends = job.command() if any(check.missing for check in checks) else None
            yield WindowCheck(**subject, delivered=True, rows=checks, command=sends)

    def _by_brand(self, jobs: list[Job], stage: Stage) -> Iterator[Job]:
        """Yield the jobs; for `*` one for each of its brands, delivered or not."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        taken = {job.entry.export for job in jobs}
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            continuity = Continuity(self.run.exports, self.run.ledger)
            forced = replace(every, forced=True)  # else those that are delivered are left out
            yield from continuity.brands(forced, stage.brands, taken, self.run.request)

    def _summary(self, stage: Stage, job: Job, kind: Kind) -> Summary:
        condition = self.maker.format(job.export, kind).condition()
        return stage.summaries(kind, condition=condition).get(job.brand, Summary())

    def _write(
        self, stage: Stage, jobs: Sequence[Job], tally: Tally
    ) -> dict[tuple[str, Kind], WrittenFile | ExportError]:
        """Write the files of all jobs again, in the clear; those of one format in one pass."""
        written: dict[tuple[str, Kind], WrittenFile | ExportError] = {}
        for number, (file_format, by_brand) in enumerate(self.maker.by_format(jobs)):
            plain = replace(
                file_format, dialect=file_format.dialect.model_copy(update=_IN_THE_CLEAR)
            )
            folder = self.run.outbox.work / "again" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            targets = {
                brand: (folder / str(place), job.path(file_format.kind))
                for place, (brand, job) in enumerate(by_brand.items())
            }
            for brand, file in writing.write(stage, plain, targets, tally).items():
                written[by_brand[brand].entry.export, file_format.kind] = file
        return written

    def _rows(
        self, stage: Stage, job: Job, entry: Entry, kind: Kind, again: WrittenFile | ExportError
    ) -> RowCheck:
        delivered = (entry.activity_rows if kind == "activity" else entry.broadcast_rows) or 0
        now = self._summary(stage, job, kind).rows
        found = RowCheck(kind, delivered, now)
        items = self.deliveries[entry.export, entry.window]
        item = next((each for each in items if each.file.kind == kind), None)
        if isinstance(again, WrittenFile) and item and again.file.sha256 == item.file.sha256:
            return found
        old = item and self._delivered_bytes(item, items)
        if isinstance(again, WrittenFile) and item and old:
            file_format = self.maker.format(job.export, kind)
            before = _records(old, packed_suffix(item.file.path), file_format.dialect)
            after = _records(again.local, "", file_format.dialect)
            if file_format.dialect.header and next(before, None) != next(after, None):
                self.run.warn(
                    f"{entry.export} {entry.window}: the {kind} file has other columns by now: "
                    "only numbers of rows and keys are compared"
                )
            else:
                missing, gone, changed = _differences(before, after, file_format)
                return replace(found, missing=missing, gone=gone, changed=changed)
        return self._by_numbers(found, stage, job, entry)

    def _by_numbers(self, found: RowCheck, stage: Stage, job: Job, entry: Entry) -> RowCheck:
        """Return what follows from the numbers of rows and the fingerprint of their keys."""
        difference = found.now - found.delivered
        if difference:
            more, fewer = max(difference, 0), max(-difference, 0)
            return replace(found, missing=more, gone=fewer, is_exact=False)
        keys = stage.fingerprint({kind: self._summary(stage, job, kind) for kind in KINDS})
        place = 1 + KINDS.index(found.kind)
        known = entry.keys.split(" ")
        is_known = known[0] == keys.split(" ")[0]
        if is_known and known[place] != keys.split(" ")[place]:
            return replace(found, missing=1, gone=1, is_exact=False)
        return replace(found, is_exact=False)

    def _delivered_bytes(self, item: Delivery, items: Sequence[Delivery]) -> Path | None:
        """Return the path of a local copy of the delivered bytes, None if there is none."""
        if item.file.path.endswith(openpgp.OPENPGP_SUFFIX):
            return None
        destinations = self.run.config.destinations
        folders = [
            place.directory
            for each in items
            if each.file == item.file
            and isinstance(place := destinations.get(each.destination), Directory)
        ]
        for folder in (self.run.config.outbox, *folders):
            if Outbox(folder).contains(item.file):
                return Outbox(folder).path(item.file.path)
        return None


def _records(path: Path, suffix: str, dialect: Dialect) -> Iterator[str]:
    """Yield the records of a file, each with its line ending, as RFC 4180 divides them."""
    ending = "\r\n" if dialect.line_ending == "crlf" else "\n"
    with ExitStack() as stack:
        packed: Any  # a binary file
        if suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            packed = stack.enter_context(archive.open(archive.namelist()[0]))
        else:
            packed = stack.enter_context(pa.input_stream(path))  # it knows .gz and .zst
        text = stack.enter_context(TextIOWrapper(packed, dialect.encoding, newline=ending))
        record = ""
        for line in text:
            record += line
            if record.count('"') % 2 == 0:  # else the line ends within a field
                yield record
                record = ""


def _differences(
    before: Iterator[str], after: Iterator[str], file_format: FileFormat
) -> tuple[int, int, int]:
    """Return how many records are missing in the delivered ones, gone from them, and changed.

    Both files are in the same order, so only records that differ are in memory.
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
    places = _key_places(file_format)
    missing, gone = Counter[object](), Counter[object]()
    for record, number in balance.items():
        key = _key(record, file_format.dialect.delimiter, places) if places else record
        (missing if number > 0 else gone)[key] += abs(number)
    changed = (missing & gone).total()
    return missing.total() - changed, gone.total() - changed, changed


def _key_places(file_format: FileFormat) -> list[int]:
    columns = [field.column for field in file_format.fields]
    for key in _KEYS[file_format.kind]:
        if all(column in columns for column in key):
            return [columns.index(column) for column in key]
    return []


def _key(record: str, delimiter: str, places: Sequence[int]) -> tuple[str, ...]:
    """Return some fields of a record as they are written."""
    field_of = re.compile(rf'("(?:[^"]|"")*"|.*?)(?:{re.escape(delimiter)}|\r?\n\Z)', re.DOTALL)
    values = field_of.findall(record)
    return tuple(values[place] for place in places)


def _files(
    config: Config,
    deliveries: Mapping[tuple[str, Window], Sequence[Delivery]],
    progress: Progress,
) -> tuple[dict[tuple[str, Window], list[FileCheck]], list[str]]:
    """Return the files that are not as they were delivered, by window, and what went wrong.

    Files that retention removed are left out.
    """
    found: dict[tuple[str, Window], list[FileCheck]] = defaultdict(list)
    outbox = Outbox(config.outbox)
    kept = {
        (window, item.file): None
        for window, items in deliveries.items()
        for item in items
        if item.tidied_at is None
    }
    checked = Tally()
    to_check = Tally(files=len(kept), bytes=sum(file.size for _, file in kept))
    progress(f"checking {to_check} in the outbox", lambda: f"{checked} checked")
    for window, file in kept:
        if not outbox.contains(file):
            state = "different" if outbox.path(file.path).exists() else "absent"
            found[window].append(FileCheck(OUTBOX, file.path, state))
        checked.files += 1
        checked.bytes += file.size
    uploads: dict[str, list[_Upload]] = defaultdict(list)
    for window, items in deliveries.items():
        for item in items:
            if item.delivered_at and item.removed_at is None:
                upload = Upload(outbox.path(item.file.path), item.file)
                uploads[item.destination].append((window, upload))
    errors: list[str] = []
    for name, wanted in uploads.items():
        if name in config.destinations:
            progress(f"checking {Tally(files=len(wanted))} at destination '{name}'")
            differing, failed = _stored(config, name, wanted)
            errors += [f"destination '{name}': {error}" for error in failed]
            for window, check in differing:
                found[window].append(check)
        else:
            errors.append(f"destination '{name}' is not in exports.yml: its files are not checked")
    return found, errors


_Upload = tuple[tuple[str, Window], Upload]
"""A delivered file, with the export and the window that it belongs to."""


def _stored(
    config: Config, name: str, uploads: Sequence[_Upload]
) -> tuple[list[tuple[tuple[str, Window], FileCheck]], list[DeliveryError]]:
    """Return the files that a destination does not have as they were delivered, and errors."""
    found: list[tuple[tuple[str, Window], FileCheck]] = []

    async def look(destination: Destination, item: _Upload) -> None:
        window, upload = item
        stored = await destination.find(upload.file.path, digest=True)
        if stored is None:
            state = "absent"
        elif stored.kind is StoredKind.UNKNOWN and stored.size is None:
            state = "unknown"
        elif stored.is_same(upload):
            return
        else:
            state = "different"
        found.append((window, FileCheck(name, upload.file.path, state)))

    errors = asyncio.run(visit(config.destinations[name], uploads, look))
    return found, errors
