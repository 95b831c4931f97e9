"""The command as a user runs it: exit codes, stdout and stderr."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from forked_commands import ORCHESTRATE, orchestrate, orchestrate_cold
from workspace import Workspace

from orchestrator import cli


def test_the_json_of_a_run_is_the_only_output_on_stdout(acme: Workspace) -> None:
    ran = orchestrate_cold(acme.folder, "daily", "--date", "2026-11-19", "--json")
    assert ran.returncode == 0
    document = json.loads(ran.stdout)
    (window,) = document["windows"]
    assert document["exit_code"] == 0
    assert window["window"] == {
        "start": "2026-11-19T00:00:00+00:00",
        "end": "2026-11-20T00:00:00+00:00",
    }
    assert [(file["kind"], file["rows"]) for file in window["files"]] == [
        ("broadcast", 1),
        ("activity", 1),
    ]
    assert "delivered ACME daily 2026-11-19: 1 broadcast, 1 activity, at there" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "jan@example.com" not in ran.stderr + ran.stdout
    again = orchestrate_cold(acme.folder, "daily", "--date", "2026-11-19")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing is due" in again.stderr


def test_a_dry_run_changes_nothing(acme: Workspace) -> None:
    before = sorted(acme.folder.iterdir())
    ran = orchestrate(acme.folder, "run", "--dry-run", "--date", "2026-11-19")
    assert ran.returncode == 0
    assert ran.stdout.startswith("due       ACME daily 2026-11-19: broadcast_ACME_20261119.csv")
    assert sorted(acme.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dayly"], "Did you mean 'daily'?"),
        (["config", "shema"], "Did you mean 'schema'?"),
        (["daily", "--dat", "2026-11-19"], "No such option: --dat (Possible options: --date)"),
        (["schedule", "cronn"], "'systemd', 'kubernetes' or 'airflow'; did you mean cron?"),
        (["run", "--log-format", "jsn"], "'jsn': expected 'text' or 'json'; did you mean json?"),
        (["preview", "--brand", "ACME", "--rows", "9" * 20], "less than or equal to 1000000"),
        (["daily", "--date", "yesterday"], "expected a day such as"),
        (["daily", "--date", "9999-12-31"], "expected a day from 1970 to 2999"),
        (["daily", "--dry-run", "--target", "prod"], "has no target 'prod'"),
        (["daily", "--date", "2999-01-01"], "2999-01-01 is not over for ACME in UTC"),
        (
            ["daily", "--brand", "ACNE"],
            "no export of brand 'ACNE'; did you mean ACME?\n",
        ),
        (["daily", "--brand", "acme"], "no export of brand 'acme'; did you mean ACME?"),
        (["daily", "--config", "nope.yml"], "nope.yml: no such file; name it with --config"),
        (["daily", "--target", "prod"], "has no target 'prod'; valid: duckdb"),
        (["daily", "--target", "postgre"], "has no target 'postgre'; did you mean postgres?"),
        (["load", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(
    acme: Workspace, arguments: list[str], message: str
) -> None:
    ran = orchestrate(acme.folder, *arguments, COLUMNS="200")
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("delimeter: ;", "exports[0].delimeter: unknown key; did you mean delimiter?"),
        ("interval: dayly", "'dayly': expected '15m', '30m', 'hourly', 'daily', 'weekly' or"),
        ("interval: dayly", "'monthly'; did you mean daily?"),
        ("destination: their", "no destination 'their'; did you mean there?; valid: there"),
        ("timezone: europe/amsterdam", "did you mean Europe/Amsterdam?"),
    ],
)
def test_a_typo_in_exports_yml_gets_the_nearest_valid_name(
    acme: Workspace, line: str, message: str
) -> None:
    acme.configure(f"  - {{brand: ACME, {line}}}")
    ran = orchestrate(acme.folder, "daily", "--date", "2026-11-19")
    assert ran.returncode == 2
    assert message in ran.stderr


def test_no_unrelated_name_is_suggested(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, timezone: CEST}")
    ran = orchestrate(acme.folder, "daily", "--date", "2026-11-19")
    assert ran.returncode == 2
    assert "expected an IANA time zone" in ran.stderr
    assert "did you mean" not in ran.stderr  # such as EST


def test_unknown_columns_and_activities_get_the_nearest_valid_name(acme: Workspace) -> None:
    acme.configure(
        "  - {brand: ACME, activity_fields: [costumer_id]}\n"
        "  - {brand: OTHER, activity_types: [clicks]}"
    )
    ran = orchestrate(acme.folder, "daily", "--date", "2026-11-19")
    assert ran.returncode == 2
    assert "'costumer_id'; did you mean customer_id?; valid: bra" in ran.stderr
    assert "no activity 'clicks'; did you mean click?; valid: broadcast" in ran.stderr


def commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - a type of typer
    for name, command in group.commands.items():
        yield (*names, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)


def test_the_help_of_each_command_has_an_example() -> None:
    found = dict(commands(typer.main.get_command(cli.app)))
    assert ("config", "schema") in found
    for names, command in found.items():
        assert f"Example: orchestrate {' '.join(names)}" in command.help.replace(
            "DUCKDB_PATH=warehouse.duckdb ", ""
        )
        for parameter in command.params:
            if parameter.name not in ("help", "install_completion", "show_completion"):
                assert parameter.help, (names, parameter.name)


def bash(script: str, folder: Path, *words: str, **env: str) -> str:
    """Return the stdout of a bash script that has the program on its PATH."""
    path = f"{ORCHESTRATE.parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        cwd=folder,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return ran.stdout


@functools.cache
def completion() -> str:
    """Return the completion script that the program generates for bash."""
    # The program detects the shell from its parent process, so bash has to start it.
    return bash('echo "$(orchestrate --show-completion bash)"', Path.cwd())


def completions(folder: Path, *words: str) -> list[str]:
    """Return the completions that bash offers for the last of these words."""
    script = """
        eval "$COMPLETION"
        COMP_WORDS=(orchestrate "$@") COMP_CWORD=$#
        _orchestrate_completion orchestrate
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    return bash(script, folder, *words, COMPLETION=completion()).split()


def test_bash_completes_commands_options_brands_and_targets(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}\n  - {brand: VIA}\n  - {brand: '*'}")
    assert completions(workspace.folder, "da") == ["daily"]
    assert completions(workspace.folder, "config", "") == ["schema"]
    assert completions(workspace.folder, "schedule", "s") == ["systemd"]
    assert completions(workspace.folder, "run", "--log-format", "") == ["text", "json"]
    assert completions(workspace.folder, "daily", "--dr") == ["--dry-run"]
    assert completions(workspace.folder, "daily", "--brand", "") == ["ACME", "VIA"]
    assert completions(workspace.folder, "preview", "--brand", "V") == ["VIA"]
    assert completions(workspace.folder, "load", "--target", "") == ["duckdb", "postgres", "spark"]
    (workspace.folder / "exports.yml").write_text("exports: [")
    assert completions(workspace.folder, "daily", "--brand", "") == []
    (workspace.folder / "exports.yml").write_text("exports: [{brand: [A]}, {brand: {}}, x]")
    assert completions(workspace.folder, "daily", "--brand", "") == []


def test_a_completion_loads_neither_dbt_nor_duckdb(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    code = (
        "import sys; sys.argv = ['orchestrate']\n"
        "from orchestrator.cli import app\n"
        "try: app(prog_name='orchestrate')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('dbt', 'duckdb', 'pyarrow', 'asyncssh') if name in sys.modules])"
    )
    words = {"COMP_WORDS": "orchestrate daily --brand A", "COMP_CWORD": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace.folder,
        env={**os.environ, **words, "_ORCHESTRATE_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["ACME", "[]"]


def test_a_target_of_an_unsupported_type_is_refused(acme: Workspace) -> None:
    acme.folder.joinpath("profiles").mkdir()
    text = "event_based_export: {outputs: {duckdb: {type: snowflake, schema: exports}}}\n"
    acme.folder.joinpath("profiles", "profiles.yml").write_text(text, encoding="utf-8")
    ran = orchestrate(acme.folder, "daily")
    assert ran.returncode == 2
    assert "target 'duckdb'" in ran.stderr
    assert "snowflake" in ran.stderr


def test_an_error_is_json_with_the_option_json(acme: Workspace) -> None:
    ran = orchestrate(acme.folder, "daily", "--brand", "ACNE", "--json")
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["exit_code"] == 2
    assert "no export of brand 'ACNE'" in json.loads(ran.stdout)["error"]


def test_a_warehouse_open_for_writing_exits_with_75_and_other_readers_are_fine(
    acme: Workspace,
) -> None:
    words = ("run", "--date", "2026-11-19", "--log-format", "json")
    with duckdb.connect(str(acme.warehouse)):
        ran = orchestrate(acme.folder, *words)
    assert ran.returncode == 75
    assert "is in use by" in ran.stderr
    with duckdb.connect(str(acme.warehouse), read_only=True):
        ran = orchestrate(acme.folder, *words)
    assert ran.returncode == 0
    lines = [json.loads(line) for line in ran.stderr.splitlines()]  # of --log-format json
    assert lines[-1]["level"] == "info"
    assert lines[-1]["message"].startswith("delivered ACME daily")


def test_load_reports_added_and_rejected_rows(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "customers.csv").write_text(
        "brand,customer_id,external_customer_number,email_address\n"
        "ACME,1,,jan@example.com\n"
        ",2,,piet@example.com\n"
    )
    warehouse = tmp_path / "w.duckdb"
    ran = orchestrate(tmp_path, "load", "raw", DUCKDB_PATH=str(warehouse))
    assert ran.returncode == 3
    assert ran.stdout.splitlines() == ["customers: 2 rows read, 1 added, 1 rejected"]
    warehouse.unlink()
    ran = orchestrate(tmp_path, "load", "raw", "--json", DUCKDB_PATH=str(warehouse))
    assert ran.returncode == 3
    (table,) = json.loads(ran.stdout)["tables"]
    assert (table["rows"], table["added"], table["rejected"]) == (2, 1, 1)
    assert "1 row rejected, with the reasons in" in ran.stderr
    assert "most frequent: brand is missing (1 row)" in ran.stderr
    assert table["most_frequent_reason"] == {"text": "brand is missing", "rows": 1}
    assert (table["first_received_at"], table["last_received_at"]) == (None, None)
    assert "@example.com" not in ran.stderr
    rejected = json.loads(Path(table["reject_file"]).read_text())
    assert rejected["reason"] == "brand is missing"
    assert Path(table["reject_file"]).parent == tmp_path / "rejected"


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    ran = orchestrate_cold(tmp_path, "--version")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"event-based-export {version('event-based-export')}\n"


@pytest.mark.parametrize("words", [(), ("config",), ("daily",), ("prune",)])
def test_help_shows_flags_without_a_value(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = orchestrate(tmp_path, *words, "--help")
    assert "<bool>" not in ran.stdout
    assert "--help" in ran.stdout


def test_help_loads_neither_dbt_nor_duckdb() -> None:
    code = (
        "import sys; sys.argv = ['orchestrate', '--help']\n"
        "from orchestrator.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('dbt', 'duckdb', 'pyarrow', 'asyncssh') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("[]\n")


def test_the_demo_shows_the_delivered_files(tmp_path: Path) -> None:
    ran = orchestrate_cold(tmp_path, "demo")
    assert ran.returncode == 0, ran.stderr
    assert "Broadcastid,Customerid,Extern klantnummer,E-mailadres,Activiteit" in ran.stdout
    files = sorted((tmp_path / "demo/server").rglob("*.csv"))
    assert len(files) == 8
    archive = sorted((tmp_path / "demo/archive").rglob("*.csv"))
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in archive]
    with duckdb.connect(str(tmp_path / "demo/warehouse.duckdb"), read_only=True) as connection:
        kinds = ("sends", "opens", "clicks", "bounces", "complaints", "unsubscribes")
        union = " union all ".join(f"select 1 from raw.email_{kind}" for kind in kinds)
        ((events,),) = connection.execute(f"select count(*) from ({union})").fetchall()
    assert 150_000 < events < 250_000
    next_command = orchestrate(
        tmp_path,
        *("daily", "--config", "demo/exports.yml", "--force", "--no-deliver"),
        DUCKDB_PATH="demo/warehouse.duckdb",
    )
    assert next_command.returncode == 0
    assert orchestrate(tmp_path, "demo").returncode == 0  # a second time
    (tmp_path / "demo/.made-by-orchestrate-demo").unlink()
    refused = orchestrate(tmp_path, "demo")
    assert refused.returncode == 2
    assert "demo contains other files; run the demo in another folder" in refused.stderr
