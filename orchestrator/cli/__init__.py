"""The command line: options, one place that catches errors, exit codes."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator import system
from orchestrator.cli import begin, deliver, look, options, output
from orchestrator.cli.output import bug_report
from orchestrator.errors import ExportError


class _FlagsWithoutValue:
    """Help that shows no type beside a flag, which takes no value; typer shows <bool>."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own, which is private
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc] # of what it is mixed into
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_FlagsWithoutValue, TyperCommand):
    pass


class _Group(_FlagsWithoutValue, TyperGroup):
    pass


def _version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - no command needs it

        name = "event-based-export"
        typer.echo(f"{name} {version(name)}")
        raise typer.Exit


def _root(
    *,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app = typer.Typer(
    cls=_Group,
    callback=_root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Export e-mail events as an activity and a broadcast file per brand, and deliver them.",
)
for _command in (
    deliver.daily,
    deliver.run,
    deliver.backfill,
    deliver.resend,
    begin.init,
    begin.load,
    begin.demo,
    look.status,
    look.preview,
    look.docs,
    look.schedule,
    look.prune,
    look.check,
):
    app.command(cls=_Command)(options.grouped(_command))
begin.config.command(cls=_Command)(options.grouped(begin.schema))
app.add_typer(begin.config, name="config", cls=_Group)


def main() -> None:
    """Run the command line; the one place that catches errors."""
    system.handle_signals()
    output.apply_no_color()
    try:
        app()
    except ExportError as error:
        options.current.error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk that is full, a folder that forbids
        place = error.filename or "output"
        wrong = ExportError(f"{place}: {error.strerror}")
        options.current.error(system.disk_full(error, place) or wrong)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a fault of ours, whose words may quote a value
        options.current.error(bug_report(error))
        sys.exit(1)
