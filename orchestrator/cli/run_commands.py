"""The commands that deliver, compare or remove files, such as `daily`, `reconcile` and `prune`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestrator.cli import notify
from orchestrator.cli.options import (
    Brands,
    Common,
    Configured,
    Day,
    FirstDay,
    LastDay,
    interruptible,
    one_day,
)
from orchestrator.cli.report import dry_run_lines, prune_lines, reconcile_lines
from orchestrator.jobs import Request
from orchestrator.pipeline import retention
from orchestrator.warehouse import project as projects
from orchestrator.windows import Days

_ADVICE = "what was written and delivered is kept, and the next run continues from there"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The options that select exports, and `--dry-run`."""

    brand: Brands = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class DeliverySelection(Selection):
    """The options of a command that builds files."""

    force: Annotated[
        bool,
        typer.Option("--force", help="Build delivered windows again, as the next revision."),
    ] = False
    no_deliver: Annotated[
        bool, typer.Option("--no-deliver", help="Leave the files in the outbox.")
    ] = False

    def request(self, days: Days | None = None, *, daily_only: bool = False) -> Request:
        """Return the request that these options make."""
        return Request(
            daily_only=daily_only,
            brands=self.brand or (),
            days=days,
            force=self.force,
            deliver=not self.no_deliver,
        )


def _daily(*, day: Day = None, selection: DeliverySelection, common: Common) -> None:
    """Deliver every daily export that is due.

    Example: orchestrate daily --date 2026-11-21 --brand ACME
    """
    _deliver(selection.request(day, daily_only=True), selection, common, common.target)


def _run(*, day: Day = None, selection: DeliverySelection, common: Common) -> None:
    """Deliver every export that is due, of any interval. Schedulers start this command.

    Example: orchestrate run --log-format json
    """
    _deliver(selection.request(day), selection, common, common.target)


def _backfill(
    *,
    first: FirstDay,
    last: LastDay,
    selection: DeliverySelection,
    common: Common,
) -> None:
    """Deliver the windows that begin on these days and were not delivered yet.

    Windows that have not ended are left out. With --force, windows that were
    delivered are built again as the next revision.

    Example: orchestrate backfill --from 2026-11-01 --to 2026-11-15 --brand ACME
    """
    _deliver(selection.request(Days(first, last)), selection, common, common.target)


def _resend(
    *,
    day: Annotated[
        Days,
        typer.Option(
            "--date", parser=one_day, metavar="DAY", help="The windows that begin on that day."
        ),
    ],
    selection: Selection,
    common: Configured,
) -> None:
    """Deliver files again, byte for byte as they were delivered before.

    The files come from the outbox, which keeps them for the time of keep_local.
    To build them again from the warehouse: orchestrate daily --date DAY --force.

    Example: orchestrate resend --date 2026-11-21 --brand ACME
    """
    _deliver(Request(brands=selection.brand or (), days=day, resend=True), selection, common)


def _deliver(
    request: Request, selection: Selection, common: Configured, target: str | None = None
) -> None:
    from orchestrator.pipeline import run  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    config = common.read(secrets=not selection.dry_run)
    now = datetime.now(UTC)
    if selection.dry_run:
        result = run.foresee(config, projects.find(config.folder, target), request, now=now)
        report.finish(result, dry_run_lines(result))
    with notify.on_failure(config.notify), report.progress() as progress, interruptible(_ADVICE):
        project = projects.find(config.folder, target)
        result = run.run(config, project, request, now=now, progress=progress)
    report.log_run(result)
    notify.send_result(config.notify, result)
    report.finish(result)


def _reconcile(
    *,
    first: FirstDay,
    last: LastDay,
    brand: Brands = None,
    common: Common,
) -> None:
    """Compare what was delivered with what the views have now.

    Rows that are missing, gone or changed, windows that were never delivered, and
    files that are not where they were delivered. Nothing is delivered.

    Example: orchestrate reconcile --from 2026-11-01 --to 2026-11-30
    """
    from orchestrator.commands import reconcile  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    config = common.read()
    request = Request(brands=brand or (), days=Days(first, last))
    project = projects.find(config.folder, common.target)
    now = datetime.now(UTC)
    with report.progress() as progress:
        result = reconcile.reconcile(config, project, request, now=now, progress=progress)
    report.finish(result, reconcile_lines(result))


def _prune(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            help="Also give up the waiting windows that have no entry in exports.yml.",
        ),
    ] = False,
    configured: Configured,
) -> None:
    """Remove delivered files that are older than retention and keep_local allow.

    Every run does this too.

    Example: orchestrate prune --dry-run
    """
    report = configured.report()
    config = configured.read(secrets=not dry_run)
    remove = retention.foresee if dry_run else retention.prune
    result = remove(config, now=datetime.now(UTC), abandon=abandon)
    report.finish(result, prune_lines(result))


COMMANDS: dict[str, Callable[..., None]] = {
    "daily": _daily,
    "run": _run,
    "backfill": _backfill,
    "resend": _resend,
    "reconcile": _reconcile,
    "prune": _prune,
}
