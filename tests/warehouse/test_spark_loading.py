import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from raw_files import broadcast, event
from spark_workspace import SparkWorkspace

from orchestrator import system
from orchestrator.errors import LockedError, UsageError
from orchestrator.loading import TableResult
from orchestrator.warehouse.spark import tables
from orchestrator.warehouse.spark.session import Session

ROOT = Path(__file__).parents[2]
SOURCES = "dbt_project/models/staging/_sources.yml"
DAY = datetime(2026, 10, 21, tzinfo=UTC)
OPENS = [
    event(number, received_at=DAY + timedelta(hours=number) - timedelta(microseconds=1), os=None)
    for number in range(5)
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkWorkspace:
    shutil.copytree(ROOT / "dbt_project", tmp_path / "dbt_project")
    return SparkWorkspace(tmp_path, monkeypatch)


def _load(workspace: SparkWorkspace) -> dict[str, tuple[int, int, int]]:
    def counts(table: TableResult) -> tuple[int, int, int]:
        return table.added, table.replaced, table.present

    return {table.table: counts(table) for table in workspace.load().tables}


def _rows(workspace: SparkWorkspace, *queries: str) -> list[list[tuple[object, ...]]]:
    session = Session(workspace.project("spark").output)
    try:
        tables.register(session.spark, session.warehouse)
        return [[tuple(row) for row in session.spark.sql(q).collect()] for q in queries]
    finally:
        session.close()


def test_events_are_kept_by_day_and_entities_as_they_are_now(workspace: SparkWorkspace) -> None:
    workspace.write("email_opens", OPENS[:3])
    workspace.write("broadcasts", [broadcast(1), broadcast(2)])
    assert _load(workspace) == {"broadcasts": (2, 0, 0), "email_opens": (3, 0, 0)}
    first = workspace.warehouse / "raw.db/email_opens/load=1"
    assert sorted(path.name for path in first.iterdir() if path.is_dir()) == [
        "received_on=2026-10-20",
        "received_on=2026-10-21",
    ]

    workspace.write("email_opens", [*OPENS, OPENS[0] | {"os": ""}])
    workspace.write("broadcasts", [broadcast(2, subject="new"), broadcast(1), broadcast(3)])
    assert _load(workspace) == {"broadcasts": (1, 1, 1), "email_opens": (3, 0, 3)}
    assert workspace.parts("email_opens") == ["load=1", "load=2"]
    assert workspace.parts("broadcasts") == ["version=1", "version=2"]
    assert _load(workspace) == {"broadcasts": (0, 0, 3), "email_opens": (0, 0, 6)}
    assert workspace.parts("email_opens") == ["load=1", "load=2"]

    broadcasts, opens = _rows(
        workspace,
        "select broadcast_id, subject from raw.broadcasts order by 1",
        "select event_id, os, received_on from raw.email_opens order by 1, 2",
    )
    assert broadcasts == [("b1", "Hello"), ("b2", "new"), ("b3", "Hello")]
    assert [row[:2] for row in opens][:2] == [("e0", None), ("e0", "")]
    assert [str(row[2]) for row in opens] == ["2026-10-20"] * 2 + ["2026-10-21"] * 4

    with system.exclusive_lock(workspace.warehouse / "raw.db/.lock"), pytest.raises(LockedError):
        workspace.load()


def test_a_column_may_be_added_where_it_may_be_null(workspace: SparkWorkspace) -> None:
    workspace.write("email_opens", OPENS[:2])
    _load(workspace)
    sources = workspace.folder / SOURCES
    contract = yaml.safe_load(sources.read_text())
    (opens,) = (t for t in contract["sources"][0]["tables"] if t["name"] == "email_opens")
    column = {"name": "screen", "description": "New.", "data_type": "text"}
    opens["columns"].append(column)
    sources.write_text(yaml.safe_dump(contract))
    workspace.write("email_opens", [row | {"screen": "wide"} for row in OPENS[1:]])
    with pytest.raises(UsageError, match=r"email_opens lacks screen, which may not be null"):
        workspace.load()

    column["config"] = {"meta": {"nullable": True}}  # type: ignore[assignment] # YAML is of any type
    sources.write_text(yaml.safe_dump(contract))
    assert _load(workspace) == {"email_opens": (4, 0, 0)}
    (found,) = _rows(workspace, "select event_id, screen from raw.email_opens order by 1, 2")
    texts = [(f"e{number}", "wide") for number in range(1, 5)]
    assert found == [("e0", None), ("e1", None), *texts]


def test_a_killed_load_leaves_nothing_half(workspace: SparkWorkspace) -> None:
    workspace.write("email_opens", OPENS)
    command = [str(Path(sys.executable).with_name("orchestrate")), "load", "raw"]
    load = subprocess.Popen(command, cwd=workspace.folder, stderr=subprocess.DEVNULL)
    aside = workspace.warehouse / "raw.db/email_opens/.aside"
    until = time.monotonic() + 240
    while not (aside / "load").exists():
        assert load.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    os.kill(load.pid, signal.SIGKILL)
    load.wait()
    assert workspace.parts("email_opens") == [".aside"]

    assert _load(workspace) == {"email_opens": (5, 0, 0)}
    assert workspace.parts("email_opens") == ["load=1"]
    files = (workspace.warehouse / "raw.db/email_opens/load=1").rglob("*.parquet")
    assert sum(pq.read_metadata(file).num_rows for file in files) == 5
