"""Production: a window's rows become whole files in the outbox, noted in the ledger."""

import functools
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.config import Config, patterns
from orchestrator.config.exports import EVERY_BRAND, KINDS
from orchestrator.errors import ConfigError, ExportError, did_you_mean, escaped
from orchestrator.files import formats, writing
from orchestrator.files.formats import FileFormat
from orchestrator.files.outbox import Outbox
from orchestrator.files.writing import WrittenFile
from orchestrator.jobs.job import Job, key
from orchestrator.ledger import Ledger
from orchestrator.pipeline import window_files
from orchestrator.pipeline.window_files import WindowFiles
from orchestrator.warehouse import Warehouse
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import Stage
from orchestrator.windows import Window

NO_BRANDS = (
    "the warehouse has no brand yet: nothing is exported for '*'; "
    "load rows, or see where the raw tables are"
)
_log = logging.getLogger(__name__)


def unknown(brand: str, known: Collection[str]) -> str:
    """Say that the warehouse has no row of a brand, which may be spelled otherwise there."""
    hint = escaped(did_you_mean(brand, known))
    return f"the warehouse knows no brand '{brand}'{hint}; correct it, or load its rows"


class Production:
    """Makes the files of windows; opens the warehouse when the first window needs it."""

    def __init__(
        self, config: Config, project: Project, *, outbox: Outbox, ledger: Ledger, now: datetime
    ) -> None:
        """Take what it works with.

        `warehouse` is open once a window was made; `brands` are those it was found to have.
        """
        self._config = config
        self._project = project
        self._outbox = outbox
        self._ledger = ledger
        self.warehouse: Warehouse | None = None
        self._now = now
        self.brands: set[str] = set()
        self.warnings: list[str] = []

    def close(self) -> None:
        """Free the warehouse."""
        if self.warehouse:
            self.warehouse.close()

    def finished(self, job: Job) -> WindowFiles | None:
        """Return the files that an earlier run made and did not deliver everywhere, if any."""
        return window_files.finished(job, outbox=self._outbox, ledger=self._ledger)

    def make(
        self, window: Window, jobs: Sequence[Job], *, brands: Sequence[str], taken: set[str]
    ) -> list[WindowFiles]:
        """Build and test the window's views, read them once, and write every brand's files.

        `brands` limits what `*` stands for, `taken` are the exports that have a job of their own.
        Raises GateError where dbt or a data test fails, ConfigError where an export names what the
        views do not have.
        """
        if self.warehouse is None:
            self.warehouse = Warehouse.open(self._project, self._outbox.work, self._outbox.cache)
            self.warehouse.columns.update(
                formats.needed_columns(self._config, self.warehouse.view_columns)
            )
        stage, warnings = self.warehouse.stage(window)
        for found in warnings:
            self._warn(f"{window}: the data test {found.test} warns of {found.rows}")
        ready = list(self._expand(jobs, stage, window=window, wanted=brands, taken=taken))
        to_write = [item for item in ready if isinstance(item, Job)]
        self._ledger.plan(job.entry for job in to_write)
        written = list(self._write(stage, to_write))
        self._outbox.flush()
        self._ledger.write((p.job.entry, p.deliveries) for p in written if not p.error)
        self.brands |= {*stage.brands}
        self._warn_of_unknown({*brands, *(job.brand for job in jobs)})
        return [item for item in ready if isinstance(item, WindowFiles)] + written

    def _warn_of_unknown(self, named: set[str]) -> None:
        """Warn of brands that the warehouse does not know; the rows of the window are gone then."""
        if not self.brands or named - self.brands - {EVERY_BRAND}:
            self.brands |= self._brands_by_now
        if EVERY_BRAND in named and not self.brands:
            self._warn(NO_BRANDS)
        for brand in sorted(named - self.brands - {EVERY_BRAND}):
            self._warn(unknown(brand, self.brands))

    @functools.cached_property
    def _brands_by_now(self) -> set[str]:
        # A window has the brands that were known when it ended.
        assert self.warehouse  # noqa: S101 - make() opened it
        instant = Window(self._now, self._now + timedelta(microseconds=1))
        return {*self.warehouse.stage(instant, tested=False)[0].brands}

    def _warn(self, message: str) -> None:
        if message not in self.warnings:  # what is so in every window is said once
            self.warnings.append(message)
            _log.warning("%s", message)

    def _expand(
        self,
        jobs: Sequence[Job],
        stage: Stage,
        *,
        window: Window,
        wanted: Sequence[str],
        taken: set[str],
    ) -> Iterator[Job | WindowFiles]:
        """Replace the job of every brand by one job a brand that has no line of its own."""
        own = {export.brand for export in self._config.exports}
        yield from (self._checked(job) for job in jobs if job.brand != EVERY_BRAND)
        known = self._ledger.entries(window=window)
        for every in (job for job in jobs if job.brand == EVERY_BRAND):
            for brand in stage.brands:
                job = every.of_brand(brand)
                if brand in own or job.entry.export in taken or (wanted and brand not in wanted):
                    continue
                if revised := job.revised(known.get((job.entry.export, window))):
                    yield self.finished(revised) or self._checked(revised)

    def _write(self, stage: Stage, jobs: Sequence[Job]) -> Iterator[WindowFiles]:
        """Write the files of all jobs, those that share a form in one go."""
        groups: dict[str, tuple[FileFormat, dict[str, Job]]] = {}
        for job in jobs:
            for form in self._forms(job):
                # A brand has one export of each interval and ordinal.
                name = form.identity + key("", job.export, job.ordinal)
                groups.setdefault(name, (form, {}))[1][job.brand] = job
        made: dict[tuple[str, str], WrittenFile | ExportError] = {}
        counted = functools.cache(stage.activities)  # exports mostly want the same rows
        activities: dict[str, Mapping[str, int]] = {}
        for number, (form, by_brand) in enumerate(groups.values()):
            folder = self._outbox.work / "files" / str(number)
            names: Counter[str] = Counter()  # brands may have them in directories of their own
            targets: dict[str, writing.Target] = {}
            for brand, job in by_brand.items():
                name = job.plain_name(form.kind)
                targets[brand] = folder / str(names[name]) / name, job.path(form.kind)
                names[name] += 1
            written = writing.write(stage, form, targets)
            for brand, file in written.items():
                made[by_brand[brand].entry.export, form.kind] = file
            if form.kind == "activity":
                rows = counted(form.condition())
                activities |= {j.entry.export: rows.get(brand, {}) for brand, j in by_brand.items()}
        for job in jobs:
            files_of_job = {kind: made[job.entry.export, kind] for kind in KINDS}
            errors = [file for file in files_of_job.values() if isinstance(file, ExportError)]
            whole = {k: f for k, f in files_of_job.items() if isinstance(f, WrittenFile)}
            if errors:
                yield WindowFiles(job, error=errors[0])
            else:
                entry = replace(job.entry, activities=activities[job.entry.export])
                whole_job = replace(job, entry=entry)
                yield window_files.publish(
                    whole_job, whole, outbox=self._outbox, ledger=self._ledger
                )

    def _forms(self, job: Job) -> list[FileFormat]:
        assert self.warehouse  # noqa: S101 - make() opened it
        return [
            formats.file_format(self._config, job.export, kind, self.warehouse.view_columns)
            for kind in KINDS
        ]

    def _checked(self, job: Job) -> Job | WindowFiles:
        """Refuse a brand that could not stand in a file name, and a key that is of no use."""
        try:
            patterns.check_brand(job.brand)
            for _, path in job.export.files(brand=job.brand, window=job.entry.window):
                patterns.check_path(path)
        except ValueError as error:
            return WindowFiles(job, error=ExportError(f"{job.brand[:80]!r}: {error}"))
        try:
            self._config.check_key(job.export)
            self._forms(job)  # a label that is not text stops this export alone
        except ConfigError as error:
            return WindowFiles(job, error=error)
        return job
