"""exports.yml: found, read and checked. Every error names file, line and key."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, model_validator

from orchestrator.config import ledger_url, openpgp, patterns, yaml_source
from orchestrator.config.destinations import DestinationConfig, DestinationLine
from orchestrator.config.exports import EVERY_BRAND, Export, FileKind
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
    destinations: dict[str, DestinationConfig]
    exports: tuple[Export, ...]
    state: LedgerUrl
    outbox: Path
    keep_local: timedelta
    retention: dict[str, timedelta]  # by destination, where files are deleted at all
    notify: tuple[SecretStr, ...]

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self.source.path.parent

    def check_keys(self, export: Export) -> None:
        """Raise ConfigError where an export's keys cannot encrypt or sign files now."""
        dialect = export.dialect
        try:
            key = "encrypt_for"
            if dialect.encrypt_for:
                openpgp.recipient(dialect.encrypt_for)
            key = "sign_with"
            dialect.signer()
        except ValueError as error:
            raise self.error(export, key, str(error)) from error

    def error(self, export: Export, key: str, message: str) -> ConfigError:
        """Return an error at a key of this export, or of the defaults that it is from."""
        problems = Problems(self.source)
        problems.add(("exports", self.exports.index(export), key), message)
        return problems.error()


class Top(Strict):
    """What is exported, when, in which dialect, to where."""

    destinations: Annotated[dict[str, Any], Shown(dict[str, DestinationLine])]
    """Where files go, by name."""
    exports: Annotated[list[dict[str, Any]], Shown(list[Export])]
    """Whose rows are exported; each entry takes every key that `defaults` takes."""
    defaults: dict[str, Any] = Field({})
    """The values of keys that an entry under `exports` does not have."""
    state: str = "sqlite:///state/ledger.db"
    """The ledger: sqlite:///FILE; for several hosts postgresql://USER:PASSWORD@HOST/DATABASE."""
    outbox: FilePath = Path("outbox")
    """The folder where files are written and wait for their delivery."""
    keep_local: Duration = timedelta(days=14)
    """How long delivered files stay in the outbox; the newest window of each export stays."""
    notify: list[NotifyUrl] = Field([])
    """Apprise URLs that get a message per run about failures and late rows."""

    @model_validator(mode="after")
    def _not_empty(self) -> "Top":
        if not self.exports:
            raise ValueError("'exports' has no entry; expected a list such as [{brand: ACME}]")
        return self


def find(path: Path | None) -> Path:
    """Return the config's absolute path: as given, else $ORCHESTRATE_CONFIG, else ./exports.yml.

    Raises UsageError where there is no such file.
    """
    chosen = path or Path(os.environ.get("ORCHESTRATE_CONFIG") or "exports.yml")
    if not chosen.is_file():
        raise UsageError(
            f"{chosen}: no such file; name it with --config or $ORCHESTRATE_CONFIG, "
            "or run in the folder of exports.yml"
        )
    return chosen.absolute()


def home(path: Path | None) -> Path:
    """Return the folder of the config, or the current folder where no config is named."""
    if path or os.environ.get("ORCHESTRATE_CONFIG"):
        return find(path).parent
    return Path.cwd()


def read(path: Path | None, *, secrets: bool = True) -> Config:
    """Read and check exports.yml. Raises ConfigError that lists everything wrong in it.

    Without `secrets`, variables that only a delivery needs may be unset. Such a config cannot
    deliver or notify: it has no destinations and no `notify`, but how long files stay there.
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
    destinations = dict(_destinations(top, problems))
    exports = tuple(_exports(top, problems))
    state = _state(top.state, problems)
    if not problems:
        _refuse_shared(exports, problems)
    if problems or state is None:
        raise problems.error()
    if not secrets:
        destinations, top = {}, top.model_copy(update={"notify": []})
    outbox = source.path.parent / top.outbox
    return Config(
        source,
        {name: entry.destination for name, entry in destinations.items()},
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
    """Yield how long files stay. An unset variable elsewhere in an entry does not matter."""
    for name, value in top.destinations.items():
        if isinstance(value, dict) and (age := _AGE.validate_python(value.get("retention"))):
            yield name, age


def _exports(top: Top, problems: Problems) -> Iterator[Export]:
    context = {"folder": problems.source.path.parent}
    if "brand" in top.defaults:
        problems.add(("defaults", "brand"), "belongs under 'exports', not under 'defaults'")
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
                    f"leaves the folder of destination '{name}': remove the slash at its beginning",
                )
        if "at" in given and export.interval.minutes:
            problems.add((*at, "at"), f"has no meaning for the interval {export.interval}")
        yield export


def _refuse_shared(exports: Sequence[Export], problems: Problems) -> None:
    """Note as a problem each path that no file can have, or that two files can share."""
    # Windows of every interval begin at this moment, the first of a month and a Monday.
    moment = datetime(2027, 2, 1, 0, 5)  # noqa: DTZ001 - local in each export's own zone
    found: list[tuple[str, tuple[int, FileKind, str]]] = []
    for index, export in enumerate(exports):
        at = moment.replace(tzinfo=export.timezone).astimezone(UTC)
        window = export.calendar.containing(at)
        brand = None if export.brand == EVERY_BRAND else export.brand
        shown = export.files(brand=export.brand, window=window)
        for (kind, path), (_, pattern) in zip(shown, export.file_patterns(), strict=True):
            try:
                patterns.check_path(path)
            except ValueError as error:
                problems.add(("exports", index), str(error))
            found += [(form, (index, kind, path)) for form in patterns.forms(pattern, brand=brand)]
    reported: set[tuple[int, int]] = set()  # two exports may share several paths
    for pair in patterns.meeting(found, {export.brand for export in exports}):
        (first, _, other_path), (last, _, path) = sorted(pair)
        if exports[last].brand == EVERY_BRAND:
            path = other_path
        if pair[0] != pair[1] and (first, last) not in reported:
            reported.add((first, last))
            other = f"exports[{first}]" if first != last else "another of its files"
            problems.add(
                ("exports", last),
                f"would write the same path as {other} (such as '{path}'); "
                "give one of them its own directory or file names",
            )


def _only(destinations: dict[str, Any]) -> str:
    return next(iter(destinations)) if len(destinations) == 1 else "managed"


def _state(value: str, problems: Problems) -> LedgerUrl | None:
    try:
        return ledger_url.checked(value, problems.source.path.parent)
    except ValueError as error:
        problems.add(("state",), str(error))
        return None
