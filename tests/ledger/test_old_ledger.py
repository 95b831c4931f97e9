"""A ledger that an older version wrote with SQLAlchemy; old_ledger.sql is its dump."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from workspace import utc

from orchestrator.config.exports import File
from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.ledger import (
    DELIVERED,
    WRITTEN,
    Delivery,
    DeliveryKey,
    Entry,
    Failure,
    Ledger,
    Look,
    history,
    records,
)
from orchestrator.ledger.session import SqliteSession
from orchestrator.windows import Window

OLD = Path(__file__).with_name("old_ledger.sql").read_text(encoding="utf-8")


WINDOW = Window(utc("2026-10-24 22:00"), utc("2026-10-25 23:00"))
NEXT = Window(WINDOW.end, WINDOW.end + timedelta(days=1))
PLAN = Entry("Ünïcode daily", NEXT, 1, scheduled=False)
DONE = Entry("ACME daily", WINDOW, 1, DELIVERED, activity_rows=3, broadcast_rows=1)
FILES = [
    Delivery(
        File("broadcast", "b.csv", 10, "b" * 64),
        "there",
        utc("2026-10-26 05:00:02"),
        rename_sent=True,
    ),
    Delivery(
        File("activity", "a.csv", 5 * 10**9, "a" * 64),
        "there",
        utc("2026-10-26 05:00:03.5"),
        rename_sent=True,
    ),
]
LOOK = Look(utc("2026-10-26 05:00:01.234567"), None, "{}")
WHY = ("failed", "a server's word", utc("2026-10-27 06:00"), utc("2026-10-27 07:30"), 2)


class Clock(datetime):
    """A clock that always shows the same time."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Clock":
        return cls(2026, 10, 26, 5, 0, 1, 234567, tz)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLD)
    return file


@pytest.fixture
def ledger(old: Path) -> Iterator[Ledger]:
    with closing(Ledger(LedgerUrl("it", old))) as opened:
        yield opened


def rows(file: Path) -> list[str]:
    """Return the rows of a ledger, as SQL, without `looks`, which an old ledger does not have."""
    with closing(sqlite3.connect(file)) as connection:
        dumped = [line for line in connection.iterdump() if line.startswith("INSERT")]
    return sorted(line for line in dumped if '"looks"' not in line)


def dump(file: Path) -> list[str]:
    """Return a ledger as SQL."""
    with closing(sqlite3.connect(file)) as connection:
        return [*connection.iterdump()]


def columns(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the columns of each table, and whether the table has row ids."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            name: [
                (column, kind.lower(), *more)
                for _, column, kind, *more in connection.execute(f"pragma table_info({name})")
            ]
            + [("without rowid" in text.lower(),)]
            for name, text in connection.execute("select name, sql from sqlite_master").fetchall()
            if text
        }


def test_an_old_ledger_is_read(ledger: Ledger) -> None:
    assert ledger.spans(["ACME daily", "Ünïcode daily"]) == {"ACME daily": WINDOW}
    assert ledger.entries() == {("ACME daily", WINDOW): DONE, ("Ünïcode daily", NEXT): PLAN}
    assert ledger.open_entries() == [PLAN]
    assert ledger.deliveries(DONE) == FILES
    ((was, now),) = ledger.recounts.late()
    assert (was.activity_rows, now.activity_rows) == (3, 4)
    assert ledger.recounts.written(WINDOW.start) == [replace(DONE, choice="all include")]
    assert ledger.failures.failing() == [Failure("Ünïcode daily", NEXT, 1, *WHY)]
    last = ledger.history.newest()["ACME daily"]
    assert (last.entry, last.deliveries, last.complete_at) == (
        DONE,
        FILES,
        FILES[1].delivered_at,
    )
    assert last.activities == {"click": 1, "open": 2}
    (counted,) = ledger.history.rows(WINDOW.start)
    assert counted == ("ACME daily", WINDOW.start, {"click": 1, "open": 2})
    assert ledger.removals.silence(utc("2026-10-26 06:00:01.234567")) == timedelta(hours=1)


def test_an_old_ledger_is_continued(ledger: Ledger) -> None:
    ledger.plan([replace(PLAN, scheduled=True)])
    assert ledger.open_entries() == [replace(PLAN, scheduled=True)]
    again = replace(DONE, revision=2, state=WRITTEN)
    sent = [replace(FILES[1], delivered_at=None, rename_sent=False)]
    ledger.write([(again, sent)])
    assert {*ledger.earlier(again)} == {*FILES}
    key = DeliveryKey(again, "there", "a.csv")
    ledger.announce([key], arrived={key: utc("2026-10-28 05:00")})
    ledger.finish([again])
    assert ledger.entries()["ACME daily", WINDOW] == replace(again, state=DELIVERED)
    assert [
        *ledger.removals.old("there", utc("2026-12-01 00:00"), most=9)
    ] == []  # the newest window is not old
    ledger.failures.note([Failure("Ünïcode daily", NEXT, 1, *WHY)])
    assert [failure.times for failure in ledger.failures.failing()] == [4]


def test_the_same_work_writes_the_same_rows(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (history, records):
        monkeypatch.setattr(module, "datetime", Clock)
    file = tmp_path / "new.db"
    with closing(Ledger(LedgerUrl("it", file))) as ledger:
        written = replace(DONE, state=WRITTEN, choice="all include")
        written = replace(written, activities={"open": 2, "click": 1})
        ledger.plan([replace(DONE, state="planned", activity_rows=None), PLAN])
        fresh = [replace(item, delivered_at=None, rename_sent=False) for item in FILES]
        ledger.write([(written, fresh)])
        arrived = {
            DeliveryKey(written, "there", item.file.path): item.delivered_at for item in FILES
        }
        ledger.announce(arrived)
        ledger.announce([], arrived={k: v for k, v in arrived.items() if v})
        ledger.finish([written])
        ledger.recounts.note([(replace(written, activity_rows=4), True)], LOOK)
        ledger.failures.note([Failure("Ünïcode daily", NEXT, 1, *WHY)])
        ledger.removals.note("there", ["old.csv"])
    Ledger(LedgerUrl("it", old)).close()
    assert rows(file) == rows(old)
    assert columns(file) == columns(old)


@pytest.mark.parametrize("table", ["activities", "failures", "recounts"])
def test_a_ledger_without_a_table_is_read_and_upgraded(old: Path, table: str) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute(f"drop table {table}")
    with closing(Ledger(LedgerUrl("it", old), read_only=True)) as reader:
        assert reader.entries(since=datetime(2026, 1, 1, tzinfo=UTC))
        assert reader.history.newest()["ACME daily"].entry == DONE
        assert reader.failures.failing() or table == "failures"
        assert reader.spans(["ACME daily"]) == {"ACME daily": WINDOW}
        assert reader.deliveries(DONE) == FILES
    with closing(Ledger(LedgerUrl("it", old))) as ledger:
        assert [*ledger.history.rows(WINDOW.start)] or table == "activities"
        ledger.failures.note([Failure("Ünïcode daily", NEXT, 1, *WHY)])
        ledger.removals.note("there", ["old.csv"])
        ledger.recounts.note([(replace(DONE, choice="all include"), False)], LOOK)
    assert len(rows(old)) == 6


def test_removals_of_an_old_ledger_are_kept(old: Path) -> None:
    later = Window(NEXT.start, NEXT.end + timedelta(days=1))
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("insert into removals values ('there', 'b.csv', '2026-11-01 00:00')")
        connection.commit()
    with closing(Ledger(LedgerUrl("it", old))) as ledger:
        entry = Entry("ACME daily", later, 1, WRITTEN)
        newest = Delivery(replace(FILES[0].file, path="c.csv"), "there", later.end)
        ledger.write([(entry, [newest])])
        (found,) = ledger.removals.old("there", utc("2026-12-01 00:00"), most=9)
        assert [item.file.path for item in found] == ["a.csv"]
        (found,) = ledger.removals.old(None, utc("2026-12-01 00:00"), most=9)
        assert len(found) == 2


def test_an_interrupted_upgrade_is_rolled_back(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(old)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteSession, "fill_path_keys", killed)  # the last step
    with pytest.raises(KeyboardInterrupt):
        Ledger(LedgerUrl("it", old))
    assert dump(old) == before
    monkeypatch.undo()
    Ledger(LedgerUrl("it", old)).close()
    assert dump(old) != before


def test_paths_of_an_old_ledger_stay_reserved(ledger: Ledger) -> None:
    other = Entry("BETA daily", NEXT, 1)
    for path in ("a.csv", "A.CSV", "/a.csv ", "a.csv."):
        error = ledger.claim(other, [replace(FILES[1].file, path=path)])
        assert str(error).startswith(
            f"{path}: the activity file of ACME daily 2026-10-24T22:00:00Z"
        )
        assert "has this path, or one that some receivers treat as the same" in str(error)
    assert ledger.claim(replace(DONE, revision=2), [item.file for item in FILES]) is None
    swapped = replace(FILES[1].file, kind="broadcast")
    assert ledger.claim(DONE, [swapped]) is not None
    assert ledger.claim(replace(DONE, window=NEXT), [FILES[1].file]) is not None
