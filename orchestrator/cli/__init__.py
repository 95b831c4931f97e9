"""The command line: options, one place that catches errors, exit codes."""

import sys

import typer

from orchestrator import disk, terminal
from orchestrator.cli import beginning, delivering, keeping, options, showing, warehouse
from orchestrator.errors import ExportError, fault

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Export e-mail events as an activity and a broadcast file per brand, and deliver them.",
)
for _command in (
    delivering.daily,
    delivering.run,
    delivering.backfill,
    delivering.resend,
    beginning.init,
    warehouse.load,
    warehouse.demo,
    showing.status,
    showing.preview,
    showing.docs,
    showing.schedule,
    keeping.prune,
    keeping.check,
):
    app.command()(options.grouped(_command))
beginning.config.command()(options.grouped(beginning.schema))
app.add_typer(beginning.config, name="config")


def main() -> None:
    """Run the command line; the one place that catches errors."""
    terminal.obey()
    try:
        app()
    except ExportError as error:
        options.current.error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk that is full, a folder that forbids
        place = error.filename or "output"
        wrong = ExportError(f"{place}: {error.strerror}")
        options.current.error(disk.full(error, place) or wrong)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a fault of ours, whose words may quote a value
        options.current.error(fault(error))
        sys.exit(1)
