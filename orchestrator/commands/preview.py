"""Preview: the first rows of a brand's files, formatted as a run would write them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from orchestrator import system
from orchestrator.config import Config
from orchestrator.config.exports import EVERY_BRAND, KINDS, Export, Kind
from orchestrator.errors import ExportError, UsageError, did_you_mean
from orchestrator.files import formats, lines, writing
from orchestrator.files.formats import FileFormat
from orchestrator.jobs import Exports, Request, due
from orchestrator.ledger import Ledger
from orchestrator.progress import ROWS, Progress, count, no_progress
from orchestrator.warehouse import Warehouse, check_target
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import Stage, Summary
from orchestrator.windows import Window

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The start of a file, before it is compressed or encrypted.

    `head` has its first bytes, in `encoding`; `headings` and `first` are the header and the first
    rows as texts. `rows` is the number of rows of the complete file.
    """

    interval: str
    window: Window
    kind: Kind
    path: str
    rows: int
    encoding: str
    head: bytes
    headings: Sequence[str]
    first: Sequence[Sequence[str | None]]


def preview(  # noqa: PLR0913 - the five arguments of a run, and the number of rows
    config: Config,
    project: Project,
    request: Request,
    *,
    most: int,
    now: datetime,
    progress: Progress = no_progress,
) -> list[Head]:
    """Return the heads of both files, `most` rows each, of every export of the request's brand.

    The window is the last one that is due, or the last one that begins on the request's days and
    has ended. All files are temporary, and no data test is run. Raises UsageError if there is no
    such window, export or brand, LockedError if a run has locked the warehouse.
    """
    check_target(project)
    wanted = list(_wanted(config, request, now))
    (brand,) = request.brands
    if not wanted:
        raise UsageError(f"'{brand}' stands for several brands; name one of them with --brand")
    heads: list[Head] = []
    with (
        system.private_folder() as folder,
        closing(Warehouse.open(project, folder, folder)) as warehouse,
    ):
        warehouse.columns.update(formats.needed_columns(config, warehouse.view_columns))
        reader = _HeadReader(config, warehouse, brand, folder / "head")
        for window in sorted({window for _, window in wanted}):
            progress(f"{window}: building the views")
            complete, _ = warehouse.stage(window, tested=False)
            progress(f"{window}: writing the first {count(most, ROWS)}")
            stage = replace(complete, most=most)
            for export in (export for export, at in wanted if at == window):
                heads += reader.heads(stage, export, window)
    return heads


def _wanted(config: Config, request: Request, now: datetime) -> Iterator[tuple[Export, Window]]:
    """Yield each export of the brand, and its window."""
    exports = Exports(config, request)
    if not request.days:
        for entry in exports:
            yield entry.export, entry.export.calendar.last_due(now)
        return
    with closing(Ledger(config.state, read_only=True)) as ledger:
        jobs = due.requested(exports, ledger, request.days, now=now)
    yield from {job.entry.export: (job.export, job.entry.window) for job in jobs}.values()


@dataclass(frozen=True)
class _HeadReader:
    """Reads the heads of one brand's files."""

    config: Config
    warehouse: Warehouse
    brand: str
    path: Path

    def heads(self, stage: Stage, export: Export, window: Window) -> Iterator[Head]:
        """Yield the heads of an export's files."""
        self._check_brand(stage, export)
        for kind in KINDS:
            file_format = formats.resolve(self.config, export, kind, self.warehouse.view_columns)
            condition = file_format.condition()
            texts = lines.texts(file_format.fields, stage.types[kind], file_format.dialect)
            yield Head(
                interval=export.interval.value,
                window=window,
                kind=kind,
                path=export.path(kind, brand=self.brand, window=window),
                rows=stage.summaries(kind, condition=condition).get(self.brand, Summary()).rows,
                encoding=export.dialect.encoding,
                head=self._bytes(stage, file_format),
                headings=[field.heading for field in file_format.fields],
                first=stage.texts(kind, texts, brand=self.brand, condition=condition),
            )

    def _bytes(self, stage: Stage, file_format: FileFormat) -> bytes:
        targets = {self.brand: (self.path, "")}
        written = writing.write(stage, file_format.unpacked, targets)[self.brand]
        if isinstance(written, ExportError):
            raise written
        return written.local.read_bytes()

    def _check_brand(self, stage: Stage, export: Export) -> None:
        """Raise UsageError or warn, as a run does, if the warehouse does not know the brand."""
        if self.brand in stage.brands:
            return
        hint = did_you_mean(self.brand, stage.brands)
        message = f"the warehouse knows no brand '{self.brand}'{hint}"
        if export.brand == EVERY_BRAND:
            raise UsageError(f"{message}; valid: {', '.join(stage.brands)}")
        _log.warning("%s", message)
