import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from raw_files import broadcast, event
from spark_cluster import SparkCluster
from spark_workspace import NOW, SparkWorkspace, fill

from orchestrator import config
from orchestrator.commands import check
from orchestrator.commands.check import Finding
from orchestrator.errors import ExportError, UsageError
from orchestrator.loading import load_into
from orchestrator.pipeline import Status
from orchestrator.warehouse import Warehouse
from orchestrator.warehouse.spark import Session
from orchestrator.windows import Window

ROOT = Path(__file__).parents[2]
DAY = datetime(2026, 10, 21, tzinfo=UTC)
HOURS = [DAY + timedelta(hours=12 * number) for number in range(-6, 4)]  # of five days
# The same SQL on Spark and on DuckDB.
ADDED = {
    "decimal(18, 4)": "cast(12.3456 * length(email_activities.event_id) as decimal(18, 4))",
    "bigint": "cast(9007199254740993 as bigint)",
    "date": "cast(email_activities.occurred_at as date)",
    "double": "cast(0.1 as double) + cast(length(email_activities.event_id) as double) / 3",
    "boolean": "email_activities.occurred_at < email_activities.received_at",
}
_OPENS = (
    "event_id string, brand string, broadcast_id string, customer_id string, email_address string,"
    " occurred_at timestamp, received_at timestamp, is_test boolean, os string"
)
TEXTS = ("back\\slash \\n", "\x01\x7f", 'a "b",\r\nc', "", None, "ünï 🎉", " \t ", "'")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkWorkspace:
    return SparkWorkspace(tmp_path / "it's a place", monkeypatch)


def _write_days(workspace: SparkWorkspace) -> None:
    workspace.write("broadcasts", [broadcast(1, sent_on=DAY, received_at=DAY, subject="a\\'b")])
    opens = [
        event(number, received_at=hour, occurred_at=hour - timedelta(microseconds=number), os=text)
        | {"is_machine": None}
        for number, hour in enumerate(HOURS)
        for text in [TEXTS[number % len(TEXTS)]]
    ]
    workspace.write("email_opens", opens)
    clicks = [
        event(number, received_at=DAY + timedelta(hours=number), url=text, os="", is_machine=True)
        for number, text in enumerate(TEXTS)
    ]
    workspace.write("email_clicks", clicks)


def _with_added_columns(workspace: SparkWorkspace) -> list[str]:
    """Copy the dbt project, with one more activity column of each type; return their names."""
    shutil.copytree(ROOT / "dbt_project", workspace.folder / "dbt_project")
    model = workspace.folder / "dbt_project/models/exports/activities_daily"
    names = [f"added_{number}" for number in range(len(ADDED))]
    columns = "".join(
        f",\n        {expression} as {name}"
        for name, expression in zip(names, ADDED.values(), strict=True)
    )
    last = "email_activities.is_machine"
    sql = model.with_suffix(".sql").read_text()
    assert sql.count(last) == 1
    model.with_suffix(".sql").write_text(sql.replace(last, last + columns))
    described = yaml.safe_load(model.with_suffix(".yml").read_text())
    described["models"][0]["columns"] += [
        {"name": name, "description": "Added.", "data_type": kind}
        for name, kind in zip(names, ADDED, strict=True)
    ]
    model.with_suffix(".yml").write_text(yaml.safe_dump(described, sort_keys=False))
    return names


@pytest.mark.faults  # Spark takes long
def test_texts_and_columns_of_any_type_are_written_as_duckdb_writes_them(
    workspace: SparkWorkspace,
) -> None:
    _write_days(workspace)
    names = _with_added_columns(workspace)
    fields = ", ".join(["received_at", "os", "url", *names])
    more = f", labels: names, additional_fields: {{activities: [{fields}]}}"
    workspace.fill()
    for target in ("duckdb", "spark"):
        result = workspace.run(target, more=more)
        assert [(w.status, w.error) for w in result.windows] == [(Status.DELIVERED, None)]
    files = workspace.files()
    assert files == workspace.files("duckdb")
    assert sorted(files) == [f"{kind}_BRANDNAAM_20261021.csv" for kind in ("activity", "broadcast")]
    activities = files["activity_BRANDNAAM_20261021.csv"].decode()
    assert activities.startswith("broadcast_id,customer_id,")
    assert "\x01\x7f" in activities
    assert ",9007199254740993," in activities
    # Nothing of the run stays in the folder that is shared.
    assert sorted(path.name for path in workspace.warehouse.iterdir()) == ["raw.db"]


@pytest.mark.faults
def test_a_window_reads_only_the_partitions_of_its_days(workspace: SparkWorkspace) -> None:
    _write_days(workspace)
    for table in ("sends", "bounces", "complaints", "unsubscribes"):
        row = event(1, received_at=HOURS[0], bounce_type="hard", via_default_campaign=True)
        workspace.write(f"email_{table}", [row])
    workspace.fill()
    shutil.copytree(ROOT / "dbt_project", workspace.folder / "dbt_project")
    settings = workspace.folder / "dbt_project/dbt_project.yml"
    settings.write_text(f"{settings.read_text()}\nvars:\n  received_on_column: received_on\n")
    days = {path.name: path for path in (workspace.warehouse / "raw.db/email_opens").iterdir()}
    wanted = ["received_on=2026-10-20", "received_on=2026-10-21"]
    assert set(wanted) < set(days)
    work, cache = workspace.folder / "work", workspace.folder / "cache"
    for folder in (work, cache):
        folder.mkdir()

    warehouse = Warehouse.open(workspace.project("spark"), work, cache)
    try:
        stage, _ = warehouse.stage(Window(DAY, DAY + timedelta(days=1)))
        assert stage.text("count(*) from stage.activities where activity = 'open'") == "2"
        (compiled,) = (cache / "compiled").rglob("activities_daily.sql")
        plan, read = _plan(compiled.read_text())
    finally:
        warehouse.close()
    filters = [line for line in plan.splitlines() if line.startswith("PartitionFilters: ")]
    assert len(filters) >= 6  # each table of events
    for line in filters:
        assert re.search(r"received_on#\d+ >= 2026-10-20", line)
        assert re.search(r"received_on#\d+ <= 2026-10-21", line)
    opens = {Path(file).parent.name for file in read if "/email_opens/" in file}
    assert opens == set(wanted)


def test_bytes_that_are_not_text_fail_only_their_brand(workspace: SparkWorkspace) -> None:
    brands = ("ACME", "BETA")
    workspace.write(
        "broadcasts", [broadcast(1, brand=each, sent_on=DAY, received_at=DAY) for each in brands]
    )
    opens = [event(number, brand=brand, received_at=DAY) for number, brand in enumerate(brands)]
    later = event(9, brand="BETA", received_at=DAY + timedelta(days=1))
    workspace.write("email_opens", [*opens, later])
    workspace.fill(email_address="if(brand = 'ACME', cast(X'6A6F73E9FF' as string), email_address)")
    acme, beta = workspace.run().windows
    assert (acme.brand, acme.status, beta.status) == ("ACME", Status.FAILED, Status.DELIVERED)
    assert acme.error
    assert (
        "the activity file of ACME: the row with activity 'open', event_id 'e0': email_address "
        "cannot be in a file: it is not valid UTF-8" in acme.error
    )
    assert {name[:13] for name in workspace.files()} == {"activity_BETA", "broadcast_BET"}


@pytest.mark.faults
def test_check_reports_a_missing_raw_table(workspace: SparkWorkspace) -> None:
    workspace.write("broadcasts", [broadcast(1, sent_on=DAY, received_at=DAY)])
    workspace.fill()
    found = _checked(workspace)
    assert found.ok, found.text
    shutil.rmtree(workspace.warehouse / "raw.db/email_opens")
    found = _checked(workspace)
    assert (found.ok, found.text) == (False, "raw.email_opens is missing")


def _checked(workspace: SparkWorkspace) -> Finding:
    loaded = config.read(workspace.configure())
    result = check.check_all(loaded, "spark", now=NOW)
    return next(finding for finding in result.findings if finding.subject == "warehouse")


def _plan(sql: str) -> tuple[str, list[str]]:
    """Return Spark's plan, and the files that it reads."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - slow

    rows = SparkSession.builder.getOrCreate().sql(sql)
    with redirect_stdout(io.StringIO()) as plan:
        rows.explain("formatted")
    return plan.getvalue(), rows.inputFiles()


@pytest.mark.faults
def test_a_killed_worker_changes_no_file_and_the_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark_cluster: SparkCluster
) -> None:
    workspace = SparkWorkspace(tmp_path, monkeypatch, spark_cluster.environment)
    _write_days(workspace)
    workspace.fill()
    workspace.run("duckdb")
    config = workspace.configure()
    here = workspace.folder / "here"
    temporary = workspace.folder / "temporary"
    for folder in (here, temporary):
        folder.mkdir()
    java = f"{os.environ['JAVA_TOOL_OPTIONS']} -Djava.io.tmpdir={temporary}"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", java)
    command = [str(Path(sys.executable).with_name("orchestrate")), "daily"]
    run = subprocess.Popen(
        [*command, "--config", str(config), "--date", "2026-10-21", "--json"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        spark_cluster.wait_for_executors()
        _wait_for(lambda: any(workspace.warehouse.glob("exports_*.db")))
        spark_cluster.kill("worker1")
        out, err = run.communicate(timeout=300)
    finally:
        run.kill()
        spark_cluster.add_worker("worker1")
    assert run.returncode == 0, err
    assert [window["status"] for window in json.loads(out)["windows"]] == ["delivered"]
    assert not re.search("WARN|[Ss]park|[Jj]ava|log4j", err), err
    assert workspace.files() == workspace.files("duckdb")
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in workspace.warehouse.iterdir()) == ["raw.db"]
    _wait_for(lambda: list(temporary.iterdir()) == [])  # Java ends a moment later


def _wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_unreachable_cluster_is_reported_at_once(workspace: SparkWorkspace) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        workspace.monkeypatch.setenv("SPARK_MASTER", f"spark://{address}")
        with pytest.raises(ExportError) as raised:
            Session(workspace.project("spark").output)
    assert str(raised.value) == (
        f"the Spark cluster does not answer: {address}: Connection refused"
    )
    assert raised.value.exit_code == 1


@pytest.mark.faults
def test_a_cluster_without_workers_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = SparkCluster(workers=0)
    cluster.start()
    try:
        settings = {"spark.master": cluster.url}
        output = {"method": "session", "connect_timeout": 3, "server_side_parameters": settings}
        with pytest.raises(ExportError, match=f"^no worker of {cluster.url} runs a job: "):
            Session(output)
    finally:
        cluster.stop()
    assert f"{cluster.url} has had no worker for 4 seconds: all jobs are cancelled" in caplog.text


@pytest.mark.parametrize("missing", ["pyspark", "dbt.adapters.spark"])
def test_missing_packages_are_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = SparkWorkspace(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'event-based-export\[spark\]', and Java 17"):
        Session(workspace.project("spark").output)


def test_a_missing_java_is_reported_with_the_place_that_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = SparkWorkspace(tmp_path, monkeypatch)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    command = [str(Path(sys.executable).with_name("orchestrate")), "daily"]
    command += ["--config", str(workspace.configure()), "--date", "2026-10-21"]
    done = subprocess.run(
        command, cwd=workspace.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Spark needs Java 17 or later, found by JAVA_HOME or PATH (" in done.stderr
    assert "bin/java: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"method": "thrift"}, "has method thrift: Spark runs with method session"),
        (
            {"server_side_parameters": {"spark.sql.warehouse.dir": "hdfs://name/tables"}},
            "SPARK_WAREHOUSE_DIR is hdfs://name/tables: give the path of a folder that",
        ),
        (
            {"server_side_parameters": {"spark.master": "spark://name"}},
            "SPARK_MASTER is spark://name: expected spark://HOST:PORT",
        ),
    ],
)
def test_a_target_that_cannot_work_is_refused(output: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Session({"method": "session", **output})


@pytest.mark.faults  # Spark takes long
def test_raw_tables_of_a_metastore_are_found_with_only_the_profile(
    workspace: SparkWorkspace,
) -> None:
    _write_days(workspace)
    workspace.load()
    workspace.run("duckdb")
    profiles = workspace.folder / "profiles"
    profiles.mkdir()
    profile = yaml.safe_load((ROOT / "profiles/profiles.yml").read_text())
    settings = profile["event_based_export"]["outputs"]["spark"]["server_side_parameters"]
    derby = f"jdbc:derby:;databaseName={profiles}/metastore;create=true"
    settings["spark.hadoop.javax.jdo.option.ConnectionURL"] = derby
    settings["spark.sql.catalogImplementation"] = "hive"
    (profiles / "profiles.yml").write_text(yaml.safe_dump(profile))
    fill(workspace.project("spark"), workspace.folder / "warehouse.duckdb")
    assert [(w.status, w.error) for w in workspace.run().windows] == [(Status.DELIVERED, None)]
    assert workspace.files() == workspace.files("duckdb")
    session = Session(workspace.project("spark").output)
    schemas = {row[0] for row in session.spark.sql("show schemas").collect()}
    session.close()
    assert schemas == {"default", "raw"}


def test_a_run_with_nothing_due_does_not_start_spark(workspace: SparkWorkspace) -> None:
    workspace.monkeypatch.setenv("SPARK_MASTER", "spark://127.0.0.1:1")
    assert workspace.run(more=", start: 2026-10-22").windows == []


def test_load_does_not_write_to_spark(workspace: SparkWorkspace) -> None:
    _write_days(workspace)
    rejected = workspace.folder / "rejected"
    with pytest.raises(UsageError) as raised:
        load_into(workspace.project("spark"), workspace.folder / "raw", rejected=rejected, now=NOW)
    assert str(raised.value) == (
        "load does not write to spark (target 'spark'): fill the raw tables with the"
        " platform's own pipeline; docs/scale.md shows how, in plain SQL"
    )


def test_the_sql_of_the_docs_fills_a_raw_table(workspace: SparkWorkspace) -> None:
    text = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    statements = [line for line in lines.split(";\n") if line.strip()]
    assert len(lines.splitlines()) == 4
    opens = [event(number, received_at=at, os=None) for number, at in enumerate(HOURS)]
    session = Session(workspace.project("spark").output)
    try:
        day = workspace.folder / "incoming/email_opens"
        rows = [tuple(row.values()) for row in opens]
        session.spark.createDataFrame(rows, _OPENS).write.parquet(f"file://{day}")
        for _ in range(2):  # the second time nothing is new
            for statement in statements:
                session.spark.sql(statement.replace("/incoming", f"{workspace.folder}/incoming"))
        days = "select received_on, count(*) from raw.email_opens group by 1 order by 1"
        found = [tuple(row) for row in session.spark.sql(days).collect()]
    finally:
        session.close()
    assert [count for _, count in found] == [2] * 5
    assert len(list((workspace.warehouse / "raw.db/email_opens").glob("received_on=*"))) == 5
