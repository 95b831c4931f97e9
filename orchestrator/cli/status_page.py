"""The status as a page: one file with plots that opens from disk and loads nothing else.

Observable Plot draws the plots in the browser; the tables are plain HTML.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator import system
from orchestrator.cli import status_text
from orchestrator.cli.report import window_start
from orchestrator.commands import asset, template
from orchestrator.commands.status import StatusResult
from orchestrator.commands.status_history import PERIOD, StatusHistory
from orchestrator.errors import escaped

_SCRIPTS = ("d3-7.9.2.min.js", "plot-0.6.17.min.js", "status.js")
_FAILURES = 200
"""Rows of the table of failures: the newest ones."""


def write_page(status: StatusResult, history: StatusHistory, path: Path) -> None:
    """Write the page in place of the file that exists. Raises OSError."""
    system.replace_file(path, _page(status, history).encode())


def _page(status: StatusResult, history: StatusHistory) -> str:
    scripts = [asset(name) for name in _SCRIPTS]
    exports = {export.export: export for export in status.exports}
    failures = [failure for failure in history.failures if failure.export in exports]
    return template(
        "status.html"
    ).render(
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own and the libraries'
        digests=[_digest(script) for script in scripts],
        licences=Markup(asset("LICENSES.txt")),  # noqa: S704 - our own
        data=_data(status, history),
        brands=sorted({export.brand for export in status.exports}),
        status=status,
        text=status_text,
        window_start=window_start,
        problems=list(status_text.problems(status)),
        weeks=PERIOD.days // 7,
        failures=[(exports[failure.export], failure) for failure in failures[:_FAILURES]],
        left_out=max(0, len(failures) - _FAILURES),
    )


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


def _digest(script: str) -> str:
    """Return a script's hash-source for a Content-Security-Policy (CSP 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
