"""What each command imports: what it does not need would cost every run seconds."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from workspace import Workspace

SLOW = ("asyncssh", "dbt", "duckdb", "pandas", "psycopg", "pyarrow", "pyspark", "sqlalchemy")
# What costs a twentieth of a run with nothing due, or less.
SLOWISH = ("asyncio", "jinja2", "orchestrator.commands.status", "rich")
CODE = f"""
import atexit, sys
def tell():
    print("imported:", *(name for name in {SLOW + SLOWISH} if name in sys.modules), file=sys.stderr)
atexit.register(tell)
from orchestrator.cli import main
main()
"""


def imported(workspace: Workspace, *arguments: str) -> tuple[int, set[str]]:
    """Run a command to its end; return its exit code, and what of those it imported."""
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
    """A place in which nothing is due of 19 November; no test changes that."""
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
def test_what_makes_nothing_imports_nothing_slow(
    delivered: Workspace, arguments: list[str]
) -> None:
    code, found = imported(delivered, *arguments)
    assert code == 0 or arguments == ["status"]  # which says 1: days went by
    assert found & {*SLOW} == set()
    if arguments[0] in ("daily", "run") and "--help" not in arguments:
        assert found == set()


def test_what_makes_files_imports_no_engine_but_its_own(delivered: Workspace) -> None:
    code, found = imported(delivered, "daily", "--date", "2026-11-19", "--force")
    assert code == 0
    assert {"dbt", "duckdb"} <= found
    assert not {"asyncssh", "pandas", "pyspark", "sqlalchemy"} & found
