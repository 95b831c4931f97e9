from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres import Postgres
from sqlalchemy import URL, make_url

from orchestrator.errors import ExportError
from orchestrator.ledger import DELIVERED, PLANNED, WRITTEN, Delivery, Entry, Ledger
from orchestrator.windows import Window

START = datetime(2026, 10, 24, 22, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=25))
ENTRY = Entry("ACME daily", WINDOW, 1)
FILES = [
    Delivery("broadcast", "there", "b.csv", 10, "b" * 64),
    Delivery("activity", "there", "a.csv", 5_000_000_000, "a" * 64),
]


@pytest.fixture
def url(tmp_path: Path) -> URL:
    return make_url(f"sqlite:///{tmp_path}/state/ledger.db")


@pytest.fixture
def ledger(url: URL) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


def test_a_window_s_life(ledger: Ledger, url: URL) -> None:
    assert ledger.entries() == {}
    assert ledger.spans() == {}
    ledger.plan([ENTRY])
    assert [entry.state for entry in ledger.entries().values()] == [PLANNED]
    assert ledger.spans() == {"ACME daily": WINDOW}
    written = replace(ENTRY, state=WRITTEN, activity_rows=3, broadcast_rows=1)
    ledger.write([(written, FILES)])
    assert ledger.entries(window=WINDOW) == {("ACME daily", WINDOW): written}
    assert ledger.deliveries(written) == FILES
    ledger.renaming(written, "there", "b.csv", sent=True)
    assert ledger.deliveries(written)[0].rename_sent
    ledger.arrived(written, "there", "b.csv")
    assert ledger.is_delivered("b.csv")
    assert not ledger.is_delivered("a.csv")
    assert not ledger.is_delivered("unknown.csv")
    ledger.finish([written])
    reopened = Ledger(url)
    assert [entry.state for entry in reopened.entries().values()] == [DELIVERED]
    moment = reopened.deliveries(written)[0].delivered_at
    assert moment is not None
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)
    reopened.close()


def test_a_plan_changes_nothing_that_is_known(ledger: Ledger) -> None:
    ledger.finish([ENTRY])
    ledger.plan([ENTRY])
    assert [entry.state for entry in ledger.entries().values()] == [DELIVERED]


def test_the_newest_revision_counts(ledger: Ledger) -> None:
    ledger.finish([ENTRY])
    second = replace(ENTRY, revision=2, state=WRITTEN)
    ledger.write([(second, FILES)])
    assert ledger.entries() == {("ACME daily", WINDOW): second}


def test_what_was_asked_for_by_date_is_no_start(ledger: Ledger) -> None:
    ledger.plan([replace(ENTRY, scheduled=False)])
    assert ledger.spans() == {}


def test_exports_are_kept_apart(ledger: Ledger) -> None:
    ledger.plan([ENTRY, replace(ENTRY, export="BETA daily")])
    assert ledger.entries(window=WINDOW).keys() == {("ACME daily", WINDOW), ("BETA daily", WINDOW)}
    other = Window(WINDOW.end, WINDOW.end + timedelta(days=1))
    assert ledger.entries(window=other) == {}
    assert ledger.entries(since=WINDOW.end) == {}
    assert len(ledger.entries(since=START)) == 2


def test_what_waits_is_found(ledger: Ledger) -> None:
    ledger.plan([ENTRY, replace(ENTRY, export="BETA daily")])
    ledger.finish([ENTRY])
    assert [entry.export for entry in ledger.open_entries()] == ["BETA daily"]


def test_a_ledger_that_is_only_looked_at_is_not_made(tmp_path: Path, url: URL) -> None:
    ledger = Ledger(url, read_only=True)
    assert ledger.entries() == {}
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_in_postgresql(postgres: Postgres) -> None:
    url = make_url(f"postgresql+psycopg://postgres@/postgres?host={postgres.folder}")
    ledger = Ledger(url)
    written = replace(ENTRY, state=WRITTEN, activity_rows=3, broadcast_rows=1)
    ledger.write([(written, FILES)])
    assert ledger.entries() == {("ACME daily", WINDOW): written}
    assert ledger.deliveries(written) == FILES
    ledger.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postgresql+psycopg://u:hush@127.0.0.1:1/x", "ledger .*127.0.0.1:1/x failed"),
        ("sqlite:////dev/null/ledger.db", "ledger sqlite:.* failed: .*File exists"),
        ("mysql://h/x", "failed: No module named"),
    ],
)
def test_a_ledger_that_cannot_be_opened(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        Ledger(make_url(text))
    assert "hush" not in str(caught.value)
