"""Each example's commands, as its README has them, give the files that it shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT

EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/README.md"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_gives_the_files_that_it_shows(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORCHESTRATE_CONFIG", "ORCHESTRATE_TARGET", "DBT_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    folder = shutil.copytree(example, tmp_path / "example")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ") for line in block.splitlines()]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["sh", "-e", "-c", "\n".join(commands)], cwd=folder, env=environment, check=False
    )
    assert ran.returncode == 0
    shown = {path.name: path.read_bytes() for path in (folder / "expected").iterdir()}
    assert len(shown) == 2
    assert {path.name: path.read_bytes() for path in (folder / "delivered").iterdir()} == shown
    assert not (folder / "rejected").exists()
