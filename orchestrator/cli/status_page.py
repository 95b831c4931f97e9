"""The status as a page: one file with plots that opens from disk and loads nothing else.

Observable Plot draws the plots in the browser; the tables are plain HTML.
"""

import base64
import hashlib
import re
import socket
from datetime import datetime, timedelta
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
"""Rows of the table of failures: the newest ones."""


_STALE_AFTER = timedelta(hours=1)
"""How long after the next window is due the page counts as out of date."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?: ?[A-Z]{2,5}|[+-]\d{4})?)?")


def write_page(status: StatusResult, history: StatusHistory, path: Path, *, config: Path) -> None:
    """Write the page in place of the file that exists. Raises OSError."""
    system.replace_file(path, _page(status, history, config).encode())


def _page(status: StatusResult, history: StatusHistory, config: Path) -> str:
    scripts = [asset(name) for name in _SCRIPTS]
    exports = {export.export: export for export in status.exports}
    failures = [failure for failure in history.failures if failure.export in exports]
    level, headline = _headline(status)
    return template(
        "status.html", dated=_dated
    ).render(
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own and the libraries'
        digests=[_digest(script) for script in scripts],
        licences=Markup(asset("LICENSES.txt")),  # noqa: S704 - our own
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
    """Return a text as HTML in which no date is broken over two lines."""
    parts = _DATE.split(escaped(text)), [*_DATE.findall(escaped(text)), ""]
    date = Markup('<span class="date">{}</span>')
    return Markup("").join(
        Markup("{}{}").format(before, date.format(found) if found else "")
        for before, found in zip(*parts, strict=True)
    )


def _sorted_by(export: ExportStatus) -> dict[str, float]:
    """Return the sort keys of the columns whose texts do not sort in the right order."""
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
    """Return what the plots show; exports, days and activities are positions in lists."""
    places = {export.export: place for place, export in enumerate(status.exports)}
    found = [
        (places[name], date, day)
        for name, days in history.days.items()
        if name in places
        for date, day in days.items()
    ]
    dates = sorted({date for _, date, _ in found})
    activities = sorted({code for _, _, day in found for code in day.rows})
    at = {date: number for number, date in enumerate(dates)}
    return {
        "since": history.since.isoformat(),
        "now": status.now.isoformat(),
        "stale": (min(_due(status)) + _STALE_AFTER).isoformat(),
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
            [place, at[date], [round(lag) for lag in day.lags], [day.rows[c] for c in activities]]
            for place, date, day in found
        ],
        "failures": [
            [
                places[f.export],
                f.status,
                *(int(at.timestamp()) for at in (f.window.start, f.first_at, f.last_at)),
            ]
            for f in history.failures
            if f.export in places
        ],
    }


def _due(status: StatusResult) -> list[datetime]:
    """Return when each export is due next, at most a day from now: a page is written daily."""
    tomorrow = status.now + timedelta(days=1)
    return [tomorrow, *(export.next_due for export in status.exports)]


def _digest(script: str) -> str:
    """Return a script's hash-source for a Content-Security-Policy (CSP 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
