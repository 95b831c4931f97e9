"""The commands that keep house, and look before the night: `prune` and `check`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import retention
from orchestrator.cli.options import Common, Configured


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
    from orchestrator import check as checks  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    loaded = configs.load(common.config)
    with report.progress() as progress:
        result = checks.check(loaded, common.target, now=datetime.now(UTC), progress=progress)
    report.check(result)
    raise typer.Exit(result.exit_code)
