import itertools
import os
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from postgres_server import Postgres
from psycopg.conninfo import make_conninfo

import orchestrator
from orchestrator.config.exports import File
from orchestrator.config.ledger_url import LedgerUrl, parse
from orchestrator.errors import LedgerError, LockedError
from orchestrator.ledger import (
    DELIVERED,
    PLANNED,
    WRITTEN,
    Delivery,
    DeliveryKey,
    Entry,
    Failure,
    Ledger,
    Look,
    ManifestLinks,
)
from orchestrator.ledger.database import COLUMNS, INDEXES, TABLES
from orchestrator.ledger.history import Removals
from orchestrator.ledger.records import OldFile
from orchestrator.windows import Window

GUARD = "local all reader scram-sha-256\n"
START = datetime(2026, 10, 24, 22, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOW = Window(START, START + timedelta(hours=25))
ENTRY = Entry("ACME daily", WINDOW, 1)
FILES = [
    Delivery(File("broadcast", "b.csv", 10, "b" * 64), "there"),
    Delivery(File("activity", "a.csv", 5_000_000_000, "a" * 64), "there"),
]


@pytest.fixture(params=["sqlite", "postgresql", "postgresql+psycopg2"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerUrl:
    """An empty database of each kind that a ledger can use."""
    if request.param == "sqlite":
        return parse("sqlite:///state/ledger.db", tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return of_server(server.database(), request.param)


@pytest.fixture
def ledger(url: LedgerUrl) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


def manifest(sha256: str) -> list[Delivery]:
    return [*FILES, Delivery(File("manifest", "a.csv.manifest.json", 900, sha256), "there")]


def test_the_manifests_of_an_export_are_a_sequence(ledger: Ledger) -> None:
    first = replace(ENTRY, state=WRITTEN)
    assert ledger.manifest_links(first) == ManifestLinks("ACME daily", 1, None, [])
    ledger.write([(first, FILES)])  # without a manifest it is not in the sequence
    assert ledger.manifest_links(first) == ManifestLinks("ACME daily", 1, None, [])
    ledger.write([(first, manifest("1" * 64))])
    other = replace(first, export="OTHER daily")
    assert ledger.manifest_links(other) == ManifestLinks("OTHER daily", 1, None, [])
    ledger.write([(other, manifest("0" * 64))])
    later = replace(first, window=Window(WINDOW.end, WINDOW.end + DAY))
    assert ledger.manifest_links(later) == ManifestLinks("ACME daily", 2, "1" * 64, [])
    ledger.write([(later, manifest("2" * 64))])
    second, third = replace(first, revision=2), replace(first, revision=3)
    assert ledger.manifest_links(second) == ManifestLinks("ACME daily", 3, "2" * 64, ["1" * 64])
    ledger.write([(second, manifest("3" * 64))])
    wanted = ManifestLinks("ACME daily", 4, "3" * 64, ["1" * 64, "3" * 64])
    assert ledger.manifest_links(third) == wanted
    # A manifest that is built again keeps its links.
    assert ledger.manifest_links(first) == ManifestLinks("ACME daily", 1, None, [])
    assert ledger.manifest_links(later) == ManifestLinks("ACME daily", 2, "1" * 64, [])
    ledger.write([(later, manifest("4" * 64))])
    assert ledger.manifest_links(second) == ManifestLinks("ACME daily", 3, "4" * 64, ["1" * 64])


def test_a_window_goes_from_planned_to_delivered(ledger: Ledger, url: LedgerUrl) -> None:
    assert ledger.entries() == {}
    assert ledger.spans([ENTRY.export]) == {}
    ledger.plan([ENTRY])
    assert [entry.state for entry in ledger.entries().values()] == [PLANNED]
    assert ledger.spans(["ACME daily", "no"]) == {"ACME daily": WINDOW}
    written = replace(ENTRY, state=WRITTEN, activity_rows=3, broadcast_rows=1)
    ledger.write([(written, FILES)])
    assert ledger.entries(window=WINDOW) == {("ACME daily", WINDOW): written}
    assert ledger.deliveries(written) == FILES
    key = DeliveryKey(written, "there", "b.csv")
    ledger.announce([key])
    assert ledger.deliveries(written)[0].rename_sent
    ledger.announce([], arrived={key: datetime.now(UTC)})
    ledger.finish([written])
    ledger.close()
    reopened = Ledger(url)
    assert [entry.state for entry in reopened.entries().values()] == [DELIVERED]
    moment = reopened.deliveries(written)[0].delivered_at
    assert moment is not None
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)
    reopened.close()


def test_a_plan_does_not_change_known_windows(ledger: Ledger) -> None:
    ledger.finish([ENTRY])
    ledger.plan([ENTRY])
    assert [entry.state for entry in ledger.entries().values()] == [DELIVERED]


def test_the_newest_revision_counts(ledger: Ledger) -> None:
    ledger.finish([ENTRY])
    second = replace(ENTRY, revision=2, state=WRITTEN)
    ledger.write([(second, FILES)])
    assert ledger.entries() == {("ACME daily", WINDOW): second}


def test_a_window_requested_by_date_does_not_start_the_schedule(ledger: Ledger) -> None:
    ledger.plan([replace(ENTRY, scheduled=False)])
    assert ledger.spans([ENTRY.export]) == {}


def test_windows_of_different_exports_are_separate_entries(ledger: Ledger) -> None:
    ledger.plan([ENTRY, replace(ENTRY, export="BETA daily")])
    assert ledger.entries(window=WINDOW).keys() == {("ACME daily", WINDOW), ("BETA daily", WINDOW)}
    other = Window(WINDOW.end, WINDOW.end + timedelta(days=1))
    assert ledger.entries(window=other) == {}
    assert ledger.entries(since=WINDOW.end) == {}
    assert len(ledger.entries(since=START)) == 2


def test_open_windows_are_found(ledger: Ledger) -> None:
    ledger.plan([ENTRY, replace(ENTRY, export="BETA daily")])
    ledger.finish([ENTRY])
    assert [entry.export for entry in ledger.open_entries()] == ["BETA daily"]


def test_reopened_windows_are_sent_again(ledger: Ledger) -> None:
    written = replace(ENTRY, state=WRITTEN)
    elsewhere = replace(FILES[0], destination="elsewhere")
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    sent = [replace(item, delivered_at=moment, rename_sent=True) for item in (*FILES, elsewhere)]
    ledger.write([(written, sent)])
    ledger.finish([written])
    ledger.plan([replace(ENTRY, revision=2)])
    delivered = replace(ENTRY, state=DELIVERED)
    assert ledger.entries(written=True) == {("ACME daily", WINDOW): delivered}
    ledger.reopen([(written, ["there"])])
    assert ledger.entries() == {("ACME daily", WINDOW): written}
    assert ledger.deliveries(written) == [*FILES, sent[2]]


def test_recounts_of_delivered_windows_find_late_rows(ledger: Ledger) -> None:
    recounts = ledger.recounts
    day = timedelta(days=1)
    written = replace(ENTRY, state=WRITTEN, activity_rows=3, broadcast_rows=1)
    windows = [Window(START + n * day, START + (n + 1) * day) for n in range(3)]
    chosen = [
        replace(written, window=window, choice="all include", keys="v1 a b") for window in windows
    ]
    ledger.write((entry, []) for entry in chosen)
    ledger.finish(chosen)
    ledger.plan(
        [replace(chosen[2], revision=2, state=PLANNED)]
    )  # requested but not built: revision 1 counts
    newer = replace(chosen[1], revision=2, activity_rows=9)
    ledger.write([(newer, [])])  # not delivered yet
    other = replace(chosen[0], export="BETA daily")
    ledger.write([(other, [])])
    ledger.finish([other])
    found = {(e.export, e.window.start): e for e in recounts.written(START)}
    assert {key: entry.revision for key, entry in found.items()} == {
        ("ACME daily", START): 1,
        ("ACME daily", START + day): 2,
        ("ACME daily", START + 2 * day): 1,
        ("BETA daily", START): 1,
    }
    assert {(entry.choice, entry.keys) for entry in found.values()} == {("all include", "v1 a b")}
    assert len(recounts.written(START + 2 * day)) == 1
    assert recounts.last_look() is None
    assert recounts.late() == []
    first = found["ACME daily", START]
    fewer, more = replace(first, activity_rows=2), replace(other, broadcast_rows=2)
    recounts.note([(fewer, False), (more, True)], Look(START, None, "{}"))
    new = replace(first, export="NEW daily", activity_rows=1, broadcast_rows=0)
    look = Look(START + day, START, "{}")
    recounts.note([(new, True)], look)
    assert recounts.last_look() == look
    assert [
        (was.export, was.activity_rows, was.broadcast_rows, now.activity_rows, now.broadcast_rows)
        for was, now in recounts.late()
    ] == [("BETA daily", 3, 1, 3, 2), ("NEW daily", 0, 0, 1, 0)]
    ledger.write([(replace(other, revision=2, activity_rows=3, broadcast_rows=2), [])])
    assert [now.export for _, now in recounts.late()] == ["NEW daily"]


def _old(removals: Removals, destination: str | None, before: datetime) -> list[OldFile]:
    return [*itertools.chain.from_iterable(removals.old(destination, before, most=9))]


def test_old_files_are_found(ledger: Ledger) -> None:
    removals = ledger.removals
    assert removals.silence(START) == timedelta(0)
    for number in range(3):
        window = Window(START + number * DAY, START + (number + 1) * DAY)
        entry = Entry("ACME daily", window, 1, WRITTEN, choice="all include", keys="v1 a b")
        names = (f"50% \\ é 'x' {number}.csv", f"/rooted {number}.csv")
        files = [Delivery(replace(FILES[0].file, path=n), "there", window.end) for n in names]
        ledger.write([(entry, files)])
        ledger.finish([entry])
    assert removals.silence(datetime.now(UTC) + HOUR) > timedelta(minutes=59)
    old = _old(removals, "there", START + 2 * DAY)
    assert sorted(item.file.path for item in old) == ["/rooted 0.csv", "50% \\ é 'x' 0.csv"]
    # A batch does not split files with one time of delivery; the newest window is not old.
    assert [len(piece) for piece in removals.old("there", START + 9 * DAY, most=1)] == [2, 2]
    assert _old(removals, "elsewhere", START + 9 * DAY) == []
    removals.note("there", [item.file.path for item in old if item.file.path.startswith("/")])
    left = _old(removals, "there", START + 2 * DAY)
    assert [item.file.path[:3] for item in left] == ["50%"]
    removals.note("there", ["/rooted 0.csv"])  # a second record is harmless
    # Paths in the outbox are relative to it; nothing was removed there yet.
    some = _old(removals, None, START + 9 * DAY)
    assert sorted(item.file.path[-5:] for item in some) == ["0.csv", "0.csv", "1.csv", "1.csv"]
    removals.note(None, ["rooted 0.csv", "50% \\ é 'x' 1.csv"])
    some = _old(removals, None, START + 9 * DAY)
    assert sorted(item.file.path for item in some) == ["/rooted 1.csv", "50% \\ é 'x' 0.csv"]
    # A file that was removed and is delivered again can be removed again.
    again = Entry("ACME daily", Window(START, START + DAY), 1)
    ledger.announce([], arrived={DeliveryKey(again, "there", "/rooted 0.csv"): START + DAY})
    assert len(_old(removals, None, START + 9 * DAY)) == 3
    assert len(_old(removals, "there", START + 2 * DAY)) == 2


def test_a_path_belongs_to_one_file(ledger: Ledger) -> None:
    file = replace(FILES[0].file, path="Straße/a\u0301.csv")
    other = replace(ENTRY, export="BETA daily")
    assert ledger.claim(ENTRY, [file]) is None
    for path in ("Straße/a\u0301.csv", "STRASSE./\u00c1.csv", "/strasse /\u00e1.CSV"):
        similar = replace(file, path=path)
        assert "broadcast file of ACME daily" in str(ledger.claim(other, [similar]))  # in this run
        assert ledger.claim(replace(ENTRY, revision=2), [similar]) is None
    ledger.write([(other, [Delivery(replace(file, path="elsewhere.csv"), "there")])])
    assert "of BETA daily" in str(ledger.claim(ENTRY, [replace(file, path="Elsewhere.csv")]))
    # A file that was not delivered and never will be does not reserve its path.
    ledger.write([(replace(other, revision=2), [Delivery(replace(file, path="b.csv"), "there")])])
    assert ledger.claim(ENTRY, [replace(file, path="elsewhere.csv")]) is None


def test_names_that_a_database_refuses_are_escaped_and_cut(ledger: Ledger) -> None:
    names = ["y" * 400 + " daily", "a\0b daily", "\ud800 daily"]
    ledger.failures.note(Failure(name, WINDOW, 1, "failed", "\ud800 \0") for name in names)
    found = ledger.failures.failing()
    assert sorted(len(each.export) for each in found) == [12, 12, 300]
    assert {each.reason for each in found} == {"\\ud800 \\x00"}


def test_an_announced_rename_records_the_folder_of_its_destination(ledger: Ledger) -> None:
    written = replace(ENTRY, state=WRITTEN)
    ledger.write([(written, FILES)])
    key = DeliveryKey(written, "there", "b.csv")
    ledger.announce([key], places={"there": "/srv/exports"})
    found = ledger.deliveries(written)
    assert [(item.rename_sent, item.announced_to) for item in found] == [
        (True, "/srv/exports"),
        (False, None),
    ]
    ledger.withdraw([key])
    assert ledger.deliveries(written) == FILES


def test_a_ledger_locked_by_another_program_is_reported(tmp_path: Path) -> None:
    url = parse("sqlite:///ledger.db", tmp_path)
    Ledger(url).close()
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        with closing(Ledger(url)) as ledger, pytest.raises(LockedError, match="another program"):
            ledger.plan([ENTRY])


def test_a_time_limit_of_the_server_is_named(postgres: Postgres) -> None:
    url = of_server(postgres.database())
    limited = replace(url, server={**url.server, "options": "-cstatement_timeout=100"})
    with (
        closing(Ledger(limited)) as ledger,
        connected(url) as other,
        other.transaction(),
    ):
        other.execute("lock table windows")
        with pytest.raises(
            LedgerError, match="statement timeout; the database or this user has a stat"
        ):
            ledger.plan([ENTRY])


def test_rows_of_the_history_are_streamed(ledger: Ledger, url: LedgerUrl) -> None:
    entry = replace(ENTRY, state=WRITTEN, choice="all", activities={"open": 3})
    written = [replace(entry, export=f"BRAND{n}") for n in range(2_000)]
    ledger.write((each, []) for each in written)
    found = ledger.history.rows(START)
    tracemalloc.start()
    assert next(found)[2] == {"open": 3}
    if url.server:  # tracemalloc does not see libpq's memory: check that a cursor keeps the rest
        query = "select count(*) as cursors from pg_cursors where name = 'rows'"
        with ledger.history.database.begin() as session:
            assert session.connection.execute(query).fetchone() == {"cursors": 1}
    assert sum(1 for _ in found) == len(written) - 1
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size < (2_000_000 if url.server else 20_000)


def test_a_missing_ledger_reads_as_empty_and_is_not_created(tmp_path: Path, url: LedgerUrl) -> None:
    for _ in range(2):
        reader = Ledger(url, read_only=True)
        assert reader.entries() == {}
        reader.close()
    if url.file:
        assert list(tmp_path.iterdir()) == []
    else:
        with connected(url) as connection:
            named = connection.execute("select from pg_tables where schemaname = 'public'")
            assert named.rowcount == 0


READ = """
import sys
from pathlib import Path
from orchestrator.ledger import Ledger, Look
from orchestrator.config.ledger_url import LedgerUrl
print(*Ledger(LedgerUrl("it", Path(sys.argv[1])), read_only=True).spans(["ACME daily"]))
"""


@pytest.mark.parametrize("was_cut_short", [False, True])
def test_a_ledger_on_a_read_only_file_system_is_read(
    tmp_path: Path, *, was_cut_short: bool
) -> None:
    folder = tmp_path / "a ?#% folder"
    url = LedgerUrl("it", folder / "ledger.db")
    with closing(Ledger(url)) as ledger:
        ledger.plan([ENTRY])
        kept = {path: path.read_bytes() for path in folder.iterdir()}
    if was_cut_short:  # rows that are only in the journal must be read too
        assert kept.keys() > {*folder.iterdir()}
        for path, content in kept.items():
            path.write_bytes(content)
    before = sorted(folder.iterdir())
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", read_only, str(folder)]
    done = subprocess.run(
        [*mounted, sys.executable, "-c", READ, f"{folder}/ledger.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{ENTRY.export}\n"), done.stderr
    assert sorted(folder.iterdir()) == before


def test_one_run_at_a_time_writes_and_others_can_read(ledger: Ledger, url: LedgerUrl) -> None:
    ledger.plan([ENTRY])
    with pytest.raises(LockedError, match=rf"another run .*process {os.getpid()} on .* since 20"):
        Ledger(url)
    reader = Ledger(url, read_only=True)
    assert reader.entries() == {("ACME daily", WINDOW): ENTRY}
    reader.close()
    ledger.finish([ENTRY])  # the first connection still works
    ledger.close()
    Ledger(url).close()


def test_a_ledger_is_locked_for_every_path_to_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "state")
    ledger = Ledger(parse("sqlite:///state/ledger.db", tmp_path))
    with pytest.raises(LockedError):
        Ledger(parse("sqlite:///link/ledger.db", tmp_path))
    ledger.close()


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+psycopg2"])
def test_a_run_that_lost_the_lock_writes_nothing(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = of_server(postgres.database(), driver)
    first = Ledger(url)
    first.plan([ENTRY])
    cut_off(url)
    second = Ledger(url)  # the lock was lost with the connection
    for _ in range(2):  # it does not connect again
        with pytest.raises(LedgerError, match="was lost, and with it the lock") as caught:
            first.finish([ENTRY])
        assert caught.value.exit_code == 1
    with pytest.raises(LedgerError):
        first.entries()
    first.close()
    assert second.entries() == {("ACME daily", WINDOW): ENTRY}
    second.close()
    assert not caplog.records


def test_keepalives_let_the_server_detect_a_lost_host(postgres: Postgres) -> None:
    ledger = Ledger(of_server(postgres.database()))
    with ledger.history.database.begin() as session:
        connection = session.connection
        setting = connection.execute("show idle_session_timeout").fetchone()
    assert setting == {"idle_session_timeout": "0"}
    wanted = {"keepalives_idle": "60", "keepalives_count": "6", "tcp_user_timeout": "60000"}
    given = connection.info.get_parameters()
    assert {key: given[key] for key in wanted} == wanted
    ledger.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "postgresql://u:hush@127.0.0.1:1/x",
            r"the ledger postgresql://u:\*\*\*@127.0.0.1:1/x cannot be opened: .*refused.*; corr",
        ),
        (
            "postgresql+psycopg2://u:hush@127.0.0.1:1/x?password=hush",
            r"ledger postgresql\+psycopg2://u:\*\*\*@127.0.0.1:1/x cannot be opened: .*refused",
        ),
        ("postgresql://u@no.such.host.invalid/x", "cannot be opened: .*no.such.host.invalid"),
        ("postgresql://u:hush@127.0.0.1/x?pasword=hush", "invalid connection option"),
        (
            "sqlite:////dev/null/ledger.db",
            "ledger sqlite:.* cannot be opened: .*File exists.*; .* may write to it",
        ),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_reported_without_its_password(
    text: str, message: str
) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger(parse(text, Path()))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def guarded(postgres: Postgres) -> Iterator[str]:
    """A database with a user that needs a password, and one that may not create tables."""
    url = postgres.database()
    with connected(of_server(url)) as connection:

        def one(query: LiteralString) -> object:
            (found,) = connection.execute(query).fetchone() or (None,)
            return found

        def load(text: str) -> None:
            rules = Path(str(one("show hba_file")))
            rules.write_text(text + rules.read_text().removeprefix(GUARD))
            before = one("select pg_conf_load_time()")
            one("select pg_reload_conf()")
            while one("select pg_conf_load_time()") == before:
                time.sleep(0.01)

        connection.execute("create role reader login password 'other'")
        connection.execute("create role writer login")
        load(GUARD)
        yield url
        load("")
        connection.execute("drop role reader")
        connection.execute("drop role writer")


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+psycopg2"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user": "reader", "password": "hush"}, "password authentication failed"),
        ({"user": "reader"}, "no password supplied"),
        ({"dbname": "no_such"}, 'database "no_such" does not exist'),
        ({"user": "writer"}, "permission denied for schema public"),
    ],
)
def test_the_reason_of_a_server_that_refuses_is_reported(
    guarded: str, driver: str, changes: dict[str, str], reason: str
) -> None:
    url = of_server(guarded, driver)
    with pytest.raises(LedgerError, match=f"cannot be opened: .*{reason}") as caught:
        Ledger(replace(url, server={**url.server, **changes}))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "correct 'state' in exports.yml, or check that" in str(caught.value)
    Ledger(url).close()  # the failed attempt left no lock


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as Python marks a missing module
    with pytest.raises(LedgerError, match=r"cannot be opened: .*psycopg"):
        Ledger(of_server("postgresql://u@127.0.0.1/x"))


def test_every_statement_is_in_use() -> None:
    package = Path(orchestrator.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    folder = package / "ledger/sql"
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql")}
    assert len(found) > 40
    folders = ("tables/", "views/", "indexes/")
    statements = [name for name in found if not name.startswith(folders)]
    assert [
        name
        for name in statements
        if f'"{name}"' not in code and name.removeprefix("upgrades/") not in COLUMNS
    ] == []
    texts = "".join((folder / f"{name}.sql").read_text() for name in statements)
    views = [name.removeprefix("views/") for name in found if name.startswith("views/")]
    assert views
    assert [name for name in views if f"{{{name}}}" not in texts] == []
    assert {name for name in found if "indexes/" in name} == {f"indexes/{n}" for n in INDEXES}
    assert {name for name in found if "tables/" in name} == {f"tables/{name}" for name in TABLES}


def cut_off(url: LedgerUrl) -> None:
    """End every other connection to this database, as a server that restarts does."""
    with connected(url) as connection:
        ended = connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchall()
    assert ended == [(True,)]


def of_server(text: str, driver: str = "postgresql") -> LedgerUrl:
    """Return a ledger's URL with this name of a driver."""
    return parse(text.replace("postgresql", driver, 1), Path())


def connected(url: LedgerUrl) -> psycopg.Connection:
    """Open another connection to the database of a ledger."""
    return psycopg.connect(make_conninfo(**url.server), autocommit=True)
