"""The dbt project on a real DuckDB: its rows equal those of a reference in Python."""

import json
import os
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import forked_commands
import pytest
import reference_export
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from reference_export import CODES, DUTCH, ENGLISH, LOOKBACK, Dialect, Row, Tables

from orchestrator.warehouse.dbt import Dbt
from orchestrator.warehouse.project import Project
from orchestrator.windows import Window

pytestmark = pytest.mark.xdist_group("dbt_project")

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "dbt_project"
PROFILES_FOLDER = ROOT / "profiles"
PROFILES = ["--profiles-dir", str(PROFILES_FOLDER)]

# A day of 25 hours in Amsterdam.
START = datetime(2026, 10, 24, 22, tzinfo=UTC)
END = datetime(2026, 10, 25, 23, tzinfo=UTC)
REFERENCE_WINDOW = reference_export.Window(START, END)
WINDOW = {"window_start": "2026-10-24T22:00:00Z", "window_end": "2026-10-25 23:00:00.000000+00:00"}
TICK = timedelta(microseconds=1)
ACTIVITY_COLUMNS = [
    "brand",
    "event_id",
    "received_at",
    "broadcast_id",
    "customer_id",
    "external_customer_number",
    "email_address",
    "activity",
    "activity_date",
    "description",
    "os",
    "url",
    "is_machine",
]
BROADCAST_COLUMNS = [
    "brand",
    "broadcast_id",
    "broadcast_type",
    "description",
    "subject",
    "sent_on",
    "is_carried_out",
    "is_touched",
]
LABELS = {
    view: {column.name: (english[column.name], dutch[column.name]) for column in columns}
    for view, columns, english, dutch in (
        ("activities_daily", Dialect.activity_columns, ENGLISH, DUTCH),
        (
            "broadcasts_daily",
            Dialect.broadcast_columns,
            reference_export.ENGLISH_BROADCASTS,
            reference_export.DUTCH_BROADCASTS,
        ),
    )
}
ACTIVITY_LABELS = {
    code: (ENGLISH[code], DUTCH[code]) for code in (*CODES.values(), "soft_bounce", "hard_bounce")
}


@dataclass(frozen=True)
class Built:
    """A warehouse that dbt built: its output, and where its files are."""

    warehouse: Path
    target: Path
    code: int
    output: str

    def artifact(self, name: str) -> Row:
        return dict(json.loads((self.target / f"{name}.json").read_text()))

    def statuses(self) -> dict[str, str]:
        results = self.artifact("run_results")["results"]
        return {result["unique_id"].split(".")[2]: result["status"] for result in results}

    def rows(self, view: str) -> list[Row]:
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            # A reader in any zone sees the same instants.
            connection.execute("set TimeZone = 'America/New_York'")
            view_rows = connection.execute(f"select * from exports.{view}")
            names = [column[0] for column in view_rows.description]
            found = [dict(zip(names, row, strict=True)) for row in view_rows.fetchall()]
        return [_in_utc(row) for row in found]


@pytest.fixture(scope="module")
def golden_raw() -> Tables:
    return _awkward_rows(random.Random(20261025))  # noqa: S311 - the same rows each time, not a secret


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, golden_raw: Tables) -> Built:
    warehouse = tmp_path_factory.mktemp("golden") / "warehouse.duckdb"
    _create_raw(warehouse, golden_raw)
    return _dbt("build", warehouse=warehouse, variables=WINDOW)


def test_build_runs_every_view_and_test(built: Built) -> None:
    assert built.code == 0, built.output
    statuses = built.statuses()
    assert {"activities_daily", "broadcasts_daily", "int_activities"} <= set(statuses)
    nodes = built.artifact("manifest")["unit_tests"].values()
    assert len(nodes) >= 20
    assert {statuses[node["model"]] for node in nodes} == {"success"}
    assert set(statuses.values()) == {"success", "pass", "warn", "no-op"}


def test_activities_are_those_of_the_reference(built: Built, golden_raw: Tables) -> None:
    expected = reference_export.activities(golden_raw, REFERENCE_WINDOW)
    found = built.rows("activities_daily")
    assert list(found[0]) == ACTIVITY_COLUMNS
    assert len(found) == len(expected)
    assert _sorted(found) == _sorted(expected)
    assert {row["activity"] for row in found} == set(ACTIVITY_LABELS)
    for absent in ("external_customer_number", "email_address", "description", "is_machine"):
        assert {row[absent] is None for row in found} == {True, False}
    assert {START, END - TICK} <= {row["received_at"] for row in found}


def test_broadcasts_are_those_of_the_reference(built: Built, golden_raw: Tables) -> None:
    happened = reference_export.activities(golden_raw, REFERENCE_WINDOW)
    broadcasts = reference_export.broadcasts(golden_raw, REFERENCE_WINDOW, happened)
    expected = [{name: row[name] for name in BROADCAST_COLUMNS} for row in broadcasts]
    found = built.rows("broadcasts_daily")
    assert list(found[0]) == BROADCAST_COLUMNS
    assert len(found) == len(expected)
    assert _sorted(found) == _sorted(expected)
    reasons = {(row["is_carried_out"], row["is_touched"]) for row in found}
    assert reasons == {(True, True), (True, False), (False, True)}


def test_the_tables_of_a_run_have_the_rows_of_the_views(
    built: Built, tmp_path: Path, golden_raw: Tables
) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    _create_raw(warehouse, golden_raw)
    for folder in ("work", "cache"):
        (tmp_path / folder).mkdir()
    output = {"type": "duckdb", "path": str(warehouse), "schema": "exports", "threads": 1}
    project = Project(PROJECT, PROFILES_FOLDER, "event_based_export", "duckdb", output, {})
    dbt = Dbt(project, tmp_path / "work", tmp_path / "cache", output=output, variables={})
    dbt.freeze({})
    warnings = dbt.build(Window(START, END))
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
    assert [warning.test for warning in warnings] == ["activities_of_unknown_broadcasts"]
    frozen = Built(warehouse, tmp_path, 0, "")
    for export in ("activities_daily", "broadcasts_daily", "brands"):
        assert _sorted(frozen.rows(export)) == _sorted(built.rows(export))
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        query = "select table_name, table_type from information_schema.tables"
        found = connection.execute(
            f"{query} where table_schema = 'exports' order by all"
        ).fetchall()
    names = ("activities_daily", "brands", "broadcasts_daily")
    assert found == [(name, "BASE TABLE") for name in names]


def test_a_warning_counts_the_activities_of_unknown_broadcasts(built: Built) -> None:
    listed = {(row["brand"], row["broadcast_id"]) for row in built.rows("broadcasts_daily")}
    unknown = [
        row
        for row in built.rows("activities_daily")
        if (row["brand"], row["broadcast_id"]) not in listed
    ]
    results = built.artifact("run_results")["results"]
    (result,) = [r for r in results if "activities_of_unknown_broadcasts" in r["unique_id"]]
    assert unknown
    assert (result["status"], result["failures"]) == ("warn", len(unknown))


def test_views_in_a_separate_database_read_a_foreign_warehouse(tmp_path: Path) -> None:
    """Ids as uuid and bigint, moments without a zone (they are UTC), another schema, read-only."""
    warehouse = tmp_path / "foreign-house.duckdb"
    raw = _foreign_rows()
    types = {"event_id": "uuid", "broadcast_id": "bigint", "customer_id": "integer"}
    _create_raw(warehouse, raw, schema="mail", types=types, timestamp="timestamp")
    profile = yaml.safe_load((ROOT / "profiles" / "profiles.yml").read_text())
    output = profile["event_based_export"]["outputs"]["duckdb"]
    output["attach"] = [{"path": str(warehouse), "alias": "house", "read_only": True}]
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profile))

    views = _dbt(
        "build",
        *("--select", "+activities_daily", "+broadcasts_daily"),
        *("--exclude-resource-type", "unit_test", "--profiles-dir", str(tmp_path)),
        warehouse=tmp_path / "views.duckdb",
        variables={**WINDOW, "raw_database": "house", "raw_schema": "mail"},
    )
    assert views.code == 0, views.output
    with duckdb.connect(str(views.warehouse)) as connection:
        connection.execute("set TimeZone = 'America/New_York'")
        connection.execute(f"attach '{warehouse}' as house (read_only)")
        query = (
            "select event_id, broadcast_id, customer_id, email_address, epoch_us(activity_date)"
            " from exports.activities_daily"
        )
        found = connection.execute(query).fetchall()
    event = raw["email_opens"][0]
    moment = int(START.timestamp()) * 1_000_000
    assert found == [(event["event_id"], "12", "34", "c@example.org", moment)]


def test_without_vars_the_window_is_yesterday_in_the_time_zone(tmp_path: Path) -> None:
    cases = {
        ("2026-10-26T10:00", "Europe/Amsterdam"): ("2026-10-24T22:00", "2026-10-25T23:00"),
        ("2026-03-30T10:00", "Europe/Amsterdam"): ("2026-03-28T23:00", "2026-03-29T22:00"),
        ("2026-10-26T22:59", "Europe/Amsterdam"): ("2026-10-24T22:00", "2026-10-25T23:00"),
        ("2026-10-26T23:00", "Europe/Amsterdam"): ("2026-10-25T23:00", "2026-10-26T23:00"),
        ("2026-05-01T00:00", "UTC"): ("2026-04-30T00:00", "2026-05-01T00:00"),
        # Cairo skips the midnight of 25 April: the day starts at 01:00, the one before is complete.
        ("2025-04-25T10:00", "Africa/Cairo"): ("2025-04-23T22:00", "2025-04-24T22:00"),
        ("2025-04-26T10:00", "Africa/Cairo"): ("2025-04-24T22:00", "2025-04-25T21:00"),
        # Havana has two midnights on 2 November: the day starts at the first.
        ("2025-11-02T10:00", "America/Havana"): ("2025-11-01T04:00", "2025-11-02T04:00"),
        ("2025-11-03T10:00", "America/Havana"): ("2025-11-02T04:00", "2025-11-03T05:00"),
        ("2025-03-10T10:00", "America/Havana"): ("2025-03-09T05:00", "2025-03-10T04:00"),
        ("2026-05-01T11:00", "Pacific/Kiritimati"): ("2026-04-30T10:00", "2026-05-01T10:00"),
    }
    selects = [
        "select {n} as n, '{{{{ yesterday({moment}, '{zone}').start.isoformat() }}}}' as s,"
        " '{{{{ yesterday({moment}, '{zone}').end.isoformat() }}}}' as e".format(
            n=number,
            moment=f"modules.datetime.datetime.fromisoformat('{moment}:00+00:00')",
            zone=zone,
        )
        for number, (moment, zone) in enumerate(cases)
    ]
    now = (
        "select -1, cast(epoch_us({{ window_start() }}) as text),"
        " cast(epoch_us({{ window_end() }}) as text)"
    )
    earlier = _yesterday("Asia/Kolkata")
    shown = _dbt(
        "show",
        *("--quiet", "--output", "json", "--limit", "100"),
        *("--inline", " union all ".join([*selects, now])),
        warehouse=tmp_path / "empty.duckdb",
        variables={"timezone": "Asia/Kolkata"},
    )
    assert shown.code == 0, shown.output
    rows = {
        row["n"]: (row["s"], row["e"])
        for row in json.loads(shown.output[shown.output.index("{") :])["show"]
    }
    for number, (case, (start, end)) in enumerate(cases.items()):
        assert rows[number] == (f"{start}:00+00:00", f"{end}:00+00:00"), case
    assert rows[-1] in (earlier, _yesterday("Asia/Kolkata"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"window_start": "2026-10-24T22:00:00Z"}, "Give both vars, window_start and window_end"),
        (
            {"window_start": "2026-10-24T22:00:00Z", "window_end": "tomorrow"},
            "The var window_end is tomorrow: give an instant such as 2026-10-24T22:00:00Z.",
        ),
        (
            {"window_start": "2026-10-25T00:00:00+02:00", "window_end": "2026-10-24T22:00:00Z"},
            "must be later than window_start",
        ),
        (
            {"timezone": "Mars/Olympus"},
            "The var timezone is Mars/Olympus: give an IANA name such as Europe/Amsterdam.",
        ),
    ],
)
def test_an_invalid_window_stops_dbt_with_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "empty.duckdb"))
    parsed = dbtRunner().invoke(
        ["--quiet", "parse", *_options(PROJECT, tmp_path, variables), *PROFILES]
    )
    assert not parsed.success
    assert message in " ".join(str(parsed.exception).split())


def test_docs_describe_and_label_every_column(built: Built) -> None:
    docs = _dbt("docs", "generate", warehouse=built.warehouse, variables=WINDOW)
    assert docs.code == 0, docs.output
    nodes = docs.artifact("manifest")["nodes"]
    views = {
        node["name"]: (list(docs.artifact("catalog")["nodes"][key]["columns"]), node["columns"])
        for key, node in nodes.items()
        if node["resource_type"] == "model"
    }
    assert {"int_activities", "activities_daily", "broadcasts_daily"} <= set(views)
    assert {f"stg_{table['name']}" for table in _source_tables()} <= set(views)
    for view, (in_database, described) in views.items():
        assert in_database == list(described), view
        assert [name for name, column in described.items() if not column["description"]] == []
    for view, defaults in LABELS.items():
        labels = {
            name: column["config"]["meta"]["labels"] for name, column in views[view][1].items()
        }
        assert all(label["en"] and label["nl"] for label in labels.values())
        shown = {name: (labels[name]["en"], labels[name]["nl"]) for name in defaults}
        assert shown == defaults
    values = views["activities_daily"][1]["activity"]["config"]["meta"]["value_labels"]
    assert {code: (text["en"], text["nl"]) for code, text in values.items()} == ACTIVITY_LABELS
    exposures = docs.artifact("manifest")["exposures"].values()
    assert {exposure["name"] for exposure in exposures} == {"activity_file", "broadcast_file"}


def test_sources_contain_the_raw_contract() -> None:
    """`*` nullable, `@` an instant, `?` a boolean; the rest is text."""
    event = (
        "event_id brand broadcast_id customer_id email_address* occurred_at@ received_at@ is_test?*"
    )
    expected = {
        "broadcasts": "brand broadcast_id channel broadcast_type description* subject* sent_on@"
        " received_at@",
        "customers": "brand customer_id external_customer_number* email_address*",
        "email_sends": event,
        "email_opens": f"{event} os* is_machine?*",
        "email_clicks": f"{event} url* os* is_machine?*",
        "email_bounces": f"{event} bounce_type message*",
        "email_complaints": f"{event} message*",
        "email_unsubscribes": f"{event} via_default_campaign?",
    }
    signs = {"text": "", "timestamp": "@", "boolean": "?"}
    keys = {"broadcasts": "broadcast_id", "customers": "customer_id"}
    values: Row = {}
    found = {}
    for table in _source_tables():
        name, meta = table["name"], table["config"]["meta"]
        assert table["description"]
        assert meta["kind"] == ("entity" if name in keys else "event")
        assert meta["key"] == ["brand", keys.get(name, "event_id")]
        columns = []
        for column in table["columns"]:
            about = column.get("config", {}).get("meta", {})
            assert column["description"]
            mark = signs[column["data_type"]] + ("*" if about.get("nullable") else "")
            columns.append(column["name"] + mark)
            if "accepted_values" in about:
                values[column["name"]] = about["accepted_values"]
        found[name] = " ".join(columns)
    assert found == {name: f"{columns} loaded_at@*" for name, columns in expected.items()}
    assert values == {"bounce_type": ["soft", "hard"]}


def test_a_column_added_to_sql_and_yaml_is_exported(built: Built, tmp_path: Path) -> None:
    warehouse, project = tmp_path / "warehouse.duckdb", tmp_path / "dbt_project"
    shutil.copy(built.warehouse, warehouse)
    shutil.copytree(PROJECT, project)
    model = project / "models" / "exports" / "activities_daily"
    sql = model.with_suffix(".sql").read_text()
    added = "email_activities.is_machine,\n        email_activities.event_table as raw_table"
    model.with_suffix(".sql").write_text(sql.replace("email_activities.is_machine", added))
    select = ("--select", "activities_daily", "--exclude-resource-type", "unit_test")

    forgotten = _dbt("build", *select, warehouse=warehouse, variables=WINDOW, project=project)
    assert forgotten.code == 1
    assert "raw_table" in forgotten.output
    assert "missing in contract" in forgotten.output

    described = yaml.safe_load(model.with_suffix(".yml").read_text())
    described["models"][0]["columns"].append(
        {"name": "raw_table", "description": "The raw table.", "data_type": "text"}
    )
    model.with_suffix(".yml").write_text(yaml.safe_dump(described))
    rebuilt = _dbt("build", *select, warehouse=warehouse, variables=WINDOW, project=project)
    assert rebuilt.code == 0, rebuilt.output
    found = rebuilt.rows("activities_daily")
    assert list(found[0]) == [*ACTIVITY_COLUMNS, "raw_table"]
    assert {row["raw_table"] for row in found} == {*CODES, "email_bounces"}
    assert len(found) == len(built.rows("activities_daily"))


def test_a_key_that_is_not_unique_stops_the_build(built: Built, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    shutil.copy(built.warehouse, warehouse)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("insert into raw.customers select * from raw.customers")
    gated = _dbt(
        "build",
        *("--select", "+activities_daily", "+broadcasts_daily"),
        *("--exclude-resource-type", "unit_test"),
        warehouse=warehouse,
        variables=WINDOW,
    )
    assert gated.code == 1
    statuses = gated.statuses()
    assert statuses["activities_daily_unique"] == "fail"
    assert statuses["broadcasts_daily"] == "skipped"


def _dbt(*arguments: str, warehouse: Path, variables: Row, project: Path = PROJECT) -> Built:
    words = [*arguments, *_options(project, warehouse.parent, variables)]
    words += [] if "--profiles-dir" in arguments else PROFILES
    environment = {
        **os.environ,
        "DUCKDB_PATH": str(warehouse),
        "ORCHESTRATE_TARGET": "duckdb",
        "DO_NOT_TRACK": "1",
    }
    folder = warehouse.parent
    output = folder / "said.txt"
    output.unlink(missing_ok=True)
    run = forked_commands.start("dbt", *words, cwd=folder, env=environment, output=(output, output))
    run.join()
    assert run.exitcode is not None
    return Built(warehouse, folder / "target", run.exitcode, output.read_text())


def _options(project: Path, folder: Path, variables: Row) -> list[str]:
    return [
        "--no-use-colors",
        *("--project-dir", str(project), "--vars", json.dumps(variables)),
        *("--target-path", str(folder / "target"), "--log-path", str(folder / "logs")),
    ]


def _source_tables() -> list[Row]:
    text = (PROJECT / "models" / "staging" / "_sources.yml").read_text()
    return list(yaml.safe_load(text)["sources"][0]["tables"])


def _create_raw(
    warehouse: Path,
    raw: Tables,
    *,
    schema: str = "raw",
    types: dict[str, str] | None = None,
    timestamp: str = "timestamptz",
) -> None:
    logical = {"text": "text", "timestamp": timestamp, "boolean": "boolean"}
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"create schema {schema}")
        for table in _source_tables():
            columns = {
                column["name"]: (types or {}).get(column["name"], logical[column["data_type"]])
                for column in table["columns"]
            }
            listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"create table {schema}.{table['name']} ({listed})")
            rows = [[row.get(name) for name in columns] for row in raw.get(table["name"], [])]
            if rows:
                marks = ", ".join("?" for _ in columns)
                connection.executemany(
                    f"insert into {schema}.{table['name']} values ({marks})", rows
                )


def _awkward_rows(dice: random.Random) -> Tables:
    """Return rows of few ids and few moments, so that every edge of the rules occurs often."""
    hour = timedelta(hours=1)
    moments = [START, START - TICK, END - TICK, END, START + hour, START + hour, END - hour]
    moments += [START - LOOKBACK, START - LOOKBACK - TICK, START - hour, END + hour]
    old = datetime(2025, 3, 1, tzinfo=UTC)
    texts = [None, "", ' a, "b";\r\nc ', "Ünïcode 🎉", "zz", "Zz", "{$name|escape}"]
    brands = ["A", "B"]
    raw: Tables = {"broadcasts": [], "customers": []}
    for brand in brands:
        for number in range(30):
            raw["broadcasts"].append(
                {
                    "brand": brand,
                    "broadcast_id": str(number),
                    "channel": dice.choice(["email", "email", "email", "sms", "push"]),
                    "broadcast_type": dice.choice(["SINGLE", "CAMPAIGN", "SPLITRUN"]),
                    "description": dice.choice(texts),
                    "subject": dice.choice(texts),
                    "sent_on": dice.choice([*moments, old, old, old]),
                    "received_at": dice.choice([*moments, old, old, old]),
                }
            )
        for number in range(9):
            address = dice.choice([None, f"{number}@{brand.lower()}.example"])
            raw["customers"].append(
                {
                    "brand": brand,
                    "customer_id": f"c{number}",
                    "external_customer_number": dice.choice([None, "007", f"x{number}"]),
                    "email_address": address,
                }
            )
    columns = {
        table["name"]: [column["name"] for column in table["columns"]] for table in _source_tables()
    }
    for table in (*CODES, "email_bounces"):
        rows: list[Row] = [
            {
                "event_id": str(dice.randrange(40)),
                "brand": dice.choice(brands),
                "broadcast_id": dice.choice([*map(str, range(18)), "unknown"]),
                "customer_id": f"c{dice.randrange(11)}",
                "email_address": dice.choice([None, "", "used@example.org"]),
                "occurred_at": dice.choice([*moments, old]),
                "received_at": dice.choice(moments),
                "is_test": dice.choice([None, False, False, True]),
                "os": dice.choice(texts),
                "is_machine": dice.choice([None, True, False]),
                "url": dice.choice([None, "https://example.org/?a=1,2&b=é"]),
                "message": dice.choice(texts),
                "bounce_type": dice.choice(["soft", "hard"]),
                "via_default_campaign": dice.choice([True, True, False]),
            }
            for _ in range(160)
        ]
        raw[table] = [{name: row[name] for name in columns[table] if name in row} for row in rows]
    return raw


def _foreign_rows() -> Tables:
    moment = START.replace(tzinfo=None)
    event_id = "0190a5c0-0000-7000-8000-000000000001"
    common = {"brand": "A", "broadcast_id": 12, "customer_id": 34, "received_at": moment}
    return {
        "broadcasts": [{**common, "channel": "email", "sent_on": moment}],
        "customers": [{**common, "email_address": "c@example.org"}],
        "email_opens": [{**common, "event_id": event_id, "occurred_at": moment}],
    }


def _sorted(rows: Iterable[Row]) -> list[str]:
    return sorted(repr(list(row.items())) for row in rows)


def _in_utc(row: Row) -> Row:
    return {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _yesterday(zone: str) -> tuple[str, str]:
    """Yesterday as microseconds since the epoch; right for zones without clock changes."""
    today = datetime.now(ZoneInfo(zone)).date()
    return _midnight(today - timedelta(days=1), zone), _midnight(today, zone)


def _midnight(day: date, zone: str) -> str:
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    return str(int(midnight.timestamp()) * 1_000_000)
