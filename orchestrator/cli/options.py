"""The options that several commands have: types of parameters, and dataclasses of options."""

import dataclasses
import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from orchestrator import config as configs
from orchestrator import system
from orchestrator.cli.output import LogFormat
from orchestrator.cli.report import Report
from orchestrator.config import Config, yaml_source
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import ExportError, InterruptedRunError, did_you_mean
from orchestrator.files.outbox import Outbox
from orchestrator.warehouse import project as projects
from orchestrator.windows import Days

Kind = TypeVar("Kind", bound=StrEnum)


def day(value: str) -> date:
    """Parse a day; raises typer.BadParameter."""
    try:
        found = date.fromisoformat(value)
    except ValueError as error:
        raise typer.BadParameter("expected a day such as 2026-11-21") from error
    if not 1970 <= found.year <= 2999:  # noqa: PLR2004 - the years of `start` too
        raise typer.BadParameter("expected a day from 1970 to 2999")
    return found


def one_day(value: str) -> Days:
    """Parse a day into a range of that one day; raises typer.BadParameter."""
    return Days(day(value), day(value))


def one_of(kind: type[Kind]) -> Callable[[str], Kind]:
    """Return a parser of an enum's values. It raises typer.BadParameter.

    Unlike typer's own parser, it suggests the valid value that is nearest to a wrong one.
    """

    def read(value: str) -> Kind:
        if value in list(kind):
            return kind(value)
        *names, last = (repr(each.value) for each in kind)
        hint = did_you_mean(value, list(kind))
        raise typer.BadParameter(f"{value!r}: expected {', '.join(names)} or {last}{hint}")

    return read


Day = Annotated[
    Days | None,
    typer.Option(
        "--date", parser=one_day, metavar="DAY", help="Only windows that begin on that day."
    ),
]
FirstDay = Annotated[
    date, typer.Option("--from", parser=day, metavar="DAY", help="The first local day.")
]
LastDay = Annotated[
    date, typer.Option("--to", parser=day, metavar="DAY", help="The last local day, included.")
]


@contextmanager
def _silently() -> Iterator[None]:
    """Offer no completion if a file cannot be read: the command itself reports the error."""
    with suppress(ExportError, OSError, AttributeError, KeyError, TypeError):
        yield


def brands(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield the brands of exports.yml that begin with `incomplete`, for shell completion."""
    with _silently():
        source = yaml_source.read_yaml(configs.find(context.params.get("config")), secrets=False)
        names = {export["brand"] for export in source.values["exports"]} - {EVERY_BRAND}
        yield from sorted(name for name in names if name.startswith(incomplete))


def targets(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Yield the targets of profiles.yml that begin with `incomplete`, for shell completion."""
    with _silently():
        names = projects.targets(configs.home(context.params.get("config")))
        yield from (name for name in names if name.startswith(incomplete))


Brands = Annotated[
    list[str] | None,
    typer.Option(
        "--brand", metavar="NAME", help="Only this brand; repeatable.", autocompletion=brands
    ),
]


@dataclass(frozen=True, kw_only=True)
class Output:
    """The options that every command has: the format of its output and log."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = (
        False
    )
    log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format",
            parser=one_of(LogFormat),
            help="The format of the log on stderr.",
        ),
    ] = LogFormat.TEXT
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log more, with tracebacks.")] = (
        False
    )

    def report(self) -> Report:
        """Start the log, and return the report. `main` reports an error of the command with it."""
        global current  # noqa: PLW0603 - one command runs in a process
        current = Report(as_json=self.as_json, log_format=self.log_format, verbose=self.verbose)
        current.start()
        return current


@dataclass(frozen=True, kw_only=True)
class Configured(Output):
    """The options of a command that reads exports.yml."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="exports.yml; by default $ORCHESTRATE_CONFIG or ./exports.yml.",
        ),
    ] = None

    def read(self, *, secrets: bool = True) -> Config:
        """Read and check exports.yml. Also removes work files that a killed run left behind."""
        config = configs.read(self.config, secrets=secrets)
        Outbox(config.outbox).remove_leftovers()
        return config


@dataclass(frozen=True, kw_only=True)
class Common(Configured):
    """The options of a command that reads exports.yml and the warehouse."""

    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="NAME",
            help="A target of profiles.yml; by default $ORCHESTRATE_TARGET or duckdb.",
            autocompletion=targets,
        ),
    ] = None


current = Report()
"""The report of the command that runs in this process."""


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM in the block into InterruptedRunError with this advice."""
    try:
        yield
    except (typer.Exit, InterruptedRunError):
        raise
    except (KeyboardInterrupt, Exception) as error:
        # DuckDB raises a RuntimeError if Ctrl-C stops a query. SIGTERM may also end a child
        # process, such as Spark's Java, so an error after the signal is a consequence of it.
        stopped = isinstance(error, KeyboardInterrupt) or str(error) == "Query interrupted"
        if not stopped and not system.received_signals:
            raise
        number = next(iter(system.received_signals), signal.SIGINT)
        raise InterruptedRunError(advice, number) from error


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer: the fields of each dataclass parameter become parameters."""
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if isinstance(parameter.annotation, type) and dataclasses.is_dataclass(
            parameter.annotation
        ):
            groups[parameter.name] = parameter.annotation
            parameters += inspect.signature(parameter.annotation, eval_str=True).parameters.values()
        else:
            parameters.append(parameter)

    def run(**values: Any) -> None:  # noqa: ANN401 - options have different types
        for name, group in groups.items():
            fields = {field.name: values.pop(field.name) for field in dataclasses.fields(group)}
            values[name] = group(**fields)
        with interruptible("run the command again"):
            command(**values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    ordered = sorted(parameters, key=lambda parameter: parameter.kind)
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined] # PEP 362
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return run
