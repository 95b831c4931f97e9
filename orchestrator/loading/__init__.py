"""Raw files into the raw tables: good rows to the warehouse, bad rows to a file with the reason."""

import logging
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from orchestrator.errors import ExportError
from orchestrator.loading import files
from orchestrator.loading.sieve import Stage
from orchestrator.warehouse import Loader, open_loader
from orchestrator.warehouse.contract import Contract, read_contract
from orchestrator.warehouse.project import Project
from orchestrator.warehouse.stage import out_of_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableResult:
    """What became of one table's files; rows = added + replaced + present + rejected."""

    table: str
    files: tuple[Path, ...]
    rows: int
    added: int
    replaced: int
    present: int
    rejected: int
    reject_file: Path | None


@dataclass(frozen=True)
class LoadResult:
    """What became of a folder, table by table."""

    tables: tuple[TableResult, ...]

    @property
    def rejected(self) -> int:
        """How many rows were rejected, of all tables."""
        return sum(table.rejected for table in self.tables)

    @property
    def exit_code(self) -> int:
        """0 all rows were loaded; 3 some were rejected."""
        return 3 if self.rejected else 0


def load_into(project: Project, folder: Path, *, rejected: Path, now: datetime) -> LoadResult:
    """Load every raw file in `folder` into the warehouse of the project's target.

    As `load`; raises LockedError too, where another process holds the warehouse.
    """
    contract = read_contract(project.folder)
    files.find(folder, contract, rejected=rejected)  # before a warehouse is made for nothing
    with open_loader(project) as warehouse:
        return load(folder, contract=contract, warehouse=warehouse, rejected=rejected, now=now)


def load(
    folder: Path,
    *,
    contract: Contract,
    warehouse: Loader,
    rejected: Path,
    now: datetime,
) -> LoadResult:
    """Load every raw file in `folder`, each table in one transaction, entities first.

    Rows that break the contract go to `rejected/<table>-<now>.jsonl`, whole, with the reason;
    that file is readable by its owner alone. Raises UsageError for what no row can be read
    from: names and headers are checked before anything is loaded.
    """
    found = files.find(folder, contract, rejected=rejected)
    results = []
    try:
        for table in contract.tables:
            warehouse.prepare(table)
        with TemporaryDirectory(prefix="orchestrate-load-") as work:
            for table, raw_files in found:
                with closing(Stage(Path(work) / table.name, table)) as stage:
                    for file in raw_files:
                        stage.add(file)
                    reject_file = stage.write_rejects(rejected, now)
                    paths = tuple(file.path for file in raw_files)
                    results.append(_hand_over(stage, warehouse, paths, reject_file))
    except duckdb.OutOfMemoryException as error:
        raise ExportError(f"{folder} was not loaded whole: {out_of_memory()}") from error
    except duckdb.OperationalError as error:  # the disk or the memory; no words of a row
        raise ExportError(f"{folder} was not loaded whole; run it again. {error}") from error
    return LoadResult(tuple(results))


def _hand_over(
    stage: Stage, warehouse: Loader, paths: tuple[Path, ...], reject_file: Path | None
) -> TableResult:
    table = stage.table
    handed = stage.pick()
    done = warehouse.load(table, stage.good_rows())
    if handed != done.added + done.replaced + done.present:
        raise ExportError(f"{table.name}: rows were lost on the way to the warehouse: load again.")
    # A row that stands twice in one load counts as what its twin made of it.
    twins = stage.rows - stage.rejected - handed
    is_event = table.kind == "event"
    _log.debug("%s: %d rows read, %d added", table.name, stage.rows, done.added)
    return TableResult(
        table=table.name,
        files=paths,
        rows=stage.rows,
        added=done.added,
        replaced=done.replaced + (0 if is_event else twins),
        present=done.present + (twins if is_event else 0),
        rejected=stage.rejected,
        reject_file=reject_file,
    )
