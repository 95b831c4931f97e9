"""From raw files to delivered files with the real commands, compared with a reference export."""

import json
import os
import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import awkward_rows
import duckdb
import pytest
import raw_writers
import reference_export
import reference_files
from forked_commands import orchestrate
from reference_export import Tables
from sshd import Sshd
from workspace import tree


def command(folder: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """Run `orchestrate` in a folder, check its exit code, and return its JSON document."""
    drop = ("DBT_", "ORCHESTRATE_", "DUCKDB_")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(drop)]:
            patch.delenv(name)
        done = orchestrate(folder, *words, "--json")
    assert done.returncode == expect, (words, done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert "@example.org" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


class Workspace:
    """A folder with raw files, exports.yml and a warehouse, and the command that runs in it."""

    def __init__(self, folder: Path, server: Sshd) -> None:
        self.folder = folder
        self._archive = folder / "archive"
        self._archive.mkdir()
        self._server = server
        (folder / "exports.yml").write_text(
            f"""
destinations:
  receiver:
    sftp:
      host: {server.host}
      port: {server.port}
      username: {server.username}
      private_key: {server.client_key}
      known_hosts: {server.known_hosts}
  archive: {{directory: archive}}
defaults: {{destination: [receiver, archive]}}
{reference_files.EXPORTS}""",
            encoding="utf-8",
        )

    def command(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Run `orchestrate` here."""
        return command(self.folder, *words, expect=expect)

    def assert_delivered(self, expected: dict[str, bytes]) -> None:
        """Assert that exactly these files are complete at both destinations and in the outbox."""
        for root in (self._archive, self._server.root, self.folder / "outbox"):
            found = {name: root / name for name in tree(root)}
            if root == self.folder / "outbox":  # it also has hidden files
                found = {name: path for name, path in found.items() if not name.startswith(".")}
            assert sorted(found) == sorted(expected)
            for name, wanted in expected.items():
                reference_files.assert_same_bytes(found[name].read_bytes(), wanted, name)
        modes = {path.stat().st_mode & 0o777 for path in found.values()}
        assert modes == {0o600}, "others can read the outbox"

    def times(self) -> dict[str, int]:
        """Return the time at which each file arrived in the archive."""
        return {name: (self._archive / name).stat().st_mtime_ns for name in tree(self._archive)}


@pytest.fixture
def workspace(tmp_path: Path, sftp_server: Sshd) -> Workspace:
    """A workspace that is configured, with nothing loaded."""
    return Workspace(tmp_path, sftp_server)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """A folder after two loads, and the rows that its warehouse should have."""
    folder = tmp_path_factory.mktemp("loaded")
    tables = awkward_rows.raw_tables()
    reference_files.write_raw(folder / "raw", tables)
    reference_files.write_replacements(folder / "more", tables)
    command(folder, "load", "raw", expect=3)
    command(folder, "load", "more")
    return folder, reference_export.warehouse(tables, awkward_rows.replacements(tables))


@pytest.fixture
def raw(workspace: Workspace, loaded: tuple[Path, Tables]) -> Tables:
    """The rows of the workspace's warehouse, which is a copy of the loaded one."""
    folder, stored = loaded
    shutil.copytree(folder, workspace.folder, dirs_exist_ok=True)
    return stored


def test_each_raw_row_is_loaded_once_or_rejected(workspace: Workspace, raw: Tables) -> None:
    stored = _stored(workspace)
    for table, rows in raw.items():
        assert stored[table] == Counter(tuple(sorted(row.items())) for row in rows)
    broken = {table: len(rows) for table, rows in awkward_rows.broken(raw).items()}
    assert _rejected(workspace) == broken

    workspace.command("load", "raw", expect=3)
    workspace.command("load", "more")

    assert _stored(workspace) == stored
    assert _rejected(workspace) == {table: 2 * count for table, count in broken.items()}


def test_every_file_of_every_day_equals_the_reference(workspace: Workspace, raw: Tables) -> None:
    expected: dict[str, bytes] = {}
    for day in awkward_rows.DAYS:
        document = workspace.command("daily", "--date", str(day))
        assert {window["revision"] for window in document["windows"]} == {1}
        expected |= reference_files.files_of_day(raw, day)
        workspace.assert_delivered(expected)
    assert len(expected) == len(awkward_rows.DAYS) * len(reference_files.DAILY) * 2

    times = workspace.times()
    document = workspace.command("daily", "--date", str(awkward_rows.DAYS[1]))
    assert document["windows"] == []
    assert workspace.times() == times

    words = ("daily", "--date", str(awkward_rows.DAYS[1]), "--brand", "OTHER", "--force")
    document = workspace.command(*words)
    assert [window["revision"] for window in document["windows"]] == [2]
    workspace.assert_delivered(expected)
    again = {name for name, time in workspace.times().items() if time != times[name]}
    assert again == {f"OTHER/2026/10/{kind}_OTHER_20261025.csv" for kind in reference_files.KINDS}


@pytest.mark.faults
def test_a_day_of_25_hours_has_25_hourly_windows(workspace: Workspace, raw: Tables) -> None:
    document = workspace.command("run", "--date", "2026-10-25", "--brand", "Uur")

    assert len(document["windows"]) == 25
    expected = reference_files.files_of_hours(raw, date(2026, 10, 25))
    assert len(expected) == 50
    workspace.assert_delivered(expected)
    times = workspace.times()
    document = workspace.command("run", "--date", "2026-10-25", "--brand", "Uur")
    assert document["windows"] == []
    assert workspace.times() == times


def test_a_text_that_ends_like_the_delimiter_is_quoted(workspace: Workspace) -> None:
    broadcast = {
        "brand": "Edge",
        "broadcast_id": "x|",
        "channel": "email",
        "broadcast_type": "SINGLE",
        "description": "y",
        "subject": "z",
        "sent_on": datetime(2026, 10, 26, 12, tzinfo=UTC),
        "received_at": datetime(2026, 10, 26, 12, tzinfo=UTC),
    }
    raw_writers.write(workspace.folder / "raw/broadcasts.jsonl", [broadcast])
    (workspace.folder / "exports.yml").write_text(
        "destinations: {archive: {directory: archive}}\n"
        "exports: [{brand: Edge, destination: archive, delimiter: '||', header: false}]\n"
    )
    workspace.command("load", "raw")
    workspace.command("daily", "--date", "2026-10-26")

    row = (workspace.folder / "archive/broadcast_Edge_20261026.csv").read_text()
    assert row == '"x|"||SINGLE||y||z||2026-10-26 12:00:00\n'


def _stored(workspace: Workspace) -> dict[str, Counter[Any]]:
    """Return the rows of each raw table, with the number of times that each occurs."""
    stored = {}
    with duckdb.connect(workspace.folder / "warehouse.duckdb", read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for table in ("broadcasts", "customers", *awkward_rows.EVENTS):
            query = connection.execute(f"select * exclude (loaded_at) from raw.{table}")
            names = [column[0] for column in query.description or ()]
            stored[table] = Counter(
                tuple(sorted(zip(names, row, strict=True))) for row in query.fetchall()
            )
    return stored


def _rejected(workspace: Workspace) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in (workspace.folder / "rejected").glob("*.jsonl"):
        found[path.name.partition("-")[0]] += path.read_bytes().count(b"\n")
    return found
