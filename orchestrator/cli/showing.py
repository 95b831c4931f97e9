"""The commands that show and deliver nothing: `schedule`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import schedule as schedules
from orchestrator.cli.options import Common


def schedule(
    scheduler: Annotated[schedules.Scheduler, typer.Argument(help="Who is to start the runs.")],
    *,
    common: Common,
) -> None:
    """Print the units that start `orchestrate run` whenever an export of this config comes due.

    Example: orchestrate schedule systemd
    """
    report = common.report()
    loaded = configs.load(common.config)
    program = Path(sys.argv[0]).absolute()
    units = schedules.render(loaded, scheduler, program=program, target=common.target)
    report.text(units.rstrip("\n"))
    report.document({"scheduler": scheduler, "units": units})
