"""A ledger after a year of daily runs, and the outbox next to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.config.ledger_url import LedgerUrl
from orchestrator.ledger import Ledger, records
from orchestrator.windows import Calendar, Interval

KEPT, RETENTION = timedelta(days=14), timedelta(days=60)
_DAY = timedelta(days=1)
_ACTIVITIES = (
    '{"broadcast":20,"click":20,"hard_bounce":20,"open":20,"soft_bounce":20,"unsubscribe":20}'
)


def fill(folder: Path, *, brands: int, days: int) -> None:
    """Create ledger, outbox and exports.yml as after `days` runs: no window is due any more."""
    (folder / "exports.yml").write_text(
        f"destinations: {{there: {{directory: there, retention: {RETENTION.days}d}}}}\n"
        f"keep_local: {KEPT.days}d\nexports:\n  - {{brand: '*'}}\n",
        encoding="utf-8",
    )
    file = folder / "state/ledger.db"
    Ledger(LedgerUrl("the ledger", file)).close()
    calendar = Calendar(Interval.DAILY, ZoneInfo("UTC"), time(6), timedelta(minutes=15))
    now = datetime.now(UTC)
    newest = calendar.last_due(now).start
    for name in ("there", "outbox"):
        (folder / name).mkdir(exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        for number in reversed(range(days)):
            rows: dict[str, list[dict[str, Any]]] = {}
            for table, row in _rows(newest - number * _DAY, brands, now):
                rows.setdefault(table, []).append(row)
            for table, found in rows.items():
                names = ", ".join(found[0])
                values = ", ".join(f":{name}" for name in found[0])
                connection.executemany(f"insert into {table} ({names}) values ({values})", found)
            for row in rows["deliveries"]:
                if row["tidied_at"] is None:
                    (folder / "outbox" / row["path"]).write_bytes(b"rows")
            connection.commit()


def _rows(start: datetime, brands: int, now: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables and rows of one day."""
    end, sent = start + _DAY, start + _DAY + timedelta(hours=6)
    age = now - sent
    key = {"window_start": _text(start), "window_end": _text(end), "revision": 1}
    state = {"scheduled": True, "state": "delivered", "updated_at": _text(sent)}
    yield "windows", {"export": "* daily", **key, **state, "activities": None}
    for number in range(brands):
        own = {"export": f"BRAND{number} daily", **key}
        yield "windows", {**own, **state, "activities": _ACTIVITIES}
        yield "recounts", {**own, "choice": "all include"}
        for position, kind in enumerate(("broadcast", "activity")):
            path = f"{kind}_BRAND{number}_{start:%Y%m%d}.csv"
            yield (
                "deliveries",
                {
                    **own,
                    "destination": "there",
                    "path": path,
                    "kind": kind,
                    "position": position,
                    "bytes": 4,
                    "sha256": "0" * 64,
                    "rename_sent": True,
                    "delivered_at": _text(sent),
                    "path_key": records.path_key(path),
                    "removed_at": _text(now) if age > RETENTION else None,
                    "tidied_at": _text(now) if age > KEPT else None,
                },
            )


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")
