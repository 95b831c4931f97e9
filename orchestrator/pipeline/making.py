"""Making: the rows of a window become complete files in the outbox, noted in the ledger."""

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
        is_refused: the warehouse could not be opened; the windows that needed it say why.
        brands: the brands that the warehouse was found to have.
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

        `taken` are the exports that have a job for this window: `*` leaves their brands alone.

        The order of the flushes is what a power cut cannot break. Each file is written to the work
        folder and flushed, so its bytes are on the disk before it has a name that counts. It is
        then renamed into the outbox, and the outbox's folders are flushed, so the names are on the
        disk too. Only then the ledger notes the files, which is a flush of its own. So the ledger
        never names a file that the disk does not have, and a file that the ledger does not name is
        written again.

        Raises GateError where dbt or a data test fails, ConfigError where an export names what the
        views do not have.
        """
        run = self._run
        self.look()  # before the window is read: `late` says why
        run.progress(f"{window}: building and testing the views")
        stage, warnings = self.open().stage(window)
        for found in warnings:
            run.warn(f"{window}: the data test {found.test} warns of {found.rows}")
        held = holding.unknown_brands(run, self.open(), jobs, stage.brands)
        jobs = [job for job in jobs if job.entry.export not in held]
        expanded = [*self.expand(jobs, stage, taken)]
        gone = self._gone(expanded, stage.brands)
        ready: list[Job | WindowFiles] = [*held.values(), *gone.values()]
        ready += [
            window_files.finished(run, job) or self._checked(job)
            for job in expanded
            if job.entry.export not in gone
        ]
        to_write = [keeping_names(run, item) for item in ready if isinstance(item, Job)]
        self._refuse_files_of_before(to_write)
        run.ledger.plan(job.entry for job in to_write)
        written = list(self._write(stage, to_write))
        run.outbox.flush()
        run.ledger.write((w.job.entry, w.deliveries) for w in written if not w.error)
        done = [files.job for files in written if not files.error]
        done += [job for job in jobs if job.brand == EVERY_BRAND]
        self.written |= {(job.entry.export, job.entry.window) for job in done}
        self.brands |= {*stage.brands}
        self._warn_of_unknown({*run.request.brands, *(job.brand for job in jobs)})
        return [item for item in ready if isinstance(item, WindowFiles)] + written

    def open(self) -> Warehouse:
        """Return the warehouse, which is opened the first time. Checks the exports against it."""
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
        """Whether this run asked which rows arrived."""
        return "_arrivals" in vars(self)

    def look(self) -> list[Arrival] | None:
        """Return which rows arrived since the last look, see `late`; None if dbt cannot tell.

        The warehouse is asked once in a run, before the first window is read.
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
        """Return the format of an export's files of one kind; computed once in a run."""
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
                # A brand has one export of each interval and ordinal.
                name = file_format.identity + ledger_name("", job.export, job.ordinal)
                groups.setdefault(name, (file_format, {}))[1][job.brand] = job
        return [*groups.values()]

    def _refuse_files_of_before(self, jobs: Sequence[Job]) -> None:
        """Raise LedgerError where the ledger knows of no file, and a destination has one of these.

        Then the ledger was lost, or `state` names another one. A window that was requested by date
        is delivered: whoever names it wants it.
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
            run.ledger.abandon(run.ledger.open_entries())  # so that a `start` of now counts
            raise LedgerError(
                f"the ledger {run.config.state.name} knows of no file, but destination '{name}' "
                f"has {path}, which would be delivered now. No window is exported until you "
                "decide: restore the ledger, correct 'state' in exports.yml, or go on without it: "
                "let 'start' of each export be the first day that the receiver lacks, or deliver "
                "that window by its date, which replaces the file (docs/running.md, 'Back up the "
                "ledger')"
            )

    def _warn_of_unknown(self, named: set[str]) -> None:
        """Warn of brands that the warehouse does not know. The stage of the window is gone then."""
        if not self.brands or named - self.brands - {EVERY_BRAND}:
            self.brands |= self._brands_by_now
        if EVERY_BRAND in named and not self.brands:
            self._run.warn(holding.NO_BRANDS)
        for brand in sorted(named - self.brands - {EVERY_BRAND}):
            self._run.warn(holding.unknown(brand, self.brands))

    @functools.cached_property
    def _brands_by_now(self) -> set[str]:
        # A window has the brands that were known when it ended.
        assert self.warehouse  # noqa: S101 - make() opened it
        instant = Window(self._run.now, self._run.now + _MOMENT)
        return {*self.warehouse.stage(instant, tested=False)[0].brands}

    def expand(self, jobs: Sequence[Job], stage: Stage, taken: Collection[str]) -> Iterator[Job]:
        """Replace the job of `*` by one job for each brand that has no entry of its own."""
        yield from (job for job in jobs if job.brand != EVERY_BRAND)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            continuity = Continuity(self._run.exports, self._run.ledger)
            yield from continuity.brands(every, stage.brands, taken, self._run.request)

    def _gone(self, jobs: Sequence[Job], brands: Collection[str]) -> dict[str, WindowFiles]:
        """Return the jobs, by export, of brands of `*` of which the warehouse has no row any more.

        They get no files, and the window counts as delivered.
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
        there = self.open().known_brands({job.brand for job in missing.values()})
        gone = {name: job for name, job in missing.items() if job.brand not in there}
        since = min(job.entry.window.start for job in missing.values()) - _MOMENT
        for entry in self._run.ledger.entries(since=since, exports=gone).values():
            if entry.activity_rows is not None:  # the first window of which it has no files
                brand = gone[entry.export].brand
                self._run.warn(
                    f"the warehouse has no row of brand '{escaped(brand)}' any more: '*' gives it "
                    "no files until it has"
                )
        return {name: WindowFiles(job) for name, job in gone.items()}

    def _write(self, stage: Stage, jobs: Sequence[Job]) -> Iterator[WindowFiles]:
        """Write the files of all jobs, and publish those of each job in the outbox."""
        contents = {job.entry.export: self.summaries(stage, job) for job in jobs}
        rows = sum(each.rows for found in contents.values() for each in found.values())
        done = Tally()
        if jobs:
            to_do = Tally(files=len(jobs) * len(KINDS), rows=rows)
            self._run.progress(
                f"{jobs[0].entry.window}: writing {to_do}", lambda: f"{done} written"
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
        """Write the files of all jobs to the work folder; those of one format in one pass.

        Returns the files, or the error of each, by export and kind. `unpacked` files are neither
        compressed nor encrypted nor signed.
        """
        written: dict[tuple[str, Kind], WrittenFile | ExportError] = {}
        for number, (file_format, by_brand) in enumerate(self._by_format(jobs)):
            kind = file_format.kind
            folder = self._run.outbox.work / "files" / str(number)
            names: Counter[str] = Counter()  # brands may have files of one name in two directories
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
        """Refuse a brand that no file name can contain, and a public key that has expired."""
        try:
            patterns.check_brand(job.brand)
            for _, path in job.files():
                patterns.check_path(path)
        except ValueError as error:
            return WindowFiles(job, error=ExportError(f"{job.brand[:80]!r}: {error}"))
        try:
            self._run.config.check_keys(job.export)
            for kind in KINDS:
                self.format(job.export, kind)  # a label that is not text stops this export alone
        except ConfigError as error:
            return WindowFiles(job, error=error)
        return job
