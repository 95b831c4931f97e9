"""Jobs: the windows that a command builds and delivers, and the names of exports in the ledger."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orchestrator.config import Config
from orchestrator.config.exports import EVERY_BRAND, KINDS, Export, FileKind, Kind
from orchestrator.errors import UsageError, valid_names
from orchestrator.ledger import DELIVERED, Entry
from orchestrator.windows import Days, Interval, Window


@dataclass(frozen=True)
class Request:
    """The options of a command: deliver all windows that are due, or those that begin on `days`.

    With `resend`, the files that were delivered for those days are sent again as they are.
    """

    daily_only: bool = False
    brands: Sequence[str] = ()
    days: Days | None = None
    force: bool = False
    deliver: bool = True
    resend: bool = False


@dataclass(frozen=True)
class Subject:
    """The window and brand that a result is about; `export` is the export's name in the ledger."""

    export: str
    brand: str
    interval: str
    timezone: str
    window: Window
    revision: int


@dataclass(frozen=True)
class Job:
    """A window of one export to build and deliver; `entry` has the window and its revision.

    The brand of a job can be `*`. It is replaced by one job for each brand once the rows of the
    window have been read.
    """

    export: Export
    brand: str
    ordinal: int
    entry: Entry
    forced: bool = False
    kept: Mapping[Kind, str] = field(default_factory=dict)
    """Paths to use instead of those by exports.yml, for example those of the revision before."""

    @property
    def subject(self) -> dict[str, Any]:
        """The fields of Subject, for a result about this job."""
        return vars(
            Subject(
                export=self.entry.export,
                brand=self.brand,
                interval=self.export.interval.value,
                timezone=self.export.timezone.key,
                window=self.entry.window,
                revision=self.entry.revision,
            )
        )

    def path(self, kind: Kind) -> str:
        """Return the path of a data file at every destination."""
        return self.kept.get(kind) or self._path(kind)

    def repeated_path(self, kind: Kind) -> str:
        """Return the path to use if another window of the brand already has the usual path."""
        return self._path(kind, is_repeated=True)

    def _path(self, kind: Kind, *, is_repeated: bool = False) -> str:
        return self.export.path(
            kind,
            brand=self.brand,
            window=self.entry.window,
            revision=self.entry.revision,
            is_repeated=is_repeated,
        )

    def files(self) -> list[tuple[FileKind, str]]:
        """Return the kind and path of every file of the window, in the order of delivery."""
        return self.export.all_files({kind: self.path(kind) for kind in KINDS})

    def plain_name(self, kind: Kind) -> str:
        """Return the name of a data file before it is compressed and encrypted."""
        name = self.path(kind).rpartition("/")[2]
        return name.removesuffix(self.export.dialect.packed_suffix)

    def is_over(self, now: datetime) -> bool:
        """Tell whether the window has ended and settled."""
        return self.entry.window.end + self.export.settle <= now

    def of_brand(self, brand: str) -> "Job":
        """Return the job of one brand that `*` includes."""
        name = ledger_name(brand, self.export, self.ordinal)
        entry = Entry(name, self.entry.window, 1, scheduled=self.entry.scheduled)
        return replace(self, brand=brand, entry=entry)

    def command(self, *, force: bool = True) -> str:
        """Return the command that delivers the window; with `force`, as the next revision."""
        name = "daily" if self.export.interval is Interval.DAILY else "run"
        day = self.entry.window.start.astimezone(self.export.timezone).date()
        words = ["orchestrate", name, "--date", f"{day}", "--brand", self.brand]
        return shlex.join([*words, "--force"] if force else words)

    def revised(self, known: Entry | None) -> "Job | None":
        """Return the job with the revision to write, or None if there is nothing to do.

        `known` is the window's newest entry in the ledger. A delivered window is only rebuilt if
        the job is `forced`.
        """
        if known is None:
            return self
        if known.state != DELIVERED:
            scheduled = known.scheduled or self.entry.scheduled
            return replace(self, entry=replace(known, scheduled=scheduled))
        if not self.forced:
            return None
        entry = Entry(known.export, known.window, known.revision + 1, scheduled=known.scheduled)
        return replace(self, entry=entry)


@dataclass(frozen=True)
class ExportEntry:
    """One export of exports.yml, and its number among the entries of its brand and interval."""

    export: Export
    ordinal: int

    @property
    def name(self) -> str:
        """The name of the export in the ledger."""
        return self.name_of(self.export.brand)

    def name_of(self, brand: str) -> str:
        """Return the name in the ledger for one brand that `*` includes."""
        return ledger_name(brand, self.export, self.ordinal)

    def job(self, entry: Entry, *, brand: str | None = None, forced: bool = False) -> Job:
        """Return the job of a window. If the export is `*`, it can be for one `brand` only."""
        return Job(self.export, brand or self.export.brand, self.ordinal, entry, forced)


class Exports:
    """The entries of exports.yml that a request is about.

    Attributes:
        listed: the brands of all entries, with `*` if it is one of them.

    """

    def __init__(self, config: Config, request: Request) -> None:
        """Select the entries. Raises UsageError if none exports a requested brand."""
        self.listed = {export.brand for export in config.exports}
        self._brands = set(request.brands)
        for brand in request.brands:
            if brand not in self.listed and EVERY_BRAND not in self.listed:
                raise UsageError(
                    f"{config.source.path}: no export of brand '{brand}'"
                    f"{valid_names(brand, sorted(self.listed))}"
                )
        self._entries: dict[str, ExportEntry] = {}
        self._all: list[ExportEntry] = []
        counts: dict[tuple[str, Interval], int] = {}
        for export in config.exports:
            ordinal = counts.get((export.brand, export.interval), 0) + 1
            counts[export.brand, export.interval] = ordinal
            entry = ExportEntry(export, ordinal)
            self._all.append(entry)
            is_star = export.brand == EVERY_BRAND
            wanted = self._brands - self.listed if is_star else self._brands & {export.brand}
            is_left_out = request.daily_only and export.interval is not Interval.DAILY
            if (wanted or not self._brands) and not is_left_out:
                self._entries[entry.name] = entry

    def __iter__(self) -> Iterator[ExportEntry]:
        """Yield each entry, in the order of exports.yml."""
        return iter(self._entries.values())

    def star_includes(self, brand: str) -> bool:
        """Tell whether `*` includes this brand, and the request does too."""
        is_included = brand not in self.listed and brand != EVERY_BRAND
        return is_included and (not self._brands or brand in self._brands)

    def owner(self, name: str) -> tuple[ExportEntry, str] | None:
        """Return the entry and the brand that a name in the ledger belongs to, or None."""
        if entry := self._entries.get(name):
            return entry, entry.export.brand
        for each in self:
            brand = name.removesuffix(each.name_of(""))
            if each.export.brand == EVERY_BRAND and brand != name:
                return (each, brand) if self.star_includes(brand) else None
        return None

    def of_brand(self, brand: str) -> list[ExportEntry]:
        """Return all entries of exports.yml that export a brand, even if not requested."""
        listed = brand if brand in self.listed else EVERY_BRAND
        return [each for each in self._all if each.export.brand == listed]

    def requests(self, export_entry: ExportEntry, brand: str) -> bool:
        """Tell whether the request includes this entry and this brand."""
        is_wanted = not self._brands or brand in {*self._brands, EVERY_BRAND}
        return is_wanted and export_entry.name in self._entries


def ledger_name(brand: str, export: Export, ordinal: int) -> str:
    """Return the name of an export in the ledger.

    It does not depend on the directory, file names or dialect: if these change, the export
    continues after its last window. A second entry of the same brand and interval gets a number.
    """
    return f"{brand} {export.interval}" + (f" {ordinal}" if ordinal > 1 else "")


def brand_of(name: str) -> str:
    """Return the brand in the name that an export has in the ledger."""
    intervals = "|".join(Interval)
    return re.sub(f" ({intervals})( \\d+)?$", "", name)
