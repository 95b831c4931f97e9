"""The types of values in exports.yml: durations, times, paths, names, each with its validator.

A validator raises ValueError with the value that it expects; Problems adds file, line and key.
"""

import functools
import ipaddress
import logging
import re
from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
)

from orchestrator.config import patterns
from orchestrator.errors import did_you_mean

if TYPE_CHECKING:
    from apprise import NotifyBase
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


class Strict(BaseModel):
    """A mapping that refuses unknown keys. The docstring below a field describes it in editors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )

    @classmethod
    def written_keys(cls) -> list[str]:
        """Return the keys of the mapping in the YAML file: the alias of a field, else its name."""
        return [field.alias or name for name, field in cls.model_fields.items()]


_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "mo": timedelta(days=31),  # the longest month: no file is deleted before its time
}
_DURATION = "([0-9]{1,6})(mo|[smhd])"
_TIME_OF_DAY = "([01][0-9]|2[0-3]):[0-5][0-9]"
_EXTENSION = "[A-Za-z0-9][A-Za-z0-9._-]*"


def _duration(value: Any) -> timedelta:  # noqa: ANN401 - any value of the file
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(_DURATION, str(value))
    if not match:
        raise ValueError("expected a whole number and s, m, h, d or mo, such as 15m, 14d or 2mo")
    duration = int(match[1]) * _UNITS[match[2]]
    if duration > timedelta(days=36_500):
        raise ValueError("expected no more than a hundred years")
    return duration


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("expected more than zero, such as 60s or 60d")
    return value


@functools.cache
def _timezones() -> set[str]:
    return available_timezones() - {"localtime"}  # the host's own zone, not an IANA name


def _timezone(value: Any) -> ZoneInfo:  # noqa: ANN401 - any value of the file
    if isinstance(value, ZoneInfo):
        return value
    if not isinstance(value, str) or value not in _timezones():
        # Suggest no abbreviations: the nearest one to CEST is EST, a zone of another continent.
        hint = did_you_mean(str(value), [name for name in _timezones() if "/" in name])
        raise ValueError(f"expected an IANA time zone, such as Europe/Amsterdam{hint}")
    return ZoneInfo(str(value))


def _time_of_day(value: Any) -> time:  # noqa: ANN401 - any value of the file
    if isinstance(value, time):
        return value
    if not re.fullmatch(_TIME_OF_DAY, str(value)):
        raise ValueError("expected a time of day from 00:00 to 23:59, such as 06:00")
    return time.fromisoformat(str(value))


def _day(value: Any) -> Any:  # noqa: ANN401 - any value of the file
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        # Without this check pydantic would accept a number, as seconds since 1970.
        raise ValueError("expected a valid date, such as 2026-11-21")
    return value


def _path(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - any value of the file
    """Expand `~`, and make a relative path absolute: it starts from `folder` of the context."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("expected the path of a file or a folder")
    if "\n" in str(value) or "-----BEGIN" in str(value):
        raise ValueError("expected the path of a file, not its content")
    folder = (info.context or {}).get("folder", Path.cwd())
    try:
        return Path(folder / Path(value).expanduser())
    except RuntimeError as error:
        raise ValueError("the home folder of that user is unknown") from error


def _host(value: str) -> str:
    """Return a host's name or address; an IPv6 address loses the brackets that a URL needs."""
    bare = value[1:-1] if re.fullmatch(r"\[.*\]", value) else value
    if "://" in bare:
        raise ValueError("expected a host name or an address, without the '…://' of a URL")
    if re.search(r"[\s/@\[\]]|[^\x20-\x7e\w]", bare):
        raise ValueError("expected a host name or an address, without blanks, '/', '@' or brackets")
    if ":" in bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise ValueError("expected a host name or an address; its port is in 'port'") from error
    return bare


def _extension(value: str) -> str:
    if not re.fullmatch(_EXTENSION, value):
        raise ValueError("expected letters and digits without a leading dot, such as csv")
    return value


@dataclass(frozen=True)
class SchemaOf:
    """Describes a value to editors by the schema of the type that checks it later."""

    type: Any

    def __get_pydantic_json_schema__(
        self, core_schema: "CoreSchema", handler: GetJsonSchemaHandler
    ) -> "JsonSchemaValue":
        """Return the JSON Schema of that type."""
        del core_schema
        return handler(TypeAdapter(self.type).core_schema)


class _Timezones:
    """Lists the time zones in the JSON schema only, because reading their names takes a while."""

    def __get_pydantic_json_schema__(
        self, core_schema: "CoreSchema", handler: GetJsonSchemaHandler
    ) -> "JsonSchemaValue":
        """Return the JSON Schema of a time zone."""
        del core_schema, handler
        return {"type": "string", "enum": sorted(_timezones())}


def text_like(pattern: str, *, or_number: bool = False) -> WithJsonSchema:
    """Return the JSON Schema of text that matches a regular expression (ECMA 262).

    With `or_number`, YAML may contain the value as a number without quotes.
    """
    kind = ["string", "number"] if or_number else "string"
    return WithJsonSchema({"type": kind, "pattern": pattern})


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    text_like(f"^{_DURATION}$"),
]
PositiveDuration = Annotated[
    Duration,
    AfterValidator(_positive),
    text_like(f"^(?!0+[a-z]+$){_DURATION}$"),
]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_timezone), _Timezones()]
Host = Annotated[str, AfterValidator(_host)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), text_like(f"^{_TIME_OF_DAY}$")]
Extension = Annotated[str, AfterValidator(_extension), text_like(f"^{_EXTENSION}$", or_number=True)]
Day = Annotated[
    date,
    BeforeValidator(_day),
    Ge(date(1970, 1, 1)),
    Le(date(2999, 12, 31)),
    text_like("^(19[7-9][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
]
Pattern = Annotated[str, AfterValidator(patterns.check_pattern)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Brand = Annotated[str, AfterValidator(patterns.check_brand)]


def notify_service(url: SecretStr) -> "NotifyBase | None":
    """Return the service that Apprise uses for a URL, or None if Apprise does not know the URL.

    Silences the logs of Apprise and urllib3, because they quote URLs, which may contain tokens.
    """
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    from apprise import Apprise, NotifyBase  # noqa: PLC0415 - its import takes half a second

    service = Apprise.instantiate(url.get_secret_value())
    return service if isinstance(service, NotifyBase) else None


def _known_to_apprise(url: SecretStr) -> SecretStr:
    if notify_service(url) is None:
        raise ValueError("expected a URL that Apprise knows, such as mailto://… or slack://…")
    return url


NotifyUrl = Annotated[SecretStr, AfterValidator(_known_to_apprise)]
