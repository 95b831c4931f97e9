"""What is wrong in a YAML file, one line each, for the person who edits it."""

import re
from collections.abc import Iterable

from pydantic import ValidationError

from orchestrator.config.content import AdditionalFields, FieldChoice
from orchestrator.config.destinations import Sftp
from orchestrator.config.values import Strict
from orchestrator.config.yaml_source import Location, Source, named
from orchestrator.errors import ConfigError, did_you_mean, on_one_line

_SECRETS = ("encrypt_for", "notify", "salt", "state")
"""The keys outside of `destinations` that hold secrets."""


class Problems:
    """Collects what is wrong in a file, and makes one error of it."""

    def __init__(self, source: Source) -> None:
        """Start with nothing wrong."""
        self.source = source
        self._bullets: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Tell whether anything is wrong."""
        return bool(self._bullets)

    def add(self, at: Location, message: str, valid: Iterable[str] = ()) -> None:
        """Note what is wrong at a key; `valid` lists what could stand there."""
        at = self._written(at)
        names = sorted(valid)
        if names:
            message += f"; valid: {', '.join(names)}"
        where = f"{self.source.path}:{self.source.line(at)}"
        bullet = f"{where}: {named(at)}: {message}".replace(": :", ":")
        self._bullets[on_one_line(bullet)] = 1

    def add_all(self, error: ValidationError, at: Location, model: type[Strict]) -> None:
        """Note what pydantic found wrong in the mapping at this place."""
        found = [(self._known(at, item["loc"]), item) for item in error.errors(include_url=False)]
        for place, item in found:
            if place in self.source.unset:
                continue  # nobody knows the value
            # Of a choice of types, only the one that was followed deepest is what was meant.
            deeper = any(other[: len(place)] == place != other for other, _ in found)
            if deeper and item["type"] != "missing" and item["loc"]:
                continue
            key = str(item["loc"][-1]) if item["loc"] else ""
            if item["type"] == "extra_forbidden":
                self._unknown_key(place, key, _model_at(model, item["loc"]))
            elif item["type"] == "missing":
                self.add(place, f"'{key}' is missing")
            else:
                message = item["msg"].removeprefix("Value error, ")
                message = message.replace("Input should be", "expected")
                # Below `destinations` anything may hold a secret, also in a place of its own.
                secret = place[:1] == ("destinations",) or {*_SECRETS}.intersection(place)
                shown = isinstance(item["input"], str) and (
                    not secret or key in ("port", "timeout")
                )
                if shown:  # of an enumeration, the nearest value
                    valid = re.findall("'([^']+)'", item.get("ctx", {}).get("expected", ""))
                    message = f"{item['input']!r}: {message}{did_you_mean(item['input'], valid)}"
                self.add(place, message)

    def error(self) -> ConfigError:
        """Return the error that names everything noted, in the file's order."""
        return ConfigError("\n".join(self._bullets))

    def _unknown_key(self, place: Location, key: str, model: type[Strict]) -> None:
        valid = model.written_keys()
        self.add(place, "unknown key" + did_you_mean(key, valid), valid)

    def _known(self, at: Location, loc: tuple[int | str, ...]) -> Location:
        """Drop from pydantic's location what does not stand in the file, such as a type's name."""
        for part in loc:
            written = self._written((*at, part))
            if written in self.source.lines and written[-1] == part:
                at = (*at, part)
        return at

    def _written(self, at: Location) -> Location:
        """Return where a key of an export stands: in its own line, else in the defaults."""
        if at[:1] == ("exports",) and len(at) > 2 and at[:3] not in self.source.lines:  # noqa: PLR2004
            inherited = ("defaults", *at[2:])
            return inherited if inherited[:2] in self.source.lines else at[:2]
        return at


def _model_at(model: type[Strict], loc: tuple[int | str, ...]) -> type[Strict]:
    names = [part for part in loc[:-1] if isinstance(part, str)]
    if "sftp" in names:
        return Sftp
    if any(isinstance(part, int) for part in loc[:-1]):
        return FieldChoice
    return AdditionalFields if "additional_fields" in names else model
