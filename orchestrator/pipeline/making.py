"""Making: write the rows of a window to complete files in the outbox, and record them."""

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from orchestrator.config import patterns
from orchestrator.config.exports import EVERY_BRAND, KINDS, Export, Kind
from orchestrator.errors import ConfigError, ExportError, GateError, LedgerError, escaped
from orchestrator.files import formats, writing
from orchestrator.files.formats import FileFormat
from orchestrator.files.packing import WrittenFile
from orchestrator.jobs import Job, ledger_name
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import PLANNED
from orchestrator.pipeline import Run, holding, window_files
from orchestrator.pipeline.window_files import WindowFiles, keeping_names
from orchestrator.progress import Tally
from orchestrator.warehouse import Arrival, Warehouse
from orchestrator.warehouse.stage import Stage, Summary
from orchestrator.windows import Window

_MOMENT = timedelta(microseconds=1)


class Maker:
    """Builds windows and writes their files. Opens the warehouse when the first window needs it.

    Attributes:
        warehouse: None until it was opened.
        is_refused: the warehouse could not be opened. The windows that needed it report the error.
        brands: brands of which this run found rows in the warehouse.
        written: the exports and windows whose files this run has written.

    """

    def __init__(self, run: Run) -> None:
        """Take the run; nothing is opened yet."""
        self._run = run
        self.warehouse: Warehouse | None = None
        self.is_refused = False
        self.brands: set[str] = set()
        self.written: set[tuple[str, Window]] = set()
        self._formats: dict[tuple[int, Kind], FileFormat] = {}

    def close(self) -> None:
        """Close the warehouse, if it was opened."""
        if self.warehouse:
            self.warehouse.close()

    def make(self, window: Window, jobs: Sequence[Job], *, taken: set[str]) -> list[WindowFiles]:
        """Build and test the views of a window, read them once, and write every brand's files.

        `taken` are exports that have a job for this window already. The job of `*` leaves their
        brands out.

        What a program writes reaches the disk later and in any order, unless the program waits for
        it with a *flush* (fsync). Without flushes, a power cut can leave a disk with the ledger's
        record of a file but not the file, or with a file's name but not its bytes. So the order of
        the flushes matters:

        1. Each file is written to the work folder and flushed: the disk has its bytes.
        2. It is renamed into the outbox, and the folders of the outbox are flushed: the disk has
           its name.
        3. The ledger records the file, in a transaction that is flushed.

        So every file in the ledger is complete on the disk. A file that is in the outbox but not in
        the ledger is written again.

        Raises GateError if dbt or a data test fails, ConfigError if an export names a column or
        value that the views do not have.
        """
        run = self._run
        self.look()  # before the window is read; the docstring of late.py explains why
        run.progress(f"{window}: building and testing the views")
        stage, warnings = self.open().stage(window)
        for warning in warnings:
            run.warn(f"{window}: the data test {warning.test} warns of {warning.rows}")
        held = holding.unknown_brands(run, self.open(), jobs, stage.brands)
        jobs = [job for job in jobs if job.entry.export not in held]
        expanded = [*self.expand(jobs, stage, taken)]
        vanished = self._vanished(expanded, stage.brands)
        items: list[Job | WindowFiles] = [*held.values(), *vanished.values()]
        items += [
            window_files.finished(run, job) or self._checked(job)
            for job in expanded
            if job.entry.export not in vanished
        ]
        to_write = [keeping_names(run, item) for item in items if isinstance(item, Job)]
        self._refuse_after_lost_ledger(to_write)
        run.ledger.plan(job.entry for job in to_write)
        written = list(self._write(stage, to_write))
        run.outbox.flush()
        run.ledger.write((w.job.entry, w.deliveries) for w in written if not w.error)
        done = [files.job for files in written if not files.error]
        done += [job for job in jobs if job.brand == EVERY_BRAND]
        self.written |= {(job.entry.export, job.entry.window) for job in done}
        self.brands |= {*stage.brands}
        self._warn_of_unknown({*run.request.brands, *(job.brand for job in jobs)})
        return [item for item in items if isinstance(item, WindowFiles)] + written

    def open(self) -> Warehouse:
        """Return the warehouse; the first call opens it, and checks the exports against it."""
        if self.warehouse is None:
            run = self._run
            run.progress("opening the warehouse")
            self.is_refused = True  # unless the next line succeeds
            self.warehouse = Warehouse.open(run.project, run.outbox.work, run.outbox.cache)
            self.is_refused = False
            columns = formats.needed_columns(run.config, self.warehouse.view_columns)
            self.warehouse.columns.update(columns)
        return self.warehouse

    @property
    def has_looked(self) -> bool:
        """Whether this run asked the warehouse which rows arrived."""
        return "_arrivals" in vars(self)  # where cached_property stores its value

    def look(self) -> list[Arrival] | None:
        """Return the rows that arrived since the last look (see late.py), None if dbt fails.

        The warehouse is asked once per run, before the first window is read.
        """
        return self._arrivals

    @functools.cached_property
    def _arrivals(self) -> list[Arrival] | None:
        last = self._run.ledger.recounts.last_look()
        try:
            warehouse = self.open()
            self._run.progress("asking the warehouse which rows arrived")
            return warehouse.arrivals(last.loaded_since if last else None, self._run.now)
        except GateError as error:
            self._run.warn(f"late rows are not looked for: {error}")
            return None

    def format(self, export: Export, kind: Kind) -> FileFormat:
        """Return the format of an export's files of one kind. It is computed once per run."""
        assert self.warehouse  # noqa: S101 - make() opened it
        if (found := self._formats.get((id(export), kind))) is None:
            columns = self.warehouse.view_columns
            found = formats.resolve(self._run.config, export, kind, columns)
            self._formats[id(export), kind] = found
        return found

    def summaries(self, stage: Stage, job: Job) -> dict[Kind, Summary]:
        """Return the summary of the rows of each of a job's files, by kind."""
        found: dict[Kind, Summary] = {}
        for kind in KINDS:
            condition = self.format(job.export, kind).condition()
            found[kind] = stage.summaries(kind, condition=condition).get(job.brand, Summary())
        return found

    def _by_format(self, jobs: Sequence[Job]) -> list[tuple[FileFormat, dict[str, Job]]]:
        """Return the formats of the jobs' files, each with the jobs that share it, by brand."""
        groups: dict[str, tuple[FileFormat, dict[str, Job]]] = {}
        for job in jobs:
            for kind in KINDS:
                file_format = self.format(job.export, kind)
                # A brand can have several exports with one format, so `identity` is not enough: the
                # name without a brand has the interval and the ordinal, which differ.
                name = file_format.identity + ledger_name("", job.export, job.ordinal)
                groups.setdefault(name, (file_format, {}))[1][job.brand] = job
        return [*groups.values()]

    def _refuse_after_lost_ledger(self, jobs: Sequence[Job]) -> None:
        """Raise LedgerError if the ledger has no file, and a destination has a file of these jobs.

        Then the ledger was lost, or `state` names another one. A window that was requested by date
        is not refused, because the user named it.
        """
        run = self._run
        if run.request.days or not jobs or run.ledger.has_files():
            return
        from orchestrator.delivery.visits import (  # noqa: PLC0415 - once in the life of a ledger
            find_any,
        )

        paths: dict[str, set[str]] = {}
        for job in jobs:
            for name in job.export.destination:
                paths.setdefault(name, set()).update(map(job.path, KINDS))
        found = find_any({n: (run.config.destinations[n], each) for n, each in paths.items()})
        for name, path in found.items():
            # Otherwise the next run would build the planned windows, even before a new `start`.
            run.ledger.abandon(run.ledger.open_entries())
            raise LedgerError(
                f"the ledger {run.config.state.name} contains no file, but destination '{name}' "
                f"has {path}, which would be delivered now. No window is exported until you "
                "decide: restore the ledger, correct 'state' in exports.yml, or continue without "
                "it: set 'start' of each export to the first day that the receiver lacks, or "
                "deliver that window by its date, which replaces the file (docs/running.md, 'Back "
                "up the ledger')"
            )

    def _warn_of_unknown(self, named: set[str]) -> None:
        """Warn of brands of which the warehouse has no row. This may replace the stage."""
        if not self.brands or named - self.brands - {EVERY_BRAND}:
            self.brands |= self._present_brands
        if EVERY_BRAND in named and not self.brands:
            self._run.warn(holding.NO_BRANDS)
        for brand in sorted(named - self.brands - {EVERY_BRAND}):
            self._run.warn(holding.unknown(brand, self.brands))

    @functools.cached_property
    def _present_brands(self) -> set[str]:
        # A stage has the brands that were known at the end of its window: stage one that ends now.
        assert self.warehouse  # noqa: S101 - make() opened it
        instant = Window(self._run.now, self._run.now + _MOMENT)
        return {*self.warehouse.stage(instant, tested=False)[0].brands}

    def expand(self, jobs: Sequence[Job], stage: Stage, taken: Collection[str]) -> Iterator[Job]:
        """Replace the job of `*` by one job for each brand without a separate entry."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            continuity = Continuity(self._run.exports, self._run.ledger)
            yield from continuity.brands(every, stage.brands, taken, self._run.request)

    def _vanished(self, jobs: Sequence[Job], brands: Collection[str]) -> dict[str, WindowFiles]:
        """Return, by export, the jobs of brands of `*` whose rows are no longer in the warehouse.

        These brands get no files, and the window of `*` counts as delivered without them.
        """
        missing = {
            job.entry.export: job
            for job in jobs
            if job.export.brand == EVERY_BRAND
            and job.brand not in brands
            and (job.entry.state, job.entry.revision) == (PLANNED, 1)
        }
        if not missing:
            return {}
        known = self.open().known_brands({job.brand for job in missing.values()})
        vanished = {name: job for name, job in missing.items() if job.brand not in known}
        since = min(job.entry.window.start for job in missing.values()) - _MOMENT
        for entry in self._run.ledger.entries(since=since, exports=vanished).values():
            if entry.activity_rows is not None:  # its window before had files: warn once
                brand = vanished[entry.export].brand
                self._run.warn(
                    f"the warehouse has no row of brand '{escaped(brand)}' any more: '*' writes no "
                    "files for it until it has rows again"
                )
        return {name: WindowFiles(job) for name, job in vanished.items()}

    def _write(self, stage: Stage, jobs: Sequence[Job]) -> Iterator[WindowFiles]:
        """Write the files of all jobs, and publish those of each job in the outbox."""
        contents = {job.entry.export: self.summaries(stage, job) for job in jobs}
        rows = sum(each.rows for found in contents.values() for each in found.values())
        done = Tally()
        if jobs:
            total = Tally(files=len(jobs) * len(KINDS), rows=rows)
            self._run.progress(
                f"{jobs[0].entry.window}: writing {total}", lambda: f"{done} written"
            )
        written = self.write_files(stage, jobs, done)
        for job in jobs:
            export = job.entry.export
            files = {kind: written[export, kind] for kind in KINDS}
            complete = {k: file for k, file in files.items() if isinstance(file, WrittenFile)}
            error = next((f for f in files.values() if isinstance(f, ExportError)), None)
            if error:
                yield WindowFiles(job, error=error)
            else:
                content = contents[export]
                entry = replace(
                    job.entry,
                    activities=content["activity"].activities,
                    keys=stage.fingerprint(content),
                )
                yield window_files.publish(self._run, replace(job, entry=entry), complete)

    def write_files(
        self, stage: Stage, jobs: Sequence[Job], tally: Tally, *, unpacked: bool = False
    ) -> dict[tuple[str, Kind], WrittenFile | ExportError]:
        """Write the files of all jobs to the work folder. One pass writes all files of a format.

        Returns each file, or its error, by export and kind. With `unpacked` the files are not
        compressed, encrypted or signed.
        """
        written: dict[tuple[str, Kind], WrittenFile | ExportError] = {}
        for number, (file_format, by_brand) in enumerate(self._by_format(jobs)):
            kind = file_format.kind
            folder = self._run.outbox.work / "files" / str(number)
            # Files of two brands have one name if only their directories in the outbox differ. The
            # work folder has no such directories, so each repetition of a name has a folder there.
            names: Counter[str] = Counter()
            targets: dict[str, writing.Target] = {}
            for brand, job in by_brand.items():
                # Archives and encrypted files contain the name; unpacked files need none.
                name = "rows" if unpacked else job.plain_name(kind)
                targets[brand] = folder / str(names[name]) / name, job.path(kind)
                names[name] += 1
            chosen = file_format.unpacked if unpacked else file_format
            for brand, file in writing.write(stage, chosen, targets, tally).items():
                written[by_brand[brand].entry.export, kind] = file
        return written

    def _checked(self, job: Job) -> Job | WindowFiles:
        """Return the job, or its error: an invalid name, an expired key, or an invalid label."""
        try:
            patterns.check_brand(job.brand)
            for _, path in job.files():
                patterns.check_path(path)
        except ValueError as error:
            return WindowFiles(job, error=ExportError(f"{job.brand[:80]!r}: {error}"))
        try:
            self._run.config.check_keys(job.export)
            for kind in KINDS:
                self.format(job.export, kind)  # raises for a label that is not text
        except ConfigError as error:
            return WindowFiles(job, error=error)
        return job
