"""The command line: options, one place that catches errors, exit codes."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import project as projects
from orchestrator.due import Request
from orchestrator.errors import ExportError
from orchestrator.report import LogFormat, Report

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Export e-mail events as an activity and a broadcast file per brand, and deliver them.",
)


def _day(value: str) -> date:
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise typer.BadParameter("expected a day such as 2026-11-21") from error
    if not 1970 <= day.year <= 2999:  # noqa: PLR2004 - the years of `start` too
        raise typer.BadParameter("expected a day from 1970 to 2999")
    return day


Config = Annotated[
    Path | None,
    typer.Option("--config", help="exports.yml; else $ORCHESTRATE_CONFIG, else ./exports.yml."),
]
Target = Annotated[
    str | None,
    typer.Option("--target", help="A target of profiles.yml; else $ORCHESTRATE_TARGET, or duckdb."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Log = Annotated[LogFormat, typer.Option("--log-format", help="How lines on stderr are written.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more, with tracebacks.")]
Brands = Annotated[list[str] | None, typer.Option("--brand", help="Only this brand; repeatable.")]
Day = Annotated[
    date | None,
    typer.Option("--date", parser=_day, metavar="D", help="Only windows that begin that day."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Make again what was delivered, as the next revision.")
]
NoDeliver = Annotated[bool, typer.Option("--no-deliver", help="Leave the files in the outbox.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")]


@app.command()
def daily(
    *,
    brand: Brands = None,
    day: Day = None,
    force: Force = False,
    no_deliver: NoDeliver = False,
    dry_run: DryRun = False,
    config: Config = None,
    target: Target = None,
    as_json: AsJson = False,
    log_format: Log = LogFormat.TEXT,
    verbose: Verbose = False,
) -> None:
    """Deliver every due daily export.

    Example: orchestrate daily --date 2026-11-21 --brand ACME
    """
    request = Request(
        daily_only=True, brands=brand or (), day=day, force=force, deliver=not no_deliver
    )
    report = _start(as_json=as_json, log_format=log_format, verbose=verbose)
    _deliver(request, report, config=config, target=target, dry_run=dry_run)


@app.command()
def run(
    *,
    brand: Brands = None,
    day: Day = None,
    force: Force = False,
    no_deliver: NoDeliver = False,
    dry_run: DryRun = False,
    config: Config = None,
    target: Target = None,
    as_json: AsJson = False,
    log_format: Log = LogFormat.TEXT,
    verbose: Verbose = False,
) -> None:
    """Deliver every due export of any interval: what cron calls each few minutes.

    Example: orchestrate run --log-format json
    """
    request = Request(brands=brand or (), day=day, force=force, deliver=not no_deliver)
    report = _start(as_json=as_json, log_format=log_format, verbose=verbose)
    _deliver(request, report, config=config, target=target, dry_run=dry_run)


@app.command()
def load(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds <table>.parquet|csv|jsonl.")],
    *,
    config: Config = None,
    target: Target = None,
    as_json: AsJson = False,
    log_format: Log = LogFormat.TEXT,
    verbose: Verbose = False,
) -> None:
    """Load raw files into the warehouse; rows that break the contract go to `rejected/`.

    Example: DUCKDB_PATH=warehouse.duckdb orchestrate load incoming
    """
    from orchestrator import loading  # noqa: PLC0415 - `--help` needs no DuckDB

    report = _start(as_json=as_json, log_format=log_format, verbose=verbose)
    home = configs.home(config)
    result = loading.load_into(
        projects.find(home, target), folder, rejected=home / "rejected", now=datetime.now(UTC)
    )
    report.load(result)
    raise typer.Exit(3 if result.rejected else 0)


@app.command()
def demo(
    *,
    as_json: AsJson = False,
    log_format: Log = LogFormat.TEXT,
    verbose: Verbose = False,
) -> None:
    """Make sample data in `demo`, run `daily` through a loopback SFTP server, show what arrived.

    Example: orchestrate demo
    """
    from orchestrator import demo as demos  # noqa: PLC0415 - `--help` needs no DuckDB

    report = _start(as_json=as_json, log_format=log_format, verbose=verbose)
    with report.progress() as progress:
        result = demos.run(Path("demo"), now=datetime.now(UTC), progress=progress)
    report.run(result)
    report.text(demos.look(Path("demo")))
    raise typer.Exit(result.exit_code)


def main() -> None:
    """Run the command line; the one place that catches errors."""
    try:
        app()
    except ExportError as error:
        _report.error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk that is full, a folder that forbids
        _report.error(ExportError(f"{error.filename or 'output'}: {error.strerror}"))
        sys.exit(1)


_report = Report()


def _start(*, as_json: bool, log_format: LogFormat, verbose: bool) -> Report:
    global _report  # noqa: PLW0603 - main() reports errors the way the command was told to
    _report = Report(as_json=as_json, log_format=log_format, verbose=verbose)
    _report.start()
    return _report


def _deliver(
    request: Request, report: Report, *, config: Path | None, target: str | None, dry_run: bool
) -> None:
    from orchestrator import pipeline  # noqa: PLC0415 - `--help` needs no dbt

    loaded = configs.load(config)
    now = datetime.now(UTC)
    project = projects.find(loaded.folder, target)
    if dry_run:
        result = pipeline.foresee(loaded, project, request, now=now)
    else:
        with report.progress() as progress:
            result = pipeline.run(loaded, project, request, now=now, progress=progress)
    report.run(result)
    raise typer.Exit(result.exit_code)
