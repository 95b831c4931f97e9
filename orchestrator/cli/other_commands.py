"""The commands that deliver nothing, such as `init`, `load`, `check` and `status`."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import config as configs
from orchestrator.cli.options import Brands, Common, Configured, Day, Output, brands, one_of
from orchestrator.cli.report import check_lines, load_lines
from orchestrator.commands import schedule as schedules
from orchestrator.jobs import Request
from orchestrator.warehouse import project as projects

if TYPE_CHECKING:
    from orchestrator.commands.preview import Head


def _init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder; by default the current one.")
    ] = Path(),
    *,
    output: Output,
) -> None:
    """Write exports.yml, its schema and profiles/profiles.yml to a folder.

    exports.yml lists every key, with its default as a comment.
    No file is overwritten.

    Example: orchestrate init exports
    """
    from orchestrator.commands import init  # noqa: PLC0415 - no other command needs it

    report = output.report()
    result = init.write_folder(folder)
    wrote = [f"wrote {path}" for path in result.written]
    report.finish(result, [*wrote, f"Next, in {folder.absolute()}:", *init.NEXT_STEPS])


def _schema(*, output: Output) -> None:
    """Print the JSON Schema (draft 2020-12) of exports.yml, for editors.

    Example: orchestrate config schema > exports.schema.json
    """
    from orchestrator.config import schema  # noqa: PLC0415 - no other command needs it

    output.report()
    typer.echo(schema.text(), nl=False)


def _load(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder with <table>.parquet, .csv or .jsonl.")
    ],
    *,
    common: Common,
) -> None:
    """Load raw files into the warehouse.

    Rows that break the contract go to the folder rejected, with the reason.
    For each table it reports the rows, when they were received, and the most
    frequent reason of rejected rows.

    Example: DUCKDB_PATH=warehouse.duckdb orchestrate load incoming
    """
    from orchestrator import loading  # noqa: PLC0415 - `--help` needs no DuckDB

    report = common.report()
    home = configs.home(common.config)
    project = projects.find(home, common.target)
    with report.progress() as progress:
        result = loading.load_into(
            project, folder, rejected=home / "rejected", now=datetime.now(UTC), progress=progress
        )
    report.log_rejects(result)
    report.finish(result, load_lines(result))


def _demo(*, output: Output) -> None:
    """Deliver sample data to a loopback SFTP server, and show what arrived.

    All files are written to the folder demo.

    Example: orchestrate demo
    """
    from orchestrator.commands import demo  # noqa: PLC0415 - `--help` needs no DuckDB

    report = output.report()
    with report.progress() as progress:
        result = demo.run_demo(Path("demo"), now=datetime.now(UTC), progress=progress)
    report.log_run(result)
    report.finish(result, demo.delivered_text(Path("demo")).split("\n"))


def _docs(
    folder: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="The folder of the pages.")
    ] = Path("target/docs"),
    *,
    common: Common,
) -> None:
    """Write pages about the data: the lineage of every column, and dbt's own docs.

    They open from disk, without a server.

    Example: orchestrate docs --output site
    """
    from orchestrator.commands import docs  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    project = projects.find(configs.home(common.config), common.target)
    with report.progress() as progress:
        result = DocsResult(docs.write(project, folder, progress))
    report.finish(result, [str(result.index)])


@dataclass(frozen=True)
class DocsResult:
    """The result of `docs`: the path of its first page."""

    index: Path
    exit_code: int = 0


@dataclass(frozen=True)
class PreviewResult:
    """The result of `preview`: the first rows of each file."""

    files: Sequence["Head"]
    exit_code: int = 0


def _preview(
    *,
    brand: Annotated[
        str,
        typer.Option(
            "--brand", metavar="NAME", help="The brand of the files.", autocompletion=brands
        ),
    ],
    day: Day = None,
    rows: Annotated[
        int,
        typer.Option("--rows", min=1, max=1_000_000, metavar="N", help="Rows of each file."),
    ] = 10,
    common: Common,
) -> None:
    """Print the first rows of a brand's files, byte for byte as in the files.

    The window is the last one that is due, or the last that begins on --date.
    The bytes go to stdout, and the same rows in a readable form to stderr.
    The ledger is not changed and nothing is delivered.

    Example: orchestrate preview --brand ACME --rows 3
    """
    from orchestrator.commands import preview  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    config = common.read()
    project = projects.find(config.folder, common.target)
    request = Request(brands=[brand], days=day)
    with report.progress() as progress:
        heads = preview.preview(
            config, project, request, most=rows, now=datetime.now(UTC), progress=progress
        )
    report.preview(heads)
    report.log("Next, to see where they would go: orchestrate run --dry-run")
    report.finish(PreviewResult(heads))


def _status(
    *,
    brand: Brands = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", dir_okay=False, help="Write a page with plots."),
    ] = None,
    prometheus: Annotated[
        Path | None,
        typer.Option(
            "--prometheus",
            metavar="FILE",
            dir_okay=False,
            help="Write metrics for the node exporter (*.prom).",
        ),
    ] = None,
    configured: Configured,
) -> None:
    """Show the status of each export, problems first.

    It reads exports.yml and the ledger alone, and can run during a run.
    With --html or --prometheus the table is not printed. The exit code is 0
    whatever the problems are: alert on the metrics, or on --json.

    Example: orchestrate status --html status.html
    """
    from orchestrator.commands import status, status_history  # noqa: PLC0415 - only `status` does
    from orchestrator.ledger import Ledger  # noqa: PLC0415 - the same

    report = configured.report()
    config = configured.read(secrets=False)
    request, now = Request(brands=brand or ()), datetime.now(UTC)
    with closing(Ledger(config.state, read_only=True)) as ledger:
        result = status.read_status(config, request, ledger, now=now)
        history = status_history.read_history(config, request, ledger, now=now) if html else None
    if html and history:
        from orchestrator.cli import status_page  # noqa: PLC0415 - only the page needs Jinja

        status_page.write_page(result, history, html, config=config.source.path)
    if prometheus:
        from orchestrator.cli import metrics  # noqa: PLC0415 - only metrics need the client

        metrics.write_metrics(result, prometheus)
    if not (html or prometheus or report.as_json):
        from orchestrator.cli import status_text  # noqa: PLC0415 - only the table needs it

        status_text.print_status(result)
    report.finish(result)


def _schedule(
    scheduler: Annotated[
        schedules.Scheduler,
        typer.Argument(
            parser=one_of(schedules.Scheduler),
            metavar="WHO",
            help="cron, systemd, kubernetes or airflow.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Write the files to this folder."),
    ] = None,
    *,
    common: Common,
) -> None:
    """Print the units that start `orchestrate run` whenever a window is due.

    Example: orchestrate schedule systemd --output .
    """
    report = common.report()
    config = common.read(secrets=False)
    result = schedules.schedule_units(
        config,
        scheduler,
        program=Path(sys.argv[0]).absolute(),
        target=common.target,
        now=datetime.now(UTC),
    )
    if folder:
        lines = [f"wrote {path}" for path in schedules.write_units(result.files, folder)]
    else:
        report.show(result.units.rstrip("\n"))
        lines = []
        report.log("Write the files with --output DIR.")
    report.log(f"Next: {schedules.NEXT_STEPS[scheduler]}")
    report.finish(result, lines)


def _check(*, common: Common) -> None:
    """Check now what a run needs, so that it does not fail at night.

    Delivers nothing and leaves no file behind.

    Example: orchestrate check --target postgres
    """
    from orchestrator.commands import check  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    config = common.read()
    with report.progress() as progress:
        result = check.check_all(config, common.target, now=datetime.now(UTC), progress=progress)
    report.finish(result, check_lines(result))


COMMANDS: dict[str, Callable[..., None]] = {
    "init": _init,
    "load": _load,
    "demo": _demo,
    "check": _check,
    "preview": _preview,
    "status": _status,
    "schedule": _schedule,
    "docs": _docs,
}
CONFIG_COMMANDS: dict[str, Callable[..., None]] = {"schema": _schema}
"""The commands below `config`."""
