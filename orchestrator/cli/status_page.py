"""The status as an HTML page with plots: one file, which needs no server and no network.

Observable Plot draws the plots in the browser; the tables are plain HTML.
"""

import base64
import hashlib
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator import system
from orchestrator.cli import status_text
from orchestrator.cli.report import export_name, window_start
from orchestrator.commands import asset, template
from orchestrator.commands.status import ExportStatus, ProblemKind, StatusResult
from orchestrator.commands.status_history import PERIOD, RECENT, StatusHistory
from orchestrator.errors import escaped
from orchestrator.progress import count

_SCRIPTS = ("d3-7.9.2.min.js", "plot-0.6.17.min.js", "status.js")
_FAILURES = 200
"""Most rows of the table of failures; the oldest failures are left out."""

_STALE_AFTER = timedelta(hours=1)
"""The page is out of date this long after the time at which a newer one should exist."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?: ?[A-Z]{2,5}|[+-]\d{4})?)?")


def write_page(status: StatusResult, history: StatusHistory, path: Path, *, config: Path) -> None:
    """Write the page; an existing file is replaced by a rename. Raises OSError."""
    system.replace_file(path, _page(status, history, config).encode())


def _page(status: StatusResult, history: StatusHistory, config: Path) -> str:
    scripts = [asset(name) for name in _SCRIPTS]
    exports = {export.export: export for export in status.exports}
    failures = [failure for failure in history.failures if failure.export in exports]
    level, headline = _headline(status)
    return template(
        "status.html", dated=_dated
    ).render(
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - files of this package
        digests=[_digest(script) for script in scripts],
        licences=Markup(asset("LICENSES.txt")),  # noqa: S704 - the same
        data=_data(status, history),
        brands=sorted({export.brand for export in status.exports}),
        status=status,
        level=level,
        headline=headline,
        host=socket.gethostname(),
        config=str(config),
        exports=status_text.listed(status),
        export_name=export_name,
        sorted_by=_sorted_by,
        text=status_text,
        window_start=window_start,
        problems=list(status_text.problems(status)),
        most=RECENT,
        weeks=PERIOD.days // 7,
        failures=[(exports[failure.export], failure) for failure in failures[:_FAILURES]],
        left_out=max(0, len(failures) - _FAILURES),
    )


def _headline(status: StatusResult) -> tuple[str, str]:
    """Return the CSS class and the text of the badge."""
    kinds = [problem.kind for export in status.exports for problem in export.problems]
    if not kinds and not status.warnings:
        return "good", "OK"
    is_bad = ProblemKind.FAILED in kinds or ProblemKind.STOPPED in kinds
    number = max(len(kinds), 1)
    return "bad" if is_bad else "warn", count(number, ("problem", "problems"))


def _dated(text: str) -> Markup:
    """Return a text as HTML in which no line break splits a date."""
    parts = _DATE.split(escaped(text)), [*_DATE.findall(escaped(text)), ""]
    date = Markup('<span class="date">{}</span>')
    return Markup("").join(
        Markup("{}{}").format(before, date.format(found) if found else "")
        for before, found in zip(*parts, strict=True)
    )


def _sorted_by(export: ExportStatus) -> dict[str, float]:
    """Return the sort keys of the columns whose texts would sort in another order."""
    last = export.last
    rows = last.rows if last else {}
    return {
        "Last window": last.window.start.timestamp() if last else 0,
        "Activities": rows.get("activity", -1),
        "Broadcasts": rows.get("broadcast", -1),
        "Files": sum(file.size for file in last.files) if last else -1,
        "Lag": -1 if export.lag_seconds is None else export.lag_seconds,
        "Late rows": sum(export.late_rows.values()),
        "Next due": export.next_due.timestamp(),
    }


def _data(status: StatusResult, history: StatusHistory) -> dict[str, Any]:
    """Return the data of the plots; exports, days and activities are indexes into lists."""
    positions = {export.export: number for number, export in enumerate(status.exports)}
    found = [
        (positions[name], date, day)
        for name, days in history.days.items()
        if name in positions
        for date, day in days.items()
    ]
    dates = sorted({date for _, date, _ in found})
    activities = sorted({code for _, _, day in found for code in day.rows})
    at = {date: number for number, date in enumerate(dates)}
    # A newer page should exist when a window was due, and after a day: pages are written daily.
    newer_at = min([status.now + timedelta(days=1), *(each.next_due for each in status.exports)])
    return {
        "since": history.since.isoformat(),
        "now": status.now.isoformat(),
        "stale": (newer_at + _STALE_AFTER).isoformat(),
        "recent": {
            escaped(export.export): [
                [window_start(window, export.timezone), state]
                for window, state in history.recent.get(export.export, ())
            ]
            for export in status.exports
        },
        "brands": [escaped(export.brand) for export in status.exports],
        "dates": dates,
        "activities": activities,
        "days": [
            [export, at[date], [round(lag) for lag in day.lags], [day.rows[c] for c in activities]]
            for export, date, day in found
        ],
        "failures": [
            [
                positions[f.export],
                f.status,
                *(int(at.timestamp()) for at in (f.window.start, f.first_at, f.last_at)),
            ]
            for f in history.failures
            if f.export in positions
        ],
    }


def _digest(script: str) -> str:
    """Return a script's hash-source for a Content-Security-Policy (CSP 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
