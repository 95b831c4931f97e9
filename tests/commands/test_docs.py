"""The README tells every command, option and key, and its example works."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
from workspace import ROOT

from orchestrator import cli, config
from orchestrator.config.destinations import Sftp
from orchestrator.config.exports import Export

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"| `orchestrate {name}" in README


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_in_the_readme(name: str) -> None:
    for parameter in COMMANDS[name].params:
        longest = max(parameter.opts, key=len)
        if longest.startswith("--") and longest not in ("--help", "--verbose"):
            assert f"`{longest}" in README, longest


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_s_help_has_an_example(name: str) -> None:
    assert "Example: " in COMMANDS[name].help


@pytest.mark.parametrize("key", sorted(Export.written_keys()))
def test_every_key_of_an_export_is_in_the_readme(key: str) -> None:
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("|")]
    assert any(f"`{key}`" in cell for cell in rows)


@pytest.mark.parametrize("key", sorted(Sftp.model_fields))
def test_every_key_of_a_destination_is_in_the_readme(key: str) -> None:
    assert f"`sftp.{key}`" in README


@pytest.mark.parametrize("key", ["destinations", "defaults", "exports", "state", "outbox"])
def test_every_key_at_the_top_is_in_the_readme(key: str) -> None:
    assert f"| `{key}` |" in README


def test_the_readme_s_exports_yml_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```yaml\n(destinations:.*?)```", README, re.DOTALL)
    assert example
    monkeypatch.setenv("KEY_PASSPHRASE", "x")
    path = tmp_path / "exports.yml"
    path.write_text(example[1], encoding="utf-8")
    assert config.load(path).exports[0].brand == "BRANDNAAM"


def test_the_example_is_right() -> None:
    assert [export.brand for export in config.load(ROOT / "exports.yml").exports] == ["*"]


def test_every_module_has_its_place_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    names = {name for cell in cells for name in re.findall(r"[\w*]+", cell)}
    modules = sorted(path.stem for path in (ROOT / "orchestrator").glob("*.py"))
    assert [name for name in modules if not any(fnmatch(name, each) for each in names)] == [
        "__init__"
    ]


def test_no_link_leads_nowhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), target
