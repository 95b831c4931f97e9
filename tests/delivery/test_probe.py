"""Trying a destination out: what would fail is told, and nothing is left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sshd import Sshd, make_key
from upload_files import tree

from orchestrator.config.destinations import Directory, Sftp
from orchestrator.delivery.probe import ProbeRequest, ProbeResult, probe_all


def probe(destination: Sftp | Directory, *folders: str, removes: bool = True) -> ProbeResult:
    return probe_all({"one": ProbeRequest(destination, folders, removes=removes)})["one"]


def words(verdict: ProbeResult) -> str:
    [error] = verdict.errors
    return str(error)


def entries(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_nothing_is_left_behind(sftp_server: Sshd, tmp_path: Path) -> None:
    (sftp_server.root / "a/b").mkdir(parents=True)
    (sftp_server.root / "a/b/theirs.csv").write_text("theirs")
    local = tmp_path / "there"
    local.mkdir()
    for destination in (sftp_server.destination(), Directory(directory=local)):
        verdict = probe(destination, "", "a/b", "a/new/one", "new")
        assert (verdict.errors, verdict.notes) == ([], set())
    assert entries(sftp_server.root) == ["a", "a/b", "a/b/theirs.csv"]
    assert entries(local) == []


def test_an_absolute_folder(sftp_server: Sshd, tmp_path: Path) -> None:
    assert probe(sftp_server.destination(), f"{tmp_path}/far/away").errors == []
    assert not (tmp_path / "far").exists()


def test_each_destination_is_tried_for_itself(
    sftp_server: Sshd, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    read_only, stranger, down = start_sshd(sftp_options="-R"), start_sshd(), start_sshd()
    stranger.pin()
    down.kill()
    other = make_key(tmp_path / "other")
    verdicts = probe_all(
        {
            "good": ProbeRequest(sftp_server.destination(), [""]),
            "read_only": ProbeRequest(read_only.destination(), [""]),
            "stranger": ProbeRequest(stranger.destination(), [""]),
            "nobody": ProbeRequest(sftp_server.destination(private_key=other), [""]),
            "down": ProbeRequest(down.destination(), [""]),
            "a_file": ProbeRequest(Directory(directory=other), [""]),
        }
    )
    assert verdicts.pop("good").errors == []
    for name, told in {
        "read_only": "Ask the receiver for the right to write there",
        "stranger": "only if it is the same, add the key: ssh-keyscan -p",
        "nobody": "refused the login of user",
        "down": "cannot connect",
        "a_file": "other: is not a folder. Check that it is mounted",
    }.items():
        assert told in words(verdicts[name]), name
    assert tree(sftp_server.root) == tree(read_only.root) == []


@pytest.mark.parametrize(
    ("forbidden", "told"),
    [
        ("mkdir", "creating the folder .orchestrate-"),
        ("posix-rename,rename", "renaming the uploaded file to .orchestrate-"),
        ("open", "writing .orchestrate-"),
    ],
)
def test_what_a_server_forbids(start_sshd: Callable[..., Sshd], forbidden: str, told: str) -> None:
    server = start_sshd(sftp_options=f"-P {forbidden}")
    found = words(probe(server.destination(), "new"))
    assert told in found
    assert "Ask the receiver for the right to write there" in found
    assert entries(server.root) == []


def test_removing_matters_where_files_are_to_be_removed(start_sshd: Callable[..., Sshd]) -> None:
    server = start_sshd(sftp_options="-P remove")
    verdict = probe(server.destination(), "", removes=False)
    assert verdict.errors == []
    [note] = verdict.notes
    assert "removing .orchestrate-" in note
    assert note.endswith("The file of this check stays there.")
    assert "removing .orchestrate-" in words(probe(server.destination(), ""))


def test_what_a_server_does_not_offer_is_noted(start_sshd: Callable[..., Sshd]) -> None:
    server = start_sshd(sftp_options="-P fsync")
    verdict = probe(server.destination(), "", "new")
    assert verdict.errors == []
    assert [note.partition(":")[0] for note in verdict.notes] == ["no fsync"]
    assert entries(server.root) == []


def test_a_file_where_a_folder_is_to_be(sftp_server: Sshd) -> None:
    (sftp_server.root / "2026").write_text("theirs")
    assert "2026: is a file, where a folder is needed" in words(
        probe(sftp_server.destination(), "2026/11")
    )
    assert entries(sftp_server.root) == ["2026"]


def test_many_folders_over_one_connection(sftp_server: Sshd) -> None:
    verdict = probe(sftp_server.destination(), *(f"folder{number}" for number in range(100)))
    assert verdict.errors == []
    assert entries(sftp_server.root) == []
