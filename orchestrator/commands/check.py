"""Check: what would fail tonight fails now, and each line says what to do."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from orchestrator.config import Config, patterns
from orchestrator.config.exports import EVERY_BRAND, Export
from orchestrator.errors import ExportError, LockedError
from orchestrator.files import formats
from orchestrator.ledger import Ledger
from orchestrator.pipeline import making
from orchestrator.warehouse import project
from orchestrator.windows import Window


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what was found or is to be done."""

    subject: str
    text: str
    ok: bool = True


@dataclass(frozen=True)
class CheckResult:
    """Everything that was looked at."""

    findings: Sequence[Finding]

    @property
    def exit_code(self) -> int:
        """0 all well; 1 something would fail."""
        return 0 if all(finding.ok for finding in self.findings) else 1


def check(
    config: Config, target: str | None, *, now: datetime, progress: Callable[[str], None]
) -> CheckResult:
    """Look at everything that a run needs; what fails does not hide the rest.

    Nothing is delivered, and nothing is left behind. A run that is at work is no fault.
    """
    brands: list[str] = []
    kinds = ", ".join(sorted({export.interval.value for export in config.exports}))
    findings = [Finding("exports.yml", f"{len(config.exports)} exports ({kinds})")]
    findings.append(_tried("ledger", lambda: _ledger(config)))
    findings.append(_tried("outbox", lambda: _outbox(config.outbox)))
    findings += [
        _tried("encrypt_for", partial(_key, config, export))
        for export in config.exports
        if export.dialect.encrypt_for
    ]
    progress("making the views of a window")
    warehouse = _tried("warehouse", lambda: _warehouse(config, target, now, brands))
    findings.append(warehouse)
    if warehouse.ok:
        findings += _unknown_brands(config, brands)
    progress("trying the destinations")
    findings += _destinations(config, brands, now)
    if config.notify:
        told = f"{len(config.notify)} URLs that Apprise knows; nothing was sent"
        findings.append(Finding("notify", told))
    return CheckResult(findings)


def _tried(subject: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, step())
    except LockedError as error:
        return Finding(subject, f"not looked at: {error}")
    except ExportError as error:
        return Finding(subject, str(error), ok=False)
    except OSError as error:
        return Finding(subject, f"{error.filename}: {error.strerror}", ok=False)


def _key(config: Config, export: Export) -> str:
    config.check_key(export)
    return f"{export.dialect.encrypt_for}: the files of {export.brand} can be encrypted"


def _ledger(config: Config) -> str:
    url = config.state
    if url.file and not url.file.exists():  # whoever makes it owns it: that is for the first run
        _writable(_nearest(url.file.parent), "the ledger")
        return f"{url.name} is made by the first run"
    with closing(Ledger(url)) as ledger:
        ledger.database.each("write_nothing", [{}])
    return f"{url.name} can be written"


def _outbox(folder: Path) -> str:
    if not folder.is_dir():
        _writable(_nearest(folder), "the outbox")
        return f"{folder} is made by the first run"
    _writable(folder, "the outbox")
    if folder.stat().st_mode & 0o077:
        return f"{folder} can be written; others may look into it: chmod 700 {folder}"
    return f"{folder} can be written, and is ours alone"


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _writable(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder, so {what} cannot be there")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"{folder} may not be written, and {what} is to be there: allow that")
    with tempfile.TemporaryFile(dir=folder) as file:  # a full or read-only disk says so
        file.write(b"\0")


def _warehouse(config: Config, target: str | None, now: datetime, brands: list[str]) -> str:
    """Make, test and read a window of next to no time, as a run does: it needs every column."""
    from orchestrator.warehouse import Warehouse  # noqa: PLC0415 - seconds

    found = project.find(config.folder, target)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        closing(Warehouse.open(found, Path(folder), Path(folder))) as warehouse,
    ):
        warehouse.columns.update(formats.needed_columns(config, warehouse.view_columns))
        warehouse.dbt.check_raw_tables()
        stage, _ = warehouse.stage(Window(now, now + timedelta(microseconds=1)))
        brands += stage.brands
        if wrong := formats.label_errors(config, warehouse.view_columns):
            raise ExportError("\n".join(wrong))
    if not brands and any(export.brand == EVERY_BRAND for export in config.exports):
        raise ExportError(f"target {found.target}: {making.NO_BRANDS}")
    told = f"target {found.target}: the views can be made, and have every field"
    return f"{told}; {len(brands)} brands"


def _unknown_brands(config: Config, brands: Sequence[str]) -> Iterator[Finding]:
    """Yield the lines of exports.yml whose brand no row is of: their files would be empty."""
    for export in config.exports:
        if export.brand not in (EVERY_BRAND, *brands):
            error = config.error(export, "brand", making.unknown(export.brand, brands))
            yield Finding("brand", str(error), ok=False)


def _destinations(config: Config, brands: Sequence[str], now: datetime) -> Iterator[Finding]:
    from orchestrator.delivery.probe import ProbeRequest, probe_all  # noqa: PLC0415 - as above

    folders: dict[str, set[str]] = {name: set() for name in config.destinations}
    for export in config.exports:
        for name in export.destination:
            folders[name] |= set(_folders(config, export, brands, now))
    removing = {*config.retention}  # and where completion files give way to a next revision's
    removing |= {n for e in config.exports if e.completion != "none" for n in e.destination}
    trials = {
        name: ProbeRequest(destination, folders[name] or {""}, removes=name in removing)
        for name, destination in config.destinations.items()
    }
    for name, verdict in probe_all(trials).items():
        subject = f"destination '{name}'"
        notes = "".join(f"; {note}" for note in sorted(verdict.notes))
        if not verdict.errors:
            told = f"files can be written, replaced and removed; folders: {len(folders[name])}"
            yield Finding(subject, told + notes)
        for error in dict.fromkeys(map(str, verdict.errors)):
            yield Finding(subject, error + notes, ok=False)


def _folders(config: Config, export: Export, brands: Sequence[str], now: datetime) -> Iterator[str]:
    """Yield the folders that the window of now goes to."""
    window = export.calendar.containing(now)
    own = {each.brand for each in config.exports}
    if export.brand != EVERY_BRAND:
        brands = [export.brand]
    elif brands:
        brands = [brand for brand in brands if brand not in own]
    else:  # they are not known: what all of them lie in
        yield export.directory.partition("{")[0].rpartition("/")[0]
    for brand in brands:
        with suppress(ValueError):  # no name for a file: a run says so, and leaves it out
            path = export.path("activity", brand=patterns.check_brand(brand), window=window)
            yield path.rpartition("/")[0]
