"""Full disks. The tests mount small file systems and fill them."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpg import Gpg
from receiver import Watch
from sshd import Sshd
from workspace import Workspace

from orchestrator.errors import ExportError, LedgerError
from orchestrator.files.packing import PackedFile
from orchestrator.pipeline import Status
from orchestrator.system import DiskFullError, disk_full

NOW = "2026-11-20 07:00"
ACTIVITY = "activity_ACME_20261119.csv"
BROADCAST = "broadcast_ACME_20261119.csv"
ROWS = 60_000
Resize = Callable[[str], None]


@pytest.fixture
def mount_small_disk() -> Iterator[Callable[[Path, str], Resize]]:
    """Return a function that mounts a small disk; it returns a function that resizes the disk."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> Resize:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this user may mount no small disk: {done.stderr.strip()}")
        mounted.append(folder)
        return lambda larger: remount(folder, larger)

    def remount(folder: Path, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """One brand with a mailing on 19 November that many opened."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.opened_by_many("ACME", "2026-11-19", ROWS)
    workspace.configure("  - {brand: ACME}")
    return workspace


def failure(workspace: Workspace, *, code: int = 1) -> str:
    """Run, and return the message of the failure, which must not be one of dbt or its tests."""
    try:
        result = workspace.run(NOW)
    except ExportError as error:
        assert error.exit_code == 1, error  # noqa: PT017 - a run may raise or return it
        return str(error)
    assert result.exit_code == code, result
    assert [window.status for window in result.windows] == [Status.FAILED]
    return str(result.windows[0].error)


def test_an_outbox_on_a_full_disk_is_reported_at_every_step(
    acme: Workspace, mount_small_disk: Callable[[Path, str], Resize]
) -> None:
    outbox = acme.folder / "outbox"
    resize = mount_small_disk(outbox, "64k")
    messages = []
    for size in ("64k", "1m", "4m", "8m", "12m", "16m", "20m", "24m"):
        resize(size)
        if acme.files():
            break
        try:
            messages.append(failure(acme))
        except AssertionError:
            if not acme.files():
                raise
            break  # there is enough room now
        assert f"{outbox}" in messages[-1]
        assert "the disk is full (No space left on device). Free some space" in messages[-1]
        assert acme.files() == []
        assert not list(outbox.glob("*.csv"))
    text = "\n".join(messages)
    for workspace in (".dbt", ".work", ".work/files/"):
        assert f"{outbox}/{workspace}" in text
    resize("200m")
    acme.run(NOW)
    assert acme.text(ACTIVITY).count("\n") == ROWS + 2
    assert acme.run(NOW).windows == []


def test_a_disk_that_fills_during_encryption_is_reported(
    mount_small_disk: Callable[[Path, str], Resize], tmp_path: Path, gpg: Gpg
) -> None:
    mount_small_disk(tmp_path / "small", "1m")
    key = tmp_path / "key.asc"
    key.write_bytes(gpg.export(gpg.make_key("Receiver of much", subkey="never")))
    file = PackedFile(tmp_path / "small/rows.csv", encrypt_for=key)
    file.write(b"row\n" * 180_000)
    with pytest.raises(DiskFullError, match=r"small/rows.csv.pgp: the disk is full \(No space"):
        file.finish()
    file.abandon()
    assert list((tmp_path / "small").iterdir()) == []


def test_a_full_destination_is_reported_and_gets_the_rest_later(
    acme: Workspace, mount_small_disk: Callable[[Path, str], Resize]
) -> None:
    there = acme.folder / "there"
    resize = mount_small_disk(there, "2m")
    watch = Watch()
    watch.add(there, there)
    message = failure(acme, code=3)  # one of its two files arrived
    assert message.startswith(f"destination 'there': {there}/.{ACTIVITY}.")
    assert "cannot be written (No space left on device). Check that" in message
    assert acme.files() == [BROADCAST]
    resize("20m")
    assert acme.run(NOW).exit_code == 0
    assert acme.files() == [ACTIVITY, BROADCAST]
    assert watch.names() == [BROADCAST, ACTIVITY]


def test_a_full_server_is_reported_and_gets_the_rest_later(
    acme: Workspace, sftp_server: Sshd, mount_small_disk: Callable[[Path, str], Resize]
) -> None:
    resize = mount_small_disk(sftp_server.root, "2m")
    acme.configure(
        "  - {brand: ACME}", destinations=repr({"managed": {"sftp": sftp_server.line()}})
    )
    message = failure(acme, code=3)  # one of its two files arrived
    assert "the server says 'Failure'. Often a full disk or a quota: ask the receiver." in message
    assert [path.name for path in sftp_server.root.iterdir()] == [BROADCAST]
    resize("20m")
    assert acme.run(NOW).exit_code == 0
    assert sorted(path.name for path in sftp_server.root.iterdir()) == [ACTIVITY, BROADCAST]


def test_a_ledger_on_a_full_disk_is_reported_and_every_file_arrives_once(
    acme: Workspace, mount_small_disk: Callable[[Path, str], Resize]
) -> None:
    mount_small_disk(acme.folder / "state", "1m")
    watch = Watch()
    watch.add(acme.folder / "there", acme.folder / "there")
    acme.run("2026-11-19 07:00")
    filler = acme.folder / "state/filler"
    messages = []
    for left in range(0, 400, 12):  # kilobytes: each run fails at a later step
        filler.unlink(missing_ok=True)
        room = os.statvfs(acme.folder / "state").f_bavail * 4096
        filler.write_bytes(bytes(max(0, room - left * 1024)))
        try:
            result = acme.run(NOW)
        except LedgerError as error:
            messages.append(str(error))
        else:
            assert result.exit_code == 0
            break
    assert messages
    for message in messages:
        assert "ledger.db" in message
        assert "the disk is full (" in message
    filler.unlink(missing_ok=True)
    assert acme.run(NOW).windows == []
    assert sorted(watch.names()) == sorted(
        [ACTIVITY, BROADCAST, "activity_ACME_20261118.csv", "broadcast_ACME_20261118.csv"]
    )
    assert acme.files() == sorted(watch.names())


def test_other_errors_are_not_reported_as_a_full_disk() -> None:
    assert disk_full(PermissionError(errno.EACCES, "Permission denied", "/srv/a"), "/srv") is None
    quota = disk_full(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "/srv")
    assert str(quota).startswith("/srv: the disk is full (Disk quota exceeded). Free some space")
