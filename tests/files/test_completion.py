"""Completion files, checked with the programs that receivers use."""

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sshd import Sshd
from workspace import Workspace

from orchestrator import config
from orchestrator.commands import check
from orchestrator.pipeline import Status

NOW = "2026-11-20 07:00"
ACTIVITY = "activity_ACME_20261119.csv"
BROADCAST = "broadcast_ACME_20261119.csv"
MANIFEST = f"{ACTIVITY}.manifest.json"
READY = [f"{BROADCAST}.ready", f"{ACTIVITY}.ready"]


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME, completion: both}")
    return workspace


def sha256sum_lines(folder: Path) -> list[str]:
    """Check the ready files of a folder with sha256sum; return its lines."""
    names = sorted(path.name for path in folder.glob("*.ready"))
    command = ["sha256sum", "--check", "--strict", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; `test_data_package.py` shows that it conforms to the standard."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def test_ready_files_and_manifest_describe_the_delivery(acme: Workspace) -> None:
    acme.configure(
        "  - {brand: ACME, timezone: Europe/Amsterdam, completion: both, compression: zstd, "
        "directory: 'in/{brand}'}"
    )
    (window,) = acme.run(NOW).windows
    names = [f"{BROADCAST}.zst", f"{ACTIVITY}.zst"]
    ready = [f"{name}.ready" for name in names]
    expected = [*names, *ready, f"{ACTIVITY}.zst.manifest.json"]
    assert [file.path for file in window.files] == [f"in/ACME/{name}" for name in expected]
    kinds = ["broadcast", "activity", "ready", "ready", "manifest"]
    assert [file.kind for file in window.files] == kinds
    assert [file.rows for file in window.files] == [1, 1, None, None, None]
    folder = acme.folder / "there/in/ACME"
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    assert sorted(sha256sum_lines(folder)) == sorted(f"{name}: OK" for name in names)
    found = manifest(folder / expected[-1])
    resources = found.pop("resources")
    assert re.fullmatch("sha256:[0-9a-f]{64}", found.pop("id"))
    assert found == {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "brand": "ACME",
        "export": "ACME daily",
        "interval": "daily",
        "timezone": "Europe/Amsterdam",
        "window_start": "2026-11-19T00:00:00+01:00",
        "window_end": "2026-11-20T00:00:00+01:00",
        "revision": 1,
        "rows": {"broadcast": 1, "activity": 1},
        "sequence": 1,
        "previous": None,
        "replaces": [],
    }
    assert [
        {key: each[key] for key in ("name", "path", "bytes", "hash")} for each in resources
    ] == [
        {
            "name": file.kind,
            "path": Path(file.path).name,
            "bytes": (folder / Path(file.path).name).stat().st_size,
            "hash": f"sha256:{file.sha256}",
        }
        for file in window.files[:2]
    ]
    for file in window.files[:2]:
        path = acme.folder / "there" / file.path
        summing = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert summing.stdout.split()[0] == file.sha256
        assert (acme.folder / "outbox" / f"{file.path}.ready").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("completion", "names"),
    [("none", []), ("ready", READY), ("manifest", [MANIFEST]), ("both", [*READY, MANIFEST])],
)
def test_each_kind_of_completion_writes_its_files(
    acme: Workspace, completion: str, names: list[str]
) -> None:
    acme.configure(f"  - {{brand: ACME, completion: {completion}}}")
    (window,) = acme.run(NOW).windows
    assert [file.path for file in window.files] == [BROADCAST, ACTIVITY, *names]
    assert acme.files() == sorted([BROADCAST, ACTIVITY, *names])


def test_a_window_without_rows_has_completion_files_unless_it_is_skipped(
    workspace: Workspace,
) -> None:
    exports = "  - {brand: ACME, completion: both}\n"
    exports += "  - {brand: BETA, completion: both, empty: skip}"
    workspace.configure(exports)
    first, second = workspace.run(NOW).windows
    assert (first.status, second.status) == (Status.DELIVERED, Status.SKIPPED)
    assert workspace.files() == sorted([BROADCAST, ACTIVITY, *READY, MANIFEST])
    rows = manifest(workspace.folder / f"there/{MANIFEST}")["rows"]
    assert rows == {"broadcast": 0, "activity": 0}


def test_completion_files_can_contain_any_brand_name(workspace: Workspace) -> None:
    brands = ['Café *%s & "Söhne"', "it's $(1) `b`", "  x  "]
    for brand in brands:
        workspace.mailing(brand, "2026-11-19")
    workspace.configure("  - {brand: '*', completion: both, compression: zip}")
    assert workspace.run(NOW).exit_code == 0
    there = workspace.folder / "there"
    assert len(sha256sum_lines(there)) == 2 * len(brands)
    found = [manifest(path)["brand"] for path in there.glob("*.manifest.json")]
    assert sorted(found) == sorted(brands)


def test_a_rebuilt_window_has_the_same_bytes(acme: Workspace) -> None:
    acme.run(NOW)
    first = acme.all_bytes()
    (acme.folder / "outbox").rename(acme.folder / "old")
    (acme.folder / "there").rename(acme.folder / "other")
    (acme.folder / "there").mkdir()
    (acme.folder / "state").rename(acme.folder / "forgotten")
    acme.run(NOW)
    assert acme.all_bytes() == first
    acme.run(NOW, force=True)
    changed = {name for name, content in acme.all_bytes().items() if content != first[name]}
    assert changed == {MANIFEST}
    assert manifest(acme.folder / f"there/{MANIFEST}")["revision"] == 2


@pytest.mark.parametrize("where", ["there", "server"])
def test_old_completion_files_are_removed_before_a_new_file_gets_its_name(
    acme: Workspace, sftp_server: Sshd, where: str
) -> None:
    destinations = {"there": {"directory": "there"}, "server": {"sftp": sftp_server.line()}}
    root = acme.folder / "there" if where == "there" else sftp_server.root

    def configure(completion: str) -> None:
        exports = f"  - {{brand: ACME, destination: {where}, completion: {completion}}}"
        acme.configure(exports, destinations=repr(destinations))

    configure("both")
    acme.run(NOW)
    everything = sorted([BROADCAST, ACTIVITY, *READY, MANIFEST])
    assert sorted(path.name for path in root.iterdir()) == everything
    (root / "notes.ready").write_text("not ours")

    # A late row, and an activity file that cannot get its name.
    acme.mailing("ACME", "2026-11-19", number=2)
    (root / ACTIVITY).unlink()
    (root / ACTIVITY / "in the way").mkdir(parents=True)
    assert acme.run(NOW, force=True).exit_code == 3
    assert b"ACME-2" in (root / BROADCAST).read_bytes()
    assert sorted(path.name for path in root.glob("[a-z]*")) == sorted(
        [BROADCAST, ACTIVITY, "notes.ready"]
    )
    (root / ACTIVITY / "in the way").rmdir()
    (root / ACTIVITY).rmdir()
    (window,) = acme.run(NOW).windows
    assert (window.status, window.revision) == (Status.DELIVERED, 2)
    (root / "notes.ready").unlink()
    assert sorted(path.name for path in root.iterdir()) == everything
    assert len(sha256sum_lines(root)) == 2
    assert manifest(root / MANIFEST)["revision"] == 2

    # Without completion from now on, the completion files of an earlier revision would be wrong.
    configure("none")
    acme.mailing("ACME", "2026-11-19", number=3)
    acme.run(NOW, force=True)
    assert sorted(path.name for path in root.iterdir()) == sorted([ACTIVITY, BROADCAST])


def test_a_server_that_forbids_removing_is_reported(
    acme: Workspace, start_sshd: Callable[..., Sshd]
) -> None:
    server = start_sshd(sftp_options="-P remove")
    destinations = {"server": {"sftp": server.line()}}
    acme.configure("  - {brand: ACME, completion: ready}", destinations=repr(destinations))
    assert acme.run(NOW).exit_code == 0  # there is nothing to remove yet
    (window,) = acme.run(NOW, force=True).windows
    assert window.status is Status.FAILED
    assert "the server says 'Permission denied'" in str(window.error)
    assert f"{BROADCAST}.ready" in str(window.error)
    assert len(sha256sum_lines(server.root)) == 2
    loaded = config.read(acme.folder / "exports.yml")
    found = check.check_all(loaded, None, now=datetime.now(UTC))
    failing = [finding.text for finding in found.findings if not finding.ok]
    assert len(failing) == 1
    assert "removing" in failing[0]


def test_an_added_destination_gets_completion_files_too(acme: Workspace) -> None:
    destinations = "{there: {directory: there}, more: {directory: more}}"
    acme.configure("  - {brand: ACME, completion: both, destination: there}")
    acme.run(NOW, deliver=False)
    acme.configure(
        "  - {brand: ACME, completion: both, destination: [there, more]}",
        destinations=destinations,
    )
    acme.run(NOW)
    assert acme.all_bytes("more") == acme.all_bytes()
    assert acme.files() == sorted([BROADCAST, ACTIVITY, *READY, MANIFEST])
