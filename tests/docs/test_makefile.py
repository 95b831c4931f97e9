"""`make` reports a missing requirement in one line, and repairs an incomplete environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with only the Makefile."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def make(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "environment", f"PYTHON={python}"]
    # `make test` hands its own flags down to every program that it starts.
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        command, cwd=checkout, env=env, capture_output=True, text=True, check=False
    )


def python_that(checkout: Path, refuses: str) -> str:
    """Write a Python whose `-c` fails for code that contains the text; return its command."""
    program = checkout / "old-python"
    program.write_text(
        f'#!/bin/sh\ncase "$2" in *"{refuses}"*) exit 1;; esac\nexec {sys.executable} "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return "./old-python"


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("no-such-python", "no-such-python is not Python 3.11, 3.12 or 3.13"),
        ("version_info", "./old-python is not Python 3.11, 3.12 or 3.13"),
        ("ensurepip", "./old-python cannot create environments: apt-get install python3-venv"),
    ],
)
def test_a_missing_requirement_is_reported_in_one_line(
    checkout: Path, python: str, message: str
) -> None:
    if not python.startswith("no-"):
        python = python_that(checkout, refuses=python)
    result = make(checkout, python)
    assert result.returncode != 0
    first, *rest = result.stderr.splitlines()
    assert first.startswith(message)
    assert all(line.startswith("make: ***") for line in rest)
    assert not (checkout / ".venv").exists()


def test_an_incomplete_environment_is_rebuilt(checkout: Path) -> None:
    without_pip = [sys.executable, "-m", "venv", "--without-pip", ".venv"]
    subprocess.run(without_pip, cwd=checkout, check=True)
    pip = checkout / ".venv/bin/pip"
    assert not pip.exists()
    assert make(checkout, sys.executable).returncode == 0
    built = pip.stat().st_mtime_ns
    assert make(checkout, sys.executable).returncode == 0  # a working one is kept
    assert pip.stat().st_mtime_ns == built
