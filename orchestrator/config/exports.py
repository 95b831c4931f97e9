"""One export of exports.yml: which rows of which brand, when, in which dialect, to where."""

from collections.abc import Mapping
from dataclasses import dataclass
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

from orchestrator.config import openpgp, patterns
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
"""In the order of delivery: a receiver that sees the activity file also has the broadcast file."""
FileKind = Literal["broadcast", "activity", "signature", "ready", "manifest"]
"""Every kind of file of a window: data files, their signatures, and completion files."""
COMPLETION: tuple[FileKind, ...] = ("ready", "manifest")
"""Files that are delivered last: they tell the receiver that the files before them are complete."""
Completion = Literal["none", "ready", "manifest", "both"]


@dataclass(frozen=True)
class File:
    """One file of a window: its kind, its path at every destination, its size and its hash.

    `path` is a POSIX path, relative to the destination's folder; at an SFTP destination it may be
    absolute. `size` is in bytes, `sha256` in hexadecimal. `rows` is the number of rows of a data
    file without the header, None if it is unknown, and None for any other file.
    """

    kind: FileKind
    path: str
    size: int
    sha256: str
    rows: int | None = None


class FieldChoice(Strict):
    """One column of a file: its heading, and whether its values are hashed."""

    column: str = Field(min_length=1)
    """Name of a column of the view."""
    heading: str | None = Field(None, alias="as", min_length=1)
    """Heading to use instead of the column's label."""
    hash: Literal["sha256"] | None = None
    """`sha256`: lower-case hex of SHA-256 over the salt and the value in UTF-8; null stays null."""
    salt: SecretStr | None = Field(None, min_length=1)
    """Text that is put before the value to hash, such as "{{ env_var('HASH_SALT') }}"."""

    @model_validator(mode="after")
    def _salt_is_for_a_hash(self) -> "FieldChoice":
        if self.salt and not self.hash:
            raise ValueError("salt has no meaning without hash: sha256")
        return self


def _field(value: Any) -> Any:  # noqa: ANN401 - any value of the file
    return {"column": value} if isinstance(value, str) else value


_Field = Annotated[FieldChoice, BeforeValidator(_field, json_schema_input_type=str | FieldChoice)]
_Fields = Literal["default"] | Annotated[list[_Field], Field(min_length=1)]
_Names = Annotated[list[str], Field(min_length=1)]


class AdditionalFields(Strict):
    """Columns to add after those of `activity_fields` and `broadcast_fields`."""

    activities: list[_Field] = Field([])
    """Columns of activities_daily."""
    broadcasts: list[_Field] = Field([])
    """Columns of broadcasts_daily."""


class Content(Strict):
    """Which columns and rows of the views are in a file."""

    activity_fields: _Fields = "default"
    """Columns of the activity file: `default`, or a list of names and of {column: …, as: …, …}."""
    broadcast_fields: _Fields = "default"
    """Columns of the broadcast file, written in the same way."""
    additional_fields: AdditionalFields = AdditionalFields()
    """Columns to add after those, such as {activities: [os, url]}."""
    activity_types: Literal["all"] | _Names = "all"
    """`all`, or [broadcast, open, click, soft_bounce, hard_bounce, complaint, unsubscribe]."""
    machine_activity: Literal["include", "exclude"] = "include"
    """Opens and clicks by machines: `include` or `exclude` them."""

    @property
    def choice(self) -> str:
        """The filter of activities as text. Two exports with equal texts have the same rows."""
        types = ["all"] if self.activity_types == "all" else sorted({*self.activity_types})
        return f"{','.join(types)} {self.machine_activity}"


def _one_or_more(value: Any) -> Any:  # noqa: ANN401 - any value of the file
    return [value] if isinstance(value, str) else value


def _file_name_field(kind: Kind) -> Any:  # noqa: ANN401 - the type that pydantic's Field returns
    # The default depends on `interval`: _default_pattern fills it in. Editors show the daily one.
    shown = _default_file_name(kind, Interval.DAILY)
    return Field("", validate_default=True, json_schema_extra={"default": shown})


def _default_file_name(kind: str, interval: Interval) -> str:
    return f"{kind}_{{brand}}_{{window_start:%Y%m%d{'_%H%M' if interval.minutes else ''}}}"


GROUPS: dict[str, type[Strict]] = {"content": Content, "dialect": Dialect}
"""The fields of an export that are models. In exports.yml their keys are keys of the export."""


class Export(Strict):
    """One entry under `exports`, with `defaults` filled in."""

    content: Content = Content()
    """Which columns and rows of the views are in the files."""
    dialect: Dialect = Dialect()
    """How a row is formatted, compressed, encrypted and signed."""
    brand: Brand
    """The brand as in the raw tables; "*": all brands of the warehouse that have no entry."""
    destination: Annotated[
        _Names, BeforeValidator(_one_or_more, json_schema_input_type=str | _Names)
    ] = Field(examples=["archive"])
    """A destination, or a list: each gets all files. Default: the only one, else `managed`."""
    interval: Interval = Interval.DAILY
    """The period that a pair of files covers, by the calendar; a week begins on Monday."""
    at: TimeOfDay = time(6)
    """The local time from which a finished daily, weekly or monthly window is due."""
    settle: Duration = timedelta(minutes=15)
    """How long after its end a window is due at the earliest: time for its rows to be loaded."""
    wait: Duration = timedelta(days=1)
    """The longest time that a due window is held until its rows are loaded; 0s: never held."""
    start: Day | None = None
    """The first day to export, such as 2026-11-01; null: begin with the last finished window."""
    directory: Pattern = ""
    """Folder for the files, below the destination's folder, such as "{brand}/{window_start:%Y}"."""
    activity_file: Pattern = _file_name_field("activity")
    """Name of the activity file without extension; below daily, the default has _%H%M too."""
    broadcast_file: Pattern = _file_name_field("broadcast")
    """Name of the broadcast file without extension, with the same default."""
    extension: Extension = "csv"
    """Extension of both files, without the dot."""
    completion: Completion = "none"
    """Files that mark data files as complete: a `ready` file for each, a `manifest`, or `both`."""
    empty: Literal["header", "skip"] = "header"
    """If there are no rows: deliver a file with only the `header`, or no file (`skip`)."""
    late_rows: Literal["warn", "resend"] = "warn"
    """For rows that arrive after their window was delivered: `warn`, or `resend` the window."""

    @classmethod
    def written_keys(cls) -> list[str]:
        """Return the keys of an export in exports.yml, including the keys of its models."""
        own = [key for key in super().written_keys() if key not in GROUPS]
        return [*(key for model in GROUPS.values() for key in model.written_keys()), *own]

    @model_validator(mode="before")
    @classmethod
    def _grouped(cls, values: Any) -> Any:  # noqa: ANN401 - any value of the file
        """Move the keys of `content` and of `dialect`, which exports.yml has next to the others.

        A key `content` or `dialect` in the file is moved too, so that the model refuses it.
        """
        if not isinstance(values, dict):
            return values
        keys_of = {name: {name, *model.written_keys()} for name, model in GROUPS.items()}
        groups = {
            name: {key: value for key, value in values.items() if key in keys}
            for name, keys in keys_of.items()
        }
        moved = {key for keys in keys_of.values() for key in keys}
        return {key: value for key, value in values.items() if key not in moved} | groups

    @field_validator("activity_file", "broadcast_file", mode="before")
    @classmethod
    def _default_pattern(cls, value: str, info: ValidationInfo) -> str:
        kind = str(info.field_name).removesuffix("_file")
        return value or _default_file_name(kind, info.data.get("interval") or Interval.DAILY)

    @field_validator("directory")
    @classmethod
    def _has_no_empty_folder(cls, value: str) -> str:
        value = value.rstrip("/")
        if "//" in value:
            raise ValueError("two slashes follow each other; write a folder's name between them")
        return value

    @field_validator("destination")
    @classmethod
    def _is_listed_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a destination is listed twice")
        return value

    @field_validator("activity_file", "broadcast_file")
    @classmethod
    def _has_no_folder(cls, value: str) -> str:
        if "/" in value:
            raise ValueError("a file name cannot contain a slash; folders go into 'directory'")
        return value

    @model_validator(mode="after")
    def _paths_differ(self) -> "Export":
        for key in ("activity_file", "broadcast_file"):
            path = self.directory + "/" + getattr(self, key)
            if self.brand == EVERY_BRAND and "{brand}" not in path:
                raise ValueError(f"{key}: for every brand (*) the path must contain {{brand}}")
            if shared := patterns.repeats(path, self.interval):
                raise ValueError(
                    f"{key}: two {self.interval} windows would share one path, such as "
                    f"'{shared.strip('/')}'; add the missing time code to {{window_start:…}}"
                )
        if self.activity_file == self.broadcast_file:
            raise ValueError("activity_file and broadcast_file would have the same path")
        if len({patterns.names_revisions(self._pattern(kind)) for kind in KINDS}) > 1:
            raise ValueError(
                "{revision} must be in both activity_file and broadcast_file, or in directory: "
                "otherwise the next revision would replace only one of the two files"
            )
        return self

    @property
    def timezone(self) -> ZoneInfo:
        """The time zone of windows, file names and times in the files."""
        return self.dialect.timezone

    @cached_property
    def calendar(self) -> Calendar:
        """The windows of this export."""
        return Calendar(self.interval, self.timezone, self.at, self.settle)

    @property
    def names_revisions(self) -> bool:
        """Whether each revision has its own file names, so that it replaces no earlier file."""
        return patterns.names_revisions(self._pattern("activity"))

    def path(
        self,
        kind: Kind,
        *,
        brand: str,
        window: Window,
        revision: int = 1,
        is_repeated: bool = False,
    ) -> str:
        """Return the path of a data file, relative to the destination's folder.

        After a change of the time zone, the first window is not a window of the calendar. Its
        local time is added to the name, because the name could be that of a calendar window.
        If `is_repeated`, an earlier window has the same local time: the UTC time is added too.
        """
        path = self._pattern(kind)
        if self.calendar.containing(window.start) != window:
            path += "_{window_start:%H%M}"
        rendered = patterns.render_path(
            path, brand=brand, window=window, timezone=self.timezone, revision=revision
        )
        return rendered + (f"_{window.start:%H%M}Z" if is_repeated else "") + self._suffix

    def files(self, *, brand: str, window: Window, revision: int = 1) -> list[tuple[FileKind, str]]:
        """Return the kind and path of every file of a window, in the order of delivery."""
        return self.all_files(
            {k: self.path(k, brand=brand, window=window, revision=revision) for k in KINDS}
        )

    def file_patterns(self) -> list[tuple[FileKind, str]]:
        """Return the kind and path pattern of every file of a window, in the order of delivery."""
        return self.all_files({kind: self._pattern(kind) + self._suffix for kind in KINDS})

    def _pattern(self, kind: Kind) -> str:
        name: str = getattr(self, f"{kind}_file")
        return f"{self.directory}/{name}" if self.directory else name

    @property
    def has_manifest(self) -> bool:
        """Whether each window has a manifest."""
        return self.completion in ("manifest", "both")

    @property
    def _suffix(self) -> str:
        return f".{self.extension}{self.dialect.packed_suffix}"

    def all_files(self, data: Mapping[Kind, str]) -> list[tuple[FileKind, str]]:
        """Return the kind and path of the data files, and of their signatures and completion files.

        The order is that of delivery: completion files are last.
        """
        found: list[tuple[FileKind, str]] = [(kind, data[kind]) for kind in KINDS]
        if self.dialect.has_signatures:
            found += [("signature", path + openpgp.SIGNATURE_SUFFIX) for path in data.values()]
        if self.completion in ("ready", "both"):
            found += [("ready", f"{path}.ready") for path in data.values()]
        if self.has_manifest:
            found.append(("manifest", f"{data['activity']}.manifest.json"))
        return found
