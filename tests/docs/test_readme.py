"""The README is short, and its examples work."""

import re
from pathlib import Path

import pytest
from workspace import ROOT

from orchestrator import config

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_at_most_1200_words() -> None:
    assert len(README.split()) <= 1200


def test_the_example_of_the_readme_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"```yaml\n(destinations:.*?)```", README, re.DOTALL)
    assert example
    monkeypatch.setenv("KEY_PASSPHRASE", "x")
    path = tmp_path / "exports.yml"
    path.write_text(example[1], encoding="utf-8")
    assert config.read(path).exports[0].brand == "BRANDNAAM"


def test_every_package_is_listed_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"\w+", cell)}
    found = {
        path.stem
        for path in (ROOT / "orchestrator").iterdir()
        if not path.name.startswith("_") and path.suffix in ("", ".py")
    }
    assert found <= named
