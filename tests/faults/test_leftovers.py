"""Unencrypted rows that a killed process left behind: any next command removes them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked_commands import orchestrate
from workspace import Workspace

KILLED = """
import pathlib, sys, time
from orchestrator import system
from orchestrator.files.outbox import Outbox
outbox = Outbox(pathlib.Path("outbox"))
with outbox.open(), system.private_folder() as folder:
    (folder / "rows").write_text("jan@example.com")
    (outbox.work / "rows").write_text("jan@example.com")
    print(folder, flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["schedule", "cron"],
        ["daily", "--dry-run"],
        ["prune"],
    ],
)
def test_the_next_command_removes_rows_of_a_killed_process(
    workspace: Workspace, arguments: list[str]
) -> None:
    workspace.configure("  - {brand: ACME}")
    temporary = workspace.folder / "tmp"
    temporary.mkdir()
    workspace.monkeypatch.setenv("TMPDIR", str(temporary))
    rows = workspace.folder / "outbox/.work/rows"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=workspace.folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        assert folder.is_relative_to(temporary)
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        before = time.time() - 60
        os.utime(folder.parent, (before, before))
        orchestrate(workspace.folder, *arguments)
        # Rows of a process that is still running are kept.
        assert (folder / "rows").exists()
        assert rows.exists()
        process.kill()
    os.utime(folder.parent, (before, before))

    ran = orchestrate(workspace.folder, *arguments)

    assert "error" not in ran.stderr
    assert not rows.exists()
    assert list(temporary.glob("orchestrate-rows-*")) == []


def test_files_of_other_programs_stay(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    temporary = workspace.folder / "tmp"
    theirs = workspace.folder / "theirs"
    (theirs / "kept").mkdir(parents=True)
    temporary.mkdir()
    (temporary / "orchestrate-rows-link").symlink_to(theirs)
    (temporary / "orchestrate-rows-file").write_text("")
    workspace.monkeypatch.setenv("TMPDIR", str(temporary))
    orchestrate(workspace.folder, "status")
    assert (theirs / "kept").exists()
    assert len(list(temporary.iterdir())) == 2
