"""Raw files in, delivered files out, by the real commands; each byte as a second reading says."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import awkward
import duckdb
import pytest
import raw_writers
import reading
from reading import Column, Dialect, Tables, Window
from sshd import Sshd

CONFIG = """
destinations:
  receiver:
    sftp: {{host: {host}, port: {port}, username: {user}, private_key: {key}, known_hosts: {hosts}}}
  archive: {{directory: archive}}
defaults: {{destination: [receiver, archive]}}
exports:
  - {{brand: BRANDNAAM, timezone: Europe/Amsterdam, labels: nl}}
  - brand: OTHER
    timezone: America/New_York
    directory: "{{brand}}/{{window_start:%Y}}/{{window_start:%m}}"
    delimiter: ";"
    quoting: all
    line_ending: crlf
    encoding: utf-16
    labels: names
    timestamp_format: "%d/%m/%Y %H:%M:%S.%f %z"
    additional_fields:
      activities: [received_at, os, url, is_machine, {{column: event_id, as: "Event; id"}}]
      broadcasts: [is_carried_out, is_touched, brand]
  - brand: Himal
    timezone: Asia/Kathmandu
    extension: txt
    delimiter: "\\t"
    newlines: space
    "null": "\\\\N"
    header: false
    machine_activity: exclude
    activity_types: [open, click, hard_bounce, complaint]
    activity_fields:
      - {{column: customer_id, as: klant}}
      - {{column: email_address, as: mail, hash: sha256}}
      - activity
      - activity_date
      - description
      - is_machine
    broadcast_fields: [sent_on, subject, broadcast_id]
  - brand: Uur
    timezone: Europe/Amsterdam
    interval: hourly
    activity_file: "activity_{{brand}}_{{window_start:%Y%m%dT%H%M%z}}"
    broadcast_file: "broadcast_{{brand}}_{{window_start:%Y%m%dT%H%M%z}}"
  - {{brand: "*", timezone: Asia/Kathmandu, delimiter: "||", encoding: utf-8-sig}}
"""
OTHERS = ("Café Zürich & Söhne", "brandnaam", "Stray")
DIALECTS = {
    "BRANDNAAM": Dialect("Europe/Amsterdam", reading.DUTCH, reading.DUTCH_BROADCASTS),
    "OTHER": Dialect(
        "America/New_York",
        reading.NAMES,
        reading.NAMES,
        activity_columns=(
            *Dialect.activity_columns,
            *(Column(name) for name in ("received_at", "os", "url", "is_machine")),
            Column("event_id", "Event; id"),
        ),
        broadcast_columns=(
            *Dialect.broadcast_columns,
            *(Column(name) for name in ("is_carried_out", "is_touched", "brand")),
        ),
        delimiter=";",
        quote_all=True,
        line_ending="\r\n",
        encoding="utf-16",
        moments="%d/%m/%Y %H:%M:%S.%f %z",
    ),
    "Himal": Dialect(
        "Asia/Kathmandu",
        activity_columns=(
            Column("customer_id", "klant"),
            Column("email_address", "mail", hashed=True),
            *(Column(name) for name in ("activity", "activity_date", "description", "is_machine")),
        ),
        broadcast_columns=tuple(Column(name) for name in ("sent_on", "subject", "broadcast_id")),
        delimiter="\t",
        header=False,
        null="\\N",
        newlines_to_spaces=True,
        types=frozenset({"open", "click", "hard_bounce", "complaint"}),
        machines=False,
    ),
    "Uur": Dialect("Europe/Amsterdam"),
    **{brand: Dialect("Asia/Kathmandu", delimiter="||", encoding="utf-8-sig") for brand in OTHERS},
}
KINDS = ("activity", "broadcast")
DAILY = [brand for brand in DIALECTS if brand != "Uur"]


class Place:
    """A folder with raw files, exports.yml and a warehouse, and the command beside it."""

    def __init__(self, folder: Path, server: Sshd) -> None:
        self.folder = folder
        self._archive = folder / "archive"
        self._server = server
        (folder / "exports.yml").write_text(
            CONFIG.format(
                host=server.host,
                port=server.port,
                user=server.username,
                key=server.client_key,
                hosts=server.known_hosts,
            ),
            encoding="utf-8",
        )
        drop = ("DBT_", "ORCHESTRATE_", "DUCKDB_")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(drop)}

    def command(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Run `orchestrate`, check how it exits, return its document."""
        done = subprocess.run(
            [Path(sys.executable).with_name("orchestrate"), *words, "--json"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
        )
        said = done.stderr.decode()
        assert done.returncode == expect, (words, done.returncode, said)
        assert "Traceback" not in said
        assert "@example.org" not in said
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def assert_delivered(self, expected: dict[str, bytes]) -> None:
        """Check that these files, and no others, are whole at both destinations and the outbox."""
        for root in (self._archive, self._server.root, self.folder / "outbox"):
            found = _files(root)
            if root == self.folder / "outbox":  # has what runs keep for themselves, out of sight
                found = {name: path for name, path in found.items() if not name.startswith(".")}
            assert sorted(found) == sorted(expected)
            for name, wanted in expected.items():
                _same(found[name].read_bytes(), wanted, name)
        modes = {path.stat().st_mode & 0o777 for path in found.values()}
        assert modes == {0o600}, "others can read the outbox"

    def times(self) -> dict[str, int]:
        """Return when each file was put in the archive."""
        return {name: path.stat().st_mtime_ns for name, path in _files(self._archive).items()}


@pytest.fixture
def place(tmp_path: Path, sftp_server: Sshd) -> Place:
    """Everything in place, nothing loaded."""
    return Place(tmp_path, sftp_server)


@pytest.fixture
def raw(place: Place) -> Tables:
    """What the warehouse holds after two loads, by the second reading of the rules."""
    tables = awkward.make()
    _write_raw(place.folder / "raw", tables)
    _write_replacements(place.folder / "more", tables)
    place.command("load", "raw", expect=3)
    place.command("load", "more")
    return reading.warehouse(tables, awkward.replacements(tables))


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
        expected |= _files_of_day(raw, day)
        place.assert_delivered(expected)
    assert len(expected) == len(awkward.DAYS) * len(DAILY) * 2

    times = place.times()
    document = place.command("daily", "--date", str(awkward.DAYS[1]))
    assert document["windows"] == []
    assert place.times() == times

    words = ("daily", "--date", str(awkward.DAYS[1]), "--brand", "OTHER", "--force")
    document = place.command(*words)
    assert [window["revision"] for window in document["windows"]] == [2]
    place.assert_delivered(expected)
    again = {name for name, time in place.times().items() if time != times[name]}
    assert again == {f"OTHER/2026/10/{kind}_OTHER_20261025.csv" for kind in KINDS}


def test_the_hours_of_a_day_of_25_hours_tile_it(place: Place, raw: Tables) -> None:
    document = place.command("run", "--date", "2026-10-25", "--brand", "Uur")

    assert len(document["windows"]) == 25
    expected = _files_of_hours(raw, date(2026, 10, 25))
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


def _files_of_day(raw: Tables, day: date) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for brand in DAILY:
        folder = f"OTHER/{day:%Y}/{day:%m}/" if brand == "OTHER" else ""
        extension = "txt" if brand == "Himal" else "csv"
        name = f"{folder}{{}}_{brand}_{day:%Y%m%d}.{extension}"
        files |= _pair(raw, brand, reading.day(day, DIALECTS[brand].zone), name)
    return files


def _files_of_hours(raw: Tables, day: date) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    zone = ZoneInfo(DIALECTS["Uur"].zone)
    for window in reading.hours(day, zone.key):
        name = f"{{}}_Uur_{window.start.astimezone(zone):%Y%m%dT%H%M%z}.csv"
        files |= _pair(raw, "Uur", window, name)
    return files


def _pair(raw: Tables, brand: str, window: Window, name: str) -> dict[str, bytes]:
    happened = reading.activities(raw, window)
    mailings = reading.broadcasts(raw, window, happened)
    return {
        name.format("activity"): reading.activity_file(happened, brand, DIALECTS[brand]),
        name.format("broadcast"): reading.broadcast_file(mailings, brand, DIALECTS[brand]),
    }


def _write_raw(folder: Path, tables: Tables) -> None:
    """Write the tables in all formats, some in several files, broken rows first."""
    broken = awkward.broken(tables)
    rows = {table: [*broken.get(table, []), *rows] for table, rows in tables.items()}
    for table in ("customers", "email_sends"):
        for number, part in enumerate(awkward.parts(rows.pop(table), 3)):
            raw_writers.write(folder / table / f"part-{number}.parquet", part)
    first, second = awkward.parts(rows.pop("email_clicks"), 2)
    raw_writers.write(folder / "email_clicks.csv", first)
    raw_writers.write(folder / "email_clicks.jsonl", second)
    for table, suffix in {
        "broadcasts": "csv",
        "email_opens": "jsonl",
        "email_bounces": "jsonl",
        "email_complaints": "parquet",
        "email_unsubscribes": "csv",
    }.items():
        raw_writers.write(folder / f"{table}.{suffix}", rows.pop(table))
    assert not rows


def _write_replacements(folder: Path, tables: Tables) -> None:
    replacing = awkward.replacements(tables)
    raw_writers.write(folder / "broadcasts.jsonl", replacing["broadcasts"])
    raw_writers.write(folder / "customers.csv", replacing["customers"])
    raw_writers.write(folder / "email_bounces.csv", tables["email_bounces"])  # there already


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


def _same(found: bytes, wanted: bytes, name: str) -> None:
    if found != wanted:
        brand = name.split("_")[-2].rpartition("/")[2]
        encoding = DIALECTS[brand].encoding
        # By line, so that what differs can be seen.
        assert found.decode(encoding).split("\n") == wanted.decode(encoding).split("\n"), name
        assert found == wanted, name
