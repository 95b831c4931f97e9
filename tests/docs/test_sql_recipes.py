"""The SQL recipes of the page for analytics engineers work when they are followed literally."""

import json
import re
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forked_commands import Command, orchestrate
from workspace import ROOT, Workspace

pytestmark = pytest.mark.xdist_group("dbt_project")

PAGE = (ROOT / "docs/analytics-engineer.md").read_text(encoding="utf-8")
NOW = datetime.now(UTC)
EXPORTS = """\
destinations:
  archive: {directory: delivered}
exports:
  - {brand: BRANDNAAM, timezone: Europe/Amsterdam}
"""


def follow(folder: Path, heading: str) -> None:
    """Apply every diff and run every command of a section, in the order of the page."""
    _, section = PAGE.split(f"\n## {heading}\n")
    section = section.split("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in blocks} == {"console", "diff"}
    for kind, block in blocks:
        if kind == "diff":
            edit(folder, block)
        else:
            for line in block.splitlines():
                execute(folder, line.removeprefix("$ "))


def opens() -> list[dict[str, Any]]:
    """Return opens of the last days, so that every window that can be due has one."""
    return [
        {
            "event_id": f"E{number}",
            "brand": "BRANDNAAM",
            "broadcast_id": "B1",
            "customer_id": "C1",
            "email_address": "jan@example.com",
            "occurred_at": (NOW - timedelta(hours=number)).isoformat(),
            "received_at": (NOW - timedelta(hours=number)).isoformat(),
            "is_test": False,
            "os": "iOS",
            "is_machine": False,
        }
        for number in range(72)
    ]


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row) + "\n" for row in rows)
    (folder / "incoming").mkdir(exist_ok=True)
    (folder / "incoming/email_opens.jsonl").write_text("".join(lines), encoding="utf-8")


def edit(folder: Path, block: str) -> None:
    """Apply the change that a diff block shows: its old lines occur exactly once in the file."""
    header, place, *lines = block.splitlines()
    assert header.startswith("--- ")
    assert place.startswith("@@")
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    path = folder / header.removeprefix("--- ")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, block
    path.write_text(text.replace(old, new), encoding="utf-8")


def execute(folder: Path, line: str) -> None:
    """Run a command of a console block, in this folder."""
    program, *words = shlex.split(line)
    if program == "cp":
        assert words == ["-r", "CHECKOUT/dbt_project", "CHECKOUT/profiles", "."]
        for name in ("dbt_project", "profiles"):
            skipped = shutil.ignore_patterns("target", "logs")
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        return
    done = Command(folder, program, *words).wait()
    assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_the_recipe_ships_a_column_of_a_raw_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "warehouse.duckdb"))
    (tmp_path / "exports.yml").write_text(EXPORTS, encoding="utf-8")
    (tmp_path / "delivered").mkdir()
    write(tmp_path, opens())
    loaded = orchestrate(tmp_path, "load", "incoming/")
    assert loaded.returncode == 0, loaded.stderr

    # The same events again, with the column.
    write(tmp_path, [row | {"device": "phone"} for row in opens()])
    follow(tmp_path, "Add a column and ship it")

    (path,) = (tmp_path / "delivered").glob("activity_*.csv")
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    assert header.endswith(",Description of activity,Device")
    assert rows
    assert {row.rsplit(",", 1)[1] for row in rows} == {"phone"}
    page = (tmp_path / "target/docs/index.html").read_text(encoding="utf-8")
    for table, column in (
        ("source.event_based_export.raw.email_opens", "device"),
        ("model.event_based_export.stg_email_opens", "device"),
        ("model.event_based_export.int_activities", "device"),
        ("model.event_based_export.activities_daily", "device"),
    ):
        assert f'["{table}","{column}",' in page
    assert '"exposure.event_based_export.activity_file","Device"]' in page
    assert "The kind of device, such as phone or desktop." in page


@pytest.mark.faults  # most of its steps are those of the test above
def test_the_recipe_puts_the_operating_system_into_the_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path, monkeypatch)
    # Due at once: the recipe's own command names no date, and a test may run at any time of day.
    workspace.configure("  - {brand: ACME, at: '00:00', settle: 0m}")
    day = (NOW - timedelta(days=1)).date()
    workspace.mailing("ACME", str(day))
    event = {"brand": "ACME", "broadcast_id": "ACME-1", "customer_id": "C1"}
    # The table, columns of the event, and its description before and after the change.
    events: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        ("email_opens", {"os": "Android"}, "", "Android"),
        ("email_opens", {}, "", ""),
        (
            "email_clicks",
            {"os": "Windows 11", "url": "https://a.test"},
            "https://a.test",
            "https://a.test Windows 11",
        ),
        ("email_clicks", {"url": "https://b.test"}, "https://b.test", "https://b.test"),
        ("email_clicks", {"url": ""}, '""', '""'),
        ("email_clicks", {"os": "iOS"}, "", "iOS"),
        ("email_bounces", {"message": "550 unknown"}, "550 unknown", "550 unknown"),
        ("email_sends", {}, "", ""),
    )
    for number, (table, more, _, _) in enumerate(events):
        moment = {"received_at": f"{day} 12:0{number}:00"}
        workspace.add(table, {**event, "event_id": f"X{number}", **moment, **more})

    def descriptions() -> list[str]:
        # Without the header, and without the open of `mailing`.
        rows = workspace.text(f"activity_ACME_{day:%Y%m%d}.csv").splitlines()[2:]
        return [row.rsplit(",", 1)[1] for row in rows]

    assert orchestrate(tmp_path, "daily").returncode == 0
    assert descriptions() == [before for _, _, before, _ in events]
    for name in ("there", "outbox", "state"):
        shutil.rmtree(tmp_path / name)
    (tmp_path / "there").mkdir()
    follow(tmp_path, "Put the operating system into the description")
    assert descriptions() == [after for _, _, _, after in events]
