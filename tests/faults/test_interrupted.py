"""Ctrl-C and SIGTERM end a run, even in dbt, which catches them; the next run continues."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import pytest
from forked_commands import ORCHESTRATE, Command, orchestrate
from workspace import Workspace

_ADVICE = "what was written and delivered is kept, and the next run continues from there"
_MESSAGES = {
    signal.SIGINT: f"error: interrupted; {_ADVICE}",
    signal.SIGTERM: f"error: interrupted by SIGTERM; {_ADVICE}",
}
_STEP = re.compile(
    r"(opening|asking) the warehouse.*|looking for late rows|delivering \d+ files, .*"
    r"|[\dTZ:/-]+: (building and testing the views|writing \d+ files.*|counting late rows)"
)
"""A step that a run reports."""
_DAYS = [datetime.now(UTC).date() - timedelta(days=number) for number in (4, 3, 2)]


@pytest.mark.parametrize(
    ("sent", "where", "seconds"),
    [
        (signal.SIGINT, "parse", 0),
        pytest.param(signal.SIGTERM, "parse", 0.3, marks=pytest.mark.faults),
        pytest.param(signal.SIGINT, "build", 0.1, marks=pytest.mark.faults),
        (signal.SIGTERM, "build", 0.4),
        (signal.SIGINT, "late", 0.1),
        pytest.param(signal.SIGTERM, "late", 0.3, marks=pytest.mark.faults),
    ],
)
def test_an_interrupted_run_reports_it_and_the_next_one_continues(
    workspace: Workspace, sent: signal.Signals, where: str, seconds: float
) -> None:
    workspace.configure(f"  - {{brand: ACME, start: {_DAYS[0]}}}")
    for number, day in enumerate(_DAYS, start=1):
        workspace.mailing("ACME", str(day), number=number)
    if where == "late":  # a window that an earlier run has delivered
        assert orchestrate(workspace.folder, "daily", "--date", str(_DAYS[0])).returncode == 0
        workspace.opened("ACME", f"{_DAYS[0]} 12:00:00", "ACME-1", event_id="late")
    before = workspace.all_bytes()
    words = ("interrupted", str(int(sent)), where, str(seconds), "daily")
    ran = Command(workspace.folder, *words, parsed=False).wait()
    logged = ran.stderr.splitlines()
    assert (ran.returncode, logged[-1], ran.stdout) == (128 + sent, _MESSAGES[sent], ""), ran.stderr
    # No line is from dbt or from Python itself.
    assert all(map(_STEP.fullmatch, logged[:-1])), ran.stderr
    assert ("looking for late rows" in logged) == (where == "late")
    after = workspace.all_bytes()
    assert before.items() <= after.items()
    assert len(after) >= (6 if where == "late" else 0)
    following = orchestrate(workspace.folder, "daily")
    assert following.returncode == 0, following.stderr
    assert "revision" not in following.stderr
    names = {f"{kind}_ACME_{day:%Y%m%d}.csv" for kind in ("activity", "broadcast") for day in _DAYS}
    assert names <= set(workspace.files())
    assert after.items() <= workspace.all_bytes().items()
    delivered = [line for line in following.stderr.splitlines() if line.startswith("delivered ")]
    assert 2 * len(delivered) == len(workspace.files()) - len(after)
    assert "nothing is due" in orchestrate(workspace.folder, "daily").stderr


def test_a_terminated_command_leaves_nothing_behind(workspace: Workspace) -> None:
    workspace.mailing("ACME", str(_DAYS[0]))
    workspace.configure("  - {brand: ACME}")
    work = workspace.folder / "work"
    work.mkdir()
    with subprocess.Popen(
        [ORCHESTRATE, "preview", "--brand", "ACME"],
        cwd=workspace.folder,
        env={**os.environ, "TMPDIR": str(work)},
        stderr=subprocess.PIPE,
        text=True,
    ) as ran:
        deadline = monotonic() + 60
        while not list(work.glob("*/*")) and monotonic() < deadline:
            sleep(0.01)
        ran.terminate()
        _, logged = ran.communicate(timeout=60)
    assert ran.returncode == 128 + signal.SIGTERM, logged
    assert logged.splitlines()[-1] == "error: interrupted by SIGTERM; run the command again"
    assert list(work.iterdir()) == []


# Sends Ctrl-C while the command line is imported.
_LOADING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from orchestrator.__main__ import main
main()
"""


def test_ctrl_c_before_the_command_line_is_loaded_shows_no_traceback() -> None:
    ran = subprocess.run([sys.executable, "-c", _LOADING], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr, ran.stdout) == (-signal.SIGINT, b"", b"")
