"""Every exported field leads back to raw columns, and every table and column is described."""

import itertools
import json
import re
import shutil
from pathlib import Path

import duckdb
import pytest
from forked_commands import Command
from workspace import ROOT, Workspace

from orchestrator.commands import docs
from orchestrator.commands.docs import Lineage, LineageColumn
from orchestrator.warehouse import project

PREFIX = "event_based_export"
EXPORTS = [f"model.{PREFIX}.activities_daily", f"model.{PREFIX}.broadcasts_daily"]


@pytest.fixture
def pages(workspace: Workspace, tmp_path: Path) -> Path:
    docs.write(project.find(workspace.folder, None), tmp_path / "pages")
    return tmp_path / "pages"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("compiled"), monkeypatch)
        folder = workspace.folder / "target"
        dbt = project.find(workspace.folder, None)
        where = [
            f"--project-dir={dbt.folder}",
            f"--profiles-dir={dbt.profiles}",
            "--quiet",
        ]
        words = ["docs", "generate", f"--target-path={folder}"]
        Command(workspace.folder, "dbt", *words, *where).wait().check_returncode()
    manifest, catalog = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "catalog")
    )
    return docs.read_lineage(manifest, catalog)


def raw(*columns: str) -> set[LineageColumn]:
    names = (column.split(".") for column in columns)
    return {LineageColumn(f"source.{PREFIX}.raw.{table}", name) for table, name in names}


def test_a_field_leads_back_to_its_raw_columns(found: Lineage) -> None:
    events = ("sends", "opens", "clicks", "bounces", "complaints", "unsubscribes")
    addresses = [f"email_{event}.email_address" for event in events]
    origins = found.origins(LineageColumn(EXPORTS[0], "email_address"))
    assert origins == raw("customers.email_address", *addresses)
    field = LineageColumn(f"exposure.{PREFIX}.activity_file", "E-mail address")
    assert found.origins(field) == origins


def test_every_exported_column_originates_in_a_source(found: Lineage) -> None:
    columns = [column for column in found.parents if column.table in EXPORTS]
    assert len(columns) > 20
    for column in columns:
        assert {origin.table.split(".")[0] for origin in found.origins(column)} == {"source"}, (
            column
        )


def test_every_table_and_column_has_a_description(found: Lineage) -> None:
    for table in found.tables:
        assert table.description.strip(), table.name
        assert table.columns, table.name
        for name, description in table.columns.items():
            assert description.strip(), f"{table.name}.{name}"
    for column in found.parents:
        (table,) = [table for table in found.tables if table.id == column.table]
        assert column.name in table.columns, column


def test_a_column_that_no_yaml_describes_is_in_the_lineage(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no YAML of sources or models; models select it by name and by `select *`."""
    custom = workspace.folder / "custom"
    shutil.copytree(ROOT / "dbt_project", custom)
    workspace.query("alter table raw.email_opens add column device text")
    for path, old, new in (
        (
            "macros/event_columns.sql",
            "        'is_test'",
            "        'device': 'text',\n        'is_test'",
        ),
        ("models/staging/stg_email_opens.sql", "'is_machine'", "'is_machine', 'device'"),
        ("models/exports/brands.sql", "select brand\n    from act", "select device\n    from act"),
    ):
        text = (custom / path).read_text()
        assert old in text
        (custom / path).write_text(text.replace(old, new))
    export = custom / "models/exports/activities_daily.sql"
    text = export.read_text().replace(
        "is_machine\n", "is_machine,\n        email_activities.device\n"
    )
    export.write_text(text)
    monkeypatch.setenv("DBT_PROJECT_DIR", str(custom))
    index = docs.write(project.find(workspace.folder, None), workspace.folder / "pages")
    page = index.read_text(encoding="utf-8")
    steps = [
        f"source.{PREFIX}.raw.email_opens",
        f"model.{PREFIX}.stg_email_opens",
        f"model.{PREFIX}.int_activities",
        f"model.{PREFIX}.activities_daily",
    ]
    for above, below in itertools.pairwise(steps):
        assert f'["{above}","device","{below}","device"]' in page
    assert f'["{steps[-1]}","device","model.{PREFIX}.brands","brand"]' in page


def test_the_pages_load_nothing_from_the_network(pages: Path) -> None:
    index = (pages / "index.html").read_text(encoding="utf-8")
    assert "email_unsubscribes" in index
    assert not re.findall(r"<(?:script|img|iframe)[^>]* src=|<link", index)
    assert "d3js.org v7" in index
    assert "<html" in (pages / "dbt.html").read_text(encoding="utf-8")[:500]


def test_views_that_cannot_be_built_are_reported_and_the_pages_are_written(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with duckdb.connect(str(workspace.warehouse)) as connection:
        connection.execute("drop table raw.customers")
    index = docs.write(project.find(workspace.folder, None), workspace.folder / "pages")
    assert (
        "column types are not shown for views that dbt cannot build: stg_customers, " in caplog.text
    )
    assert "stg_customers" in index.read_text(encoding="utf-8")
