"""`orchestrate init` writes a folder to start with; its exports.yml lists every key."""

import json
import re
from pathlib import Path

import pytest
import yaml_editor
from forked_commands import orchestrate
from workspace import ROOT, Workspace, tree

from orchestrator import config
from orchestrator.commands import init
from orchestrator.config import Config, Top
from orchestrator.config.destinations import DestinationLine, Sftp
from orchestrator.config.exports import Export

EXAMPLE = init.example()
COMMENTED = re.findall(r"^ *#(\w+): .*$", EXAMPLE, re.MULTILINE)
OWN_FILES = ["exports.schema.json", "exports.yml", "profiles/profiles.yml"]


def uncommented(text: str, key: str) -> str:
    found, count = re.subn(rf"^( *)#({key}: )", r"\1\2", text, flags=re.MULTILINE)
    assert count == 1
    return found


def with_server(text: str) -> str:
    before, block, after = re.split(
        r"((?:^  #managed:\n)(?:^  #  .*\n)+)", text, flags=re.MULTILINE
    )
    return before + block.replace("  #", "  ", 1).replace("\n  #", "\n  ") + after


def load(folder: Path, text: str) -> Config:
    path = folder / "exports.yml"
    path.write_text(text, encoding="utf-8")
    return config.read(path)


def facts(loaded: Config) -> list[object]:
    return [
        *(loaded.exports, loaded.destinations, loaded.state, loaded.outbox),
        *(loaded.keep_local, loaded.retention, loaded.notify),
    ]


def test_the_folder_works_without_changes(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("VIA", "2026-11-19", number=2)
    ran = orchestrate(workspace.folder, "init")
    assert (ran.returncode, ran.stderr) == (0, "")
    for step in ("orchestrate load DIR", "orchestrate preview", "orchestrate daily --dry-run"):
        assert step in ran.stdout
    assert tree(workspace.folder) == [*OWN_FILES, "warehouse.duckdb"]
    dry = orchestrate(workspace.folder, "daily", "--dry-run", "--date", "2026-11-19")
    assert dry.returncode == 0, dry.stderr
    assert "due       every other brand (* daily) 2026-11-19: broadcast_*_" in dry.stdout
    ran = orchestrate(workspace.folder, "daily", "--date", "2026-11-19")
    assert ran.returncode == 0, ran.stderr
    assert [name for name in tree(workspace.folder) if name.startswith("delivered/")] == [
        f"delivered/{kind}_{brand}_20261119.csv"
        for kind in ("activity", "broadcast")
        for brand in ("ACME", "VIA")
    ]


def test_a_missing_folder_is_created_and_reported(tmp_path: Path) -> None:
    ran = orchestrate(tmp_path, "init", "new/folder", "--json")
    assert ran.returncode == 0
    written = [f"new/folder/{name}" for name in OWN_FILES]
    assert sorted(json.loads(ran.stdout)["written"]) == written
    assert tree(tmp_path) == written
    profiles = (tmp_path / "new/folder/profiles/profiles.yml").read_text(encoding="utf-8")
    assert profiles == (ROOT / "profiles/profiles.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OWN_FILES)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    for _ in range(2):
        ran = orchestrate(tmp_path, "init")
        assert ran.returncode == 2
        assert f"{name}: exists already; nothing was written" in ran.stderr
        assert tree(tmp_path) == [name]
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_a_broken_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "exports.yml").symlink_to(tmp_path / "elsewhere.yml")
    assert orchestrate(tmp_path, "init").returncode == 2
    assert tree(tmp_path) == []


@pytest.mark.parametrize("folder", ["file", "file/below", "."])
def test_a_file_in_the_way_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "profiles").touch()
    ran = orchestrate(tmp_path, "init", folder)
    assert ran.returncode == 2
    assert "is not a folder" in ran.stderr
    assert tree(tmp_path) == ["file", "profiles"]


def test_exports_yml_of_the_repository_is_the_example() -> None:
    assert (ROOT / "exports.yml").read_text(encoding="utf-8") == EXAMPLE, (
        "rebuild it: python -c 'from orchestrator.commands import init;"
        ' print(init.example(), end="")\' > exports.yml'
    )


def test_an_editor_validates_the_example() -> None:
    assert EXAMPLE.startswith("# yaml-language-server: $schema=exports.schema.json\n")
    assert yaml_editor.complaints(EXAMPLE) == []


def test_the_example_has_every_key() -> None:
    wanted = {*Export.written_keys(), *Top.model_fields, *DestinationLine.model_fields}
    assert wanted - {*COMMENTED} == {"brand", "destinations", "defaults", "exports", "sftp"}
    for key in Sftp.model_fields:
        assert re.search(f"^  #    {key}: ", EXAMPLE, re.MULTILINE), key


@pytest.mark.parametrize("key", COMMENTED)
def test_each_commented_key_shows_its_default(tmp_path: Path, key: str) -> None:
    text = uncommented(EXAMPLE, key)
    assert facts(load(tmp_path, text)) == facts(load(tmp_path, EXAMPLE))
    assert yaml_editor.complaints(text) == []


def test_the_keys_of_the_sftp_server_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSPHRASE", "hush")
    text = with_server(EXAMPLE)
    assert yaml_editor.complaints(text) == []
    loaded = load(tmp_path, text)
    assert loaded.exports[0].destination == ["managed"]
    server = loaded.destinations["managed"]
    assert isinstance(server, Sftp)
    plain = Sftp.model_validate({"host": "sftp.example.org", "username": "brandnaam"})
    assert server.model_dump(exclude={"private_key", "passphrase"}) == plain.model_dump(
        exclude={"private_key", "passphrase"}
    )


def test_all_keys_together_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_PASSPHRASE", "hush")
    text = re.sub(r"^( *)#(\w+: |- )", r"\1\2", with_server(EXAMPLE), flags=re.MULTILINE)
    assert "\n  #" not in re.sub(r"\n *# [^\n]*|\n *#(?=\n)", "", text)
    assert yaml_editor.complaints(text) == []
    assert [export.brand for export in load(tmp_path, text).exports] == ["*", "BRANDNAAM"]
