"""The command line: options, one place that catches errors, exit codes."""

import sys

import typer

from orchestrator.cli import delivering, options, showing, warehouse
from orchestrator.errors import ExportError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Export e-mail events as an activity and a broadcast file per brand, and deliver them.",
)
for _command in (
    delivering.daily,
    delivering.run,
    warehouse.load,
    warehouse.demo,
    showing.schedule,
):
    app.command()(options.grouped(_command))


def main() -> None:
    """Run the command line; the one place that catches errors."""
    try:
        app()
    except ExportError as error:
        options.current.error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk that is full, a folder that forbids
        options.current.error(ExportError(f"{error.filename or 'output'}: {error.strerror}"))
        sys.exit(1)
