"""The recipes of docs/receiving.md load real files exactly once; docs/python.md reads them."""

import contextlib
import copy
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest
from awkward_rows import TEXTS as AWKWARD
from postgres_server import Postgres
from psycopg import conninfo
from workspace import ROOT, Workspace, days, utc

PAGE = (ROOT / "docs/receiving.md").read_text(encoding="utf-8")
BRAND = "Café_19991231 & Co's"
ZONE = ZoneInfo("Europe/Amsterdam")
DAYS = ("20261024", "20261025", "20261026")  # the second has 25 hours
ACTIVITIES = (
    "broadcast_id, customer_id, external_customer_number, email_address, activity, activity_date,"
    " description"
)
BROADCASTS = "broadcast_id, broadcast_type, description, subject, sent_on"
TEXTS = (*AWKWARD, "a line of\n\\.\nits own")  # psql before 18 reads this line as the end
Row = tuple[Any, ...]


def recipes(page: str = PAGE) -> dict[str, str]:
    """Return the code blocks of the page by the file name in their first lines."""
    found = {}
    for block in re.findall(r"^```(?:sql|sh|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        name = re.search(r'^(?:--|#|""") ?(\S+\.(?:sql|sh|py))', block, re.MULTILINE)
        assert name, block
        found[name[1]] = block
    return found


class Receiver:
    """A receiver that loads the files of a folder by a recipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in recipes().items():
            (folder / name).write_text(text, encoding="utf-8")

    def load(self, incoming: Path) -> int:
        """Run the recipe; return its exit code."""
        raise NotImplementedError

    def query(self, text: str) -> list[Row]:
        """Return the rows of a query."""
        raise NotImplementedError

    def everything(self) -> list[list[Row]]:
        """Return all rows of the tables, with the times of the loads."""
        tables = ("loaded_windows", "activities", "broadcast_rows")
        return [sorted(self.query(f"select * from {table}"), key=repr) for table in tables]


class PostgresReceiver(Receiver):
    def __init__(self, folder: Path, server: Postgres) -> None:
        super().__init__(folder)
        programs = server.program("psql").parent
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, **server.warehouse(), "PATH": path, "PGCLIENTENCODING": "LATIN1"}
        create = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=tables.sql"]
        subprocess.run(create, cwd=folder, env=self.env, check=True)

    def load(self, incoming: Path) -> int:
        command = ["sh", "load.sh", str(incoming)]
        return subprocess.run(command, cwd=self.folder, env=self.env, check=False).returncode

    def query(self, text: str) -> list[Row]:
        where = conninfo.make_conninfo(
            host=self.env["PGHOST"], user=self.env["PGUSER"], dbname=self.env["PGDATABASE"]
        )
        with psycopg.connect(where) as connection:
            return connection.execute(text.encode()).fetchall()


class DuckdbReceiver(Receiver):
    def load(self, incoming: Path) -> int:
        command = [sys.executable, "load.py", str(incoming), "receiver.duckdb"]
        return subprocess.run(command, cwd=self.folder, check=False).returncode

    def query(self, text: str) -> list[Row]:
        with duckdb.connect(str(self.folder / "receiver.duckdb")) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture(params=["postgres", "duckdb"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Receiver:
    """Each database for which the page has a recipe that can run here."""
    if request.param == "duckdb":
        return DuckdbReceiver(tmp_path / "receiver")
    return PostgresReceiver(tmp_path / "receiver", request.getfixturevalue("postgres"))


class Sender:
    """A brand with awkward texts, delivered day by day, and the rows that its files should have."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.incoming = workspace.folder / "there"
        self.activities: dict[str, list[Row]] = {day: [] for day in DAYS}
        self.broadcasts: dict[str, Row] = {}
        more = "start: 2026-10-24, completion: manifest"
        workspace.configure(f'  - {{brand: "{BRAND}", timezone: {ZONE}, {more}}}')
        workspace.add(
            "customers", {"brand": BRAND, "customer_id": "C1", "external_customer_number": ""}
        )
        sent = [self._broadcast(f"B{n}", text, TEXTS[-n]) for n, text in enumerate(TEXTS)]
        workspace.add("broadcasts", *sent)
        edges = ("23 22:00:00", "24 21:59:59.999999", "24 22:00:00", "25 22:59:59.999999")
        moments = [f"2026-10-{edge}" for edge in (*edges, "25 23:00:00", "26 22:59:59.999999")]
        clicks = [
            self._click(moments[number % len(moments)], number, text, event=number)
            for number, text in enumerate(TEXTS)
        ]
        equal = [  # in every delivered column
            self._click("2026-10-25 11:00:00", 3, "https://example.com", event=number)
            for number in (1000, 1001)
        ]
        workspace.add("email_clicks", *clicks, *equal)

    def copy(self, workspace: Workspace) -> "Sender":
        """Return a copy in another workspace, with all delivered files."""
        shutil.copytree(self.workspace.folder, workspace.folder, dirs_exist_ok=True)
        copied = copy.copy(self)
        copied.workspace, copied.incoming = workspace, workspace.folder / "there"
        copied.activities = copy.deepcopy(self.activities)
        copied.broadcasts = copy.deepcopy(self.broadcasts)
        return copied

    def _broadcast(
        self, broadcast: str, description: str | None, subject: str | None
    ) -> dict[str, Any]:
        columns = {"broadcast_id": broadcast, "description": description, "subject": subject}
        moments = {"sent_on": "2026-10-25 00:30:00", "received_at": "2026-10-25 00:30:00"}
        sent_on = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 - local, as in the file
        self.broadcasts[broadcast] = (broadcast, "SINGLE", description, subject, sent_on)
        return {"brand": BRAND, **columns, **moments}

    def click(self, moment: str, number: int, url: str, *, event: int) -> None:
        """Add a click that came in at this moment of UTC."""
        self.workspace.add("email_clicks", self._click(moment, number, url, event=event))

    def _click(self, moment: str, number: int, url: str | None, *, event: int) -> dict[str, Any]:
        address = (None, "", "ünï@example.com")[number % 3]
        local = utc(moment).astimezone(ZONE)
        number_there = "" if number == 1 else None
        self.activities[f"{local:%Y%m%d}"].append(
            (
                f"B{number}",
                f"C{number}",
                number_there,
                address,
                "Clicks",
                local.replace(microsecond=0, tzinfo=None),
                url,
            )
        )
        return {
            "brand": BRAND,
            "event_id": f"E{event}",
            "broadcast_id": f"B{number}",
            "customer_id": f"C{number}",
            "email_address": address,
            "received_at": moment,
            "url": url,
        }

    def deliver(self, now: str = "2026-10-27 07:00", **request: Any) -> None:  # noqa: ANN401 - any
        """Run all due windows."""
        assert self.workspace.run(now, **request).exit_code == 0


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Sender:
    """Three delivered days of one brand; the second has 25 hours."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        sender = Sender(Workspace(tmp_path_factory.mktemp("delivered"), monkeypatch))
        sender.deliver()
    return sender


@pytest.fixture
def sender(workspace: Workspace, delivered: Sender) -> Sender:
    """A copy of `delivered` for one test."""
    return delivered.copy(workspace)


def check(receiver: Receiver, sender: Sender) -> None:
    """Assert that each row was loaded once, with the values that were sent."""
    names = [f"{BRAND}_{day}" for day in DAYS]
    windows = receiver.query("select window_name, brand, period from loaded_windows order by 1")
    assert windows == [(name, BRAND, day) for name, day in zip(names, DAYS, strict=True)]
    for day, expected in sender.activities.items():
        name = f"{BRAND}_{day}".replace("'", "''")
        loaded = receiver.query(f"select {ACTIVITIES} from activities where window_name = '{name}'")
        assert Counter(loaded) == Counter(expected)
    assert len(receiver.query("select * from activities")) == sum(
        map(len, sender.activities.values())
    )
    assert Counter(receiver.query(f"select {BROADCASTS} from broadcasts")) == Counter(
        sender.broadcasts.values()
    )
    assert receiver.query("select distinct brand from broadcasts") == [(BRAND,)]


def test_every_row_is_loaded_once(receiver: Receiver, sender: Sender) -> None:
    assert len(list(sender.incoming.glob("*.csv"))) == 2 * len(DAYS)
    assert receiver.load(sender.incoming) == 0
    check(receiver, sender)
    before = receiver.everything()
    assert receiver.load(sender.incoming) == 0
    assert receiver.everything() == before
    (activity,) = sender.incoming.glob(f"activity_*_{DAYS[1]}.csv")
    complete = activity.read_bytes()
    activity.write_bytes(complete[: complete.rindex(b'"')])  # cut off in the middle
    assert receiver.load(sender.incoming) != 0
    assert receiver.everything() == before
    activity.write_bytes(complete)
    assert receiver.load(sender.incoming) == 0
    assert receiver.everything() == before


def test_a_next_revision_replaces_its_window(receiver: Receiver, sender: Sender) -> None:
    assert receiver.load(sender.incoming) == 0
    before = receiver.everything()
    sender.workspace.query("update raw.broadcasts set subject = 'new' where broadcast_id = 'B2'")
    sender.broadcasts["B2"] = (*sender.broadcasts["B2"][:3], "new", sender.broadcasts["B2"][4])
    for moment in ("25 12:00:00", "26 12:00:00"):
        sender.click(f"2026-10-{moment}", 2, 'late, "quoted"\r\nrow', event=int(moment[:2]) + 2000)
    sender.deliver(force=True, days=days("2026-10-25", "2026-10-26"))
    assert receiver.load(sender.incoming) == 0
    check(receiver, sender)
    untouched, *others = receiver.everything()[0]
    assert untouched == before[0][0]
    assert [row[:3] for row in others] == [row[:3] for row in before[0][1:]]
    assert not {row[3] for row in others} & {row[3] for row in before[0]}


class ManifestReceiver(Receiver):
    """A receiver that reads manifests and loads the tables `activity` and `broadcast`."""

    def __init__(self, folder: Path, program: str, server: Postgres | None) -> None:
        super().__init__(folder)
        self.program = program
        self.server = server.warehouse() if server else {}

    def load(self, incoming: Path) -> int:
        command = [sys.executable, self.program, str(incoming)]
        command += [] if self.server else ["receiver.db"]
        env = {**os.environ, **self.server, "PGCLIENTENCODING": "LATIN1"}
        return subprocess.run(command, cwd=self.folder, env=env, check=False).returncode

    def query(self, text: str) -> list[Row]:
        if self.server:
            where = conninfo.make_conninfo(
                host=self.server["PGHOST"],
                user=self.server["PGUSER"],
                dbname=self.server["PGDATABASE"],
            )
            with psycopg.connect(where) as connection:
                return connection.execute(text.encode()).fetchall()
        path = str(self.folder / "receiver.db")
        if self.program == "load_duckdb.py":
            with duckdb.connect(path) as connection:
                return connection.execute(text).fetchall()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(text).fetchall()

    def known(self, row: Row) -> Row:
        """Return a row that was sent as this receiver can represent it."""
        if self.program == "load_frictionless.py":  # no empty texts, and SQLite has no timestamps
            return tuple(None if value in (None, "") else str(value) for value in row)
        return row

    def everything(self) -> list[list[Row]]:
        tables = ("loaded_windows", "activity", "broadcast")
        return [sorted(self.query(f"select * from {table}"), key=repr) for table in tables]


@pytest.fixture(params=["load_frictionless.py", "load_duckdb.py", "load_postgres.py"])
def by_manifest(request: pytest.FixtureRequest, tmp_path: Path) -> ManifestReceiver:
    server = request.getfixturevalue("postgres") if "postgres" in request.param else None
    return ManifestReceiver(tmp_path / "receiver", request.param, server)


def check_manifests(receiver: ManifestReceiver, sender: Sender) -> None:
    """Assert that each row that was sent was loaded once."""
    sent = [row for rows in sender.activities.values() for row in rows]
    loaded = receiver.query(f"select {ACTIVITIES} from activity")
    assert Counter(loaded) == Counter(map(receiver.known, sent))
    broadcasts = receiver.query(f"select distinct {BROADCASTS} from broadcast")
    assert Counter(broadcasts) == Counter(map(receiver.known, sender.broadcasts.values()))
    windows = receiver.query("select distinct export from loaded_windows")
    assert windows == [(f"{BRAND} daily",)]


def test_manifests_load_every_row_once(by_manifest: ManifestReceiver, sender: Sender) -> None:
    receiver = by_manifest
    assert receiver.load(sender.incoming) == 0
    check_manifests(receiver, sender)
    before = receiver.everything()
    assert receiver.load(sender.incoming) == 0
    assert receiver.everything() == before
    shutil.copytree(sender.incoming, sender.workspace.folder / "earlier")
    # The next revision; one of its files does not match the manifest yet.
    sender.click("2026-10-25 12:00:00", 2, 'late, "quoted"\r\nrow', event=2025)
    sender.deliver(force=True, days=days("2026-10-25"))
    (activity,) = sender.incoming.glob(f"activity_*_{DAYS[1]}.csv")
    complete = activity.read_bytes()
    activity.write_bytes(complete.replace(b"late", b"last"))
    assert receiver.load(sender.incoming) != 0
    assert receiver.everything() == before
    activity.write_bytes(complete)
    assert receiver.load(sender.incoming) == 0
    check_manifests(receiver, sender)
    revisions = receiver.query("select revision from loaded_windows order by 1")
    assert revisions == [(1,), (1,), (2,)]
    # An older manifest arrives again.
    for path in (sender.workspace.folder / "earlier").glob(f"*_{DAYS[1]}*"):
        shutil.copy(path, sender.incoming)
    assert receiver.load(sender.incoming) == 0
    check_manifests(receiver, sender)


@pytest.mark.parametrize(
    ("dialect", "programs"),
    [
        ("delimiter: ';', encoding: utf-16, compression: zip, labels: nl", "frictionless postgres"),
        ("delimiter: ';', compression: gzip, labels: names", "frictionless duckdb postgres"),
        pytest.param(
            "header: false, 'null': '-', quoting: minimal",
            "frictionless duckdb postgres",
            marks=pytest.mark.faults,
        ),
        pytest.param(
            "delimiter: '||', compression: zstd, line_ending: crlf",
            "duckdb",
            marks=pytest.mark.faults,
        ),
        pytest.param(
            "timestamp_format: '%d.%m.%Y %H.%M.%S', extension: txt",
            "frictionless duckdb",
            marks=pytest.mark.faults,
        ),
    ],
)
def test_manifests_describe_every_dialect(
    workspace: Workspace, tmp_path: Path, postgres: Postgres, dialect: str, programs: str
) -> None:
    more = "start: 2026-11-18, completion: manifest, directory: '{revision}'"
    workspace.configure(f"  - {{brand: ACME, {more}, {dialect}}}")
    workspace.mailing("ACME", "2026-11-18")
    workspace.mailing("ACME", "2026-11-19", number=2)
    url = {"event_id": "X", "customer_id": "C", "broadcast_id": "ACME-2", "url": "a;b||c,\n-"}
    workspace.add("email_clicks", {"brand": "ACME", "received_at": "2026-11-19 12:00:00", **url})
    workspace.run("2026-11-20 07:00")
    workspace.opened("ACME", "2026-11-18 13:00:00", "ACME-1", event_id="late")
    workspace.run("2026-11-20 07:00", days=days("2026-11-18"), force=True)
    for name in programs.split():
        server = postgres if name == "postgres" else None
        receiver = ManifestReceiver(tmp_path / name, f"load_{name}.py", server)
        for folder in ("1", "2", "1"):  # each revision has a separate folder
            assert receiver.load(workspace.folder / "there" / folder) == 0
        rows = receiver.query("select broadcast_id, description from activity order by 1, 2")
        assert Counter(rows) == Counter(
            [("ACME-1", None)] * 2 + [("ACME-2", None), ("ACME-2", "a;b||c,\n-")]
        )
        (at,) = receiver.query("select max(activity_date) from activity")[0]
        assert str(at) == "2026-11-19 12:00:00"
        assert receiver.query("select count(*) from broadcast") == [(2,)]


def test_completion_files_show_truncated_files_and_missing_windows(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-10-24")
    workspace.configure("  - {brand: ACME, timezone: Europe/Amsterdam, completion: both}")
    for first, last in ((24, 25), (27, 28)):
        workspace.run("2026-10-29 07:00", days=days(f"2026-10-{first}", f"2026-10-{last}"))
    (workspace.folder / "recipe").mkdir()
    for name, text in recipes().items():
        (workspace.folder / "recipe" / name).write_text(text, encoding="utf-8")
    there = workspace.folder / "there"
    with contextlib.chdir(there):
        found = duckdb.execute(
            (workspace.folder / "recipe/gaps.sql").read_text(encoding="utf-8")
        ).fetchall()
    at = [datetime(2026, 10, day, tzinfo=ZONE) for day in (26, 27)]
    assert found == [("ACME", "daily", *at)]
    data = sorted(there.glob("*.csv"))
    assert len(data) == 8
    command = ["sh", str(workspace.folder / "recipe/check.sh")]
    for file in data:
        assert subprocess.run([*command, file.name], cwd=there, check=False).returncode == 0
    data[0].write_bytes(data[0].read_bytes()[:-1])
    assert subprocess.run([*command, data[0].name], cwd=there, check=False).returncode == 1


@pytest.mark.parametrize("name", ["read_pandas.py", "read_polars.py", "read_plain.py"])
def test_python_reads_every_value(name: str, delivered: Sender) -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    text = page[: page.index("## Moments")]  # the blocks below are not separate recipes
    recipe: dict[str, Any] = {"__name__": "recipe"}
    exec(recipes(text)[name], recipe)  # noqa: S102 - as a reader would run it
    for day, rows in delivered.activities.items():
        read = recipe["read_file"](str(delivered.incoming / f"activity_{BRAND}_{day}.csv"))
        if name == "read_plain.py":
            header, *found = map(tuple, read)
            assert header[:2] == ("Broadcast ID", "Customer ID")
        else:
            table = read.rows() if name == "read_polars.py" else read.to_numpy(dtype=object)
            found = [tuple(None if isinstance(v, float) else v for v in row) for row in table]
        assert Counter(found) == Counter(
            tuple(f"{v:%Y-%m-%d %H:%M:%S}" if isinstance(v, datetime) else v for v in row)
            for row in rows
        )
