"""The status as text for people: problems in sentences, and a table of exports."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.cells import cell_len

from orchestrator.cli import output
from orchestrator.cli.report import NOUNS, export_name, window_start
from orchestrator.commands.status import ExportStatus, Problem, ProblemKind, StatusResult
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import escaped
from orchestrator.progress import EXPORTS, count, size

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
"""The columns and their CSS classes: `right` is for numbers; `name` and `what` may wrap."""
_ALWAYS = ("Brand", "Last window", "Next due")
_DROPPED_FIRST = ("Files", "Delivered", "Broadcasts", "Late rows", "Interval", "Lag", "Activities")
"""The columns to leave out if the terminal is too narrow, the first one first."""
NOTHING = "-"
"""The cell of a value that does not exist."""
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def print_status(status: StatusResult) -> None:
    """Print the status on stdout: problems first, then a table that fits the terminal.

    The table is plain text, because Rich took two thirds of the command's time for the layout of
    1,000 exports.
    """
    lines = [output.shown(warning) for warning in status.warnings]
    for export, problem in problems(status):
        name = export_name(export.export, export.brand)
        lines.append(output.shown(f"{problem.kind:<12}{name}: {sentence(export, problem)}"))
    lines += [output.styled(summary(status), bold=True), *_table(status)]
    print("\n".join(lines))  # noqa: T201 - the result


def _table(status: StatusResult) -> Iterator[str]:
    """Yield the lines of the table, and a line that names the columns that do not fit."""
    rows = [cells(export) for export in listed(status)]
    if not rows:
        return
    widths = {name: max(map(cell_len, (name, *(row[name] for row in rows)))) for name in COLUMNS}
    shown, width = [*COLUMNS], shutil.get_terminal_size().columns
    while sum(widths[name] + 2 for name in shown) - 2 > width and len(shown) > len(_ALWAYS):
        shown.remove(next(name for name in _DROPPED_FIRST if name in shown))

    def line(row: Mapping[str, str]) -> str:
        texts = []
        for name in shown:
            blanks = " " * (widths[name] - cell_len(row[name]))
            is_right = COLUMNS[name] == "right"
            texts.append(blanks + row[name] if is_right else row[name] + blanks)
        return "  ".join(texts).rstrip()

    yield output.styled(line({name: name for name in COLUMNS}), bold=True)
    yield from map(line, rows)
    if left_out := [name for name in COLUMNS if name not in shown]:
        more = ", ".join(left_out)
        yield output.styled(f"Not shown: {more}. They need a wider terminal, or --json.", dim=True)


def listed(status: StatusResult) -> list[ExportStatus]:
    """Return the exports to show; `*` is one only if it has problems or no brand is known."""
    has_brands = any(export.brand != EVERY_BRAND for export in status.exports)
    return [
        export
        for export in status.exports
        if export.brand != EVERY_BRAND or export.problems or not has_brands
    ]


def problems(status: StatusResult) -> Iterator[tuple[ExportStatus, Problem]]:
    """Yield every problem, the worst first."""
    found = [(export, problem) for export in status.exports for problem in export.problems]
    worst = list(ProblemKind)
    yield from sorted(found, key=lambda pair: worst.index(pair[1].kind))


def summary(status: StatusResult) -> str:
    """Return the number of exports, and of those with problems."""
    exports = listed(status)
    wrong = sum(1 for export in exports if export.problems)
    text = count(len(exports), EXPORTS)
    text += f", {wrong:,} with problems" if wrong else ", no problems"
    return (
        text if any(export.last for export in status.exports) else f"{text}, nothing delivered yet"
    )


def sentence(export: ExportStatus, problem: Problem) -> str:
    """Return what is wrong and, if it is known, what to do about it."""
    which = f"window {window_start(problem.window, export.timezone)}"
    if more := problem.windows - 1:
        which += f" and {more:,} more"
    since = moment(problem.since, export.timezone)
    be = "are" if more else "is"
    match problem.kind:
        case ProblemKind.AHEAD:
            return (
                f"the ledger has windows up to {since}: nothing is due until then. If the clock "
                "was wrong, build past days again with: orchestrate backfill --from DAY --to DAY "
                "--force"
            )
        case ProblemKind.LATE:
            return f"late rows in {which}: {late(export)}; send again with: {problem.text}"
        case ProblemKind.HELD:
            return f"{which} {be} held, due since {since}: {problem.text}"
        case ProblemKind.OVERDUE:
            return f"{which} {be} due since {since}, and not written"
        case ProblemKind.UNDELIVERED:
            return f"{which} {be} due since {since}, written, and not at {problem.text}"
    runs = count(problem.times, ("run", "runs"))
    be = "were" if more else "was"
    what = f"{be} stopped" if problem.kind is ProblemKind.STOPPED else "failed"
    return f"{which} {what} in {runs} since {since}: {problem.text}"


def cells(export: ExportStatus) -> dict[str, str]:
    """Return the cells of an export's row in the table, by column."""
    last, zone = export.last, export.timezone
    if last and last.rows:
        files = f"{len(last.files)}, {size(sum(file.size for file in last.files))}"
        of_last = [
            window_start(last.window, zone),
            f"{last.rows['activity']:,}",
            f"{last.rows['broadcast']:,}",
            files,
            delivered(last.delivered, zone),
        ]
    else:
        of_last = [window_start(last.window, zone) if last else NOTHING, *[NOTHING] * 4]
    texts = [
        escaped(export.brand),
        escaped(export.export).removeprefix(f"{escaped(export.brand)} "),
        *of_last,
        NOTHING if export.lag_seconds is None else duration(export.lag_seconds),
        late(export) or NOTHING,
        moment(export.next_due, zone),
    ]
    return dict(zip(COLUMNS, texts, strict=True))


def delivered(places: Mapping[str, datetime | None], timezone: str) -> str:
    """Return since when each destination has the files, in the time zone of the export."""
    zone = ZoneInfo(timezone)
    found = (
        f"{name} {at.astimezone(zone):%Y-%m-%d %H:%M %Z}" if at else f"{name}: not yet"
        for name, at in places.items()
    )
    return ", ".join(found) or NOTHING


def late(export: ExportStatus) -> str:
    """Return how many rows reached the warehouse after their windows were delivered, if any."""
    counts = {kind: rows for kind, rows in export.late_rows.items() if rows}
    return ", ".join(count(rows, NOUNS[kind]) for kind, rows in counts.items())


def moment(at: datetime, timezone: str) -> str:
    """Return a moment in the export's time zone, with the zone."""
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
