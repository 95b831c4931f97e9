"""`{revision}` in names: each revision has separate files, and earlier files stay unchanged."""

import json
import zipfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sshd import Sshd
from workspace import Workspace, days

from orchestrator import config
from orchestrator.pipeline import Status, retention

NOW = "2026-11-20 07:00"
DAY = days("2026-11-19")
NAMES = (
    "activity_file: 'activity_{brand}_{window_start:%Y%m%d}_r{revision}',"
    " broadcast_file: 'broadcast_{brand}_{window_start:%Y%m%d}_r{revision}'"
)


def states(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return bytes, inode and time of each file: a file that is replaced gets another inode."""
    found = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {
        str(p.relative_to(root)): (p.read_bytes(), p.stat().st_ino, p.stat().st_mtime_ns)
        for p in found
    }


def of_revision(number: int) -> set[str]:
    data = [f"{kind}_ACME_20261119_r{number}.csv" for kind in ("broadcast", "activity")]
    return {*data, *(f"{name}.ready" for name in data), f"{data[1]}.manifest.json"}


@pytest.mark.parametrize("where", ["there", "server"])
def test_an_earlier_revision_is_not_touched(
    workspace: Workspace, sftp_server: Sshd, where: str
) -> None:
    root = sftp_server.root if where == "server" else workspace.folder / "there"
    destinations = {"there": {"directory": "there"}, "server": {"sftp": sftp_server.line()}}
    workspace.configure(
        f"  - {{brand: ACME, destination: {where}, completion: both, {NAMES}}}",
        destinations=repr(destinations),
    )
    workspace.mailing("ACME", "2026-11-19")
    workspace.run(NOW)
    first = states(root)
    assert {*first} == of_revision(1)
    workspace.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="late")
    (window,) = workspace.run(NOW, days=DAY, force=True).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    both = states(root)
    assert {*both} == of_revision(1) | of_revision(2)
    assert {name: both[name] for name in first} == first
    # `resend` sends only the newest revision again.
    (window,) = workspace.run(NOW, days=DAY, resend=True).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    again = states(root)
    assert {name: again[name] for name in first} == first
    assert {name: state[0] for name, state in again.items()} == {
        name: state[0] for name, state in both.items()
    }


def test_the_revision_can_be_part_of_the_folder(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME, directory: '{brand}/{revision}', completion: ready}")
    workspace.mailing("ACME", "2026-11-19")
    workspace.run(NOW)
    first = states(workspace.folder / "there")
    workspace.run(NOW, days=DAY, force=True)
    both = states(workspace.folder / "there")
    assert {name: both[name] for name in first} == first
    folders = {str(Path(name).parent) for name in both}
    assert (folders, len(both)) == ({"ACME/1", "ACME/2"}, 8)


def test_a_window_that_was_written_but_never_delivered_is_the_next_revision(
    workspace: Workspace,
) -> None:
    exports = f"  - {{brand: ACME, completion: manifest, compression: zip, {NAMES}}}"
    workspace.configure(exports)
    workspace.mailing("ACME", "2026-11-19")
    there = workspace.folder / "there"
    (there / "activity_ACME_20261119_r1.csv.zip/in the way").mkdir(parents=True)
    (window,) = workspace.run(NOW).windows
    assert window.status is Status.FAILED
    (workspace.folder / "outbox/activity_ACME_20261119_r1.csv.zip").unlink()
    workspace.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="late")
    (window,) = workspace.run(NOW).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    names = [file.path for file in window.files]
    assert names[1:] == [f"activity_ACME_20261119_r2.csv.zip{x}" for x in ("", ".manifest.json")]
    manifest = json.loads((there / names[2]).read_text(encoding="utf-8"))
    for resource in manifest["resources"]:
        with zipfile.ZipFile(there / resource["path"]) as archive:
            assert archive.namelist() == [resource["innerpath"]]
    assert manifest["revision"] == 2
    assert len(manifest["replaces"]) == 1


def test_names_change_with_exports_yml(workspace: Workspace) -> None:
    plain = "  - {brand: ACME}"
    workspace.configure(plain)
    workspace.mailing("ACME", "2026-11-19")
    workspace.run(NOW)
    first = states(workspace.folder / "there")
    workspace.configure(f"  - {{brand: ACME, {NAMES}}}")
    workspace.run(NOW, days=DAY, force=True)
    second = states(workspace.folder / "there")
    assert {name: second[name] for name in first} == first
    assert {*second} - {*first} == {n for n in of_revision(2) if n.endswith(".csv")}
    # Without `{revision}`, a revision replaces all earlier files, under the names of the first.
    workspace.configure(plain)
    workspace.run(NOW, days=DAY, force=True)
    assert {*states(workspace.folder / "there")} == {*first}


def test_retention_removes_every_revision(workspace: Workspace) -> None:
    def configure(retained: str) -> config.Config:
        workspace.configure(
            f"  - {{brand: ACME, completion: both, {NAMES}}}",
            destinations=f"{{there: {{directory: there{retained}}}}}",
        )
        return config.read(workspace.folder / "exports.yml")

    configure("")
    workspace.mailing("ACME", "2026-11-19")
    workspace.run(NOW)
    workspace.run(NOW, days=DAY, force=True)
    workspace.run("2026-11-21 07:00")  # the newest window is kept
    loaded = configure(", retention: 1s")
    result = retention.prune(loaded, now=datetime.now(UTC) + timedelta(hours=30))
    removed = {r.path for r in result.removals if r.destination and r.outcome == "removed"}
    assert removed == of_revision(1) | of_revision(2), result
    assert all("_20261120_r1" in name for name in workspace.files())


@pytest.mark.faults
def test_a_week_of_late_rows_changes_no_published_file(workspace: Workspace) -> None:
    workspace.configure(
        f"  - {{brand: ACME, completion: manifest, start: 2026-11-10, late_rows: resend, {NAMES}}}"
    )
    seen: dict[str, bytes] = {}
    events: dict[str, set[str]] = defaultdict(set)
    for number in range(7):
        day = f"2026-11-{10 + number}"
        workspace.mailing("ACME", day, number=number)
        events[day].add(f"E{number}")
        for late in {max(number - 1, 0), max(number - 2, 0)} - {number}:
            before = f"2026-11-{10 + late}"
            event = f"late-{number}-{late}"
            moment = f"{before} 1{number}:30:00"
            workspace.opened("ACME", moment, f"ACME-{late}", event_id=event)
            events[before].add(event)
        now = f"2026-11-{11 + number} 07:00"
        assert workspace.run(now).exit_code == 0
        if number % 3 == 2:
            workspace.run(now, days=days(day), resend=True)
        found = workspace.all_bytes()
        assert {name: found[name] for name in seen} == seen  # a published file never changes
        seen = found
    newest: dict[str, dict[str, Any]] = {}
    every = [json.loads(text) for name, text in seen.items() if name.endswith(".json")]
    for manifest in sorted(every, key=lambda each: int(each["sequence"])):
        day = manifest["window_start"][:10]
        assert manifest["revision"] == newest.get(day, {"revision": 0})["revision"] + 1
        newest[day] = manifest
    assert [each["sequence"] for each in sorted(every, key=lambda m: int(m["sequence"]))] == [
        *range(1, len(every) + 1)
    ]
    assert len(every) > 12
    assert {day: each["rows"]["activity"] for day, each in newest.items()} == {
        day: len(ids) for day, ids in events.items()
    }
