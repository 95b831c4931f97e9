"""Mistakes in a YAML file, described for its author: file, line, key, and what to do."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.config.destinations import Sftp
from orchestrator.config.exports import AdditionalFields, FieldChoice
from orchestrator.config.values import Strict
from orchestrator.config.yaml_source import Location, Source, location_text
from orchestrator.errors import ConfigError, did_you_mean, escaped

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SECRETS = (
    "destinations",
    "encrypt_for",
    "notify",
    "salt",
    "sign_passphrase",
    "sign_with",
    "state",
)
"""Keys with secrets, or below which someone may write a secret by mistake: hide the values."""
_SHOWN = ("port", "timeout")
"""Keys below those whose values are shown nevertheless."""
_EXPECTED = {
    "string_type": "expected text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected keys and values",
    "model_type": "expected keys and values",
    "dataclass_type": "expected keys and values",
}
"""Texts that replace pydantic's, which use the names of Python's types."""


class Problems:
    """Collects the mistakes in a YAML file, so that one error reports all of them."""

    def __init__(self, source: Source) -> None:
        """Start without problems."""
        self.source = source
        self.bullets: dict[str, Location] = {}
        """The problems, one line of text each, and the location of each in the file."""

    def __bool__(self) -> bool:
        """Tell whether there is a problem."""
        return bool(self.bullets)

    def add(self, at: Location, message: str, valid: Iterable[str] = ()) -> None:
        """Add a problem at a key; `valid` lists the values that the key may have."""
        at = self._written(at)
        if names := sorted(valid):
            message += f"; valid: {', '.join(names)}"
        where = f"{self.source.path}:{self.source.line(at)}"
        bullet = f"{where}: {location_text(at, self.source.values)}: {message}".replace(": :", ":")
        self.bullets[escaped(bullet)] = at

    def add_all(self, error: ValidationError, at: Location, model: type[Strict] = Strict) -> None:
        """Add the errors that pydantic found when `model` checked the mapping at this location."""
        found = [(self._known(at, item["loc"]), item) for item in error.errors(include_url=False)]
        for place, item in found:
            if place in self.source.unset:
                continue  # the value names a variable that is not set, and is not needed
            # If a value may have one of several types, pydantic reports an error for each of them.
            # The errors that are deepest in the value belong to the type that the author meant.
            deeper = any(other[: len(place)] == place != other for other, _ in found)
            if deeper and item["type"] != "missing" and item["loc"]:
                continue
            key = str(item["loc"][-1]) if item["loc"] else ""
            if item["type"] == "extra_forbidden":
                valid = _model_at(model, item["loc"]).written_keys()
                self.add(place, "unknown key" + did_you_mean(key, valid), valid)
            elif item["type"] == "missing":
                self.add(place, f"'{key}' is missing")
            else:
                is_secret = bool({*_SECRETS}.intersection(place)) and key not in _SHOWN
                self.add(place, _message(item, is_secret=is_secret))

    def error(self) -> ConfigError:
        """Return the error that lists all problems, one line each."""
        return ConfigError("\n".join(self.bullets))

    def _known(self, at: Location, loc: tuple[int | str, ...]) -> Location:
        """Remove the parts of pydantic's location that are not in the file, such as type names."""
        for part in loc:
            written = self._written((*at, part))
            if written in self.source.lines and written[-1] == part:
                at = (*at, part)
        return at

    def _written(self, at: Location) -> Location:
        """Return the location of a key in the file.

        A key of an export that is not in its entry is in `defaults`; if it is in neither, the
        location is that of the entry.
        """
        if at[:1] == ("exports",) and len(at) > 2 and at[:3] not in self.source.lines:  # noqa: PLR2004
            inherited = ("defaults", *at[2:])
            return inherited if inherited[:2] in self.source.lines else at[:2]
        return at


def _message(item: "ErrorDetails", *, is_secret: bool) -> str:
    """Return the text about one value. It quotes the value if that is text and not a secret."""
    value, wrong = item["input"], item["msg"].removeprefix("Value error, ")
    message = _EXPECTED.get(item["type"], wrong.replace("Input should be", "expected"))
    if item["type"] == "string_type" and not isinstance(value, (dict, list)):
        kind = {type(None): "nothing", bool: "true or false"}.get(type(value), "a number or a date")
        message += f", and YAML reads this as {kind}; put the text in quotes"
    if is_secret or not isinstance(value, str):
        return message
    nearest = re.findall("'([^']+)'", item.get("ctx", {}).get("expected", ""))
    return f"{value!r}: {message}{did_you_mean(value, nearest)}"


def _model_at(model: type[Strict], loc: tuple[int | str, ...]) -> type[Strict]:
    names = [part for part in loc[:-1] if isinstance(part, str)]
    if "sftp" in names:
        return Sftp
    if any(isinstance(part, int) for part in loc[:-1]):
        return FieldChoice
    return AdditionalFields if "additional_fields" in names else model
