"""The metrics of `status`, as Prometheus reads them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.cli import metrics
from orchestrator.commands.status import ExportStatus, LastWindow, StatusResult
from orchestrator.config.exports import File
from orchestrator.windows import Window

START, END = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
HASH = "a" * 64
AT = datetime(2026, 11, 21, 6, 1, tzinfo=UTC)
LAST = LastWindow(
    Window(START, END),
    revision=2,
    rows={"broadcast": 1, "activity": 5_000_000_000},
    activities={"open": 3},
    files=[
        File("activity", "a.csv", 70, HASH, 5_000_000_000),
        File("ready", "a.csv.ready", 0, HASH),
        File("ready", "b.csv.ready", 0, HASH),
        File("manifest", "m.json", 900, HASH),
    ],
    delivered={"there": AT, "archive": None},
)
ACME = ExportStatus(
    'AC"ME\\\n é daily',
    'AC"ME\\\n é',
    "daily",
    "UTC",
    LAST,
    60.5,
    END,
    overdue_windows=1,
    failed_windows=1,
    undelivered_windows={"there": 0, "archive": 1},
    late_rows={"activity": 2, "broadcast": 0},
)
NEW = ExportStatus("NEW hourly", "NEW", "hourly", "UTC", None, None, END)


def read(path: Path) -> dict[tuple[str, str, str], float]:
    """Return the samples by metric name, brand, and the value of the third label."""
    return {
        (
            sample.name.removeprefix("event_based_export_"),
            sample.labels["brand"],
            "".join(sample.labels.get(n, "") for n in ("destination", "kind", "activity")),
        ): sample.value
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }


def test_every_value_of_the_status_has_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "exports.prom"
    metrics.write_metrics(StatusResult(AT, [ACME, NEW]), path)
    brand = ACME.brand
    assert read(path) == {
        ("lag_seconds", brand, ""): 60.5,
        ("next_due_timestamp_seconds", brand, ""): END.timestamp(),
        ("overdue_windows", brand, ""): 1,
        ("failed_windows", brand, ""): 1,
        ("held_windows", brand, ""): 0,
        ("undelivered_windows", brand, "there"): 0,
        ("undelivered_windows", brand, "archive"): 1,
        ("late_rows", brand, "activity"): 2,
        ("late_rows", brand, "broadcast"): 0,
        ("last_window_start_timestamp_seconds", brand, ""): START.timestamp(),
        ("last_window_end_timestamp_seconds", brand, ""): END.timestamp(),
        ("last_window_rows", brand, "broadcast"): 1,
        ("last_window_rows", brand, "activity"): 5_000_000_000,
        ("last_window_activity_rows", brand, "open"): 3,
        ("last_window_size_bytes", brand, "activity"): 70,
        ("last_window_delivered_timestamp_seconds", brand, "there"): AT.timestamp(),
        ("next_due_timestamp_seconds", "NEW", ""): END.timestamp(),
        ("overdue_windows", "NEW", ""): 0,
        ("failed_windows", "NEW", ""): 0,
        ("held_windows", "NEW", ""): 0,
    }


def test_each_metric_is_a_gauge_with_a_help_text_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "exports.prom"
    metrics.write_metrics(StatusResult(AT, [ACME]), path)
    families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    assert len(families) == 14
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)
    labels = {"brand": ACME.brand, "interval": "daily", "export": ACME.export}
    assert all(s.labels.items() >= labels.items() for f in families for s in f.samples)


def test_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "exports.prom"
    metrics.write_metrics(StatusResult(AT, [ACME, NEW]), path)
    with path.open(encoding="utf-8") as opened:  # as the node exporter may do
        metrics.write_metrics(StatusResult(AT, [NEW]), path)
        assert "AC" in opened.read()
    assert {brand for _, brand, _ in read(path)} == {"NEW"}
    assert os.listdir(tmp_path) == ["exports.prom"]  # noqa: PTH208 - hidden files count too


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        metrics.write_metrics(StatusResult(AT, [NEW]), tmp_path / "none" / "exports.prom")
    assert str(tmp_path / "none") in str(caught.value.filename)


def test_symlinks_at_the_paths_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path = tmp_path / "exports.prom"
    for name in ("exports.prom", f"exports.prom.{os.getpid()}.1", ".exports.prom.part"):
        (tmp_path / name).symlink_to(precious)
    metrics.write_metrics(StatusResult(AT, [NEW]), path)
    assert precious.read_text() == "precious"
    assert not path.is_symlink()
    assert read(path)
