"""One run at a time on one folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import LockedError
from orchestrator.system import exclusive_lock

HOLD = """
import pathlib, sys, time
from orchestrator.system import exclusive_lock
with exclusive_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_lock_is_refused_with_the_name_of_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/.lock"
    with (
        exclusive_lock(path),
        pytest.raises(
            LockedError, match=rf"process {os.getpid()} on .* since 20.* UTC.*{path.parent}"
        ),
        exclusive_lock(path),
    ):
        pass
    with exclusive_lock(path):
        assert "process" in path.read_text()
    assert path.read_text() == ""


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(ValueError, match="mine"), exclusive_lock(path):
        raise ValueError("mine")
    with exclusive_lock(path):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} "), exclusive_lock(path):
            pass
        holder.kill()
        holder.wait()
        with exclusive_lock(path):
            assert f"process {os.getpid()} " in path.read_text()
