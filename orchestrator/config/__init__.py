"""exports.yml: found, read and checked as a whole. Every error names file, line and key."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, model_validator

from orchestrator.config import ledger_url, paths, public_key, yaml_source
from orchestrator.config.destinations import Destination, DestinationLine
from orchestrator.config.exports import Export
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.config.problems import Problems
from orchestrator.config.values import (
    Duration,
    FilePath,
    NotifyUrl,
    PositiveDuration,
    Shown,
    Strict,
)
from orchestrator.config.yaml_source import Source
from orchestrator.errors import ConfigError, UsageError, did_you_mean

_AGE: TypeAdapter[timedelta | None] = TypeAdapter(PositiveDuration | None)


@dataclass(frozen=True)
class Config:
    """A checked exports.yml; its paths are absolute."""

    source: Source
    destinations: dict[str, Destination]
    exports: tuple[Export, ...]
    state: LedgerUrl
    outbox: Path
    keep_local: timedelta
    retention: dict[str, timedelta]  # of the destinations where files do not stay for ever
    notify: tuple[SecretStr, ...]

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self.source.path.parent

    def check_key(self, export: Export) -> None:
        """Raise ConfigError where an export's files cannot be encrypted for its key now."""
        if key := export.dialect.encrypt_for:
            try:
                public_key.recipient(key)
            except ValueError as error:
                raise self.error(export, "encrypt_for", str(error)) from error

    def error(self, export: Export, key: str, message: str) -> ConfigError:
        """Return an error at a key of this export, or of the defaults that it comes from."""
        problems = Problems(self.source)
        problems.add(("exports", self.exports.index(export), key), message)
        return problems.error()


class Top(Strict):
    """What is exported, when, in which form, to where."""

    destinations: Annotated[dict[str, Any], Shown(dict[str, DestinationLine])]
    """By name: where files go."""
    exports: Annotated[list[dict[str, Any]], Shown(list[Export])]
    """Whose rows are exported; each line may say everything that `defaults` may."""
    defaults: dict[str, Any] = Field({})
    """What an export does not say itself."""
    state: str = "sqlite:///state/ledger.db"
    """The ledger: sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE for several hosts."""
    outbox: FilePath = Path("outbox")
    """Where files are made and wait."""
    keep_local: Duration = timedelta(days=14)
    """How long delivered files stay in the outbox; the newest window of each export stays."""
    notify: list[NotifyUrl] = Field([])
    """Apprise URLs, told of failures and late rows, one message a run."""

    @model_validator(mode="after")
    def _not_empty(self) -> "Top":
        if not self.exports:
            raise ValueError("'exports' names no brand; expected a list such as [{brand: ACME}]")
        return self


def find(path: Path | None) -> Path:
    """Return the config's absolute path: as given, else $ORCHESTRATE_CONFIG, else ./exports.yml.

    Raises UsageError where there is no such file.
    """
    chosen = path or Path(os.environ.get("ORCHESTRATE_CONFIG") or "exports.yml")
    if not chosen.is_file():
        raise UsageError(
            f"{chosen}: no such file; name it with --config or $ORCHESTRATE_CONFIG, "
            "or run in the folder that holds exports.yml"
        )
    return chosen.absolute()


def home(path: Path | None) -> Path:
    """Return the folder of the config, or the current one where there is none and none is named."""
    if path or os.environ.get("ORCHESTRATE_CONFIG"):
        return find(path).parent
    return Path.cwd()


def load(path: Path | None, *, secrets: bool = True) -> Config:
    """Read and check exports.yml. Raises ConfigError that lists everything wrong in it.

    Without `secrets`, variables that only a delivery needs may be unset. Such a config knows no
    destination, only how long files stay there, and tells nobody: nothing can be delivered by it.
    """
    source = yaml_source.read(find(path), secrets=secrets)
    problems = Problems(source)
    keys = source.values.items()
    values = {key: value for key, value in keys if value is not None or key not in Top.model_fields}
    if any(at[0] == "notify" for at in source.unset):
        del values["notify"]
    context = {"folder": source.path.parent}
    try:
        top = Top.model_validate(values, context=context)
    except ValidationError as error:
        problems.add_all(error, (), Top)
        raise problems.error() from error
    lines = dict(_destinations(top, problems))
    exports = tuple(_exports(top, problems))
    state = _state(top.state, problems)
    if not problems:
        paths.refuse_shared(exports, problems)
    if problems or state is None:
        raise problems.error()
    if not secrets:
        lines, top = {}, top.model_copy(update={"notify": []})
    outbox = source.path.parent / top.outbox
    return Config(
        source,
        {name: line.destination for name, line in lines.items()},
        exports,
        state,
        outbox,
        top.keep_local,
        dict(_retention(top)),
        tuple(top.notify),
    )


def _destinations(top: Top, problems: Problems) -> Iterator[tuple[str, DestinationLine]]:
    context = {"folder": problems.source.path.parent}
    for name, value in top.destinations.items():
        try:
            yield name, DestinationLine.model_validate(value, context=context)
        except ValidationError as error:
            problems.add_all(error, ("destinations", name), DestinationLine)


def _retention(top: Top) -> Iterator[tuple[str, timedelta]]:
    """Yield how long files stay, also where a variable is unset and the rest of a line unknown."""
    for name, value in top.destinations.items():
        if isinstance(value, dict) and (age := _AGE.validate_python(value.get("retention"))):
            yield name, age


def _exports(top: Top, problems: Problems) -> Iterator[Export]:
    context = {"folder": problems.source.path.parent}
    if "brand" in top.defaults:
        problems.add(("defaults", "brand"), "stands under 'exports', not under 'defaults'")
    for index, given in enumerate(top.exports):
        at = ("exports", index)
        values = {"destination": _only(top.destinations), **top.defaults, **given}
        try:
            export = Export.model_validate(values, context=context)
        except ValidationError as error:
            problems.add_all(error, at, Export)
            continue
        for name in export.destination:
            if name not in top.destinations:
                hint = did_you_mean(name, top.destinations)
                problems.add(
                    (*at, "destination"), f"no destination '{name}'{hint}", top.destinations
                )
            elif export.directory.startswith("/") and "directory" in (top.destinations[name] or ()):
                problems.add(
                    (*at, "directory"),
                    f"leaves the folder of destination '{name}': begin it with no slash",
                )
        if "at" in given and export.interval.minutes:
            problems.add((*at, "at"), f"has no meaning for the interval {export.interval}")
        yield export


def _only(destinations: dict[str, Any]) -> str:
    return next(iter(destinations)) if len(destinations) == 1 else "managed"


def _state(value: str, problems: Problems) -> LedgerUrl | None:
    try:
        return ledger_url.checked(value, problems.source.path.parent)
    except ValueError as error:
        problems.add(("state",), str(error))
        return None
