"""How `status` says what it knows to a person: sentences, numbers with units, and a table."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from orchestrator.cli import phrases
from orchestrator.commands.status.facts import ExportStatus, Problem, ProblemKind, Status
from orchestrator.errors import on_one_line

COLUMNS = {
    "Brand": "name",
    "Interval": "left",
    "Last window": "left",
    "Activities": "right",
    "Broadcasts": "right",
    "Files": "right",
    "Delivered": "what",
    "Lag": "right",
    "Late rows": "left",
    "Next due": "left",
}
"""The table's columns: numbers stand right; a name, or what is told, may take several lines."""
NOTHING = "-"
"""Stands where there is nothing to tell."""
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def show(status: Status) -> None:
    """Print the table for a person on stdout, problems first."""
    from rich.console import Console  # noqa: PLC0415 - only this needs it
    from rich.table import Table  # noqa: PLC0415

    # A line is as long as it needs to be: a narrow terminal breaks it, and no cell is cut.
    console = Console(width=1000, markup=False, emoji=False, highlight=False)
    for warning in status.warnings:
        console.print(warning, soft_wrap=True)
    for export, problem in problems(status):
        name = on_one_line(export.export)
        console.print(f"{problem.kind:<12}{name}: {sentence(export, problem)}", soft_wrap=True)
    console.print(summary(status), style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, side in COLUMNS.items():
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    for export in status.exports:
        table.add_row(*cells(export).values())
    console.print(table)


def problems(status: Status) -> Iterator[tuple[ExportStatus, Problem]]:
    """Yield every problem, the worst first."""
    found = [(export, problem) for export in status.exports for problem in export.problems]
    worst = list(ProblemKind)
    yield from sorted(found, key=lambda pair: worst.index(pair[1].kind))


def summary(status: Status) -> str:
    """Return how many exports there are, and have problems."""
    wrong = sum(1 for export in status.exports if export.problems)
    text = phrases.count(len(status.exports), ("export", "exports"))
    text += f", {wrong:,} with problems" if wrong else ", no problems"
    return text if any(export.last for export in status.exports) else f"{text}, nothing made yet"


def sentence(export: ExportStatus, problem: Problem) -> str:
    """Return what is wrong, and what is to be done about it where that is known."""
    which = f"window {phrases.begin(problem.window, export.timezone)}"
    if more := problem.windows - 1:
        which += f" and {more:,} more"
    since = moment(problem.since, export.timezone)
    be = "are" if more else "is"
    match problem.kind:
        case ProblemKind.AHEAD:
            return (
                f"the ledger reaches to {since}: nothing is due until then. Was the clock wrong? "
                "If so, 'orchestrate backfill --from D --to D --force' makes again what is over"
            )
        case ProblemKind.LATE:
            return f"late rows in {which}: {late(export)}; send again with: {problem.text}"
        case ProblemKind.OVERDUE:
            return f"{which} {be} due since {since}, and not made"
        case ProblemKind.UNDELIVERED:
            return f"{which} {be} due since {since}, made, and not at {problem.text}"
    runs = phrases.count(problem.times, ("run", "runs"))
    be = "were" if more else "was"
    what = f"{be} stopped" if problem.kind is ProblemKind.STOPPED else "failed"
    return f"{which} {what} in {runs} since {since}: {problem.text}"


def cells(export: ExportStatus) -> dict[str, str]:
    """Return the cells of an export's row in the table, by column."""
    last, zone = export.last, export.timezone
    if last and last.rows:
        files = f"{len(last.files)}, {size(sum(file.size for file in last.files))}"
        of_last = [
            phrases.begin(last.window, zone),
            f"{last.rows['activity']:,}",
            f"{last.rows['broadcast']:,}",
            files,
            delivered(last.delivered, zone),
        ]
    else:
        of_last = [phrases.begin(last.window, zone) if last else NOTHING, *[NOTHING] * 4]
    texts = [
        on_one_line(export.brand),
        on_one_line(export.export).removeprefix(f"{on_one_line(export.brand)} "),
        *of_last,
        NOTHING if export.lag_seconds is None else duration(export.lag_seconds),
        late(export) or NOTHING,
        moment(export.next_due, zone),
    ]
    return dict(zip(COLUMNS, texts, strict=True))


def delivered(places: Mapping[str, datetime | None], timezone: str) -> str:
    """Return where files are, and since when, in the time zone."""
    zone = ZoneInfo(timezone)
    told = (
        f"{name} {at.astimezone(zone):%Y-%m-%d %H:%M}" if at else f"{name}: not yet"
        for name, at in places.items()
    )
    return ", ".join(told) or NOTHING


def late(export: ExportStatus) -> str:
    """Return how many rows came in after their windows were delivered, empty where none did."""
    counts = {kind: rows for kind, rows in export.late_rows.items() if rows}
    return ", ".join(phrases.count(rows, phrases.NOUNS[kind]) for kind, rows in counts.items())


def moment(at: datetime, timezone: str) -> str:
    """Return a moment in the export's time zone, which is told."""
    return f"{at.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M %Z}"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left, parts = round(seconds), list[str]()
    for unit, length in _UNITS:
        number, left = divmod(left, length)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def size(number: float) -> str:
    """Return a number of bytes with an SI prefix."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - SI
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
