"""The page of `status`: one file with plots, that opens from disk and asks for nothing else.

The plots are drawn in the browser by Observable Plot; the tables are plain HTML.
"""

import base64
import hashlib
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from orchestrator.cli import status_table as words
from orchestrator.cli.phrases import begin
from orchestrator.commands.status.facts import Status
from orchestrator.commands.status.past import PERIOD, Past
from orchestrator.ledger.failures import Failure

_SCRIPTS = ("d3-7.9.2.min.js", "plot-0.6.17.min.js", "status.js")
_FAILURES = 200
"""Rows of the table of failures: the newest ones."""


def write(status: Status, past: Past, path: Path) -> None:
    """Write the page in place of the one that is there, by a rename. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(_page(status, past), encoding="utf-8")
    part.replace(path)


def _page(status: Status, past: Past) -> str:
    assets = files("orchestrator") / "assets"
    texts = {
        name: (assets / name).read_text(encoding="utf-8") for name in ("status.html", *_SCRIPTS)
    }
    scripts = [texts[name] for name in _SCRIPTS]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    exports = {export.export: export for export in status.exports}
    failures = [failure for failure in past.failures if failure.export in exports]
    return environment.from_string(
        texts["status.html"]
    ).render(
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own and the libraries'
        digests=[_digest(script) for script in scripts],
        licences=(assets / "LICENSES.txt").read_text(encoding="utf-8"),
        data=_data(status, past),
        brands=sorted({export.brand for export in status.exports}),
        status=status,
        words=words,
        begin=begin,
        problems=list(words.problems(status)),
        weeks=PERIOD.days // 7,
        failures=[(exports[failure.export], failure) for failure in failures[:_FAILURES]],
        left_out=max(0, len(failures) - _FAILURES),
    )


def _data(status: Status, past: Past) -> dict[str, Any]:
    """Return what the plots show, short: exports, days and activities by their places in lists."""
    places = {export.export: place for place, export in enumerate(status.exports)}
    found = [
        (places[name], date, day)
        for name, days in past.days.items()
        if name in places
        for date, day in days.items()
    ]
    dates = sorted({date for _, date, _ in found})
    activities = sorted({code for _, _, day in found for code in day.rows})
    at = {date: number for number, date in enumerate(dates)}
    return {
        "since": past.since.isoformat(),
        "now": status.now.isoformat(),
        "brands": [export.brand for export in status.exports],
        "dates": dates,
        "activities": activities,
        "days": [
            [place, at[date], [round(lag) for lag in day.lags], [day.rows[c] for c in activities]]
            for place, date, day in found
        ],
        "failures": [
            [places[f.export], f.status, *(int(at.timestamp()) for at in _moments(f))]
            for f in past.failures
            if f.export in places
        ],
    }


def _moments(failure: Failure) -> tuple[datetime, datetime, datetime]:
    return failure.window.start, failure.first_at, failure.last_at


def _digest(script: str) -> str:
    """Return a script's source expression in a Content-Security-Policy (CSP 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
