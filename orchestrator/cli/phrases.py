"""Phrases for people: a window, how many rows it has, and what became of it."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from orchestrator.pipeline.result import LateRows, WindowResult
from orchestrator.windows import Window

ROWS = ("row", "rows")
NOUNS = {"activity": ("activity", "activities"), "broadcast": ("broadcast", "broadcasts")}
"""What a row is called, by kind of file: one, and more."""
_PART_OF_A_DAY = timedelta(hours=12)  # a day has some hours less where the clocks change


def line(result: WindowResult) -> str:
    """Return what became of a window, in a line."""
    text = f"{result.status:<9} {_name(result)}"
    if result.revision > 1:
        text += f" (revision {result.revision})"
    counts = [(file.rows, NOUNS[file.kind]) for file in result.files if file.rows is not None]
    if counts:
        text += ": " + ", ".join(count(*rows) for rows in counts)
    elif result.files:
        text += ": " + ", ".join(file.path for file in result.files)
    if there := sorted({name for file in result.files for name in file.destinations}):
        text += f", at {', '.join(there)}"
    return f"{text}: {result.error}" if result.error else text


def late_line(late: LateRows) -> str:
    """Return in a line which rows of a window are late, and what is to be done about it."""
    counts = [
        f"{count(late.now[kind], NOUNS[kind])}, {late.delivered[kind]:,} delivered"
        for kind in late.now
        if late.now[kind] > late.delivered[kind]
    ]
    what = f"send that window again with: {late.command}" if late.command else "sent again"
    return f"late rows in {_name(late)}: {'; '.join(counts)}; {what}"


def begin(window: Window, timezone: str) -> str:
    """Return the local day, or where that is not enough the moment, that a window begins with."""
    start = window.start.astimezone(ZoneInfo(timezone))
    days = start.strftime("%H%M") == "0000" and window.end - window.start > _PART_OF_A_DAY
    form = "%Y-%m-%d" if days else "%Y-%m-%d %H:%M%z"
    return f"{start:{form}}"


def count(number: int | None, noun: tuple[str, str]) -> str:
    """Return so many of something, in words: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun[number != 1]}"


def _name(of: WindowResult | LateRows) -> str:
    return f"{of.export} {begin(of.window, of.timezone)}"
