"""The commands that deliver: `daily`, `run`, `backfill` and `resend`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator.cli import notify
from orchestrator.cli.options import Common, Configured, Day, brands, day, interruptible, one_day
from orchestrator.jobs.job import Request
from orchestrator.warehouse import project as projects
from orchestrator.windows import Days

_KEPT = "what was made and delivered so far is kept, and the next run goes on"


@dataclass(frozen=True, kw_only=True)
class Which:
    """Which exports, and whether to look only."""

    brand: Annotated[
        list[str] | None,
        typer.Option("--brand", help="Only this brand; repeatable.", autocompletion=brands),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; do nothing.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Wanted(Which):
    """Which exports, and how far to go with them."""

    force: Annotated[
        bool, typer.Option("--force", help="Make again what was delivered, as the next revision.")
    ] = False
    no_deliver: Annotated[
        bool, typer.Option("--no-deliver", help="Leave the files in the outbox.")
    ] = False

    def request(self, days: Days | None = None, *, daily_only: bool = False) -> Request:
        """Return what is asked for."""
        return Request(
            daily_only=daily_only,
            brands=self.brand or (),
            days=days,
            force=self.force,
            deliver=not self.no_deliver,
        )


def daily(*, day: Day = None, wanted: Wanted, common: Common) -> None:
    """Deliver every due daily export.

    Example: orchestrate daily --date 2026-11-21 --brand ACME
    """
    _deliver(wanted.request(day, daily_only=True), wanted, common, common.target)


def run(*, day: Day = None, wanted: Wanted, common: Common) -> None:
    """Deliver every due export of any interval: what cron calls each few minutes.

    Example: orchestrate run --log-format json
    """
    _deliver(wanted.request(day), wanted, common, common.target)


def backfill(
    *,
    first: Annotated[
        date, typer.Option("--from", parser=day, metavar="D", help="The first local day.")
    ],
    last: Annotated[
        date, typer.Option("--to", parser=day, metavar="D", help="The last local day, included.")
    ],
    wanted: Wanted,
    common: Common,
) -> None:
    """Deliver the windows of every interval that begin on some days, and were not delivered yet.

    What is not over yet is left out. With --force those that were delivered are made again too.

    Example: orchestrate backfill --from 2026-11-01 --to 2026-11-15 --brand ACME
    """
    _deliver(wanted.request(Days(first, last)), wanted, common, common.target)


def resend(
    *,
    day: Annotated[
        Days,
        typer.Option(
            "--date", parser=one_day, metavar="D", help="The windows that begin that day."
        ),
    ],
    which: Which,
    common: Configured,
) -> None:
    """Deliver again the very bytes that were delivered before, of windows of every interval.

    They come from the outbox, where they stay as long as keep_local says. To read the warehouse
    anew instead: orchestrate daily --date D --force.

    Example: orchestrate resend --date 2026-11-21 --brand ACME
    """
    _deliver(Request(brands=which.brand or (), days=day, resend=True), which, common)


def _deliver(request: Request, which: Which, common: Configured, target: str | None = None) -> None:
    from orchestrator.pipeline import run  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    loaded = configs.load(common.config, secrets=not which.dry_run)
    now = datetime.now(UTC)
    if which.dry_run:
        project = projects.find(loaded.folder, target)
        result = run.foresee(loaded, project, request, now=now)
        report.run(result)
        raise typer.Exit(result.exit_code)
    with notify.on_failure(loaded.notify), report.progress() as progress, interruptible(_KEPT):
        project = projects.find(loaded.folder, target)
        result = run.run(loaded, project, request, now=now, progress=progress)
    report.run(result)
    notify.tell(loaded.notify, result)
    raise typer.Exit(result.exit_code)
