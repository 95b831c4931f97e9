"""The commands that deliver: `daily` and `run`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import project as projects
from orchestrator.cli.options import Common, day
from orchestrator.due import Request


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which exports, and how far to go with them."""

    brand: Annotated[
        list[str] | None, typer.Option("--brand", help="Only this brand; repeatable.")
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="Make again what was delivered, as the next revision.")
    ] = False
    no_deliver: Annotated[
        bool, typer.Option("--no-deliver", help="Leave the files in the outbox.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")
    ] = False


Day = Annotated[
    date | None,
    typer.Option("--date", parser=day, metavar="D", help="Only windows that begin that day."),
]


def daily(*, day: Day = None, wanted: Wanted, common: Common) -> None:
    """Deliver every due daily export.

    Example: orchestrate daily --date 2026-11-21 --brand ACME
    """
    _deliver(_request(wanted, day=day, daily_only=True), wanted, common)


def run(*, day: Day = None, wanted: Wanted, common: Common) -> None:
    """Deliver every due export of any interval: what cron calls each few minutes.

    Example: orchestrate run --log-format json
    """
    _deliver(_request(wanted, day=day), wanted, common)


def _request(wanted: Wanted, *, day: date | None, daily_only: bool = False) -> Request:
    return Request(
        daily_only=daily_only,
        brands=wanted.brand or (),
        day=day,
        force=wanted.force,
        deliver=not wanted.no_deliver,
    )


def _deliver(request: Request, wanted: Wanted, common: Common) -> None:
    from orchestrator import pipeline  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    loaded = configs.load(common.config)
    now = datetime.now(UTC)
    project = projects.find(loaded.folder, common.target)
    if wanted.dry_run:
        result = pipeline.foresee(loaded, project, request, now=now)
    else:
        with report.progress() as progress:
            result = pipeline.run(loaded, project, request, now=now, progress=progress)
    report.run(result)
    raise typer.Exit(result.exit_code)
