"""The status as metrics, in a file for the textfile collector of Prometheus's node exporter.

Names follow https://prometheus.io/docs/practices/naming/: base units, and times as
`_timestamp_seconds`. A value that is not known, such as the lag of an export that has delivered
nothing yet, has no sample.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from orchestrator import system
from orchestrator.commands.status import ExportStatus, LastWindow, StatusResult
from orchestrator.config.exports import KINDS

GAUGES = {  # by name: the help text, and the label next to those of every metric
    "lag_seconds": (
        "From when a window was due until it was delivered; of an overdue window, until now",
        None,
    ),
    "next_due_timestamp_seconds": ("When the next window is due", None),
    "overdue_windows": ("Windows that are due and not at every destination", None),
    "failed_windows": ("Windows that failed or were stopped at the last attempt", None),
    "held_windows": ("Windows that are due and wait until the warehouse has all their rows", None),
    "undelivered_windows": (
        "Windows that were written and are not at a destination",
        "destination",
    ),
    "unsettled_windows": (
        "Windows that wait but have no entry in exports.yml; brand and interval are empty",
        None,
    ),
    "late_rows": ("Rows that reached the warehouse after their windows were delivered", "kind"),
    "last_window_start_timestamp_seconds": ("Start of the last window that was written", None),
    "last_window_end_timestamp_seconds": ("End of the last window that was written", None),
    "last_window_rows": ("Rows in a file of the last window", "kind"),
    "last_window_activity_rows": ("Rows of an activity in the last window", "activity"),
    "last_window_size_bytes": ("Size of a data file of the last window", "kind"),
    "last_window_delivered_timestamp_seconds": (
        "When all files of the last window were at a destination",
        "destination",
    ),
}

_Samples = Mapping[str, float | None]


def write_metrics(status: StatusResult, path: Path) -> None:
    """Write the metrics file; an existing one is replaced by a rename. Raises OSError."""
    registry = CollectorRegistry()
    gauges = {}
    for name, (text, label) in GAUGES.items():
        labels = ("brand", "interval", "export", *([label] if label else []))
        gauges[name] = Gauge(f"event_based_export_{name}", text, labels, registry=registry)
    for export in status.exports:
        subject = (export.brand, export.interval, export.export)
        for name, value in _values(export):
            samples = value if isinstance(value, Mapping) else {"": value}
            for label, number in samples.items():
                if number is not None:
                    gauges[name].labels(*subject, *([label] if label else [])).set(number)
    for name, number in status.unsettled_windows.items():
        gauges["unsettled_windows"].labels("", "", name).set(number)
    system.replace_file(path, generate_latest(registry))


def _values(export: ExportStatus) -> Iterator[tuple[str, float | _Samples | None]]:
    yield "lag_seconds", export.lag_seconds
    yield "next_due_timestamp_seconds", export.next_due.timestamp()
    yield "overdue_windows", export.overdue_windows
    yield "failed_windows", export.failed_windows
    yield "held_windows", export.held_windows
    yield "undelivered_windows", export.undelivered_windows
    yield "late_rows", export.late_rows
    if export.last:
        yield from _of_last(export.last)


def _of_last(last: LastWindow) -> Iterator[tuple[str, float | _Samples | None]]:
    yield "last_window_start_timestamp_seconds", last.window.start.timestamp()
    yield "last_window_end_timestamp_seconds", last.window.end.timestamp()
    yield "last_window_rows", last.rows
    yield "last_window_activity_rows", last.activities
    # A window has one file of each of these kinds, but may have several completion files.
    sizes: _Samples = {file.kind: file.size for file in last.files if file.kind in KINDS}
    yield "last_window_size_bytes", sizes
    moments = {name: at.timestamp() if at else None for name, at in last.delivered.items()}
    yield "last_window_delivered_timestamp_seconds", moments
