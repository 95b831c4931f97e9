"""A warehouse of any size, made by DuckDB alone."""

from pathlib import Path

import duckdb

from orchestrator import project
from orchestrator.contract import read_contract
from orchestrator.engines.duckdb_loader import DuckdbLoader

BRANDS = 20
_EXPORTS = "destinations: {there: {directory: there}}\nexports:\n  - {brand: '*'}\n"
_CUSTOMER = "'C' || lpad(customer::varchar, 9, '0')"
_ADDRESS = "'person' || customer || '@example.com'"
_BROADCAST = "'B' || lpad((number % 400)::varchar, 6, '0')"
# Of a hundred events: how many, and what else their rows hold.
_EVENTS = {
    "email_sends": (60, ""),
    "email_opens": (25, ", 'iOS', number % 3 = 0"),
    "email_clicks": (
        10,
        ", 'https://www.example.com/offer/' || number || '?from=mail', null, null",
    ),
    "email_bounces": (5, ", 'soft', '452 4.2.2 mailbox ' || number || ' is full'"),
}


def make(folder: Path, *, rows: int, days: int) -> Path:
    """Make a warehouse with this many events on each day from 2026-11-01, and an exports.yml.

    One event in fifty is received twice. Returns the path for DUCKDB_PATH.
    """
    path = folder / "warehouse.duckdb"
    with DuckdbLoader({"path": str(path)}) as loader:
        for table in read_contract(project.find(folder, "duckdb").folder).tables:
            loader.prepare(table)
    with duckdb.connect(path) as connection:
        connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = false")
        connection.execute(f"""
            insert into raw.broadcasts
            select 'BRAND' || brand, 'B' || lpad(number::varchar, 6, '0'), 'email', 'SINGLE',
                'Newsletter ' || number, 'New: "offer" ' || number, sent_on, sent_on
            from range({BRANDS}) brands (brand), range(400) numbers (number),
                (select timestamptz '2026-10-25 10:00:00+00' as sent_on)
            """)
        customers = max(rows // 10, BRANDS)
        connection.execute(f"""
            insert into raw.customers
            select 'BRAND' || customer % {BRANDS}, {_CUSTOMER}, 'CRM-' || customer, {_ADDRESS}
            from range({customers}) customers (customer)
            """)
        for day in range(days):
            for table, (share, more) in _EVENTS.items():
                count = rows * share // 100
                connection.execute(f"""
                    insert into raw.{table}
                    select 'E{day}-' || lpad(number::varchar, 9, '0'),
                        'BRAND' || customer % {BRANDS}, {_BROADCAST}, {_CUSTOMER}, {_ADDRESS},
                        received_at - interval 1 minute, received_at, false {more}
                    from (
                        select number, hash(number) % {customers} as customer,
                            timestamptz '2026-11-01 00:00:00+00' + to_days({day})
                            + to_microseconds(number * (86000000000 // {count})) as received_at
                        from range({count}) numbers (number)
                    )
                    """)
                connection.execute(f"""
                    insert into raw.{table}
                    select * replace (received_at + interval 1 second as received_at)
                    from raw.{table}
                    where event_id like 'E{day}-%' and hash(event_id) % 50 = 0
                    """)
    (folder / "exports.yml").write_text(_EXPORTS, encoding="utf-8")
    return path
