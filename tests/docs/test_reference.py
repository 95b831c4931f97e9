"""The generated pages match the code and are complete."""

import re
from pathlib import Path

import pytest
import reference
import typer
from workspace import ROOT

from orchestrator import cli
from orchestrator.config import Top
from orchestrator.config.destinations import DestinationLine, Sftp
from orchestrator.config.exports import Export, FieldChoice

PAGES = reference.pages()
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
EXPORTS_YML = PAGES[ROOT / "docs/reference/exports-yml.md"]
MODELS = (Top, DestinationLine, Sftp, Export, FieldChoice)
KEYS = {key for model in MODELS for key in model.written_keys()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_matches_the_code(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page], "run: make reference"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_documented(key: str) -> None:
    assert f"\n| `{key}` | " in EXPORTS_YML


def test_every_note_belongs_to_a_key() -> None:
    assert reference.NOTES.keys() <= KEYS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name: str) -> None:
    page = PAGES[ROOT / "docs/reference/commands.md"]
    section = re.search(rf"^## `orchestrate {name}\b.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section
    common = page[: page.index("\n## ")]
    for parameter in COMMANDS[name].params:
        for option in parameter.opts:
            if option.startswith("-"):
                assert f"`{option}" in section[0] + common, option


def test_every_variable_that_is_read_is_documented() -> None:
    named = re.compile(r"""(?:environ(?:\.get)?[\[(]|getenv\(|env_var\()\s*['"]([A-Z_]+)['"]""")
    files = [*ROOT.glob("orchestrator/**/*.py"), ROOT / "profiles/profiles.yml"]
    read = {name for path in files for name in named.findall(path.read_text(encoding="utf-8"))}
    assert {"ORCHESTRATE_CONFIG", "DUCKDB_PATH", "PGHOST"} <= read
    # Examples in texts, variables of other programs, and those set for child processes.
    others = {"NAME", "HASH_SALT", "HOME", "TERM", "PGTZ", "PGCLIENTENCODING"}
    others |= {"KEY_PASSPHRASE", "SFTP_PASSWORD", "SIGN_PASSPHRASE"}
    assert read - others <= reference.ENVIRONMENT.keys()
