"""One export of exports.yml: whose rows, which of them, when, in which dialect, to where."""

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
"""Every file of a window: data, their signatures, and what says that these are complete."""
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


class FieldChoice(Strict):
    """One column of a file: under which heading, and whether hashed, with which salt."""

    column: str = Field(min_length=1)
    """A column of the view."""
    heading: str | None = Field(None, alias="as", min_length=1)
    """Its heading, in place of its label."""
    hash: Literal["sha256"] | None = None
    """`sha256`: lower-case hex of SHA-256 over the salt and the value, in UTF-8; null stays."""
    salt: SecretStr | None = Field(None, min_length=1)
    """Text that is hashed before the value, such as "{{ env_var('HASH_SALT') }}"."""

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
    """Columns that follow the chosen ones."""

    activities: list[_Field] = Field([])
    """Columns of activities_daily."""
    broadcasts: list[_Field] = Field([])
    """Columns of broadcasts_daily."""


class Content(Strict):
    """Which columns and rows of the views are in a file."""

    activity_fields: _Fields = "default"
    """`default`, or a list of names, or of {column: …, as: …, hash: sha256, salt: …}."""
    broadcast_fields: _Fields = "default"
    """The same for the broadcast file."""
    additional_fields: AdditionalFields = AdditionalFields()
    """More fields after those, such as {activities: [os, url]}."""
    activity_types: Literal["all"] | _Names = "all"
    """`all`, or [broadcast, open, click, soft_bounce, hard_bounce, complaint, unsubscribe]."""
    machine_activity: Literal["include", "exclude"] = "include"
    """Opens and clicks by machines: `include` or `exclude` them."""

    @property
    def choice(self) -> str:
        """The choice of activities as text: equal texts choose the same rows."""
        types = ["all"] if self.activity_types == "all" else sorted({*self.activity_types})
        return f"{','.join(types)} {self.machine_activity}"


def _one_or_more(value: Any) -> Any:  # noqa: ANN401 - any value of the file
    return [value] if isinstance(value, str) else value


def _file(kind: Kind) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    shown = _pattern(kind, Interval.DAILY)
    return Field("", validate_default=True, json_schema_extra={"default": shown})


def _pattern(kind: str, interval: Interval) -> str:
    return f"{kind}_{{brand}}_{{window_start:%Y%m%d{'_%H%M' if interval.minutes else ''}}}"


GROUPS: dict[str, type[Strict]] = {"content": Content, "dialect": Dialect}
"""The fields of an export that are models of their own."""


class Export(Strict):
    """One entry under `exports`, with `defaults` filled in."""

    content: Content = Content()
    """Which columns and rows; exports.yml writes its keys next to those of the export."""
    dialect: Dialect = Dialect()
    """How a row becomes bytes; its keys are written there too."""
    brand: Brand
    """As in the raw tables; or "*": every brand of the warehouse that has no entry of its own."""
    destination: Annotated[
        _Names, BeforeValidator(_one_or_more, json_schema_input_type=str | _Names)
    ] = Field(examples=["archive"])
    """A name, or a list of names that all get the files. Default: the only one, or `managed`."""
    interval: Interval = Interval.DAILY
    """How much time a pair of files covers, by the calendar; a week begins on Monday."""
    at: TimeOfDay = time(6)
    """The local time from which a finished daily, weekly or monthly window is due."""
    settle: Duration = timedelta(minutes=15)
    """How long after its end a window waits for rows that are still on their way."""
    wait: Duration = timedelta(days=1)
    """How long a due window waits until the warehouse is loaded past its end; 0s: not at all."""
    start: Day | None = None
    """The first day to export, such as 2026-11-01; null: the last finished window."""
    directory: Pattern = ""
    """Folders below the destination's own folder, such as "{brand}/{window_start:%Y}"."""
    activity_file: Pattern = _file("activity")
    """The activity file's name without extension; shorter than daily, the default adds _%H%M."""
    broadcast_file: Pattern = _file("broadcast")
    """The same for the broadcast file."""
    extension: Extension = "csv"
    """The extension of both files, without the dot."""
    completion: Completion = "none"
    """Files that say that X is complete: X`.ready`, a `manifest` of both files, or `both`."""
    empty: Literal["header", "skip"] = "header"
    """A file without rows: only its `header`, or no file (`skip`)."""
    late_rows: Literal["warn", "resend"] = "warn"
    """A window with rows that arrived after it was delivered: `warn`, or `resend` it."""

    @classmethod
    def written_keys(cls) -> list[str]:
        """Return the keys of an export as people write them, those of its models among them."""
        own = [key for key in super().written_keys() if key not in GROUPS]
        return [*(key for model in GROUPS.values() for key in model.written_keys()), *own]

    @model_validator(mode="before")
    @classmethod
    def _grouped(cls, values: Any) -> Any:  # noqa: ANN401 - any value of the file
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
            raise ValueError("two slashes follow each other; a folder between them needs a name")
        return value

    @field_validator("destination")
    @classmethod
    def _names_each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a destination is listed twice")
        return value

    @field_validator("activity_file", "broadcast_file")
    @classmethod
    def _names_a_file(cls, value: str) -> str:
        if "/" in value:
            raise ValueError("a file name cannot contain a slash; folders go into 'directory'")
        return value

    @model_validator(mode="after")
    def _paths_differ(self) -> "Export":
        for key in ("activity_file", "broadcast_file"):
            path = self.directory + "/" + getattr(self, key)
            if self.brand == EVERY_BRAND and "{brand}" not in path:
                raise ValueError(f"{key}: for every brand (*) the path must contain {{brand}}")
            if twin := patterns.repeats(path, self.interval):
                raise ValueError(
                    f"{key}: two {self.interval} windows would share one path, such as "
                    f"'{twin.strip('/')}'; add the missing part of the time to {{window_start:…}}"
                )
        if self.activity_file == self.broadcast_file:
            raise ValueError("activity_file and broadcast_file would have the same path")
        if len({patterns.names_revisions(self._pattern(kind)) for kind in KINDS}) > 1:
            raise ValueError(
                "{revision} must be in both activity_file and broadcast_file, or in directory: a "
                "further revision would replace one of the two files, and not the other"
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
        """Whether each revision has different names, and leaves earlier files as they are."""
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
        """Return the path of a data file below the destination's root.

        A window that is not one of the calendar's, as after a change of the time zone, has its
        local time in the name: it must not share the name of the calendar's window. Where the
        local time of an earlier window `is_repeated`, the name ends with the time in UTC.
        """
        path = self._pattern(kind)
        if self.calendar.containing(window.start) != window:
            path += "_{window_start:%H%M}"
        rendered = patterns.render(
            path, brand=brand, window=window, timezone=self.timezone, revision=revision
        )
        return rendered + (f"_{window.start:%H%M}Z" if is_repeated else "") + self._suffix

    def files(self, *, brand: str, window: Window, revision: int = 1) -> list[tuple[FileKind, str]]:
        """Return the kind and path of every file of a window, in the order of delivery."""
        return self.with_others(
            {k: self.path(k, brand=brand, window=window, revision=revision) for k in KINDS}
        )

    def file_patterns(self) -> list[tuple[FileKind, str]]:
        """Return the kind and pattern of every file of a window, likewise."""
        return self.with_others({kind: self._pattern(kind) + self._suffix for kind in KINDS})

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

    def with_others(self, data: Mapping[Kind, str]) -> list[tuple[FileKind, str]]:
        """Return the data files, their signatures, and the completion files that belong to them."""
        found: list[tuple[FileKind, str]] = [(kind, data[kind]) for kind in KINDS]
        if self.dialect.has_signatures:
            found += [("signature", path + openpgp.SIGNATURE_SUFFIX) for path in data.values()]
        if self.completion in ("ready", "both"):
            found += [("ready", f"{path}.ready") for path in data.values()]
        if self.has_manifest:
            found.append(("manifest", f"{data['activity']}.manifest.json"))
        return found
