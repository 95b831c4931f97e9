"""The commands that show and deliver nothing: `docs` and `schedule`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import config as configs
from orchestrator import project as projects
from orchestrator import schedule as schedules
from orchestrator.cli.options import Common


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
    from orchestrator import docs as pages  # noqa: PLC0415 - `--help` needs no dbt

    report = common.report()
    project = projects.find(configs.home(common.config), common.target)
    index = pages.write(project, folder)
    report.text(str(index))
    report.document({"index": str(index)})


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
