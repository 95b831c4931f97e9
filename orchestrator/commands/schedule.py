"""Schedule: the files with which a scheduler starts `orchestrate run` when a window is due."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from orchestrator import system
from orchestrator.commands import template
from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.windows import Calendar, Interval

_WINDOWS = 800
"""The number of windows that are computed to find all times of day at which an export is due."""
_MINUTE = timedelta(minutes=1)


class Scheduler(StrEnum):
    """The program that starts `orchestrate run`."""

    CRON = "cron"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    AIRFLOW = "airflow"


_FILES = {
    Scheduler.CRON: ["orchestrate.cron"],
    Scheduler.SYSTEMD: ["orchestrate.service", "orchestrate.timer"],
    Scheduler.KUBERNETES: ["orchestrate.yaml"],
    Scheduler.AIRFLOW: ["orchestrate.py"],
}
"""The files of each scheduler; their templates are in assets/schedule."""
NEXT_STEPS = {
    Scheduler.CRON: "crontab -e, and add the last line of orchestrate.cron",
    Scheduler.SYSTEMD: (
        "copy both files to /etc/systemd/system, then\n"
        "  sudo systemctl daemon-reload\n"
        "  sudo systemctl enable --now orchestrate.timer"
    ),
    Scheduler.KUBERNETES: "kubectl apply -f orchestrate.yaml",
    Scheduler.AIRFLOW: "copy orchestrate.py to Airflow's folder of DAGs",
}
"""How to install the files of each scheduler."""


@dataclass(frozen=True, order=True)
class Moments:
    """Recurring times in a time zone at which windows are due, and the brands they belong to."""

    timezone: str
    weekday: int | None  # 0 is Monday
    day: int | None
    hour: int | None
    minutes: tuple[int, ...]
    brands: tuple[str, ...] = ()

    @property
    def cron(self) -> str:
        """The five fields of crontab(5)."""
        minutes = ",".join(map(str, self.minutes))
        hour = "*" if self.hour is None else self.hour
        day = self.day or "*"
        weekday = "*" if self.weekday is None else (self.weekday + 1) % 7
        return f"{minutes} {hour} {day} * {weekday}"

    @property
    def calendar(self) -> str:
        """A calendar event of systemd.time(7)."""
        days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        weekday = "" if self.weekday is None else f"{days[self.weekday]} "
        day = f"{self.day:02}" if self.day else "*"
        hour = "*" if self.hour is None else f"{self.hour:02}"
        minutes = ",".join(f"{minute:02}" for minute in self.minutes)
        return f"{weekday}*-*-{day} {hour}:{minutes}:00 {self.timezone}"


@dataclass(frozen=True)
class ScheduleResult:
    """The files by name; `units` is the text of all of them."""

    scheduler: Scheduler
    units: str
    files: Mapping[str, str]
    exit_code: int = 0


def moments(config: Config, now: datetime) -> list[Moments]:
    """Return the times at which exports are due from `now` on, each time once, with its brands."""
    brands: dict[Moments, list[str]] = {}
    for export in config.exports:
        for found in _moments(export.calendar, now):
            brands.setdefault(found, []).append(export.brand)
    return [
        replace(found, brands=tuple(dict.fromkeys(names)))
        for found, names in sorted(brands.items(), key=lambda item: item[0].calendar)
    ]


def schedule_units(
    config: Config, scheduler: Scheduler, *, program: Path, target: str | None, now: datetime
) -> ScheduleResult:
    """Return the files with which a scheduler starts `orchestrate run` when an export is due."""
    command = [str(program), "run", "--config", str(config.source.path), "--log-format", "json"]
    command += ["--target", target] if target else []
    facts = {
        "command": command,
        "folder": config.folder,
        "moments": moments(config, now),
        "user": _owner(config.source.path),
        "version": version("event-based-export"),
    }
    files = {
        name: template(
            f"schedule/{name}.jinja", json=_json, shell=shlex.join, systemd=_systemd
        ).render(facts)
        for name in _FILES[scheduler]
    }
    return ScheduleResult(scheduler, "\n".join(files.values()), files)


def write_units(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files to a folder, over those that exist; return their paths."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; create it first")
    paths = [folder / name for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        system.replace_file(path, text.encode())
    return paths


@cache
def _moments(calendar: Calendar, now: datetime) -> tuple[Moments, ...]:
    """Return the times at which the windows of a calendar are due.

    When the clocks change, schedulers skip a local time that does not exist, and use only one of
    two equal ones. So a time of day is local only if no clock change ever affects it, and otherwise
    in UTC. In UTC, an export whose offset changes has two times a day. The extra run is cheap: it
    finds nothing due.
    """
    if calendar.interval.minutes:
        return (Moments("UTC", None, None, None, tuple(sorted(_minutes(calendar, now)))),)
    windows = calendar.tiles(calendar.containing(now).start)
    instants = [_whole_minute(calendar.due(window)) for window in islice(windows, _WINDOWS)]
    local = [instant.astimezone(calendar.timezone) for instant in instants]
    is_repeated = any(
        at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset() for at in local
    )
    if len({at.time() for at in local}) == 1 and not is_repeated:
        return tuple(_recurring(calendar, local, calendar.timezone.key))
    return tuple(_recurring(calendar, instants, "UTC"))


def _recurring(calendar: Calendar, found: Sequence[datetime], zone: str) -> Iterator[Moments]:
    for time in sorted({at.time() for at in found}):
        days = {at.day for at in found if at.time() == time}
        weekdays = {at.weekday() for at in found if at.time() == time}
        yield Moments(
            zone,
            min(weekdays) if calendar.interval is Interval.WEEKLY and len(weekdays) == 1 else None,
            min(days) if calendar.interval is Interval.MONTHLY and len(days) == 1 else None,
            time.hour,
            (time.minute,),
        )


def _minutes(calendar: Calendar, now: datetime) -> set[int]:
    """Return the minutes of an hour in UTC at which windows shorter than a day are due."""
    settle = -(-calendar.settle // _MINUTE)
    months = (now + timedelta(days=30 * number) for number in range(24))
    offsets = {month.astimezone(calendar.timezone).utcoffset() or timedelta() for month in months}
    every = range(0, 60, calendar.interval.minutes or 60)
    return {(minute + settle - offset // _MINUTE) % 60 for minute in every for offset in offsets}


def _whole_minute(moment: datetime) -> datetime:
    return moment + timedelta(seconds=-moment.second % 60)


def _owner(path: Path) -> str:
    """Return the owner of exports.yml, who should run it, even if root prints the schedule."""
    try:
        return path.owner()
    except KeyError:  # in a container, a user may have no name
        return str(path.stat().st_uid)


def _json(value: object) -> str:
    """Quote for YAML and Python. Not as ASCII: YAML refuses the surrogate pairs of JSON escapes."""
    return json.dumps(value, ensure_ascii=False)


def _systemd(words: Sequence[str]) -> str:
    """Quote the words of a command line by the rules of systemd.service(5)."""
    text = " ".join(_json(word) for word in words)
    return text.replace("%", "%%").replace("$", "$$")
