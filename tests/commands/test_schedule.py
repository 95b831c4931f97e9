"""Schedules are what the programs that read them take, and fire when windows come due."""

import ast
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped] # it has no stubs
import pytest
import yaml
from workspace import Workspace

from orchestrator import config
from orchestrator.commands import schedule
from orchestrator.commands.schedule import Scheduler

EXPORTS = """
  - {brand: ACME, timezone: Europe/Amsterdam}
  - {brand: OTHER, timezone: Europe/Amsterdam}
  - {brand: "N'Y 100%", timezone: America/New_York, interval: weekly, settle: 30h}
  - {brand: MONTHS, interval: monthly, at: "23:59"}
  - {brand: HALVES, interval: 30m, timezone: Asia/Kathmandu, settle: 40m}
  - {brand: "*", interval: hourly, settle: 90s}
"""
ORCHESTRATE = Path(sys.executable).with_name("orchestrate")


def rendered(workspace: Workspace, scheduler: Scheduler) -> str:
    workspace.configure(EXPORTS)
    loaded = config.load(workspace.folder / "exports.yml")
    return schedule.render(loaded, scheduler, program=ORCHESTRATE, target=None)


def elapses(calendar: str, since: datetime, number: int) -> list[datetime]:
    """Return when systemd would start it next."""
    base = f"{since:%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", f"--base-time={base}", f"--iterations={number}"]
    shown = subprocess.run(
        [*command, calendar], capture_output=True, text=True, check=True, env={"TZ": "UTC"}
    )
    found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", shown.stdout)
    return [datetime.fromisoformat(f"{moment}+00:00") for moment in found]


@pytest.mark.parametrize("index", range(6))
def test_a_schedule_fires_when_a_window_comes_due(workspace: Workspace, index: int) -> None:
    workspace.configure(EXPORTS)
    loaded = config.load(workspace.folder / "exports.yml")
    export = loaded.exports[index]
    found = next(m for m in schedule.moments(loaded) if export.brand in m.brands)
    since = datetime(2026, 10, 20, tzinfo=UTC)  # some days later many clocks change
    earlier, later = since - timedelta(days=40), datetime(2027, 6, 1, tzinfo=UTC)
    due = [export.calendar.due(window) for window in export.calendar.tiles(earlier, later)]
    whole = [moment + timedelta(seconds=-moment.second % 60) for moment in due]
    expected = [moment for moment in whole if moment > since][:5]
    assert elapses(found.calendar, since, 5) == expected


def test_exports_that_come_due_together_share_a_moment(workspace: Workspace) -> None:
    workspace.configure(EXPORTS)
    found = schedule.moments(config.load(workspace.folder / "exports.yml"))
    assert ("ACME", "OTHER") in [moments.brands for moments in found]


def test_systemd_takes_the_units(workspace: Workspace) -> None:
    text = rendered(workspace, Scheduler.SYSTEMD)
    parts = re.split(r"^# /etc/systemd/system/(.*)$", text, flags=re.MULTILINE)[1:]
    units = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(units) == ["orchestrate.service", "orchestrate.timer"]
    for name, unit in units.items():
        (workspace.folder / name).write_text(unit, encoding="utf-8")
    paths = [str(workspace.folder / name) for name in units]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if "orchestrate" in line]
    assert ours == []


def test_kubernetes_takes_the_cronjobs(workspace: Workspace) -> None:
    documents = [d for d in yaml.safe_load_all(rendered(workspace, Scheduler.KUBERNETES)) if d]
    assert len(documents) == 5
    for document in documents:
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_airflow_s_dags_are_python(workspace: Workspace) -> None:
    text = rendered(workspace, Scheduler.AIRFLOW)
    moments = next(
        ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
    )
    assert ("0 6 * * *", "Europe/Amsterdam", "ACME, OTHER") in moments.values()


def test_cron_s_line_runs(workspace: Workspace) -> None:
    workspace.folder.joinpath("100% sure").mkdir()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    workspace.configure(f"  - {{brand: ACME, at: '00:00', settle: 0s, start: {yesterday}}}")
    exports = workspace.folder / "100% sure" / "exports.yml"
    workspace.folder.joinpath("exports.yml").rename(exports)
    workspace.folder.joinpath("100% sure", "orchestrate.env").write_text(
        f"DUCKDB_PATH={workspace.warehouse}\n", encoding="utf-8"
    )
    text = schedule.render(config.load(exports), Scheduler.CRON, program=ORCHESTRATE, target=None)
    *_, line = text.splitlines()
    # What crontab(5) does: five fields, then the command, in which \% is a percent sign.
    command = line.split(maxsplit=5)[5].replace("\\%", "%")
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(workspace.folder)}
    ran = subprocess.run(["/bin/sh", "-c", command], env=clean, capture_output=True, check=False)
    log = exports.with_name("orchestrate.log").read_text(encoding="utf-8")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b""), log
    assert "delivered ACME" in log
