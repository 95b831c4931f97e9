"""The commands that show and deliver nothing: `docs`, `preview`, `schedule` and `status`."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator.cli.options import Common, Configured, Day, brands, one_of
from orchestrator.commands import schedule as schedules
from orchestrator.jobs.job import Request
from orchestrator.pipeline import retention
from orchestrator.warehouse import project as projects


def docs(
    folder: Annotated[Path, typer.Option("--output", help="Where the pages go.")] = Path(
        "target/docs"
    ),
    *,
    common: Common,
) -> None:
    """Write pages that open from disk: the lineage of every column, and dbt's own.

    Example: orchestrate docs --output site
    """
    from orchestrator.commands import docs as pages  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    project = projects.find(configs.home(common.config), common.target)
    index = pages.write(project, folder)
    report.text(str(index))
    report.document({"index": str(index)})


def preview(
    *,
    brand: Annotated[str, typer.Option("--brand", help="Whose files.", autocompletion=brands)],
    day: Day = None,
    rows: Annotated[
        int,
        typer.Option("--rows", min=1, max=1_000_000, metavar="N", help="How many of each file."),
    ] = 10,
    common: Common,
) -> None:
    """Print the first rows of a brand's files, byte for byte as they would be written.

    The window is the last one that is due, or the last that begins on --date.
    The bytes go to stdout, and a table for people to stderr. Nothing is noted
    in the ledger, and nothing is delivered.

    Example: orchestrate preview --brand ACME --rows 3
    """
    from orchestrator.commands import preview as previews  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    loaded = configs.load(common.config)
    project = projects.find(loaded.folder, common.target)
    request = Request(brands=[brand], days=day)
    with report.progress() as progress:
        heads = previews.preview(
            loaded, project, request, most=rows, now=datetime.now(UTC), progress=progress
        )
    report.preview(heads)


def status(
    *,
    brand: Annotated[
        list[str] | None,
        typer.Option("--brand", help="Only this brand; repeatable.", autocompletion=brands),
    ] = None,
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
    """Show how each export is doing, problems first, by exports.yml and the ledger alone.

    It may run beside a run. Where a file is asked for, no table is printed.
    The exit code is 0 whatever is found: alert on the metrics, or on --json.

    Example: orchestrate status --html status.html
    """
    from orchestrator.cli import status_table as status_report  # noqa: PLC0415
    from orchestrator.commands import status as statuses  # noqa: PLC0415 - no other command needs them
    from orchestrator.commands.status import past as status_past  # noqa: PLC0415
    from orchestrator.ledger import Ledger  # noqa: PLC0415

    report = configured.report()
    loaded = configs.load(configured.config, secrets=False)
    request, now = Request(brands=brand or ()), datetime.now(UTC)
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        found = statuses.read(loaded, request, ledger, now=now)
        past = status_past.read(loaded, request, ledger, now=now) if html else None
    if html and past:
        from orchestrator.cli import status_page  # noqa: PLC0415 - Jinja is for this alone

        status_page.write(found, past, html)
    if prometheus:
        from orchestrator.cli import metrics  # noqa: PLC0415 - the client is for this alone

        metrics.write(found, prometheus)
    if not (html or prometheus or report.as_json):
        status_report.show(found)
    report.document({**vars(found), "exit_code": 0})


def schedule(
    scheduler: Annotated[
        schedules.Scheduler,
        typer.Argument(
            parser=one_of(schedules.Scheduler),
            metavar="WHO",
            help="Who is to start the runs.",
        ),
    ],
    *,
    common: Common,
) -> None:
    """Print the units that start `orchestrate run` whenever an export of this config comes due.

    Example: orchestrate schedule systemd
    """
    report = common.report()
    loaded = configs.load(common.config, secrets=False)
    program = Path(sys.argv[0]).absolute()
    units = schedules.render(loaded, scheduler, program=program, target=common.target)
    report.text(units.rstrip("\n"))
    report.document({"scheduler": scheduler, "units": units})


def prune(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")
    ] = False,
    configured: Configured,
) -> None:
    """Remove what is older than `retention` and `keep_local` let it be; `run` does so too.

    Example: orchestrate prune --dry-run
    """
    report = configured.report()
    loaded = configs.load(configured.config, secrets=not dry_run)
    keep_house = retention.foresee if dry_run else retention.prune
    result = keep_house(loaded, now=datetime.now(UTC))
    report.prune(result)
    raise typer.Exit(result.exit_code)


def check(*, common: Common) -> None:
    """Find out now what would fail tonight; deliver nothing, and leave nothing behind.

    Example: orchestrate check --target postgres
    """
    from orchestrator.commands import check as checks  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    loaded = configs.load(common.config)
    with report.progress() as progress:
        result = checks.check(loaded, common.target, now=datetime.now(UTC), progress=progress)
    report.check(result)
    raise typer.Exit(result.exit_code)
