"""Single uploads: part file, verification, rename, and requests that a server may refuse."""

import asyncio
import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from fault_server import serve
from sshd import Sshd
from tcp_proxy import Proxy
from upload_files import (
    MEBIBYTE,
    QUICK,
    deliver,
    error_text,
    ignore,
    make_upload,
    part_name,
    random_bytes,
)
from workspace import tree

from orchestrator.delivery import Upload


def test_new_files_arrive_in_new_folders(sftp_server: Sshd, tmp_path: Path) -> None:
    uploads = [
        make_upload(tmp_path, "2017/05/broadcast.csv", random_bytes(MEBIBYTE)),
        make_upload(tmp_path, "2017/05/activity é.csv"),
        make_upload(tmp_path, "empty.csv", b""),
    ]
    published: list[Upload] = []

    [outcome] = deliver(sftp_server.destination(), [uploads], published.append)

    assert outcome.error is None
    assert outcome.uploads_done == tuple(uploads) == tuple(published)
    assert tree(sftp_server.root) == [
        "2017/05/activity é.csv",
        "2017/05/broadcast.csv",
        "empty.csv",
    ]
    for upload in uploads:
        assert (sftp_server.root / upload.file.path).read_bytes() == upload.local.read_bytes()


def test_the_second_delivery_replaces_the_first(sftp_server: Sshd, tmp_path: Path) -> None:
    deliver(
        sftp_server.destination(), [[make_upload(tmp_path, "a.csv", b"old and longer")]], ignore
    )

    [outcome] = deliver(
        sftp_server.destination(), [[make_upload(tmp_path, "a.csv", b"new")]], ignore
    )

    assert outcome.error is None
    assert tree(sftp_server.root) == ["a.csv"]
    assert (sftp_server.root / "a.csv").read_bytes() == b"new"


def test_an_absolute_path_is_used_unchanged(sftp_server: Sshd, tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    elsewhere = replace(upload, file=replace(upload.file, path=f"{tmp_path}/out/a.csv"))

    [outcome] = deliver(sftp_server.destination(), [[elsewhere]], ignore)

    assert outcome.error is None
    assert (tmp_path / "out/a.csv").read_bytes() == upload.local.read_bytes()


@pytest.mark.parametrize("remote", ["../a.csv", "in/../../a.csv", "", "/"])
def test_a_path_that_leaves_the_folder_is_refused(
    sftp_server: Sshd, tmp_path: Path, remote: str
) -> None:
    upload = make_upload(tmp_path, "a.csv")
    outside = replace(upload, file=replace(upload.file, path=remote))

    [outcome] = deliver(sftp_server.destination(), [[outside]], ignore)

    assert f"{remote!r} is not a path for a delivered file" in error_text(outcome)
    assert tree(sftp_server.root.parent.parent).count("a.csv") == 1  # the local one


def test_mkdir_may_be_forbidden_if_the_folder_exists(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(sftp_options="-P mkdir")
    (server.root / "in").mkdir()
    batches = [[make_upload(tmp_path, "in/a.csv")], [make_upload(tmp_path, "out/b.csv")]]

    there, missing = deliver(server.destination(), batches, ignore)

    assert there.error is None
    assert "creating the folder out was refused" in error_text(missing)
    assert "Permission denied" in error_text(missing)
    assert tree(server.root) == ["in/a.csv"]


def test_a_file_in_place_of_a_folder_is_an_error(sftp_server: Sshd, tmp_path: Path) -> None:
    (sftp_server.root / "in").write_text("I am a file")

    [outcome] = deliver(sftp_server.destination(), [[make_upload(tmp_path, "in/a.csv")]], ignore)

    assert "creating the folder in was refused" in error_text(outcome)


def test_a_read_only_folder_is_an_error(start_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    server = start_sshd(sftp_options="-R")
    upload = make_upload(tmp_path, "a.csv")

    [outcome] = deliver(server.destination(), [[upload]], ignore)

    assert error_text(outcome) == (
        f"127.0.0.1:{server.port}: writing {part_name(upload)} was refused for user "
        f"{server.username}: the server says 'Permission denied'. Ask the receiver for the right "
        "to write there, or set another directory in exports.yml."
    )


def test_without_posix_rename_the_old_file_is_removed_and_the_log_says_so(
    start_sshd: Callable[..., Sshd], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_sshd(sftp_options="-P posix-rename,fsync,limits")
    [first] = deliver(server.destination(), [[make_upload(tmp_path, "a.csv", b"old")]], ignore)
    assert first.error is None
    assert not caplog.messages

    [second] = deliver(
        server.destination(), [[make_upload(tmp_path, "a.csv", random_bytes(200_000))]], ignore
    )

    assert second.error is None
    assert "the server has no posix-rename over a file: a.csv is removed" in caplog.text
    assert tree(server.root) == ["a.csv"]
    assert (server.root / "a.csv").read_bytes() == random_bytes(200_000)


def test_a_file_that_cannot_be_replaced_is_reported(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(sftp_options="-P posix-rename,remove")
    (server.root / "a.csv").write_text("old")
    upload = make_upload(tmp_path, "a.csv", b"new")

    [outcome] = deliver(server.destination(), [[upload]], ignore)

    assert "a.csv exists and may not be replaced" in error_text(outcome)
    assert "Permission denied" in error_text(outcome)
    assert outcome.unsure is None
    assert (server.root / "a.csv").read_text() == "old"
    assert tree(server.root) == [part_name(upload), "a.csv"]  # complete, for the next run

    (server.root / "a.csv").unlink()
    [again] = deliver(server.destination(), [[upload]], ignore)
    assert again.error is None
    assert tree(server.root) == ["a.csv"]


def test_a_folder_with_the_name_of_the_file_is_an_error(sftp_server: Sshd, tmp_path: Path) -> None:
    (sftp_server.root / "a.csv").mkdir()

    [outcome] = deliver(sftp_server.destination(), [[make_upload(tmp_path, "a.csv")]], ignore)

    assert "a.csv exists and may not be replaced" in error_text(outcome)


@pytest.mark.parametrize("kept", [1, 700_000, 3 * MEBIBYTE])
def test_a_part_file_is_verified_and_resumed(sftp_server: Sshd, tmp_path: Path, kept: int) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(3 * MEBIBYTE))
    (sftp_server.root / part_name(upload)).write_bytes(random_bytes(3 * MEBIBYTE)[:kept])

    with Proxy.before(sftp_server.port) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        [outcome] = deliver(sftp_server.destination(port=proxy.port), [[upload]], ignore)

    assert outcome.error is None
    assert tree(sftp_server.root) == ["a.csv"]
    assert (sftp_server.root / "a.csv").read_bytes() == random_bytes(3 * MEBIBYTE)
    rest = upload.file.size - kept
    assert rest <= proxy.sent[0] < rest * 1.05 + 20_000


@pytest.mark.parametrize(
    "wrong",
    [
        b"x" * 5000,
        random_bytes(MEBIBYTE)[:400_000] + bytes(300_000),  # a hole
        random_bytes(MEBIBYTE) + b"too much",
        b"",
    ],
    ids=["other", "hole", "longer", "empty"],
)
def test_a_part_file_with_other_bytes_is_not_resumed(
    sftp_server: Sshd, tmp_path: Path, wrong: bytes
) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(MEBIBYTE))
    (sftp_server.root / part_name(upload)).write_bytes(wrong)

    [outcome] = deliver(sftp_server.destination(), [[upload]], ignore)

    assert outcome.error is None
    assert tree(sftp_server.root) == ["a.csv"]
    assert (sftp_server.root / "a.csv").read_bytes() == random_bytes(MEBIBYTE)


def test_a_local_file_that_changed_is_not_published(sftp_server: Sshd, tmp_path: Path) -> None:
    uploads = [
        make_upload(tmp_path, f"{name}.csv", random_bytes(600_000))
        for name in ("same", "short", "long", "gone")
    ]
    uploads[0].local.write_bytes(b"y" * 600_000)
    uploads[1].local.write_bytes(random_bytes(600_000)[:-1])
    uploads[2].local.write_bytes(random_bytes(600_000) + b"z")
    uploads[3].local.unlink()

    *changed, gone = deliver(sftp_server.destination(), [[upload] for upload in uploads], ignore)

    for outcome in changed:
        assert "is no longer the file that was recorded" in error_text(outcome)
    assert "cannot be read (No such file or directory)" in error_text(gone)
    assert tree(sftp_server.root) == []


def test_a_frozen_sftp_server_is_given_up(
    sftp_server: Sshd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """sshd still answers keepalives, and accepts new sessions."""
    uploads = [
        make_upload(tmp_path, "a.csv"),
        make_upload(tmp_path, "b.csv", random_bytes(20 * MEBIBYTE)),
    ]
    freezing = threading.Timer(30, sftp_server.kill)  # otherwise a bug would hang the test
    freezing.start()

    with caplog.at_level(logging.INFO, "orchestrator"):
        [outcome] = deliver(
            sftp_server.destination(timeout=timedelta(seconds=1)),
            [uploads],
            lambda upload: sftp_server.freeze() if upload is uploads[0] else None,
            retry=type(QUICK)(attempts=1),
        )

    freezing.cancel()
    assert "no answer for 1 s. Reconnecting." in caplog.text
    assert outcome.error is None
    assert tree(sftp_server.root) == ["a.csv", "b.csv"]


class Full(asyncssh.SFTPServer):
    """A disk with room for 600,000 bytes of each file."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if offset + len(data) > 600_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(file_obj, offset, data)  # type: ignore[return-value] # not awaitable


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    batches = [
        [make_upload(tmp_path, "big.csv", random_bytes(MEBIBYTE))],
        [make_upload(tmp_path, "small.csv")],
    ]

    with serve(tmp_path, Full) as destination:
        big, small = deliver(destination(), batches, ignore)

    assert "was refused for user receiver: the server says 'No space left on device'" in error_text(
        big
    )
    assert small.error is None
    assert tree(tmp_path / "root") == ["small.csv"]


class Vague(asyncssh.SFTPServer):
    """Fails without a reason, as OpenSSH does at a quota."""

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        del file_obj, offset, data
        raise asyncssh.SFTPFailure("Failure")


def test_a_failure_without_a_reason_has_advice(tmp_path: Path) -> None:
    with serve(tmp_path, Vague) as destination:
        [outcome] = deliver(destination(), [[make_upload(tmp_path, "a.csv")]], ignore)

    assert error_text(outcome).endswith(
        "says 'Failure'. Often a full disk or a quota: ask the receiver."
    )
    assert tree(tmp_path / "root") == []


class Greedy(asyncssh.SFTPServer):
    """Moves each file away as soon as it has its final name."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        super().posix_rename(oldpath, newpath)
        taken = Path(os.fsdecode(self.map_path(newpath)))
        taken.rename(taken.parent.parent / f"taken_{taken.name}")


def test_a_file_that_is_moved_away_at_once_is_not_an_error(tmp_path: Path) -> None:
    uploads = [make_upload(tmp_path, "a.csv"), make_upload(tmp_path, "b.csv")]

    with serve(tmp_path, Greedy) as destination:
        [outcome] = deliver(destination(), [uploads], ignore)

    assert outcome.error is None
    assert outcome.uploads_done == tuple(uploads)
    assert (tmp_path / "taken_a.csv").read_bytes() == uploads[0].local.read_bytes()
    assert tree(tmp_path / "root") == []


class Lossy(Greedy):
    """Renames, moves the file away, and cuts the connection instead of answering."""

    renames = 0

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        super().posix_rename(oldpath, newpath)
        type(self).renames += 1
        self.connection.abort()


def test_a_rename_whose_answer_is_lost_is_not_repeated(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    published: list[Upload] = []

    with serve(tmp_path, Lossy) as destination:
        [outcome] = deliver(destination(), [[upload]], published.append, retry=QUICK)
        assert outcome.error is None
        assert published == [upload]

        # After a kill at that point the ledger reports to the next run that a rename was sent.
        announced = replace(upload, rename_sent=True)
        [again] = deliver(destination(), [[announced]], published.append, retry=QUICK)

    assert again.error is None
    assert published == [upload, announced]
    assert Lossy.renames == 1
    assert tree(tmp_path / "root") == []


class Deaf(asyncssh.SFTPServer):
    """Never answers a rename."""

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        del oldpath, newpath
        await asyncio.Event().wait()


def test_a_rename_that_is_never_answered_is_uncertain(tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")

    with serve(tmp_path, Deaf) as destination:
        [outcome] = deliver(
            destination(seconds=0.5), [[upload]], ignore, retry=type(QUICK)(attempts=1)
        )

    assert "no answer for 0.5 s." in error_text(outcome)
    assert outcome.unsure == upload
    assert tree(tmp_path / "root") == [part_name(upload)]


def test_the_receiver_can_read_delivered_files(sftp_server: Sshd, tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv")
    upload.local.chmod(0o600)  # as in the outbox

    deliver(sftp_server.destination(), [[upload]], ignore)

    (tmp_path / "plain").touch()
    mode = (sftp_server.root / "a.csv").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
