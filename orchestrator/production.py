"""Production: a window's rows become whole files in the outbox, noted in the ledger."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator import files, patterns
from orchestrator.config import Config
from orchestrator.due import Job
from orchestrator.errors import ExportError
from orchestrator.exports import EVERY_BRAND, KINDS, Kind
from orchestrator.files import Form, WrittenFile
from orchestrator.ledger import WRITTEN, Delivery, Ledger
from orchestrator.outbox import Outbox
from orchestrator.project import Project
from orchestrator.stage import Stage
from orchestrator.warehouse import Warehouse
from orchestrator.windows import Window

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Product:
    """One brand's window with its files in the outbox, or why there are none."""

    job: Job
    deliveries: Sequence[Delivery] = ()
    error: ExportError | None = None


class Production:
    """Makes the files of windows; opens the warehouse when the first window needs it."""

    def __init__(self, config: Config, project: Project, *, outbox: Outbox, ledger: Ledger) -> None:
        """Take what it works with."""
        self._config = config
        self._project = project
        self._outbox = outbox
        self._ledger = ledger
        self._warehouse: Warehouse | None = None
        self.warnings: list[str] = []

    def close(self) -> None:
        """Free the warehouse."""
        if self._warehouse:
            self._warehouse.close()

    def finished(self, job: Job) -> Product | None:
        """Return the files that an earlier run made and did not deliver everywhere.

        None where there are none, or they are not those very bytes any more.
        """
        if job.entry.state != WRITTEN:
            return None
        deliveries = self._ledger.deliveries(job.entry)
        names = {delivery.destination for delivery in deliveries}
        intact = names <= self._config.destinations.keys() and all(
            self._outbox.holds(delivery.path, delivery.size, delivery.sha256)
            for delivery in deliveries
        )
        return Product(job, deliveries) if intact else None

    def make(self, window: Window, jobs: Sequence[Job], brands: Sequence[str]) -> list[Product]:
        """Build and test the window's views, read them once, and write every brand's files.

        `brands` limits what `*` stands for. Raises GateError where dbt or a data test fails,
        ConfigError where an export names what the views do not have.
        """
        if self._warehouse is None:
            self._warehouse = Warehouse.open(self._project, self._outbox.work, self._outbox.cache)
            self._warehouse.check(self._config)
        stage, warnings = self._warehouse.stage(window)
        self._warn(
            window, [f"the data test {found.test} warns of {found.rows}" for found in warnings]
        )
        expanded = list(self._expand(jobs, stage, window=window, wanted=brands))
        products = list(self._write(stage, [job for job in expanded if isinstance(job, Job)]))
        failed = [job for job in expanded if isinstance(job, Product)]
        self._ledger.write(
            (product.job.entry, product.deliveries) for product in products if not product.error
        )
        return failed + products

    def _warn(self, window: Window, messages: Sequence[str]) -> None:
        for message in messages:
            self.warnings.append(f"{window}: {message}")
            _log.warning("%s: %s", window, message)

    def _expand(
        self, jobs: Sequence[Job], stage: Stage, *, window: Window, wanted: Sequence[str]
    ) -> Iterator[Job | Product]:
        """Replace the job of every brand by one job a brand that has no line of its own."""
        own = {export.brand for export in self._config.exports}
        for job in jobs:
            if job.brand != EVERY_BRAND:
                if job.brand not in stage.brands:
                    self._warn(
                        window, [f"the warehouse knows no brand '{job.brand}'; is it spelled so?"]
                    )
                yield job
                continue
            names = [
                brand
                for brand in stage.brands
                if brand not in own and (not wanted or brand in wanted)
            ]
            fresh = [job.of_brand(brand) for brand in names]
            known = self._ledger.entries(window=window)
            for one in fresh:
                revised = one.revised(known.get((one.entry.export, window)))
                if revised:
                    yield _checked(revised)

    def _write(self, stage: Stage, jobs: Sequence[Job]) -> Iterator[Product]:
        """Write the files of all jobs, those that share a form in one go."""
        groups: dict[str, tuple[Form, dict[str, Job]]] = {}
        for job in jobs:
            for form in self._forms(job):
                name = f"{form.identity} {job.ordinal}"
                groups.setdefault(name, (form, {}))[1][job.brand] = job
        made: dict[tuple[str, str], WrittenFile | ExportError] = {}
        for number, (form, by_brand) in enumerate(groups.values()):
            folder = self._outbox.work / "files" / str(number)
            paths = {brand: folder / str(index) for index, brand in enumerate(by_brand)}
            written = files.write(stage, form, paths)
            for brand, file in written.items():
                made[by_brand[brand].entry.export, form.kind] = file
        for job in jobs:
            yield self._publish(job, {kind: made[job.entry.export, kind] for kind in KINDS})

    def _forms(self, job: Job) -> list[Form]:
        assert self._warehouse  # noqa: S101 - make() opened it
        return [self._warehouse.form(self._config, job.export, kind) for kind in KINDS]

    def _publish(self, job: Job, made: dict[Kind, WrittenFile | ExportError]) -> Product:
        whole: dict[Kind, WrittenFile] = {}
        for kind, file in made.items():
            if isinstance(file, ExportError):
                return Product(job, error=file)
            whole[kind] = file
        entry = replace(
            job.entry,
            state=WRITTEN,
            activity_rows=whole["activity"].rows,
            broadcast_rows=whole["broadcast"].rows,
        )
        job = replace(job, entry=entry)
        if job.export.empty == "skip" and not any(file.rows for file in whole.values()):
            return Product(job)
        remote = {
            kind: job.export.path(kind, brand=job.brand, window=entry.window) for kind in KINDS
        }
        self._outbox.publish([(whole[kind].path, remote[kind]) for kind in KINDS])
        return Product(
            job,
            [
                Delivery(kind, name, remote[kind], whole[kind].size, whole[kind].sha256)
                for name in job.export.destination
                for kind in KINDS
            ],
        )


def _checked(job: Job) -> Job | Product:
    """Refuse a brand of the warehouse that could not stand in a file name."""
    try:
        patterns.check_brand(job.brand)
    except ValueError as error:
        return Product(job, error=ExportError(f"{job.brand!r}: {error}"))
    return job
