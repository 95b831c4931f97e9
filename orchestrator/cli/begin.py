"""The commands to begin with: `init` and `config schema`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator.cli.options import Common, Output
from orchestrator.warehouse import project as projects

config = typer.Typer(
    no_args_is_help=True,
    help="What serves those who write exports.yml.\n\n"
    "Example: orchestrate config schema > exports.schema.json",
)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where; else the current folder.")
    ] = Path(),
    *,
    output: Output,
) -> None:
    """Write exports.yml, with every key as a comment, its schema, and profiles/profiles.yml.

    Nothing is ever overwritten.

    Example: orchestrate init exports
    """
    from orchestrator.commands import init as inits  # noqa: PLC0415 - no other command needs it

    report = output.report()
    written = inits.write(folder)
    for path in written:
        report.say(f"wrote {path}")
    report.say(f"Next, in {folder.absolute()}:\n{inits.NEXT}")
    report.document({"written": written, "exit_code": 0})


def schema(*, output: Output) -> None:
    """Print the JSON Schema (draft 2020-12) of exports.yml: editors complete and check by it.

    Example: orchestrate config schema > exports.schema.json
    """
    from orchestrator.config import schema as config_schema  # noqa: PLC0415 - no other command needs it

    output.report()
    typer.echo(config_schema.text(), nl=False)


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
    from orchestrator.commands import demo as demos  # noqa: PLC0415 - `--help` needs no DuckDB

    report = output.report()
    with report.progress() as progress:
        result = demos.run(Path("demo"), now=datetime.now(UTC), progress=progress)
    report.run(result)
    report.text(demos.look(Path("demo")))
    raise typer.Exit(result.exit_code)
