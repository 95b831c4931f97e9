"""Retention on real destinations removes old files, and nothing else."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forked_commands import orchestrate
from sshd import Sshd
from workspace import Workspace, is_root, tree

from orchestrator import config
from orchestrator.config.exports import File
from orchestrator.delivery.removal import CLOCK_FILE
from orchestrator.ledger import DELIVERED, Delivery, Entry, Ledger
from orchestrator.ledger.history import Removals
from orchestrator.pipeline import retention
from orchestrator.pipeline.retention import PruneResult
from orchestrator.windows import Window

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass
class Archive:
    """A ledger, an outbox and a destination with files that were delivered on some days."""

    workspace: Workspace
    root: Path
    destination: str = "there"

    def deliver(self, days: float, path: str, *, revision: int = 1, content: str = "rows") -> None:
        """Record a file as delivered this number of days ago, in the window of the day before."""
        moment = NOW - days * DAY
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        entry = Entry("GONE daily", Window(midnight - DAY, midnight), revision, DELIVERED)
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        data = File("activity", path, len(content), sha256)
        names = {path: data, f"{path}.ready": replace(data, path=f"{path}.ready", kind="ready")}
        ledger = self.ledger()
        sent = [Delivery(file, self.destination, moment) for file in names.values()]
        ledger.write([(entry, sent)])
        ledger.close()
        for name in names:
            for folder in (self.root, self.workspace.folder / "outbox"):
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
                os.utime(file, (moment.timestamp(), moment.timestamp()))

    def write_undelivered(self, days: float, path: str, *, revision: int) -> None:
        """Record a revision of that window as written, and not delivered."""
        moment = (NOW - days * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        entry = Entry("GONE daily", Window(moment - DAY, moment), revision)
        ledger = self.ledger()
        ledger.write([(entry, [Delivery(File("activity", path, 1, "x"), "there")])])
        ledger.close()

    def set_last_write(self, *days: float) -> None:
        """Set the last write of the ledger to each of these numbers of days ago, in order."""
        with sqlite3.connect(self.workspace.folder / "state/ledger.db") as connection:
            for number in days:
                moment = f"{NOW - number * DAY:%Y-%m-%d %H:%M:%S.%f}"
                connection.execute("update windows set updated_at = ?", [moment])

    def ledger(self) -> Ledger:
        """Open the ledger."""
        return Ledger(self.config().state)

    def config(self) -> config.Config:
        """Read exports.yml."""
        return config.read(self.workspace.folder / "exports.yml")

    def prune(self, *, now: datetime = NOW) -> PruneResult:
        """Prune at a moment."""
        return retention.prune(self.config(), now=now)

    def files(self, folder: str = "") -> list[str]:
        """Return the files at the destination, or in another folder."""
        root = self.workspace.folder / folder if folder else self.root
        return [
            n for n in tree(root) if not n.endswith(".ready") and n[:5] not in (".lock", ".dbt/")
        ]


@pytest.fixture(params=["folder", "server"])
def archive(request: pytest.FixtureRequest, workspace: Workspace) -> Archive:
    """A destination of each kind, that keeps files for 60 days."""
    if request.param == "folder":
        line, root = "{directory: there, retention: 60d}", workspace.folder / "there"
    else:
        server: Sshd = request.getfixturevalue("sftp_server")
        settings = server.line(timeout="5s")
        line, root = f"{{sftp: {settings}, retention: 60d}}", server.root
    workspace.configure("  - {brand: ACME}", destinations=f"{{there: {line}}}")
    return Archive(workspace, root)


def outcomes(result: PruneResult) -> dict[str, str]:
    """Return the outcome of each file at the destination."""
    return {removal.path: removal.outcome for removal in result.removals if removal.destination}


def test_old_files_are_removed_once(archive: Archive) -> None:
    archive.deliver(62, "2026/a1.csv")
    archive.deliver(61, "2026/a2.csv")
    archive.deliver(59, "2026/a3.csv")
    archive.deliver(1, "2026/a4.csv")
    theirs = archive.root / "2026/theirs.csv"
    theirs.write_text("rows")
    os.utime(theirs, (0, 0))

    result = archive.prune()

    assert (result.exit_code, result.warnings) == (0, [])
    assert outcomes(result) == dict.fromkeys(
        [f"2026/a{n}.csv{end}" for n in (1, 2) for end in (".ready", "")], "removed"
    )
    assert archive.files() == ["2026/a3.csv", "2026/a4.csv", "2026/theirs.csv"]
    assert archive.files("outbox") == ["2026/a4.csv"]
    assert archive.prune().removals == []


def test_a_symlink_with_the_name_of_the_clock_file_is_not_followed(archive: Archive) -> None:
    archive.deliver(62, "a1.csv")
    archive.deliver(1, "a2.csv")
    theirs = archive.root / "theirs.csv"
    theirs.write_text("theirs")
    link = archive.root / CLOCK_FILE
    link.symlink_to(theirs)

    assert archive.prune().exit_code == 0

    assert archive.files() == ["a2.csv", "theirs.csv"]
    assert theirs.read_text() == "theirs"
    assert not link.is_symlink()


def test_a_file_that_is_delivered_again_is_removed_again(archive: Archive) -> None:
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    archive.prune()
    archive.deliver(-0.1, "a.csv")
    archive.deliver(-2, "c.csv")
    os.utime(archive.root / "a.csv", (0, 0))
    archive.set_last_write(-60)
    assert "a.csv" in archive.files()
    assert outcomes(archive.prune(now=NOW + 62 * DAY))["a.csv"] == "removed"


def test_the_newest_window_is_never_removed(archive: Archive) -> None:
    archive.deliver(700, "a.csv")
    archive.deliver(500, "b.csv")
    archive.set_last_write(2)
    assert set(outcomes(archive.prune())) == {"a.csv", "a.csv.ready"}
    assert archive.files() == ["b.csv"]
    assert archive.files("outbox") == ["b.csv"]


def test_a_path_that_a_newer_file_uses_is_kept(archive: Archive) -> None:
    archive.deliver(90, "latest.csv")
    archive.deliver(61, "other.csv")
    archive.write_undelivered(61, "other.csv", revision=2)
    archive.deliver(3, "latest.csv")
    archive.deliver(2, "last.csv")
    assert outcomes(archive.prune()) == {"other.csv.ready": "removed"}
    assert archive.files() == ["last.csv", "latest.csv", "other.csv"]


def test_an_undelivered_earlier_revision_does_not_prevent_removal(archive: Archive) -> None:
    archive.write_undelivered(61, "a.csv", revision=1)
    archive.deliver(61, "a.csv", revision=2)
    archive.write_undelivered(60.5, "b.csv", revision=1)
    archive.deliver(1, "c.csv")
    assert "a.csv" in outcomes(archive.prune())
    assert archive.files() == ["c.csv"]


def test_files_that_the_receiver_moved_or_changed_are_not_an_error(archive: Archive) -> None:
    archive.deliver(90, "moved.csv")
    archive.deliver(80, "changed.csv")
    archive.deliver(1, "last.csv")
    (archive.root / "moved.csv").unlink()
    (archive.root / "changed.csv").write_text("theirs now")
    result = archive.prune()
    assert result.exit_code == 0
    assert outcomes(result) == {
        "moved.csv": "gone",
        "moved.csv.ready": "removed",
        "changed.csv": "changed",
        "changed.csv.ready": "removed",
    }
    assert (archive.root / "changed.csv").read_text() == "theirs now"
    assert archive.prune().removals == []


def test_a_file_that_is_recent_by_the_clock_of_the_destination_is_kept(archive: Archive) -> None:
    """The local clock is years ahead; by the clock of the destination no file is old."""
    for number in (3, 2, 1):
        archive.deliver(number, f"a{number}.csv")
    archive.set_last_write(-3650 + 2)  # the ledger has the same clock
    result = archive.prune(now=NOW + 3650 * DAY)
    assert set(outcomes(result).values()) == {"recent"}
    assert archive.files() == ["a1.csv", "a2.csv", "a3.csv"]
    # The next prune tries them again.
    assert len(outcomes(archive.prune(now=NOW + 3650 * DAY))) == 4


def test_after_a_jump_of_the_clock_nothing_is_removed_for_a_day(archive: Archive) -> None:
    """All clocks jumped ahead, so the files are old by both clocks."""
    for number in (903, 902, 901, 900):
        archive.deliver(number, f"a{number}.csv")
    archive.set_last_write(900)
    everything = archive.files()
    for moment in (NOW, NOW + timedelta(minutes=15)):
        result = archive.prune(now=moment)
        assert result.exit_code == 1
        assert result.removals == []
        assert len(result.warnings) == 1
        assert (
            "until a day before that the ledger had no new record for 899 days"
            in result.warnings[0]
        )
    archive.deliver(0, "a0.csv")  # this run delivers, and the next one follows soon
    assert archive.prune(now=NOW + timedelta(hours=23)).removals == []
    assert archive.files() == ["a0.csv", *everything]
    assert archive.files("outbox") == ["a0.csv", *everything]


def test_a_day_after_a_jump_of_the_clock_old_files_are_removed_again(archive: Archive) -> None:
    archive.deliver(903, "a903.csv")
    archive.set_last_write(900)
    archive.deliver(1, "a1.csv")
    assert archive.prune(now=NOW + DAY * 1.1).exit_code == 0
    assert archive.files() == ["a1.csv"]


def test_a_dry_run_lists_the_files_that_would_be_removed(archive: Archive) -> None:
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    result = retention.foresee(archive.config(), now=NOW)
    assert [(r.destination, r.path, r.outcome) for r in result.removals] == [
        (None, "a.csv.ready", "due"),
        (None, "a.csv", "due"),
        ("there", "a.csv.ready", "due"),
        ("there", "a.csv", "due"),
    ]
    assert archive.files() == ["a.csv", "b.csv"]
    assert archive.files("outbox") == ["a.csv", "b.csv"]


@pytest.fixture
def server_down(sftp_server: Sshd, workspace: Workspace) -> Archive:
    """A server with old files that is down, and a folder that gets the exports."""
    line = sftp_server.line(timeout="5s")
    server = f"server: {{sftp: {line}, retention: 60d}}"
    workspace.configure(
        "  - {brand: ACME}",
        defaults="{destination: there}",
        destinations=f"{{{server}, there: {{directory: there, retention: 60d}}}}",
    )
    archive = Archive(workspace, sftp_server.root, "server")
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    sftp_server.kill()
    return archive


def test_a_destination_that_is_down_does_not_delay_the_others(
    server_down: Archive, sftp_server: Sshd
) -> None:
    there = Archive(server_down.workspace, server_down.workspace.folder / "there")
    there.deliver(71, "c.csv")
    there.deliver(2, "d.csv")
    result = server_down.prune()
    assert result.exit_code == 1
    assert len(result.warnings) == 1
    assert f"destination 'server': 127.0.0.1:{sftp_server.port}: " in result.warnings[0]
    assert {(removal.destination, removal.outcome) for removal in result.removals} == {
        (None, "removed"),
        ("there", "removed"),
        ("server", "failed"),
    }
    assert there.files() == ["d.csv"]
    sftp_server.start()
    assert outcomes(server_down.prune()) == {"a.csv": "removed", "a.csv.ready": "removed"}


def test_many_files_are_removed_in_batches(
    server_down: Archive, sftp_server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination that is down has one message; files of the other are removed in batches."""
    monkeypatch.setattr(retention, "_BATCH", 4)
    monkeypatch.setattr(retention, "_LISTED", 7)
    there = Archive(server_down.workspace, server_down.workspace.folder / "there")
    for number in range(6):
        there.deliver(80 - number, f"c{number}.csv")
        server_down.deliver(90 - number, f"s{number}.csv")
    there.deliver(2, "d.csv")
    noted: list[tuple[str | None, int]] = []
    note = Removals.note

    def recording_note(self: Removals, destination: str | None, paths: Iterable[str]) -> None:
        noted.append((destination, len([*paths])))
        note(self, destination, paths)

    monkeypatch.setattr(Removals, "note", recording_note)
    foreseen = retention.foresee(server_down.config(), now=NOW)
    assert foreseen.counts == {
        "outbox": {"due": 26},
        "server": {"due": 14},
        "there": {"due": 12},
    }
    result = server_down.prune()
    assert (len(foreseen.removals), len(result.removals)) == (7, 7)
    assert result.counts == {
        "server": {"failed": 4},
        "there": {"removed": 12},
        "outbox": {"removed": 26},
    }
    assert len(result.warnings) == 1
    assert [number for name, number in noted if name == "there"] == [4, 4, 4]
    assert [number for name, number in noted if name == "server"] == [0]
    assert there.files() == ["d.csv"]
    sftp_server.start()
    assert server_down.prune().counts == {"server": {"removed": 14}}


def test_a_failed_removal_is_a_warning_of_the_run(server_down: Archive) -> None:
    day = f"{NOW - DAY:%Y-%m-%d}"
    server_down.workspace.mailing("ACME", day)
    result = server_down.workspace.run(f"{NOW + DAY:%Y-%m-%d} 07:00")
    assert result.exit_code == 0
    assert "destination 'server'" in result.warnings[-1]
    assert len(server_down.workspace.files()) == 2
    assert server_down.files("outbox") == sorted([*server_down.workspace.files(), "b.csv"])


def test_without_delivery_no_destination_is_touched(server_down: Archive) -> None:
    result = server_down.workspace.run(f"{NOW + DAY:%Y-%m-%d} 07:00", deliver=False)
    assert (result.exit_code, [w for w in result.warnings if "server" in w]) == (0, [])
    assert "a.csv" not in server_down.files("outbox")


@pytest.mark.skipif(is_root(), reason="permissions do not apply to root")
def test_a_folder_without_write_permission_is_reported(workspace: Workspace) -> None:
    workspace.configure(
        "  - {brand: ACME}", destinations="{there: {directory: there, retention: 60d}}"
    )
    archive = Archive(workspace, workspace.folder / "there")
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    archive.root.chmod(0o500)
    result = archive.prune()
    archive.root.chmod(0o700)
    assert "may be read and written by the user" in result.warnings[0]
    assert outcomes(archive.prune())["a.csv"] == "removed"


def test_a_server_that_forbids_removing_is_reported(
    start_sshd: Callable[..., Sshd], workspace: Workspace
) -> None:
    server = start_sshd(sftp_options="-P remove")
    line = server.line(timeout="5s")
    workspace.configure(
        "  - {brand: ACME}",
        destinations=f"{{there: {{sftp: {line}, retention: 60d}}}}",
    )
    archive = Archive(workspace, server.root)
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    result = archive.prune()
    assert "the server says 'Permission denied'" in result.warnings[0]
    assert outcomes(result) == {"a.csv": "failed", "a.csv.ready": "failed"}
    assert "a.csv" in archive.files()


def test_a_folder_that_is_not_mounted_does_not_count_as_empty(workspace: Workspace) -> None:
    workspace.configure(
        "  - {brand: ACME}", destinations="{there: {directory: there, retention: 60d}}"
    )
    archive = Archive(workspace, workspace.folder / "there")
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    archive.root.rename(workspace.folder / "elsewhere")
    assert "Check that it is mounted" in archive.prune().warnings[0]
    (workspace.folder / "elsewhere").rename(archive.root)
    assert outcomes(archive.prune())["a.csv"] == "removed"


def test_the_command_lists_and_removes_old_files(workspace: Workspace) -> None:
    folder = "\"{{ env_var('FOLDER') }}\""
    there = f"{{there: {{directory: {folder}, retention: 60d}}}}"
    workspace.configure("  - {brand: ACME}", destinations=there)
    workspace.monkeypatch.setenv("FOLDER", "there")
    archive = Archive(workspace, workspace.folder / "there")
    archive.deliver(61, "a.csv")
    archive.deliver(1, "b.csv")
    workspace.monkeypatch.delenv("FOLDER")  # a dry run reads only the ledger
    ran = orchestrate(workspace.folder, "prune", "--dry-run", "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["exit_code"]) == (0, 0)
    assert {removal["outcome"] for removal in document["removals"]} == {"due"}
    assert document["counts"] == {"outbox": {"due": 2}, "there": {"due": 2}}
    ran = orchestrate(workspace.folder, "prune", "--dry-run")
    day = f"{NOW - 61 * DAY:%Y-%m-%d}"
    assert f"there: a.csv, delivered 61 days ago, {day}" in ran.stdout
    assert f"outbox: a.csv, delivered 61 days ago, {day}" in ran.stdout
    assert archive.files() == ["a.csv", "b.csv"]
    ran = orchestrate(workspace.folder, "prune")
    assert (ran.returncode, "FOLDER is not set" in ran.stderr) == (2, True)
    workspace.monkeypatch.setenv("FOLDER", "there")
    ran = orchestrate(workspace.folder, "prune")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "there: old files removed: 2" in ran.stderr
    assert archive.files() == archive.files("outbox") == ["b.csv"]
    ran = orchestrate(workspace.folder, "prune")
    assert "no file is old enough to be removed" in ran.stdout
    ledger = archive.ledger()
    ran = orchestrate(workspace.folder, "prune")
    ledger.close()
    assert ran.returncode == 75
