"""The imports of each command: a slow module that it does not need would take seconds."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from workspace import Workspace

SLOW = ("asyncssh", "dbt", "duckdb", "pandas", "psycopg", "pyarrow", "pyspark", "sqlalchemy")
# Modules that cost at most a twentieth of a run with nothing due.
SLOWISH = ("asyncio", "jinja2", "orchestrator.commands.status", "rich")
CODE = f"""
import atexit, sys
def report():
    print("imported:", *(name for name in {SLOW + SLOWISH} if name in sys.modules), file=sys.stderr)
atexit.register(report)
from orchestrator.cli import main
main()
"""


def imported(workspace: Workspace, *arguments: str) -> tuple[int, set[str]]:
    """Run a command to its end; return its exit code, and which of these modules it imported."""
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=workspace.folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("imported:")]
    return ran.returncode, {*line.split()[1:]}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace whose window of 19 November is delivered; no test changes it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("delivered"), monkeypatch)
        workspace.mailing("ACME", "2026-11-19")
        workspace.configure("  - {brand: ACME}")
        workspace.run("2026-11-20 07:00", daily_only=True)
        yield workspace


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["daily", "--help"],
        ["daily", "--dry-run"],
        ["daily", "--date", "2026-11-19"],
        ["run", "--date", "2026-11-19"],
        ["status"],
        ["schedule", "cron"],
    ],
)
def test_a_command_that_builds_nothing_imports_no_slow_module(
    delivered: Workspace, arguments: list[str]
) -> None:
    code, found = imported(delivered, *arguments)
    assert code == 0 or arguments == ["status"]  # exits with 1: later windows are overdue
    assert found & {*SLOW} == set()
    if arguments[0] in ("daily", "run") and "--help" not in arguments:
        assert found == set()


def test_a_run_imports_no_engine_except_its_own(delivered: Workspace) -> None:
    code, found = imported(delivered, "daily", "--date", "2026-11-19", "--force")
    assert code == 0
    assert {"dbt", "duckdb"} <= found
    assert not {"asyncssh", "pandas", "pyspark", "sqlalchemy"} & found
