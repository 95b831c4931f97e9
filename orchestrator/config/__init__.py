"""Find, read and check exports.yml. Every error names the file, the line and the key."""

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
    SchemaOf,
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
    retention: dict[str, timedelta]  # by destination; files of any other one are never deleted
    notify: tuple[SecretStr, ...]

    @property
    def folder(self) -> Path:
        """The folder of exports.yml: relative paths in the file start from it."""
        return self.source.path.parent

    def check_keys(self, export: Export) -> None:
        """Raise ConfigError if an OpenPGP key of the export cannot encrypt or sign files now."""
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
        """Return an error about a key of an export.

        It names the line of the key in the export's entry, or in `defaults` if the key is there.
        """
        problems = Problems(self.source)
        problems.add(("exports", self.exports.index(export), key), message)
        return problems.error()


class Top(Strict):
    """Which rows are exported, when, in which format, and to which destinations."""

    destinations: Annotated[dict[str, Any], SchemaOf(dict[str, DestinationLine])]
    """The folders and servers that files are delivered to, by name."""
    exports: Annotated[list[dict[str, Any]], SchemaOf(list[Export])]
    """The brands whose rows are exported; an entry may have any key that `defaults` may have."""
    defaults: dict[str, Any] = Field({})
    """Values of the keys that an entry under `exports` omits."""
    state: str = "sqlite:///state/ledger.db"
    """URL of the ledger: sqlite:///FILE, or to share it postgresql://USER:PASSWORD@HOST/DATABASE."""
    outbox: FilePath = Field(Path("outbox"), validate_default=True)
    """The folder in which files are written, and from which they are delivered."""
    keep_local: Duration = timedelta(days=14)
    """How long delivered files stay in the outbox; each export keeps those of its newest window."""
    notify: list[NotifyUrl] = Field([])
    """Apprise URLs; after a run with problems, one message is sent to each."""

    @model_validator(mode="after")
    def _not_empty(self) -> "Top":
        if not self.exports:
            raise ValueError("'exports' has no entry; expected a list such as [{brand: ACME}]")
        return self


def find(path: Path | None) -> Path:
    """Return the absolute path of `path`, else of $ORCHESTRATE_CONFIG, else of ./exports.yml.

    Raises UsageError if the file does not exist.
    """
    chosen = path or Path(os.environ.get("ORCHESTRATE_CONFIG") or "exports.yml")
    if not chosen.is_file():
        raise UsageError(
            f"{chosen}: no such file; name it with --config or $ORCHESTRATE_CONFIG, "
            "or run in the folder of exports.yml"
        )
    return chosen.absolute()


def home(path: Path | None) -> Path:
    """Return the folder of the exports.yml that is named, else the current folder."""
    if path or os.environ.get("ORCHESTRATE_CONFIG"):
        return find(path).parent
    return Path.cwd()


def read(path: Path | None, *, secrets: bool = True) -> Config:
    """Read and check exports.yml. Raises ConfigError that lists all mistakes in it.

    If `secrets` is false, environment variables that only a delivery needs may be unset. The
    result has no `destinations` and no `notify`, so it cannot deliver; its `retention` is set.
    """
    source = yaml_source.read_yaml(find(path), secrets=secrets)
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
    return Config(
        source,
        {name: entry.destination for name, entry in destinations.items()},
        exports,
        state,
        top.outbox,
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
    """Yield each destination that has a retention, and the retention.

    It is read from the raw values: other keys of an entry may name variables that are not set.
    """
    for name, value in top.destinations.items():
        if isinstance(value, dict) and (age := _AGE.validate_python(value.get("retention"))):
            yield name, age


def _exports(top: Top, problems: Problems) -> Iterator[Export]:
    context = {"folder": problems.source.path.parent}
    if "brand" in top.defaults:
        problems.add(("defaults", "brand"), "belongs under 'exports', not under 'defaults'")
    for index, given in enumerate(top.exports):
        at = ("exports", index)
        values = {"destination": _default_destination(top), **top.defaults, **given}
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
                    f"must be below the folder of destination '{name}': remove the slash at its "
                    "beginning",
                )
        if "at" in given and export.interval.minutes:
            problems.add((*at, "at"), f"has no meaning for the interval {export.interval}")
        yield export


def _refuse_shared(exports: Sequence[Export], problems: Problems) -> None:
    """Add a problem for each path that is not valid, and for each that two files could share."""
    # This day is a Monday and the first of a month: with a window of any interval, the message
    # shows an example of the path that two exports share.
    moment = datetime(2027, 2, 1, 0, 5)  # noqa: DTZ001 - local in each export's own zone
    found: list[tuple[str, tuple[int, FileKind, str]]] = []
    for index, export in enumerate(exports):
        at = moment.replace(tzinfo=export.timezone).astimezone(UTC)
        window = export.calendar.containing(at)
        brand = None if export.brand == EVERY_BRAND else export.brand
        examples = export.files(brand=export.brand, window=window)
        for (kind, path), (_, pattern) in zip(examples, export.file_patterns(), strict=True):
            try:
                patterns.check_path(path)
            except ValueError as error:
                problems.add(("exports", index), str(error))
            wildcards = patterns.wildcard_paths(pattern, brand=brand)
            found += [(wildcard, (index, kind, path)) for wildcard in wildcards]
    reported: set[tuple[int, int]] = set()  # two exports may share several paths
    for pair in patterns.conflicts(found, {export.brand for export in exports}):
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


def _default_destination(top: Top) -> str:
    return next(iter(top.destinations)) if len(top.destinations) == 1 else "managed"


def _state(value: str, problems: Problems) -> LedgerUrl | None:
    try:
        return ledger_url.parse(value, problems.source.path.parent)
    except ValueError as error:
        problems.add(("state",), str(error))
        return None
