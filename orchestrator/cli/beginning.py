"""The commands to begin with: `init` and `config schema`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Output

config = typer.Typer(
    no_args_is_help=True,
    help="What serves those who write exports.yml.\n\n"
    "Example: orchestrate config schema > exports.schema.json",
)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where; else the current folder.")
    ] = Path(),
    *,
    output: Output,
) -> None:
    """Write exports.yml, with every key as a comment, its schema, and profiles/profiles.yml.

    Nothing is ever overwritten.

    Example: orchestrate init exports
    """
    from orchestrator import init as inits  # noqa: PLC0415 - no other command needs it

    report = output.report()
    written = inits.write(folder)
    for path in written:
        report.say(f"wrote {path}")
    report.say(f"Next, in {folder.absolute()}:\n{inits.NEXT}")
    report.document({"written": written, "exit_code": 0})


def schema(*, output: Output) -> None:
    """Print the JSON Schema (draft 2020-12) of exports.yml: editors complete and check by it.

    Example: orchestrate config schema > exports.schema.json
    """
    from orchestrator.config import schema as config_schema  # noqa: PLC0415 - no other command needs it

    output.report()
    typer.echo(config_schema.text(), nl=False)
