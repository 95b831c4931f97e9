"""`orchestrate load`: raw files into the raw tables of the warehouse.

Rows that obey the raw contract are merged into the tables. The others are written to a reject file,
each with the reason.
"""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from orchestrator import system
from orchestrator.errors import ExportError
from orchestrator.loading import files, staging
from orchestrator.loading.staging import StagingTable
from orchestrator.progress import Progress, Tally, no_progress
from orchestrator.warehouse import Loader, MergeCounts, open_loader
from orchestrator.warehouse.contract import Contract, read_contract
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import out_of_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RejectReason:
    """A reason why rows were rejected, without the values of the rows, and the number of rows."""

    text: str
    rows: int


@dataclass(frozen=True)
class TableResult:
    """What happened to the rows of one table; rows = added + replaced + present + rejected.

    A duplicate of another row of the same load counts as replaced (entities) or present (events).
    The first and last `received_at` are those of the valid rows, in UTC; None if there are none, or
    if the table has no such column.
    """

    table: str
    files: tuple[Path, ...]
    rows: int
    added: int
    replaced: int
    present: int
    rejected: int
    reject_file: Path | None
    most_frequent_reason: RejectReason | None
    first_received_at: datetime | None
    last_received_at: datetime | None


@dataclass(frozen=True)
class LoadResult:
    """The results of one load, table by table."""

    tables: tuple[TableResult, ...]

    @property
    def rejected(self) -> int:
        """The number of rejected rows of all tables."""
        return sum(table.rejected for table in self.tables)

    @property
    def exit_code(self) -> int:
        """0 if all rows were loaded, 3 if some were rejected."""
        return 3 if self.rejected else 0


def load_into(
    project: Project,
    folder: Path,
    *,
    rejected: Path,
    now: datetime,
    progress: Progress = no_progress,
) -> LoadResult:
    """Load every raw file in `folder` into the warehouse of the project's target; see `load`."""
    opener = functools.partial(open_loader, project)
    contract = read_contract(project.folder)
    return load(
        folder, contract=contract, opener=opener, rejected=rejected, now=now, progress=progress
    )


def load(  # noqa: PLR0913 - what load_into() takes, and the two that it finds
    folder: Path,
    *,
    contract: Contract,
    opener: Callable[[duckdb.DuckDBPyConnection], Loader],
    rejected: Path,
    now: datetime,
    progress: Progress = no_progress,
) -> LoadResult:
    """Load every raw file in `folder`, each table in one transaction, entities first.

    `opener` opens the warehouse for the connection in which the rows arrive. Rows that break the
    contract are written to `rejected/<table>-<now>.jsonl`, with all their values and the reason.
    Only the owner can read that file.

    The names and headers of all files are checked before anything is loaded. Raises UsageError if
    one of them is wrong or no row can be read from a file, LockedError if another process has
    locked the warehouse, and ExportError if memory or disk run out.
    """
    found = files.find(folder, contract, rejected=rejected)
    if not found:
        return LoadResult(())
    started = time.monotonic()
    results = []
    try:
        with (
            system.private_folder() as work,
            closing(staging.connect(work)) as arriving,
            opener(arriving) as warehouse,
        ):
            for table in contract.tables:
                warehouse.prepare(table)
            for table, raw_files in found:
                with closing(StagingTable(arriving, work / table.name, table)) as staged:
                    _read(staged, raw_files, progress)
                    reject_file = staged.write_rejects(rejected, now)
                    received = staged.received()
                    distinct = staged.deduplicate()
                    # Not `now`: each run looks for late rows by `loaded_at`, since its previous
                    # look. Rows of a long load must not appear with a time before that look.
                    loaded_at = now + timedelta(seconds=time.monotonic() - started)
                    done = warehouse.load(
                        table, staged.good, loaded_at, sort=not staged.is_in_order()
                    )
                    results.append(
                        _result(
                            staged,
                            raw_files,
                            distinct=distinct,
                            done=done,
                            received=received,
                            reject_file=reject_file,
                        )
                    )
    except duckdb.OutOfMemoryException as error:
        raise ExportError(f"{folder} was not loaded completely: {out_of_memory()}") from error
    except duckdb.OperationalError as error:  # about disk or memory: the text quotes no value
        raise ExportError(f"{folder} was not loaded completely; run it again. {error}") from error
    return LoadResult(tuple(results))


def _read(staged: StagingTable, raw_files: tuple[files.RawFile, ...], progress: Progress) -> None:
    sizes = [file.path.stat().st_size for file in raw_files]
    files_read = 0

    def detail() -> str:
        part = sizes[files_read] * staged.fraction() if files_read < len(sizes) else 0
        size = sum(sizes[:files_read]) + round(part)
        return f"{Tally(files_read, staged.rows, size)} read"

    all_files = Tally(files=len(sizes), bytes=sum(sizes))
    progress(f"loading {staged.table.name}: {all_files}", detail)
    for file in raw_files:
        staged.add(file)
        files_read += 1


def _result(  # noqa: PLR0913 - each step of a load found one of them
    staged: StagingTable,
    raw_files: tuple[files.RawFile, ...],
    *,
    distinct: int,
    done: MergeCounts,
    received: tuple[datetime | None, datetime | None],
    reject_file: Path | None,
) -> TableResult:
    is_event = staged.table.kind == "event"
    duplicates = staged.rows - staged.rejected - distinct
    _log.debug("%s: %d rows read, %d added", staged.table.name, staged.rows, done.added)
    return TableResult(
        table=staged.table.name,
        files=tuple(file.path for file in raw_files),
        rows=staged.rows,
        added=done.added,
        replaced=done.replaced + (0 if is_event else duplicates),
        present=done.present + (duplicates if is_event else 0),
        rejected=staged.rejected,
        reject_file=reject_file,
        most_frequent_reason=next(
            (RejectReason(*most) for most in staged.reasons.most_common(1)), None
        ),
        first_received_at=received[0],
        last_received_at=received[1],
    )
