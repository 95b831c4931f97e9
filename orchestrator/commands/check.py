"""Check everything that a run needs, to find problems before the run does."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from orchestrator import system
from orchestrator.config import Config, patterns
from orchestrator.config.exports import EVERY_BRAND, Export
from orchestrator.errors import ExportError, LockedError, escaped
from orchestrator.files import formats
from orchestrator.files.outbox import Outbox
from orchestrator.jobs import unsettled
from orchestrator.ledger import Ledger
from orchestrator.pipeline import holding, late
from orchestrator.progress import EXPORTS, Progress, count, no_progress
from orchestrator.warehouse import project
from orchestrator.windows import Window


@dataclass(frozen=True)
class Finding:
    """The result of one check; `text` says what was found and, unless `ok`, what to do."""

    subject: str
    text: str
    ok: bool = True


@dataclass(frozen=True)
class CheckResult:
    """The results of all checks, in the order of a run."""

    findings: Sequence[Finding]

    @property
    def exit_code(self) -> int:
        """0 a run would succeed; 1 something would fail."""
        return 0 if all(finding.ok for finding in self.findings) else 1


def check_all(
    config: Config, target: str | None, *, now: datetime, progress: Progress = no_progress
) -> CheckResult:
    """Check everything that a run needs. After a failure, the remaining checks still run.

    Nothing is delivered, and no file is left behind. If another run holds a lock, the check that
    needs the lock is skipped.
    """
    brands: list[str] = []
    intervals = ", ".join(sorted({export.interval.value for export in config.exports}))
    findings = [Finding("exports.yml", f"{count(len(config.exports), EXPORTS)} ({intervals})")]
    findings.append(_checked("ledger", lambda: _ledger(config)))
    findings.append(_checked("outbox", lambda: _outbox(config.outbox)))
    findings += [
        _checked("OpenPGP keys", partial(_key, config, export))
        for export in config.exports
        if export.dialect.encrypt_for or export.dialect.sign_with
    ]
    progress("checking the warehouse: building the views of an empty window")
    warehouse = _checked("warehouse", lambda: _warehouse(config, target, now, brands))
    findings.append(warehouse)
    if warehouse.ok:
        findings += _unknown_brands(config, brands)
        findings += _names(config, brands, now)
    progress(f"checking {count(len(config.destinations), ('destination', 'destinations'))}")
    findings += _destinations(config, brands, now)
    if config.notify:
        text = f"{count(len(config.notify), ('URL', 'URLs'))} that Apprise knows; nothing was sent"
        findings.append(Finding("notify", text))
    return CheckResult(findings)


def _checked(subject: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, step())
    except LockedError as error:
        return Finding(subject, f"not checked: {error}")
    except ExportError as error:
        return Finding(subject, str(error), ok=False)
    except OSError as error:
        return Finding(subject, str(system.os_error(error, subject)), ok=False)


def _key(config: Config, export: Export) -> str:
    config.check_keys(export)
    keys = {"encrypted": export.dialect.encrypt_for, "signed": export.dialect.sign_with}
    done = (f"{what} with {key}" for what, key in keys.items() if key)
    return f"the files of {export.brand} can be {' and '.join(done)}"


def _ledger(config: Config) -> str:
    url = config.state
    # The ledger is not created here: its owner must be the user that runs the exports, which may
    # not be the user of this check.
    if url.file and not url.file.exists():
        _check_writable(_existing(url.file.parent), "the ledger")
        if found := Outbox(config.outbox).any_file():
            raise ExportError(
                f"{url.name} does not exist, but the outbox has files of earlier runs, such as "
                f"{found}: restore the ledger (docs/running.md, 'Back up the ledger')"
            )
        return f"{url.name} will be created by the first run"
    with closing(Ledger(url)) as ledger:
        ledger.check_writable()
        if sentences := unsettled.waiting(unsettled.unowned(config, ledger)):
            raise ExportError("\n".join(sentences))
        notes = [*unsettled.replaced(config, ledger), *_forgotten(config, ledger)]
    return "; ".join([f"{url.name} can be written", *notes])


def _forgotten(config: Config, ledger: Ledger) -> Iterator[str]:
    """Yield a sentence about each destination with files that exports.yml no longer has."""
    places = {destination.place for destination in config.destinations.values()}
    for name, place in ledger.removals.destinations().items():
        if name not in config.destinations and place not in places:
            yield (
                f"files were delivered to destination '{escaped(name)}', which exports.yml no "
                "longer has: retention leaves them there. To have them removed, list it again with "
                "a retention; no export needs to name it"
            )


def _outbox(folder: Path) -> str:
    if not folder.is_dir():
        _check_writable(_existing(folder), "the outbox")
        return f"{folder} will be created by the first run"
    _check_writable(folder, "the outbox")
    if folder.stat().st_mode & 0o077:
        return f"{folder} can be written; other users can read it: chmod 700 {folder}"
    return f"{folder} can be written, and read by its owner alone"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest parent that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _check_writable(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a folder, so {what} cannot be created in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(
            f"{folder} cannot be written by this user, so {what} cannot be created in it: "
            "change its permissions, or name another folder in exports.yml"
        )
    with tempfile.TemporaryFile(dir=folder) as file:  # a full or read-only disk fails here
        file.write(b"\0")


def _warehouse(config: Config, target: str | None, now: datetime, brands: list[str]) -> str:
    """Build, test and read a window of one microsecond, as a run does. Adds to `brands`."""
    from orchestrator.warehouse import Warehouse  # noqa: PLC0415 - takes seconds

    found = project.find(config.folder, target)
    with (
        system.private_folder() as folder,
        closing(Warehouse.open(found, folder, folder)) as warehouse,
    ):
        warehouse.columns.update(formats.needed_columns(config, warehouse.view_columns))
        warehouse.dbt.check_raw_tables()
        stage, _ = warehouse.stage(Window(now, now + timedelta(microseconds=1)))
        brands += stage.brands
        # The stage may lack a brand that has neither broadcasts nor customers, only events.
        if named := {export.brand for export in config.exports} - {EVERY_BRAND, *brands}:
            brands += sorted(warehouse.known_brands(named))
        undated = late.undated(warehouse.arrivals(now, now))
        if wrong := formats.label_errors(config, warehouse.view_columns):
            raise ExportError("\n".join(wrong))
    if not brands and any(export.brand == EVERY_BRAND for export in config.exports):
        raise ExportError(f"target {found.target}: {holding.NO_BRANDS}")
    text = f"target {found.target}: the views can be built and have every field"
    text += f"; {count(len(brands), ('brand', 'brands'))}"
    return f"{text}; {late.cannot_find(undated)}" if undated else text


def _unknown_brands(config: Config, brands: Sequence[str]) -> Iterator[Finding]:
    """Yield the entries of exports.yml whose brand has no row: their files would be empty."""
    for export in config.exports:
        if export.brand not in (EVERY_BRAND, *brands):
            error = config.error(export, "brand", holding.unknown(export.brand, brands))
            yield Finding("brand", str(error), ok=False)


def _names(config: Config, brands: Sequence[str], now: datetime) -> Iterator[Finding]:
    """Yield file names that are equal to some receivers, or that some refuse or change."""
    advice = "an entry with its own directory, activity_file and broadcast_file"
    owners: dict[str, tuple[str, str]] = {}
    for export in config.exports:
        for brand, path in _paths(config, export, brands, now):
            other, other_path = owners.setdefault(patterns.path_identity(path), (brand, path))
            if other_path != path:
                text = f"'{other_path}' and '{path}' are the same name to a receiver that ignores"
                text += " case, Unicode forms, or a dot or space at the end: give"
                yield Finding("names", f"{text} {brand} or {other} {advice}", ok=False)
            elif reason := patterns.unportable(path):
                text = f"'{path}': {reason}: if the receiver uses Windows or an object store, give"
                yield Finding("names", f"{text} {brand} {advice}")


def _destinations(config: Config, brands: Sequence[str], now: datetime) -> Iterator[Finding]:
    from orchestrator.delivery.probe import ProbeRequest, probe_all  # noqa: PLC0415 - slow too

    folders: dict[str, set[str]] = {name: set() for name in config.destinations}
    for export in config.exports:
        for name in export.destination:
            folders[name] |= set(_folders(config, export, brands, now))
    # Runs remove old files (retention), and completion files before the next revision is delivered.
    removing = {*config.retention}
    removing |= {n for e in config.exports if e.completion != "none" for n in e.destination}
    requests = {
        name: ProbeRequest(destination, folders[name] or {""}, removes=name in removing)
        for name, destination in config.destinations.items()
    }
    for name, result in probe_all(requests).items():
        subject = f"destination '{name}'"
        notes = "".join(f"; {note}" for note in sorted(result.notes))
        if not result.errors:
            text = "files can be written, replaced and removed"
            if folders[name]:
                text += f" in {count(len(folders[name]), ('folder', 'folders'))}"
            else:
                text += "; no export is delivered to it"
            yield Finding(subject, text + notes)
        for error in dict.fromkeys(map(str, result.errors)):
            yield Finding(subject, error + notes, ok=False)


def _folders(config: Config, export: Export, brands: Sequence[str], now: datetime) -> Iterator[str]:
    """Yield the folders at a destination of the files of an export's current window."""
    if export.brand == EVERY_BRAND and not brands:  # the part of the path that all brands share
        yield export.directory.partition("{")[0].rpartition("/")[0]
    for _, path in _paths(config, export, brands, now):
        yield path.rpartition("/")[0]


def _paths(
    config: Config, export: Export, brands: Sequence[str], now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield each brand of an export, and the path of its current activity file."""
    window = export.calendar.containing(now)
    own = {each.brand for each in config.exports}
    every = export.brand == EVERY_BRAND
    for brand in (each for each in brands if each not in own) if every else [export.brand]:
        # A brand that no file name can contain is left out: in a run it fails without the others.
        with suppress(ValueError):
            yield brand, export.path("activity", brand=patterns.check_brand(brand), window=window)
