"""Raw files in, delivered files out, by the real commands; each byte as a second reading says."""

import json
import os
import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import awkward
import duckdb
import pytest
import raw_writers
import reading
import whole
from reading import Tables
from sshd import Sshd
from warm import orchestrate


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


class Place:
    """A folder with raw files, exports.yml and a warehouse, and the command beside it."""

    def __init__(self, folder: Path, server: Sshd) -> None:
        self.folder = folder
        self._archive = folder / "archive"
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
{whole.EXPORTS}""",
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
                whole.same(found[name].read_bytes(), wanted, name)
        modes = {path.stat().st_mode & 0o777 for path in found.values()}
        assert modes == {0o600}, "others can read the outbox"

    def times(self) -> dict[str, int]:
        """Return when each file was put in the archive."""
        return {name: path.stat().st_mtime_ns for name, path in _files(self._archive).items()}


@pytest.fixture
def place(tmp_path: Path, sftp_server: Sshd) -> Place:
    """Everything in place, nothing loaded."""
    return Place(tmp_path, sftp_server)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """A folder after two loads, and what its warehouse holds by the second reading of the rules."""
    folder = tmp_path_factory.mktemp("loaded")
    tables = awkward.make()
    whole.write_raw(folder / "raw", tables)
    whole.write_replacements(folder / "more", tables)
    command(folder, "load", "raw", expect=3)
    command(folder, "load", "more")
    return folder, reading.warehouse(tables, awkward.replacements(tables))


@pytest.fixture
def raw(place: Place, loaded: tuple[Path, Tables]) -> Tables:
    """What the place's warehouse holds: it is a copy of the one that is loaded."""
    folder, held = loaded
    shutil.copytree(folder, place.folder, dirs_exist_ok=True)
    return held


def test_each_raw_row_is_loaded_once_or_rejected(place: Place, raw: Tables) -> None:
    held = _held(place)
    for table, rows in raw.items():
        assert held[table] == Counter(tuple(sorted(row.items())) for row in rows)
    broken = {table: len(rows) for table, rows in awkward.broken(raw).items()}
    assert _rejected(place) == broken

    place.command("load", "raw", expect=3)
    place.command("load", "more")

    assert _held(place) == held
    assert _rejected(place) == {table: 2 * count for table, count in broken.items()}


def test_every_byte_of_every_day_is_what_the_rules_say(place: Place, raw: Tables) -> None:
    expected: dict[str, bytes] = {}
    for day in awkward.DAYS:
        document = place.command("daily", "--date", str(day))
        assert {window["revision"] for window in document["windows"]} == {1}
        expected |= whole.files_of_day(raw, day)
        place.assert_delivered(expected)
    assert len(expected) == len(awkward.DAYS) * len(whole.DAILY) * 2

    times = place.times()
    document = place.command("daily", "--date", str(awkward.DAYS[1]))
    assert document["windows"] == []
    assert place.times() == times

    words = ("daily", "--date", str(awkward.DAYS[1]), "--brand", "OTHER", "--force")
    document = place.command(*words)
    assert [window["revision"] for window in document["windows"]] == [2]
    place.assert_delivered(expected)
    again = {name for name, time in place.times().items() if time != times[name]}
    assert again == {f"OTHER/2026/10/{kind}_OTHER_20261025.csv" for kind in whole.KINDS}


def test_the_hours_of_a_day_of_25_hours_tile_it(place: Place, raw: Tables) -> None:
    document = place.command("run", "--date", "2026-10-25", "--brand", "Uur")

    assert len(document["windows"]) == 25
    expected = whole.files_of_hours(raw, date(2026, 10, 25))
    assert len(expected) == 50
    place.assert_delivered(expected)
    times = place.times()
    document = place.command("run", "--date", "2026-10-25", "--brand", "Uur")
    assert document["windows"] == []
    assert place.times() == times


def test_a_text_that_ends_like_the_delimiter_is_told_from_it(place: Place) -> None:
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
    raw_writers.write(place.folder / "raw/broadcasts.jsonl", [broadcast])
    (place.folder / "exports.yml").write_text(
        "destinations: {archive: {directory: archive}}\n"
        "exports: [{brand: Edge, destination: archive, delimiter: '||', header: false}]\n"
    )
    place.command("load", "raw")
    place.command("daily", "--date", "2026-10-26")

    row = (place.folder / "archive/broadcast_Edge_20261026.csv").read_text()
    assert row == '"x|"||SINGLE||y||z||2026-10-26 12:00:00\n'


def _held(place: Place) -> dict[str, Counter[Any]]:
    """Return the rows of each raw table, with how often each is there."""
    held = {}
    with duckdb.connect(place.folder / "warehouse.duckdb", read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for table in ("broadcasts", "customers", *awkward.EVENTS):
            query = connection.execute(f"select * from raw.{table}")
            names = [column[0] for column in query.description or ()]
            held[table] = Counter(
                tuple(sorted(zip(names, row, strict=True))) for row in query.fetchall()
            )
    return held


def _rejected(place: Place) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in (place.folder / "rejected").glob("*.jsonl"):
        found[path.name.partition("-")[0]] += path.read_bytes().count(b"\n")
    return found


def _files(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
