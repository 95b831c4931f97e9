"""Schedules are valid for the programs that read them, and start runs when windows are due."""

import ast
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped] # it has no stubs
import pytest
import yaml
from workspace import Workspace, utc

from orchestrator import config
from orchestrator.commands import schedule
from orchestrator.commands.schedule import Scheduler, ScheduleResult

EXPORTS = """
  - {brand: ACME, timezone: Europe/Amsterdam}
  - {brand: "OTHER 🎉", timezone: Europe/Amsterdam}
  - {brand: "N'Y 100%", timezone: America/New_York, interval: weekly, settle: 30h}
  - {brand: MONTHS, interval: monthly, at: "23:59"}
  - {brand: HALVES, interval: 30m, timezone: Asia/Kathmandu, settle: 40m}
  - {brand: "*", interval: hourly, settle: 90s}
"""
NOW = datetime(2026, 10, 20, tzinfo=UTC)
ORCHESTRATE = Path(sys.executable).with_name("orchestrate")


def rendered(workspace: Workspace, scheduler: Scheduler) -> ScheduleResult:
    workspace.configure(EXPORTS)
    loaded = config.read(workspace.folder / "exports.yml")
    return schedule.schedule_units(loaded, scheduler, program=ORCHESTRATE, target=None, now=NOW)


def elapses(calendar: str, since: datetime, number: int) -> list[datetime]:
    """Return the next moments at which systemd starts the service."""
    base = f"{since:%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", f"--base-time={base}", f"--iterations={number}"]
    shown = subprocess.run(
        [*command, calendar], capture_output=True, text=True, check=True, env={"TZ": "UTC"}
    )
    found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", shown.stdout)
    return [utc(moment) for moment in found]


@pytest.mark.parametrize(
    ("line", "starts"),
    [
        ("timezone: Europe/Amsterdam", 1),
        ("timezone: America/New_York, interval: weekly, settle: 30h", 1),
        ("interval: monthly, at: '23:59'", 1),
        ("interval: 30m, timezone: Asia/Kathmandu, settle: 40m", 1),
        ("interval: hourly, settle: 90s", 1),
        ("timezone: Europe/Amsterdam, interval: hourly", 1),  # an hour is repeated in autumn
        ("timezone: Australia/Lord_Howe, interval: hourly", 2),  # clocks change by 30 minutes
        ("timezone: Europe/Amsterdam, at: '02:30'", 2),  # skipped in spring
        ("timezone: Europe/Amsterdam, at: '00:00', settle: 3h", 2),
        ("timezone: America/New_York, at: '01:30'", 2),  # repeated in autumn
        ("timezone: Australia/Sydney, interval: monthly, at: '02:30'", 2),
    ],
)
def test_a_run_is_started_exactly_when_a_window_is_due(
    workspace: Workspace, line: str, starts: int
) -> None:
    """Also where the clocks change: a window may have `starts` runs, one of which delivers it."""
    workspace.configure(f"  - {{brand: ACME, {line}}}")
    loaded = config.read(workspace.folder / "exports.yml")
    calendar = loaded.exports[0].calendar
    for since in (NOW, datetime(2027, 3, 10, tzinfo=UTC), datetime(2027, 3, 28, tzinfo=UTC)):
        days = {"weekly": 60, "monthly": 200}.get(calendar.interval, 21)
        until = since + timedelta(days=days)
        due = {
            moment + timedelta(seconds=-moment.second % 60)
            for window in calendar.tiles(since - timedelta(days=70), until)
            if since < (moment := calendar.due(window)) < until
        }
        calendars = [found.calendar for found in schedule.moments(loaded, NOW)]
        fires = {at for each in calendars for at in elapses(each, since, 1_100) if at < until}
        assert due <= fires
        assert len(fires) <= starts * (len(due) + 1) or calendar.interval == "monthly"


def test_exports_that_are_due_together_share_a_schedule(workspace: Workspace) -> None:
    workspace.configure(EXPORTS)
    found = schedule.moments(config.read(workspace.folder / "exports.yml"), NOW)
    assert ("ACME", "OTHER 🎉") in [moments.brands for moments in found]


def test_systemd_accepts_the_units(workspace: Workspace) -> None:
    result = rendered(workspace, Scheduler.SYSTEMD)
    units = result.files
    assert list(units) == ["orchestrate.service", "orchestrate.timer"]
    for name, unit in units.items():
        assert unit.startswith(f"# /etc/systemd/system/{name}\n")
        assert unit in result.units
    owner = (workspace.folder / "exports.yml").owner()
    assert f"\nUser={owner}\n" in units["orchestrate.service"]
    paths = schedule.write_units(units, workspace.folder)
    assert [path.read_text(encoding="utf-8") for path in paths] == [*units.values()]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *map(str, paths)], capture_output=True, text=True, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if "orchestrate" in line]
    assert ours == []


def test_kubernetes_accepts_the_cronjobs(workspace: Workspace) -> None:
    documents = [
        d for d in yaml.safe_load_all(rendered(workspace, Scheduler.KUBERNETES).units) if d
    ]
    assert len(documents) == 5
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_airflow_dags_are_valid_python(workspace: Workspace) -> None:
    text = rendered(workspace, Scheduler.AIRFLOW).units
    moments = next(
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
    )
    assert ("0 6 * * *", "Europe/Amsterdam", "ACME, OTHER 🎉") in moments.values()


def test_the_line_of_cron_delivers_the_window(workspace: Workspace) -> None:
    workspace.folder.joinpath("100% sure", "there").mkdir(parents=True)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    workspace.configure(f"  - {{brand: ACME, at: '00:00', settle: 0s, start: {yesterday}}}")
    exports = workspace.folder / "100% sure" / "exports.yml"
    workspace.folder.joinpath("exports.yml").rename(exports)
    workspace.folder.joinpath("100% sure", "orchestrate.env").write_text(
        f"DUCKDB_PATH={workspace.warehouse}\n", encoding="utf-8"
    )
    loaded = config.read(exports)
    result = schedule.schedule_units(
        loaded, Scheduler.CRON, program=ORCHESTRATE, target=None, now=NOW
    )
    *_, line = result.units.splitlines()
    # What crontab(5) does: five fields, then the command, in which \% is a percent sign.
    command = line.split(maxsplit=5)[5].replace("\\%", "%")
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(workspace.folder)}
    ran = subprocess.run(["/bin/sh", "-c", command], env=clean, capture_output=True, check=False)
    log = exports.with_name("orchestrate.log").read_text(encoding="utf-8")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b""), log
    assert "delivered ACME" in log
