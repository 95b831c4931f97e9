"""The commands that fill a warehouse: `load` and `demo`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import project as projects
from orchestrator.cli.options import Common, Output


def load(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds <table>.parquet|csv|jsonl.")],
    *,
    common: Common,
) -> None:
    """Load raw files into the warehouse; rows that break the contract go to `rejected/`.

    Example: DUCKDB_PATH=warehouse.duckdb orchestrate load incoming
    """
    from orchestrator import loading  # noqa: PLC0415 - `--help` needs no DuckDB

    report = common.report()
    home = configs.home(common.config)
    project = projects.find(home, common.target)
    result = loading.load_into(project, folder, rejected=home / "rejected", now=datetime.now(UTC))
    report.load(result)
    raise typer.Exit(3 if result.rejected else 0)


def demo(*, output: Output) -> None:
    """Make sample data in `demo`, run `daily` through a loopback SFTP server, show what arrived.

    Example: orchestrate demo
    """
    from orchestrator import demo as demos  # noqa: PLC0415 - `--help` needs no DuckDB

    report = output.report()
    with report.progress() as progress:
        result = demos.run(Path("demo"), now=datetime.now(UTC), progress=progress)
    report.run(result)
    report.text(demos.look(Path("demo")))
    raise typer.Exit(result.exit_code)
