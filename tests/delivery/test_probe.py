"""Probes of destinations report what would fail, and leave nothing behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sshd import Sshd, make_key
from workspace import tree

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery.probe import ProbeRequest, ProbeResult, probe_all


def probe(destination: Sftp | Directory, *folders: str, removes: bool = True) -> ProbeResult:
    return probe_all({"one": ProbeRequest(destination, folders, removes=removes)})["one"]


def error_of(result: ProbeResult) -> str:
    [error] = result.errors
    return str(error)


def entries(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_nothing_is_left_behind(sftp_server: Sshd, tmp_path: Path) -> None:
    (sftp_server.root / "a/b").mkdir(parents=True)
    (sftp_server.root / "a/b/theirs.csv").write_text("theirs")
    local = tmp_path / "there"
    local.mkdir()
    for destination in (sftp_server.destination(), Directory(directory=local)):
        result = probe(destination, "", "a/b", "a/new/one", "new")
        assert (result.errors, result.notes) == ([], set())
    assert entries(sftp_server.root) == ["a", "a/b", "a/b/theirs.csv"]
    assert entries(local) == []


def test_an_absolute_folder_is_probed(sftp_server: Sshd, tmp_path: Path) -> None:
    assert probe(sftp_server.destination(), f"{tmp_path}/far/away").errors == []
    assert not (tmp_path / "far").exists()


def test_each_destination_is_probed_separately(
    sftp_server: Sshd, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    read_only, stranger, down = start_sshd(sftp_options="-R"), start_sshd(), start_sshd()
    stranger.pin()
    down.kill()
    other = make_key(tmp_path / "other")
    results = probe_all(
        {
            "good": ProbeRequest(sftp_server.destination(), [""]),
            "read_only": ProbeRequest(read_only.destination(), [""]),
            "stranger": ProbeRequest(stranger.destination(), [""]),
            "nobody": ProbeRequest(sftp_server.destination(private_key=other), [""]),
            "down": ProbeRequest(down.destination(), [""]),
            "a_file": ProbeRequest(Directory(directory=other), [""]),
        }
    )
    assert results.pop("good").errors == []
    for name, message in {
        "read_only": "Ask the receiver for the right to write there",
        "stranger": "only if it is the same, add the key: ssh-keyscan -p",
        "nobody": "refused the login of user",
        "down": "cannot connect",
        "a_file": "other: is not a folder. Check that it is mounted",
    }.items():
        assert message in error_of(results[name]), name
    assert tree(sftp_server.root) == tree(read_only.root) == []


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        ("mkdir", "creating the folder .orchestrate-"),
        ("posix-rename,rename", "renaming the uploaded file to .orchestrate-"),
        ("open", "writing .orchestrate-"),
    ],
)
def test_forbidden_requests_are_reported(
    start_sshd: Callable[..., Sshd], forbidden: str, message: str
) -> None:
    server = start_sshd(sftp_options=f"-P {forbidden}")
    found = error_of(probe(server.destination(), "new"))
    assert message in found
    assert "Ask the receiver for the right to write there" in found
    assert entries(server.root) == []


def test_a_forbidden_remove_is_an_error_only_if_files_are_to_be_removed(
    start_sshd: Callable[..., Sshd],
) -> None:
    server = start_sshd(sftp_options="-P remove")
    result = probe(server.destination(), "", removes=False)
    assert result.errors == []
    [note] = result.notes
    assert "removing .orchestrate-" in note
    assert note.endswith("The file of this check stays at the destination.")
    assert "removing .orchestrate-" in error_of(probe(server.destination(), ""))


def test_a_missing_extension_is_noted(start_sshd: Callable[..., Sshd]) -> None:
    server = start_sshd(sftp_options="-P fsync")
    result = probe(server.destination(), "", "new")
    assert result.errors == []
    assert [note.partition(":")[0] for note in result.notes] == ["no fsync"]
    assert entries(server.root) == []


def test_a_file_in_place_of_a_folder_is_reported(sftp_server: Sshd) -> None:
    (sftp_server.root / "2026").write_text("theirs")
    assert "2026: is a file, where a folder is needed" in error_of(
        probe(sftp_server.destination(), "2026/11")
    )
    assert entries(sftp_server.root) == ["2026"]


def test_many_folders_are_probed(sftp_server: Sshd) -> None:
    result = probe(sftp_server.destination(), *(f"folder{number}" for number in range(100)))
    assert result.errors == []
    assert entries(sftp_server.root) == []
