"""One export of exports.yml: whose rows, when, in which form, to where."""

from dataclasses import dataclass
from datetime import time, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from orchestrator.config import patterns
from orchestrator.config.content import Content
from orchestrator.config.dialect import Dialect
from orchestrator.config.values import (
    Brand,
    Day,
    Duration,
    Extension,
    Pattern,
    Strict,
    TimeOfDay,
)
from orchestrator.windows import Calendar, Interval, Window

EVERY_BRAND = "*"

Kind = Literal["broadcast", "activity"]
"""The two data files of an export."""
KINDS: tuple[Kind, ...] = ("broadcast", "activity")
"""In the order of delivery: who sees the activity file can trust that the other is there."""
FileKind = Literal["broadcast", "activity", "ready", "manifest"]
"""Every file of a window: the data files, and those that say that these are complete."""
COMPLETION: tuple[FileKind, ...] = ("ready", "manifest")
Completion = Literal["none", "ready", "manifest", "both"]


@dataclass(frozen=True)
class File:
    """One file of a window: what it is, its path at every destination, and its bytes.

    `path` is a POSIX path below the destination's folder (an SFTP destination takes an absolute
    one too), `size` in bytes, `sha256` in hexadecimal. `rows` are those of a data file, without
    the header; None where they are not known, and for completion files.
    """

    kind: FileKind
    path: str
    size: int
    sha256: str
    rows: int | None = None


def _one_or_more(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return [value] if isinstance(value, str) else value


_Names = Annotated[list[str], Field(min_length=1)]


def _file(kind: Kind) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    shown = _pattern(kind, Interval.DAILY)
    return Field("", validate_default=True, json_schema_extra={"default": shown})


def _pattern(kind: str, interval: Interval) -> str:
    return f"{kind}_{{brand}}_{{window_start:%Y%m%d{'_%H%M' if interval.minutes else ''}}}"


GROUPS: dict[str, type[Strict]] = {"content": Content, "dialect": Dialect}
"""The fields of an export that are models of their own."""


class Export(Strict):
    """One line under `exports`, with `defaults` filled in."""

    content: Content = Content()
    """Which columns and rows; exports.yml writes its keys next to those of the export."""
    dialect: Dialect = Dialect()
    """How a row becomes bytes, likewise."""
    brand: Brand
    """As in the raw tables; or "*": every brand of the warehouse that has no line of its own."""
    destination: Annotated[
        _Names, BeforeValidator(_one_or_more, json_schema_input_type=str | _Names)
    ] = Field(examples=["archive"])
    """A name or a list; each gets the files. Without it: the only destination, or `managed`."""
    interval: Interval = Interval.DAILY
    """How much time a pair of files covers, by the calendar; weeks begin on Monday."""
    at: TimeOfDay = time(6)
    """From when on a finished daily, weekly or monthly window is due, local time."""
    settle: Duration = timedelta(minutes=15)
    """How long after its end a window is held back, for rows in flight."""
    start: Day | None = None
    """The day to begin with, such as 2026-11-01; null: the last finished window."""
    directory: Pattern = ""
    """Folders below the destination's own, such as "{brand}/{window_start:%Y}"."""
    activity_file: Pattern = _file("activity")
    """The name of the activity file, without extension; intervals below a day add _%H%M."""
    broadcast_file: Pattern = _file("broadcast")
    """The name of the broadcast file, likewise."""
    extension: Extension = "csv"
    """What follows the name of a file and a dot."""
    completion: Completion = "none"
    """What follows the files: X`.ready` beside each file X, a `manifest` of both, or `both`."""
    empty: Literal["header", "skip"] = "header"
    """What a window without rows delivers: files with a `header` alone, or none (`skip`)."""
    audit_windows: Annotated[int, Field(ge=0, le=1000)] = 3
    """So many delivered windows are counted again at the end of a run; 0: none."""
    late_rows: Literal["warn", "resend"] = "warn"
    """A window with more rows than were delivered: `warn`, or make and `resend` it."""

    @classmethod
    def written_keys(cls) -> list[str]:
        """Return the keys of an export as people write them, those of its models among them."""
        own = [key for key in super().written_keys() if key not in GROUPS]
        return [*(key for model in GROUPS.values() for key in model.written_keys()), *own]

    @model_validator(mode="before")
    @classmethod
    def _grouped(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        """Give each model its keys, which exports.yml writes in one mapping.

        A key that has the name of a model goes to that model, which refuses it as unknown.
        """
        if not isinstance(values, dict):
            return values
        taken = {name: {name, *model.written_keys()} for name, model in GROUPS.items()}
        groups = {
            name: {key: value for key, value in values.items() if key in keys}
            for name, keys in taken.items()
        }
        own = {k: v for k, v in values.items() if not any(k in keys for keys in taken.values())}
        return own | groups

    @field_validator("activity_file", "broadcast_file", mode="before")
    @classmethod
    def _default_pattern(cls, value: str, info: ValidationInfo) -> str:
        kind = str(info.field_name).removesuffix("_file")
        return value or _pattern(kind, info.data.get("interval") or Interval.DAILY)

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

    @property
    def timezone(self) -> ZoneInfo:
        """The time zone of windows, file names and times in the files."""
        return self.dialect.timezone

    @cached_property
    def calendar(self) -> Calendar:
        """The windows of this export."""
        return Calendar(self.interval, self.timezone, self.at, self.settle)

    def path(self, kind: Kind, *, brand: str, window: Window) -> str:
        """Return the path of a data file below the destination's root.

        Where the time zone was changed, the rest of a window carries its local time too.
        """
        name: str = getattr(self, f"{kind}_file")
        if self.calendar.containing(window.start) != window:
            name += "_{window_start:%H%M}"
        path = f"{self.directory}/{name}" if self.directory else name
        rendered = patterns.render(path, brand=brand, window=window, timezone=self.timezone)
        return f"{rendered}.{self.extension}{self.dialect.packed_suffix}"

    def files(self, *, brand: str, window: Window) -> list[tuple[FileKind, str]]:
        """Return the kind and path of every file of a window, in the order of delivery."""
        data = {kind: self.path(kind, brand=brand, window=window) for kind in KINDS}
        found: list[tuple[FileKind, str]] = [*data.items()]
        if self.completion in ("ready", "both"):
            found += [("ready", f"{path}.ready") for path in data.values()]
        if self.completion in ("manifest", "both"):
            found.append(("manifest", f"{data['activity']}.manifest.json"))
        return found
