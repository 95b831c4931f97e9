"""Raw rows as difficult as the contract allows, around two clock changes; always the same."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Tables = dict[str, list[Row]]

EVENTS = (
    "email_sends",
    "email_opens",
    "email_clicks",
    "email_bounces",
    "email_complaints",
    "email_unsubscribes",
)
ZONES = {
    "BRANDNAAM": "Europe/Amsterdam",
    "OTHER": "America/New_York",
    "Himal": "Asia/Kathmandu",
    "Uur": "Europe/Amsterdam",
    # These brands have no separate entry in exports.yml.
    "Café Zürich & Söhne": "Asia/Kathmandu",
    "brandnaam": "Asia/Kathmandu",
}
STRAY = "Stray"  # a brand that has only events
DAYS = (date(2026, 3, 29), date(2026, 10, 25), date(2026, 10, 26))
DELAYS = (
    timedelta(microseconds=1),
    timedelta(hours=1),
    timedelta(hours=23, minutes=59),
    timedelta(hours=24),
    timedelta(hours=24, microseconds=1),
    timedelta(hours=30),
    timedelta(hours=50),
)
TICK = timedelta(microseconds=1)
TEXTS: tuple[str | None, ...] = (
    None,
    "",
    " ",
    "plain",
    "a,b",
    "a;b",
    "a\tb",
    "a||b",
    'say "hi"',
    '"',
    '""',
    "it's",
    "line\nfeed",
    "carriage\rreturn",
    "both\r\nof them",
    "\n",
    "\r",
    "\r\n",
    "\n\n\r\r\n",
    "ends\n",
    "  leads",
    "trails  ",
    "\ttabs\t",
    "\\N",
    "\\.",
    "\\",
    'a\\"b',
    "a\\nb",
    "NULL",
    "null",
    "None",
    "NaN",
    "true",
    "007",
    "1e5",
    "-1",
    "=1+1",
    "#comment",
    "2026-10-25 02:30:00",
    "100 %s {0} {{ x }} ${y} $1",
    "'; drop table raw.customers; --",
    "Привет, мир",
    "日本語テキスト",
    "مرحبا بالعالم",
    "😀👍🏽👩‍👩‍👧",
    "e\u0301 and é",
    "\u00a0hard\u00a0",
    "\u2028\u2029\u0085",
    "\ufeffmark",
    "\x0b\x0c\x1f\x7f",
    "x" * 3000,
    'ü,"\r\n' * 600,
)
IDS = (
    "9",
    "10",
    "010",
    " 7",
    "a",
    "Z",
    "é",
    "z",
    "_",
    "#1",
    "A-1",
    "b,c",
    'q"q',
    "😀",
    "ﬀ",
    "NULL",
)


def raw_tables() -> Tables:
    """Return all rows in the order to write them; of two rows of an entity, the last counts."""
    random = Random(20261025)  # noqa: S311 - the same rows each time, nothing secret
    tables: Tables = {"broadcasts": [], "customers": [], **{table: [] for table in EVENTS}}
    for brand in ZONES:
        tables["broadcasts"] += _broadcasts(random, brand)
        tables["customers"] += _customers(random, brand)
    for brand in (*ZONES, STRAY):
        moments = [*_edges(brand), *_moments(random, 30 if brand == STRAY else 500)]
        for number, moment in enumerate(moments):  # from 0 in each brand, so brands share ids
            table = EVENTS[number % len(EVENTS)]
            row = _event(random, table, brand, moment)
            row["event_id"] = f"{IDS[number % len(IDS)]}{number}"
            tables[table] += [row, *_burst(random, row)]
            while random.random() < 0.12:
                row = _again(random, row)
                tables[table].append(row)
        tables["email_sends"] += _around_the_lookback(random, brand)
    # The same id in two tables is two events.
    for one in tables["email_opens"][:40]:
        tables["email_complaints"].append(
            {k: v for k, v in one.items() if k not in {"os", "is_machine"}} | {"message": "spam"}
        )
    for table in EVENTS:
        random.shuffle(tables[table])
        tables[table] += tables[table][:5]  # equal in every column: not added again
    return tables


def replacements(tables: Tables) -> Tables:
    """Return entities that come in a second delivery and replace the older ones."""
    broadcasts = [
        row | {"description": "replaced", "channel": "email", "subject": None}
        for row in tables["broadcasts"][::7]
    ]
    customers = [
        row | {"email_address": None, "external_customer_number": "replaced"}
        for row in tables["customers"][::5]
    ]
    return {"broadcasts": broadcasts, "customers": customers}


def broken(tables: Tables) -> Tables:
    """Return rows that break the contract."""
    broadcast, customer = tables["broadcasts"][0], tables["customers"][0]
    bounce = tables["email_bounces"][0]
    unsubscribe = tables["email_unsubscribes"][0]
    return {
        "broadcasts": [
            broadcast | {"broadcast_id": "bad1", "channel": None},
            broadcast | {"broadcast_id": None},
            broadcast | {"broadcast_id": "bad2", "broadcast_type": None},
        ],
        "customers": [customer | {"customer_id": None}],
        "email_bounces": [
            bounce | {"event_id": "bad1", "bounce_type": "medium"},
            bounce | {"event_id": "bad2", "occurred_at": "2026-02-30T10:00:00Z"},
            bounce | {"event_id": "bad3", "received_at": "yesterday"},
            bounce | {"event_id": None},
        ],
        "email_unsubscribes": [unsubscribe | {"event_id": "bad1", "via_default_campaign": None}],
    }


def _edges(brand: str) -> Iterator[datetime]:
    zone = ZoneInfo(ZONES.get(brand, "Asia/Kathmandu"))
    for day in DAYS:
        for edge_day in (day, day + timedelta(days=1)):
            edge = datetime.combine(edge_day, datetime.min.time(), zone).astimezone(UTC)
            for far in (timedelta(), timedelta(hours=24)):
                yield from (edge - far - TICK, edge - far, edge - far + TICK)


def _around_the_lookback(random: Random, brand: str) -> Iterator[Row]:
    """Yield events received in a window and 24 hours before it begins, or a microsecond off."""
    zone = ZoneInfo(ZONES.get(brand, "Asia/Kathmandu"))
    for day in DAYS:
        start = datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)
        for off in (-TICK, timedelta(), TICK):
            row = _event(random, "email_sends", brand, start - timedelta(hours=24) + off)
            row |= {"event_id": f"{day}{off}", "broadcast_id": "nowhere", "is_test": None}
            yield row
            yield row | {"received_at": start + 3 * TICK}


def _moments(random: Random, count: int) -> Iterator[datetime]:
    for _ in range(count):
        day = random.choice((*DAYS, DAYS[1], date(2026, 3, 30), date(2026, 10, 27)))
        start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=12)
        if random.random() < 0.2:  # the hours that are repeated or skipped
            start += timedelta(hours=12)
            yield start + timedelta(microseconds=random.randrange(3 * 3600 * 10**6))
        else:
            yield start + timedelta(microseconds=random.randrange(36 * 3600 * 10**6))


def _broadcasts(random: Random, brand: str) -> Iterator[Row]:
    moments = [*_edges(brand), *_moments(random, 30)]
    random.shuffle(moments)
    for number, moment in enumerate(moments):
        sent_on = received_at = moment
        match number % 5:
            case 1:  # sent a year ago
                sent_on = received_at = moment - timedelta(days=365)
            case 2:  # scheduled
                received_at = moment - timedelta(days=20, microseconds=7)
            case 3:  # registered three days after it was sent
                sent_on = moment - timedelta(days=3)
        if number % 6 == 0:  # several mailings have the same moment
            sent_on = sent_on.replace(minute=0, second=0, microsecond=0)
        yield {
            "brand": brand,
            "broadcast_id": _broadcast_id(number),
            "channel": random.choice(("email", "email", "email", "email", "sms", "push")),
            "broadcast_type": random.choice(
                ("SINGLE", "CAMPAIGN", "QUICKMAIL", "SPLITRUN", "Ünique")
            ),
            "description": random.choice(TEXTS),
            "subject": random.choice(TEXTS),
            "sent_on": sent_on,
            "received_at": received_at,
        }


def _customers(random: Random, brand: str) -> Iterator[Row]:
    for number in range(50):
        yield {
            "brand": brand,
            "customer_id": f"{IDS[number % len(IDS)]}{number // len(IDS)}",
            "external_customer_number": random.choice((None, "", f"{number:05}", "K;1,2", " 1 ")),
            "email_address": random.choice((None, f"c{number}@example.org", '"a b",c@example.org')),
        }


def _event(random: Random, table: str, brand: str, received_at: datetime) -> Row:
    late = random.choice((0, 0, 1, 3600, 3 * 86400, 300 * 86400, -5))
    row: Row = {
        "brand": brand,
        "broadcast_id": random.choice(("nowhere", *(_broadcast_id(n) for n in range(60)))),
        "customer_id": f"{random.choice(IDS)}{random.randrange(4)}",  # some are unknown
        "email_address": random.choice((None, "", "used@example.org", "ünï@example.org")),
        "occurred_at": received_at - timedelta(seconds=late, microseconds=random.randrange(3)),
        "received_at": received_at,
        "is_test": random.choice((None, False, False, False, False, False, False, True)),
    }
    match table:
        case "email_opens":
            row |= {"os": random.choice(TEXTS), "is_machine": random.choice((None, False, True))}
        case "email_clicks":
            row |= {"url": random.choice(TEXTS), "os": random.choice((None, "iOS"))}
            row |= {"is_machine": random.choice((None, False, True))}
        case "email_bounces":
            row |= {"bounce_type": random.choice(("soft", "hard")), "message": random.choice(TEXTS)}
        case "email_complaints":
            row |= {"message": random.choice(TEXTS)}
        case "email_unsubscribes":
            row |= {"via_default_campaign": random.random() < 0.6}
    return row


def _again(random: Random, row: Row) -> Row:
    """Return the same event, received again, possibly with other values."""
    again = row | {"received_at": row["received_at"] + random.choice(DELAYS)}
    if "message" in row and random.random() < 0.5:
        again["message"] = "told again"
    if "bounce_type" in row:
        again["bounce_type"] = random.choice(("soft", "hard"))
    return again


def _burst(random: Random, row: Row) -> Iterator[Row]:
    """Yield events of the same moment as this one; two are of the same customer."""
    if random.random() < 0.1:
        for number in random.sample(range(9), 5):
            yield row | {
                "event_id": f"{row['event_id']}+{number}",
                "customer_id": row["customer_id"] if number % 2 else f"{IDS[number]}0",
                "broadcast_id": _broadcast_id(number) if number > 6 else row["broadcast_id"],
            }


def _broadcast_id(number: int) -> str:
    return f"{IDS[number % len(IDS)]}-{number // len(IDS)}"


def parts(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Split rows into `count` parts, in order."""
    size = -(-len(rows) // count)
    return [list(rows[at : at + size]) for at in range(0, len(rows), size)]
