"""An exports.yml with every kind of export, its raw files, and the files to expect."""

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import awkward_rows
import raw_writers
import reference_export
from reference_export import Column, Dialect, Tables, Window

EXPORTS = """\
exports:
  - {brand: BRANDNAAM, timezone: Europe/Amsterdam, labels: nl}
  - brand: OTHER
    timezone: America/New_York
    directory: "{brand}/{window_start:%Y}/{window_start:%m}"
    delimiter: ";"
    quoting: all
    line_ending: crlf
    encoding: utf-16
    labels: names
    timestamp_format: "%d/%m/%Y %H:%M:%S.%f %z"
    additional_fields:
      activities: [received_at, os, url, is_machine, {column: event_id, as: "Event; id"}]
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
      - {column: customer_id, as: klant}
      - {column: email_address, as: mail, hash: sha256}
      - activity
      - activity_date
      - description
      - is_machine
    broadcast_fields: [sent_on, subject, broadcast_id]
  - brand: Uur
    timezone: Europe/Amsterdam
    interval: hourly
    activity_file: "activity_{brand}_{window_start:%Y%m%dT%H%M%z}"
    broadcast_file: "broadcast_{brand}_{window_start:%Y%m%dT%H%M%z}"
  - {brand: "*", directory: star, timezone: Asia/Kathmandu, delimiter: "||", encoding: utf-8-sig}
"""
OTHERS = ("Café Zürich & Söhne", "brandnaam", "Stray")
DIALECTS = {
    "BRANDNAAM": Dialect(
        "Europe/Amsterdam", reference_export.DUTCH, reference_export.DUTCH_BROADCASTS
    ),
    "OTHER": Dialect(
        "America/New_York",
        reference_export.NAMES,
        reference_export.NAMES,
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


def files_of_day(raw: Tables, day: date) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for brand in DAILY:
        own = {"OTHER": f"OTHER/{day:%Y}/{day:%m}/", "BRANDNAAM": "", "Himal": ""}
        # Files of `*` are in a folder: `brandnaam` and BRANDNAAM are one name to some receivers.
        folder = own.get(brand, "star/")
        extension = "txt" if brand == "Himal" else "csv"
        name = f"{folder}{{}}_{brand}_{day:%Y%m%d}.{extension}"
        files |= _pair(raw, brand, reference_export.day(day, DIALECTS[brand].zone), name)
    return files


def files_of_hours(raw: Tables, day: date) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    zone = ZoneInfo(DIALECTS["Uur"].zone)
    for window in reference_export.hours(day, zone.key):
        name = f"{{}}_Uur_{window.start.astimezone(zone):%Y%m%dT%H%M%z}.csv"
        files |= _pair(raw, "Uur", window, name)
    return files


def write_raw(folder: Path, tables: Tables) -> None:
    """Write the tables in all formats, some in several files, broken rows first."""
    broken = awkward_rows.broken(tables)
    rows = {table: [*broken.get(table, []), *rows] for table, rows in tables.items()}
    for table in ("customers", "email_sends"):
        for number, part in enumerate(awkward_rows.parts(rows.pop(table), 3)):
            raw_writers.write(folder / table / f"part-{number}.parquet", part)
    first, second = awkward_rows.parts(rows.pop("email_clicks"), 2)
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


def write_replacements(folder: Path, tables: Tables) -> None:
    replacing = awkward_rows.replacements(tables)
    # Not JSON Lines: its writer omits nulls, and a key that is omitted changes nothing.
    raw_writers.write(folder / "broadcasts.parquet", replacing["broadcasts"])
    raw_writers.write(folder / "customers.csv", replacing["customers"])
    raw_writers.write(folder / "email_bounces.csv", tables["email_bounces"])  # already loaded


def assert_same_bytes(found: bytes, wanted: bytes, name: str) -> None:
    if found != wanted:
        brand = name.split("_")[-2].rpartition("/")[2]
        encoding = DIALECTS[brand].encoding
        # By line first, to show the difference.
        assert found.decode(encoding).split("\n") == wanted.decode(encoding).split("\n"), name
        assert found == wanted, name


def _pair(raw: Tables, brand: str, window: Window, name: str) -> dict[str, bytes]:
    happened = reference_export.activities(raw, window)
    mailings = reference_export.broadcasts(raw, window, happened)
    return {
        name.format("activity"): reference_export.activity_file(happened, brand, DIALECTS[brand]),
        name.format("broadcast"): reference_export.broadcast_file(mailings, brand, DIALECTS[brand]),
    }
