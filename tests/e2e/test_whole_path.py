"""Raw files in, delivered files out, by the real commands; each byte as a second reading says."""

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


def command(folder: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """Run `orchestrate` in a folder, check how it exits, return its document."""
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
    """A folder with raw files, exports.yml and a warehouse, and the command beside it."""

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
        """Check that these files, and no others, are whole at both destinations and the outbox."""
        for root in (self._archive, self._server.root, self.folder / "outbox"):
            found = _files(root)
            if root == self.folder / "outbox":  # has what runs keep for themselves, out of sight
                found = {name: path for name, path in found.items() if not name.startswith(".")}
            assert sorted(found) == sorted(expected)
            for name, wanted in expected.items():
                reference_files.same(found[name].read_bytes(), wanted, name)
        modes = {path.stat().st_mode & 0o777 for path in found.values()}
        assert modes == {0o600}, "others can read the outbox"

    def times(self) -> dict[str, int]:
        """Return when each file was put in the archive."""
        return {name: path.stat().st_mtime_ns for name, path in _files(self._archive).items()}


@pytest.fixture
def workspace(tmp_path: Path, sftp_server: Sshd) -> Workspace:
    """Everything in place, nothing loaded."""
    return Workspace(tmp_path, sftp_server)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """A folder after two loads, and what its warehouse holds by the second reading of the rules."""
    folder = tmp_path_factory.mktemp("loaded")
    tables = awkward_rows.make()
    reference_files.write_raw(folder / "raw", tables)
    reference_files.write_replacements(folder / "more", tables)
    command(folder, "load", "raw", expect=3)
    command(folder, "load", "more")
    return folder, reference_export.warehouse(tables, awkward_rows.replacements(tables))


@pytest.fixture
def raw(workspace: Workspace, loaded: tuple[Path, Tables]) -> Tables:
    """What the place's warehouse holds: it is a copy of the one that is loaded."""
    folder, held = loaded
    shutil.copytree(folder, workspace.folder, dirs_exist_ok=True)
    return held


def test_each_raw_row_is_loaded_once_or_rejected(workspace: Workspace, raw: Tables) -> None:
    held = _held(workspace)
    for table, rows in raw.items():
        assert held[table] == Counter(tuple(sorted(row.items())) for row in rows)
    broken = {table: len(rows) for table, rows in awkward_rows.broken(raw).items()}
    assert _rejected(workspace) == broken

    workspace.command("load", "raw", expect=3)
    workspace.command("load", "more")

    assert _held(workspace) == held
    assert _rejected(workspace) == {table: 2 * count for table, count in broken.items()}


def test_every_byte_of_every_day_is_what_the_rules_say(workspace: Workspace, raw: Tables) -> None:
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


def test_the_hours_of_a_day_of_25_hours_tile_it(workspace: Workspace, raw: Tables) -> None:
    document = workspace.command("run", "--date", "2026-10-25", "--brand", "Uur")

    assert len(document["windows"]) == 25
    expected = reference_files.files_of_hours(raw, date(2026, 10, 25))
    assert len(expected) == 50
    workspace.assert_delivered(expected)
    times = workspace.times()
    document = workspace.command("run", "--date", "2026-10-25", "--brand", "Uur")
    assert document["windows"] == []
    assert workspace.times() == times


def test_a_text_that_ends_like_the_delimiter_is_told_from_it(workspace: Workspace) -> None:
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


def _held(workspace: Workspace) -> dict[str, Counter[Any]]:
    """Return the rows of each raw table, with how often each is there."""
    held = {}
    with duckdb.connect(workspace.folder / "warehouse.duckdb", read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for table in ("broadcasts", "customers", *awkward_rows.EVENTS):
            query = connection.execute(f"select * exclude (loaded_at) from raw.{table}")
            names = [column[0] for column in query.description or ()]
            held[table] = Counter(
                tuple(sorted(zip(names, row, strict=True))) for row in query.fetchall()
            )
    return held


def _rejected(workspace: Workspace) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in (workspace.folder / "rejected").glob("*.jsonl"):
        found[path.name.partition("-")[0]] += path.read_bytes().count(b"\n")
    return found


def _files(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
