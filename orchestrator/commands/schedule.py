"""Schedules: when the exports of a config come due, as units for the program that starts them."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config import Config
from orchestrator.config.exports import Export
from orchestrator.windows import Interval

if TYPE_CHECKING:
    import jinja2

_DAY = timedelta(days=1)
_LAST_DAY_OF_ALL_MONTHS = 28


class Scheduler(StrEnum):
    """The program that starts `orchestrate run`."""

    CRON = "cron"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"
    AIRFLOW = "airflow"


@dataclass(frozen=True, order=True)
class Moments:
    """The recurring local times at which windows come due, and whose."""

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


def moments(config: Config) -> list[Moments]:
    """Return when the exports come due, those that do so together in one."""
    brands: dict[Moments, list[str]] = {}
    for export in config.exports:
        brands.setdefault(_moments(export), []).append(export.brand)
    return [
        Moments(m.timezone, m.weekday, m.day, m.hour, m.minutes, tuple(dict.fromkeys(names)))
        for m, names in sorted(brands.items(), key=lambda item: item[0].calendar)
    ]


def render(config: Config, scheduler: Scheduler, *, program: Path, target: str | None) -> str:
    """Return the units that start `orchestrate run` whenever an export comes due."""
    command = [str(program), "run", "--config", str(config.source.path), "--log-format", "json"]
    command += ["--target", target] if target else []
    return _template(scheduler).render(
        command=command,
        folder=config.folder,
        moments=moments(config),
        version=version("event-based-export"),
    )


def _moments(export: Export) -> Moments:
    zone, interval, settle = export.timezone.key, export.interval, export.settle
    minute = -(-settle // timedelta(minutes=1))  # up to whole minutes
    if interval.minutes:
        every = range(0, 60, interval.minutes)
        return Moments(zone, None, None, None, tuple(sorted({(m + minute) % 60 for m in every})))
    days, minute = divmod(minute, _DAY // timedelta(minutes=1))
    if not days:
        minute = max(minute, export.at.hour * 60 + export.at.minute)
    hour, minute = divmod(minute, 60)
    if interval is Interval.WEEKLY:
        return Moments(zone, days % 7, None, hour, (minute,))
    if interval is Interval.MONTHLY and days < _LAST_DAY_OF_ALL_MONTHS:
        return Moments(zone, None, days + 1, hour, (minute,))
    return Moments(zone, None, None, hour, (minute,))


def _template(scheduler: Scheduler) -> "jinja2.Template":
    from orchestrator.commands import templates  # noqa: PLC0415 - who schedules is said to every command

    name = f"schedule/{scheduler.value}"
    return templates.plain(name, json=json.dumps, shell=shlex.join, systemd=_systemd)


def _systemd(words: Sequence[str]) -> str:
    """Quote the words of a command line as systemd.service(5) reads them."""
    text = " ".join(json.dumps(word, ensure_ascii=False) for word in words)
    return text.replace("%", "%%").replace("$", "$$")
