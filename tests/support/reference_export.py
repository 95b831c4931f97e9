"""A reference implementation in plain Python: raw rows in, the bytes of every file out.

It shares no code with the product, so that a mistake would have to be made twice.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Tables = dict[str, list[Row]]

LOOKBACK = timedelta(hours=24)
CODES = {
    "email_sends": "broadcast",
    "email_opens": "open",
    "email_clicks": "click",
    "email_complaints": "complaint",
    "email_unsubscribes": "unsubscribe",
}
ENGLISH = {
    "broadcast_id": "Broadcast ID",
    "customer_id": "Customer ID",
    "external_customer_number": "External customer number",
    "email_address": "E-mail address",
    "activity": "Activity",
    "activity_date": "Activity date",
    "description": "Description of activity",
    "broadcast_type": "Broadcast type",
    "subject": "Subject",
    "sent_on": "Sent on",
    "broadcast": "Broadcasts",
    "open": "Opens",
    "click": "Clicks",
    "soft_bounce": "Soft bounces",
    "hard_bounce": "Hard bounces",
    "complaint": "Complaints",
    "unsubscribe": "Unsubscribes",
}
DUTCH = {
    "broadcast_id": "Broadcastid",
    "customer_id": "Customerid",
    "external_customer_number": "Extern klantnummer",
    "email_address": "E-mailadres",
    "activity": "Activiteit",
    "activity_date": "Activiteitdatum",
    "description": "Beschrijving activiteit",
    "broadcast_type": "Broadcast type",
    "subject": "Onderwerp",
    "sent_on": "Verzonden op",
    "broadcast": "Broadcasts",
    "open": "Opens",
    "click": "Clicks",
    "soft_bounce": "Softbounces",
    "hard_bounce": "Hardbounces",
    "complaint": "Complaints",
    "unsubscribe": "Unsubscribes",
}
# The one column that means another thing in each file.
ENGLISH_BROADCASTS = ENGLISH | {"description": "Description"}
DUTCH_BROADCASTS = DUTCH | {"description": "Beschrijving"}
NAMES: dict[str, str] = {}


@dataclass(frozen=True)
class Column:
    """A column of a file: what it shows, under which name."""

    name: str
    label: str | None = None
    hashed: bool = False


@dataclass(frozen=True)
class Dialect:
    """The format of the files of one receiver."""

    zone: str
    activity_labels: dict[str, str] = field(default_factory=lambda: ENGLISH)
    broadcast_labels: dict[str, str] = field(default_factory=lambda: ENGLISH_BROADCASTS)
    activity_columns: tuple[Column, ...] = tuple(
        Column(name)
        for name in (
            "broadcast_id",
            "customer_id",
            "external_customer_number",
            "email_address",
            "activity",
            "activity_date",
            "description",
        )
    )
    broadcast_columns: tuple[Column, ...] = tuple(
        Column(name)
        for name in ("broadcast_id", "broadcast_type", "description", "subject", "sent_on")
    )
    delimiter: str = ","
    header: bool = True
    quote_all: bool = False
    null: str = ""
    newlines_to_spaces: bool = False
    line_ending: str = "\n"
    encoding: str = "utf-8"
    moments: str = "%Y-%m-%d %H:%M:%S"
    types: frozenset[str] | None = None
    machines: bool = True


@dataclass(frozen=True)
class Window:
    """Receipts from `start` on, before `end`; both are instants."""

    start: datetime
    end: datetime

    def contains(self, moment: datetime) -> bool:
        """Return whether the moment is in the window."""
        return self.start <= moment < self.end


def day(of: date, zone: str) -> Window:
    """Return the window of a local day."""
    return Window(_midnight(of, zone), _midnight(of + timedelta(days=1), zone))


def hours(of: date, zone: str) -> list[Window]:
    """Return the windows of each hour of a local day: 23, 24 or 25."""
    local_day, hour = day(of, zone), timedelta(hours=1)
    count = (local_day.end - local_day.start) // hour
    return [
        Window(local_day.start + n * hour, local_day.start + (n + 1) * hour) for n in range(count)
    ]


def warehouse(*loads: Tables) -> Tables:
    """Return the raw tables after these loads: customers replaced, equal events once."""
    tables_by_key: dict[str, dict[Any, Row]] = {}
    for tables in loads:
        for table, rows in tables.items():
            key = {"broadcasts": ("brand", "broadcast_id"), "customers": ("brand", "customer_id")}
            for row in rows:
                columns = key.get(table, tuple(sorted(row)))
                identity = tuple(row[column] for column in columns)
                stored = tables_by_key.setdefault(table, {}).get(identity)
                # The newest receipt of a broadcast counts, whichever was loaded last.
                if not (
                    table == "broadcasts" and stored and stored["received_at"] > row["received_at"]
                ):
                    tables_by_key[table][identity] = row
    return {table: list(rows.values()) for table, rows in tables_by_key.items()}


def activities(raw: Tables, window: Window) -> list[Row]:
    """Return the activities that were received in the window, of every brand."""
    channel = {(row["brand"], row["broadcast_id"]): row["channel"] for row in raw["broadcasts"]}
    customers = {(row["brand"], row["customer_id"]): row for row in raw["customers"]}
    near = Window(window.start - LOOKBACK, window.end)
    found = []
    for table in (*CODES, "email_bounces"):
        receipts = [
            _activity(table, row)
            for row in raw[table]
            if near.contains(row["received_at"])
            and not row["is_test"]
            and row.get("via_default_campaign", True)
        ]
        first: dict[tuple[str, str], Row] = {}
        for receipt in sorted(receipts, key=_receipt_order):
            first.setdefault((receipt["brand"], receipt["event_id"]), receipt)
        for event in first.values():
            brand = event["brand"]
            is_email = channel.get((brand, event["broadcast_id"]), "email") == "email"
            if window.contains(event["received_at"]) and is_email:
                customer = customers.get((brand, event["customer_id"]), {})
                event["external_customer_number"] = customer.get("external_customer_number")
                if event["email_address"] is None:
                    event["email_address"] = customer.get("email_address")
                found.append(event)
    return found


def broadcasts(raw: Tables, window: Window, happened: Iterable[Row]) -> list[Row]:
    """Return the broadcasts carried out in the window or touched by its activities."""
    touched = {(row["brand"], row["broadcast_id"]) for row in happened}
    found = []
    for row in raw["broadcasts"]:
        is_carried_out = window.contains(max(row["sent_on"], row["received_at"]))
        is_touched = (row["brand"], row["broadcast_id"]) in touched
        if row["channel"] == "email" and (is_carried_out or is_touched):
            found.append(row | {"is_carried_out": is_carried_out, "is_touched": is_touched})
    return found


def activity_file(rows: Sequence[Row], brand: str, dialect: Dialect) -> bytes:
    """Return the bytes of a brand's activity file."""
    mine = [
        row | {"activity": dialect.activity_labels.get(row["activity"], row["activity"])}
        for row in sorted(rows, key=_activity_order)
        if row["brand"] == brand
        and (dialect.types is None or row["activity"] in dialect.types)
        and (dialect.machines or not row["is_machine"])
    ]
    return _render(mine, dialect.activity_columns, dialect.activity_labels, dialect)


def broadcast_file(rows: Sequence[Row], brand: str, dialect: Dialect) -> bytes:
    """Return the bytes of a brand's broadcast file."""
    mine = [row for row in rows if row["brand"] == brand]
    mine.sort(key=lambda row: (row["sent_on"], row["broadcast_id"].encode()))
    return _render(mine, dialect.broadcast_columns, dialect.broadcast_labels, dialect)


def _activity(table: str, row: Row) -> Row:
    return {
        "brand": row["brand"],
        "event_id": row["event_id"],
        "received_at": row["received_at"],
        "broadcast_id": row["broadcast_id"],
        "customer_id": row["customer_id"],
        "external_customer_number": None,
        "email_address": row["email_address"],
        "activity": CODES.get(table) or f"{row['bounce_type']}_bounce",
        "activity_date": row["occurred_at"],
        "description": row.get("url") if table == "email_clicks" else row.get("message"),
        "os": row.get("os"),
        "url": row.get("url"),
        "is_machine": row.get("is_machine"),
    }


def _receipt_order(row: Row) -> tuple[Any, ...]:
    """Return the sort key of the receipts of an event: the earliest, then by value, null last."""
    names = ("broadcast_id", "customer_id", "email_address", "activity", "description", "os", "url")
    return (
        row["received_at"],
        row["activity_date"],
        *((row[name] is None, (row[name] or "").encode()) for name in names),
        (row["is_machine"] is None, row["is_machine"]),
    )


def _activity_order(row: Row) -> tuple[Any, ...]:
    texts = (row[name].encode() for name in ("broadcast_id", "customer_id", "activity", "event_id"))
    return row["activity_date"], *texts


def _render(
    rows: Iterable[Row], columns: Sequence[Column], labels: dict[str, str], dialect: Dialect
) -> bytes:
    lines: list[list[str | None]] = []
    if dialect.header:
        lines.append([column.label or labels.get(column.name, column.name) for column in columns])
    lines += [[_value(row[column.name], column, dialect) for column in columns] for row in rows]
    text = "".join(
        dialect.delimiter.join(_field(value, dialect) for value in line) + dialect.line_ending
        for line in lines
    )
    return text.encode(dialect.encoding)


def _value(value: object, column: Column, dialect: Dialect) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case datetime():
            return value.astimezone(ZoneInfo(dialect.zone)).strftime(dialect.moments)
        case str() if column.hashed:
            return hashlib.sha256(value.encode()).hexdigest()
        case str() if dialect.newlines_to_spaces:
            return value.replace("\r\n", " ").replace("\r", " ").replace("\n", " ")
        case _:
            return str(value)


def _field(value: str | None, dialect: Dialect) -> str:
    """Quote a field where needed; also a text that equals null, so that the two differ."""
    if value is None:
        value, quoted = dialect.null, False
    else:
        quoted = value in ("", dialect.null)
        quoted = quoted or any(mark in value for mark in ('"', "\r", "\n"))
        # The delimiter, or an end that would make one with the delimiter that follows.
        quoted = quoted or (value + dialect.delimiter).index(dialect.delimiter) < len(value)
    return '"' + value.replace('"', '""') + '"' if quoted or dialect.quote_all else value


def _midnight(of: date, zone: str) -> datetime:
    return datetime(of.year, of.month, of.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
