"""dbt in this process: the tables that it builds, and the errors that it reports."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from workspace import ROOT, Workspace

from orchestrator import config
from orchestrator.errors import ConfigError, ExportError, GateError, UsageError
from orchestrator.files import formats
from orchestrator.warehouse import Warehouse, project, stage
from orchestrator.windows import Window

DAY = datetime(2026, 11, 19, tzinfo=UTC)
WINDOW = Window(DAY, DAY + timedelta(days=1))


@contextmanager
def opened(workspace: Workspace) -> Iterator[Warehouse]:
    folder, cache = workspace.folder / "work", workspace.folder / "cache"
    for path in (folder, cache):
        path.mkdir(exist_ok=True)
    warehouse = Warehouse.open(project.find(workspace.folder, None), folder, cache)
    try:
        yield warehouse
    finally:
        warehouse.close()


def activities(warehouse: Warehouse, window: Window, *, tested: bool = True) -> list[str]:
    staged, _ = warehouse.stage(window, tested=tested)
    rows = staged.connection.sql("select event_id from stage.activities order by all").fetchall()
    return [row[0] for row in rows]


def test_each_window_of_one_process_has_its_own_rows(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("ACME", "2026-11-20", number=2)
    workspace.mailing("BETA", "2026-11-20", number=3)
    after = Window(WINDOW.end, WINDOW.end + timedelta(days=1))
    with opened(workspace) as warehouse:
        assert activities(warehouse, WINDOW) == ["E1"]
        assert activities(warehouse, after) == ["E2", "E3"]
        staged, _ = warehouse.stage(WINDOW)
        assert staged.brands == ["ACME"]
        found = staged.summaries("activity")
        assert [(brand, each.rows, each.activities) for brand, each in found.items()] == [
            ("ACME", 1, {"open": 1})
        ]
        assert staged.summaries("broadcast")["ACME"].rows == 1


def test_a_failing_data_test_reports_rows_columns_and_a_command_to_see_them(
    workspace: Workspace,
) -> None:
    workspace.mailing("ACME", "2026-11-19")
    workspace.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E1", occurred_at=None)
    nameless = {"brand": "ACME", "broadcast_id": "ACME-1", "received_at": "2026-11-19 13:00:00"}
    workspace.add("email_sends", {**nameless, "event_id": "S1"}, {**nameless, "event_id": "S2"})
    workspace.add("email_clicks", {**nameless, "event_id": "K1", "occurred_at": None})
    with opened(workspace) as warehouse:
        with pytest.raises(GateError) as failed:
            warehouse.stage(WINDOW)
        # Rows can still be counted.
        assert activities(warehouse, WINDOW, tested=False) == ["E1", "K1", "S1", "S2"]
    found = r"the data test activities_daily_not_null found 4 rows \((.*)\); see them with: (.*)"
    matched = re.fullmatch(found, str(failed.value))
    assert matched, str(failed.value)
    assert matched[1] == "customer_id: 3, activity_date: 1"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    see = subprocess.run(
        ["bash", "-c", matched[2]],
        cwd=workspace.folder,
        env={**os.environ, "PATH": path, "DBT_TARGET_PATH": str(workspace.folder / "target")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\| customer_id +\| +3 \|\n\| activity_date +\| +1 \|", see.stdout)


@pytest.mark.parametrize("model", ["staging/stg_customers", "exports/broadcasts_daily"])
def test_a_model_that_fails_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    shutil.copytree(ROOT / "dbt_project", workspace.folder / "broken")
    path = workspace.folder / "broken/models" / f"{model}.sql"
    broken = "{{ exceptions.raise_compiler_error('not today') if execute }}\n"
    path.write_text(broken + path.read_text())
    monkeypatch.setenv("DBT_PROJECT_DIR", str(workspace.folder / "broken"))
    with opened(workspace) as warehouse, pytest.raises(GateError) as failed:
        warehouse.stage(WINDOW)
    assert f"model {path.stem} " in str(failed.value)
    assert "not today" in str(failed.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("event_id", "event_number", "activities_daily has no column event_id: files are divided"),
        ("activity,", "activity as kind,", "has no column activity: .*; keep them in its SQL"),
        (
            "is_machine",
            "is_bot",
            r"yml:\d+: .*machine_activity: needs the column is_machine, which",
        ),
    ],
)
def test_missing_columns_that_files_need_are_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    models = workspace.folder / "custom/models/exports"
    shutil.copytree(ROOT / "dbt_project", workspace.folder / "custom")
    for path in (models / "activities_daily.sql", models / "activities_daily.yml"):
        path.write_text(
            path.read_text()
            .replace(f"email_activities.{old}", f"email_activities.{new}")
            .replace(
                f"- name: {old.strip(',')}\n", f"- name: {new.rsplit(maxsplit=1)[-1].strip(',')}\n"
            )
        )
    monkeypatch.setenv("DBT_PROJECT_DIR", str(workspace.folder / "custom"))
    workspace.configure("  - {brand: ACME, machine_activity: exclude}")
    with opened(workspace) as warehouse, pytest.raises(ConfigError, match=message):
        formats.needed_columns(
            config.read(workspace.folder / "exports.yml"), warehouse.view_columns
        )


def test_an_export_is_a_table_in_a_run_whatever_its_materialization(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.mailing("ACME", "2026-11-19")
    custom = workspace.folder / "custom"
    shutil.copytree(ROOT / "dbt_project", custom)
    _prepend(custom / "models/exports/broadcasts_daily.sql", "{{ config(materialized='view') }}\n")
    monkeypatch.setenv("DBT_PROJECT_DIR", str(custom))
    with opened(workspace) as warehouse:
        warehouse.stage(WINDOW)
        found = warehouse.stage(WINDOW)[0].connection.sql(
            "select table_name from duckdb_tables() where schema_name = 'exports' order by all"
        )
        assert found.fetchall() == [("activities_daily",), ("brands",), ("broadcasts_daily",)]


def test_an_export_that_cannot_be_a_table_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = workspace.folder / "custom"
    shutil.copytree(ROOT / "dbt_project", custom)
    _prepend(custom / "models/exports/brands.sql", "{{ config(materialized='ephemeral') }}\n")
    monkeypatch.setenv("DBT_PROJECT_DIR", str(custom))
    with (
        pytest.raises(UsageError, match="custom: brands is materialized as ephemeral: a run"),
        opened(workspace),
    ):
        pass


def test_an_older_project_without_the_export_brands_gets_instructions(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = workspace.folder / "custom"
    shutil.copytree(ROOT / "dbt_project", custom)
    (custom / "models/exports/brands.yml").unlink()
    brands = custom / "models/exports/brands.sql"
    brands.rename(custom / "models/intermediate/int_brands.sql")
    monkeypatch.setenv("DBT_PROJECT_DIR", str(custom))
    found = "custom has no model 'brands'; it was called int_brands before: .* copy models/exports"
    with pytest.raises(UsageError, match=found), opened(workspace):
        pass


def test_a_pre_hook_of_the_project_runs_in_a_run_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = workspace.folder / "custom"
    shutil.copytree(ROOT / "dbt_project", custom)
    hook = "create table if not exists {{ this.schema }}.hooked (x int)"
    hooked = f'{{{{ config(pre_hook="{hook}") }}}}\n'
    _prepend(custom / "models/exports/brands.sql", hooked)
    monkeypatch.setenv("DBT_PROJECT_DIR", str(custom))
    with opened(workspace) as warehouse:
        staged, _ = warehouse.stage(WINDOW)
        assert staged.connection.sql("select * from exports.hooked").fetchall() == []


def _prepend(path: Path, text: str) -> None:
    path.write_text(text + path.read_text())


def test_memory_is_limited_by_the_environment_and_by_the_profile(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit() -> str:
        with opened(workspace) as warehouse:
            staged, _ = warehouse.stage(WINDOW)
            rows = staged.connection.sql("select current_setting('memory_limit')").fetchall()
            return str(rows[0][0])

    default = limit()
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", "300MiB")
    assert (default, limit()) == ("488.2 MiB", "300.0 MiB")
    profile = yaml.safe_load((ROOT / "profiles/profiles.yml").read_text())
    output = profile["event_based_export"]["outputs"]["duckdb"]
    output["settings"]["memory_limit"] = "{{ env_var('OF_THIS_HOUSE') }}"
    (workspace.folder / "profiles").mkdir()
    (workspace.folder / "profiles/profiles.yml").write_text(yaml.safe_dump(profile))
    monkeypatch.setenv("OF_THIS_HOUSE", "400MiB")
    assert limit() == "400.0 MiB"


def test_too_little_memory_is_reported_with_the_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", "20MB")
    with (
        stage.connect(tmp_path) as connection,
        pytest.raises(ExportError, match="set DUCKDB_MEMORY_LIMIT to more than 20MB"),
        stage.translated_errors(),
    ):
        connection.execute("select list(number) from range(9000000) numbers (number)").fetchall()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Runtime Error\n  Out of Memory Error: failed to allocate",
            "set DUCKDB_MEMORY_LIMIT to more",
        ),
        ("Database Error\n  server closed the connection unexpectedly", "server closed the conn"),
        ("FATAL:  sorry, too many clients already", "too many clients already"),
        ("Database Error in model x\n  out of memory\n  DETAIL:  Failed on", "out of memory"),
        ("FATAL:  the database system is starting up", "the database system is starting up"),
    ],
)
def test_a_failure_of_the_warehouse_is_temporary(text: str, expected: str) -> None:
    failure = stage.temporary_failure(text)
    assert failure is not None
    assert failure.exit_code == 1
    assert expected in str(failure)


def test_an_error_of_a_model_or_a_row_is_not_temporary() -> None:
    assert stage.temporary_failure('Database Error\n  column "x" does not exist') is None
    assert stage.temporary_failure("Conversion Error: Could not convert string") is None
