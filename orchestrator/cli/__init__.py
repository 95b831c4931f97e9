"""The command line: the program with all commands, and `main`, which reports errors."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator import system
from orchestrator.cli import options, other_commands, output, run_commands
from orchestrator.cli.output import bug_report
from orchestrator.errors import ExportError


class _FlagsWithoutValue:
    """Remove the type `<bool>`, which typer shows, from the help of flags: they take no value."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own, which is private
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc] # a mixin's base has it
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
    """Define the options that come before a command."""


app = typer.Typer(
    cls=_Group,
    callback=_root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Export e-mail events as two files per brand, activities and broadcasts, and "
    "deliver them.",
)
_config = typer.Typer(
    no_args_is_help=True,
    help="Help to write exports.yml.\n\nExample: orchestrate config schema > exports.schema.json",
)
for _app, _commands in (
    (app, {**run_commands.COMMANDS, **other_commands.COMMANDS}),
    (_config, other_commands.CONFIG_COMMANDS),
):
    for _name, _function in _commands.items():
        _app.command(_name, cls=_Command)(options.grouped(_function))
app.add_typer(_config, name="config", cls=_Group)


def main() -> None:
    """Run the command line. Errors of every command are caught and reported here only."""
    system.handle_signals()
    output.apply_no_color()
    try:
        system.use_utf8()
        system.remove_private_folders()
        app()
    except ExportError as error:
        options.current.error(error)
        sys.exit(error.exit_code)
    except OSError as error:  # such as a full disk, or a missing permission
        options.current.error(system.os_error(error, "output"))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a bug: its text is not shown, it may quote a value of a row
        options.current.error(bug_report(error))
        sys.exit(1)
