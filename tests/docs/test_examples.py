"""The commands of each example's README give the files in its folder `expected`."""

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
def test_an_example_gives_the_expected_files(example: Path, tmp_path: Path) -> None:
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
