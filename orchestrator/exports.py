"""One export of exports.yml: whose rows, when, in which form, to where."""

from datetime import time, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from orchestrator import patterns
from orchestrator.values import (
    Brand,
    Day,
    Delimiter,
    Duration,
    Encoding,
    Extension,
    Null,
    Pattern,
    Strict,
    TimeOfDay,
    TimestampFormat,
    TimeZone,
)
from orchestrator.windows import Calendar, Interval, Window

EVERY_BRAND = "*"

Kind = Literal["broadcast", "activity"]
"""The two files of an export."""
KINDS: tuple[Kind, ...] = ("broadcast", "activity")
"""In the order of delivery: who sees the activity file can trust that the other is there."""


class FieldChoice(Strict):
    """One column of a file: which, under which header, and whether hashed, with which salt."""

    column: str = Field(min_length=1)
    heading: str | None = Field(None, alias="as", min_length=1)
    hash: Literal["sha256"] | None = None
    salt: SecretStr | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _salt_is_for_a_hash(self) -> "FieldChoice":
        if self.salt and not self.hash:
            raise ValueError("salt has no meaning without hash: sha256")
        return self


def _field(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return {"column": value} if isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return [value] if isinstance(value, str) else value


_Field = Annotated[FieldChoice, BeforeValidator(_field)]
_Fields = Literal["default"] | Annotated[list[_Field], Field(min_length=1)]


class AdditionalFields(Strict):
    """Columns that stand after the chosen ones."""

    activities: list[_Field] = Field(default_factory=list)
    broadcasts: list[_Field] = Field(default_factory=list)


class Dialect(Strict):
    """The form of a file: everything that decides how a row becomes bytes."""

    timezone: TimeZone = ZoneInfo("UTC")
    delimiter: Delimiter = ","
    header: bool = True
    labels: Literal["en", "nl", "names"] = "en"
    quoting: Literal["minimal", "all"] = "minimal"
    null: Null = ""
    newlines: Literal["keep", "space"] = "keep"
    line_ending: Literal["lf", "crlf"] = "lf"
    encoding: Encoding = "utf-8"
    timestamp_format: TimestampFormat = "%Y-%m-%d %H:%M:%S"

    @model_validator(mode="after")
    def _null_stands_apart(self) -> "Dialect":
        if (self.null + self.delimiter).index(self.delimiter) < len(self.null):
            raise ValueError("null must not hold the delimiter, nor end in a part of it")
        try:
            f"{self.delimiter}{self.null}".encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(f"delimiter or null has no place in {self.encoding}") from error
        return self


class Content(Strict):
    """Which columns and rows of the views a file holds."""

    activity_fields: _Fields = "default"
    broadcast_fields: _Fields = "default"
    additional_fields: AdditionalFields = AdditionalFields()
    activity_types: Literal["all"] | Annotated[list[str], Field(min_length=1)] = "all"
    machine_activity: Literal["include", "exclude"] = "include"

    @property
    def choice(self) -> str:
        """Which activities a file holds, as a text that is alike where they are."""
        types = ["all"] if self.activity_types == "all" else sorted({*self.activity_types})
        return f"{','.join(types)} {self.machine_activity}"


class Export(Dialect, Content):
    """One line under `exports`, with `defaults` filled in."""

    brand: Brand
    destination: Annotated[list[str], Field(min_length=1), BeforeValidator(_one_or_more)]
    interval: Interval = Interval.DAILY
    at: TimeOfDay = time(6)
    settle: Duration = timedelta(minutes=15)
    start: Day | None = None
    directory: Pattern = ""
    activity_file: Pattern = Field("", min_length=1, validate_default=True)
    broadcast_file: Pattern = Field("", min_length=1, validate_default=True)
    extension: Extension = "csv"
    empty: Literal["header", "skip"] = "header"
    audit_windows: Annotated[int, Field(ge=0, le=1000)] = 3
    late_rows: Literal["warn", "resend"] = "warn"

    @field_validator("activity_file", "broadcast_file", mode="before")
    @classmethod
    def _default_pattern(cls, value: str, info: ValidationInfo) -> str:
        short = (info.data.get("interval") or Interval.DAILY).minutes
        kind = str(info.field_name).removesuffix("_file")
        return value or f"{kind}_{{brand}}_{{window_start:%Y%m%d{'_%H%M' if short else ''}}}"

    @field_validator("directory")
    @classmethod
    def _names_folders(cls, value: str) -> str:
        value = value.rstrip("/")
        if "//" in value:
            raise ValueError("a folder has a name: there are two slashes side by side")
        return value

    @field_validator("destination")
    @classmethod
    def _names_each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a destination stands here twice")
        return value

    @field_validator("activity_file", "broadcast_file")
    @classmethod
    def _names_a_file(cls, value: str) -> str:
        if "/" in value:
            raise ValueError("a file name holds no slash; folders go into 'directory'")
        return value

    @model_validator(mode="after")
    def _paths_differ(self) -> "Export":
        for key in ("activity_file", "broadcast_file"):
            path = self.directory + "/" + getattr(self, key)
            if self.brand == EVERY_BRAND and "{brand}" not in path:
                raise ValueError(f"{key}: for every brand (*) the path must hold {{brand}}")
            if twin := patterns.repeats(path, self.interval):
                raise ValueError(
                    f"{key}: two {self.interval} windows would share one path, such as "
                    f"'{twin.strip('/')}'; add to {{window_start:…}} what tells them apart"
                )
        if self.activity_file == self.broadcast_file:
            raise ValueError("activity_file and broadcast_file would be one path")
        return self

    @cached_property
    def calendar(self) -> Calendar:
        """The windows of this export."""
        return Calendar(self.interval, self.timezone, self.at, self.settle)

    def path(self, kind: Kind, *, brand: str, window: Window) -> str:
        """Return the path of a file below the destination's root.

        Where the time zone was changed, the rest of a window carries its local time too.
        """
        name: str = getattr(self, f"{kind}_file")
        if self.calendar.containing(window.start) != window:
            name += "_{window_start:%H%M}"
        path = f"{self.directory}/{name}" if self.directory else name
        rendered = patterns.render(path, brand=brand, window=window, timezone=self.timezone)
        return f"{rendered}.{self.extension}"
