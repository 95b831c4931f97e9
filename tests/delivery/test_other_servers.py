"""Servers other than OpenSSH: each request that they refuse has an equally safe fallback."""

# ruff: noqa: ARG002, PTH110, PTH119 - the methods of asyncssh's server, whose paths are bytes

import logging
import os
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32
from fault_server import serve
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

from orchestrator.delivery.probe import ProbeRequest, probe_all


class HidesOpenFiles(asyncssh.SFTPServer):
    """Shows a file only after it was closed, as servers on object stores do."""

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        del file_obj
        raise asyncssh.SFTPNoSuchFile("file does not exist")


class ZeroSizeUntilClosed(asyncssh.SFTPServer):
    """Shows a size of 0 until a file is closed."""

    def fstat(self, file_obj: Any) -> asyncssh.SFTPAttrs:  # noqa: ANN401 - an open file
        attributes = asyncssh.SFTPAttrs.from_local(os.fstat(file_obj.fileno()))
        attributes.size = 0
        return attributes


class WriteOnly(asyncssh.SFTPServer):
    """A drop box, which refuses to stat, read or list files."""

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        raise asyncssh.SFTPPermissionDenied("no")

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        raise asyncssh.SFTPPermissionDenied("no")

    lstat = stat

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        raise asyncssh.SFTPPermissionDenied("no")


class Sizeless(asyncssh.SFTPServer):
    """Sends attributes without a size, a type or a time."""

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        super().lstat(path)  # a missing file is still missing
        return asyncssh.SFTPAttrs()

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        super().stat(path)
        return asyncssh.SFTPAttrs()


class HidesPartFiles(asyncssh.SFTPServer):
    """Reports every name that begins with a dot as missing."""

    def lstat(self, path: bytes) -> Any:  # noqa: ANN401 - as in asyncssh
        if os.path.basename(path).startswith(b"."):
            raise asyncssh.SFTPNoSuchFile("no such file")
        return super().lstat(path)


@pytest.mark.parametrize(
    "server", [HidesOpenFiles, ZeroSizeUntilClosed, WriteOnly, Sizeless, HidesPartFiles]
)
def test_files_arrive_in_new_folders_and_are_replaced(
    tmp_path: Path, server: type[asyncssh.SFTPServer]
) -> None:
    with serve(tmp_path, server) as destination:
        for content in (random_bytes(300_000), b"shorter"):
            uploads = [
                make_upload(tmp_path, "2026/11/b.csv", content),
                make_upload(tmp_path, "a.csv", content),
            ]
            [outcome] = deliver(destination(), [uploads], ignore)

            assert outcome.error is None
            assert tree(tmp_path / "root") == ["2026/11/b.csv", "a.csv"]
            for name in tree(tmp_path / "root"):
                assert (tmp_path / "root" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("server", "notes"),
    [
        (HidesOpenFiles, []),
        (WriteOnly, ["no resume", "sizes are not shown"]),
        (Sizeless, ["sizes are not shown"]),
        (HidesPartFiles, ["sizes are not shown"]),
    ],
)
def test_a_probe_notes_what_the_server_does_not_show(
    tmp_path: Path, server: type[asyncssh.SFTPServer], notes: list[str]
) -> None:
    with serve(tmp_path, server) as destination:
        result = probe_all({"there": ProbeRequest(destination(), [""], removes=True)})["there"]

    assert result.errors == []
    assert sorted(note.partition(":")[0] for note in result.notes) == notes
    assert tree(tmp_path / "root") == []


def test_a_rename_is_not_announced_where_part_files_are_hidden(tmp_path: Path) -> None:
    """After a kill a hidden part file would be read as a rename that succeeded."""

    class Refuses(HidesPartFiles):
        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            raise asyncssh.SFTPFailure("no")

        rename = posix_rename

    with serve(tmp_path, Refuses) as destination:
        [outcome] = deliver(destination(), [[make_upload(tmp_path, "a.csv")]], ignore)

    assert "renaming the uploaded file to a.csv was refused" in error_text(outcome)
    assert outcome.unsure is None


class FewOpenFiles(asyncssh.SFTPServer):
    """Allows eight open files."""

    open_now = 0

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if FewOpenFiles.open_now >= 8:
            raise asyncssh.SFTPFailure("Too many open files in this session, maximum 8")
        file = super().open(path, pflags, attrs)
        FewOpenFiles.open_now += 1
        return file

    def close(self, file_obj: object) -> Any:  # noqa: ANN401 - as in asyncssh
        FewOpenFiles.open_now -= 1
        return super().close(file_obj)


def test_the_limit_of_open_files_is_respected(tmp_path: Path) -> None:
    batches = [[make_upload(tmp_path, f"{n}.csv", random_bytes(20_000 + n))] for n in range(60)]

    with serve(tmp_path, FewOpenFiles) as destination:
        outcomes = deliver(destination(), batches, ignore)

    assert [outcome.error for outcome in outcomes] == [None] * 60
    for [upload] in batches:
        published = tmp_path / "root" / upload.file.path
        assert published.read_bytes() == upload.local.read_bytes()


def test_a_file_that_cannot_be_opened_fails_only_its_batch(tmp_path: Path) -> None:
    class Picky(asyncssh.SFTPServer):
        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            if b"bad" in path:
                raise asyncssh.SFTPFailure("no")
            return super().open(path, pflags, attrs)

    batches = [
        [make_upload(tmp_path, f"{'bad' if n % 5 == 0 else 'good'}{n}.csv", random_bytes(50_000))]
        for n in range(40)
    ]

    with serve(tmp_path, Picky) as destination:
        outcomes = deliver(destination(), batches, ignore)

    for number, outcome in enumerate(outcomes):
        assert (outcome.error is None) == (number % 5 != 0)


class RefusesReplacing(asyncssh.SFTPServer):
    """Has posix-rename, but refuses it if the name exists, as Win32-OpenSSH did."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        if os.path.exists(self.map_path(newpath)):
            raise asyncssh.SFTPFailure("file exists")
        super().posix_rename(oldpath, newpath)

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if os.path.exists(self.map_path(newpath)):
            raise asyncssh.SFTPFailure("file exists")
        super().rename(oldpath, newpath)


class DeniesReplacing(RefusesReplacing):
    """Has no posix-rename, and answers "permission denied" if the name exists."""

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        del oldpath, newpath
        raise asyncssh.SFTPOpUnsupported("no")

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        if os.path.exists(self.map_path(newpath)):
            self.refuse()
        asyncssh.SFTPServer.rename(self, oldpath, newpath)

    def refuse(self) -> None:
        raise asyncssh.SFTPPermissionDenied("Access denied")


class DeniesInFrench(DeniesReplacing):
    """Answers with a text that is not UTF-8."""

    def refuse(self) -> None:
        class Refusal(asyncssh.SFTPFailure):
            def encode(self, version: int) -> bytes:
                del version
                return UInt32(4) + String("Accès refusé".encode("cp1252")) + String(b"fr")

        raise Refusal("")


@pytest.mark.parametrize("server", [RefusesReplacing, DeniesReplacing, DeniesInFrench])
def test_a_file_is_replaced_where_rename_refuses_an_existing_name(
    tmp_path: Path, server: type[asyncssh.SFTPServer], caplog: pytest.LogCaptureFixture
) -> None:
    with serve(tmp_path, server) as destination:
        deliver(destination(), [[make_upload(tmp_path, "a.csv", b"old")]], ignore)
        assert not caplog.messages
        uploads = [make_upload(tmp_path, "a.csv", b"new"), make_upload(tmp_path, "b.csv", b"new")]
        (tmp_path / "root/b.csv").write_text("old too")
        [outcome] = deliver(destination(), [uploads], ignore)

    assert outcome.error is None
    assert tree(tmp_path / "root") == ["a.csv", "b.csv"]
    assert (tmp_path / "root/a.csv").read_bytes() == b"new"
    assert len([text for text in caplog.messages if "no posix-rename over a file" in text]) == 1


def test_a_rename_that_succeeds_but_reports_failure_removes_nothing(tmp_path: Path) -> None:
    class Liar(asyncssh.SFTPServer):
        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            super().posix_rename(oldpath, newpath)
            raise asyncssh.SFTPFailure("no")

    upload = make_upload(tmp_path, "a.csv")
    with serve(tmp_path, Liar) as destination:
        [outcome] = deliver(destination(), [[upload]], ignore)

    assert outcome.error is None
    assert (tmp_path / "root/a.csv").read_bytes() == upload.local.read_bytes()


class NoResume(asyncssh.SFTPServer):
    """Refuses to open a file that exists without emptying it, as servers on object stores do."""

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        is_kept = pflags & asyncssh.FXF_WRITE and not pflags & asyncssh.FXF_TRUNC
        if is_kept and os.path.exists(self.map_path(path)):
            raise asyncssh.SFTPOpUnsupported("resume is not supported")
        return super().open(path, pflags, attrs)


def test_a_resume_that_is_refused_starts_over_in_the_same_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(MEBIBYTE))
    with serve(tmp_path, NoResume) as destination, caplog.at_level(logging.INFO, "orchestrator"):
        (tmp_path / "root" / part_name(upload)).write_bytes(random_bytes(MEBIBYTE)[:500_000])
        [outcome] = deliver(destination(), [[upload]], ignore, retry=QUICK)

    assert outcome.error is None
    assert tree(tmp_path / "root") == ["a.csv"]
    assert (tmp_path / "root/a.csv").read_bytes() == random_bytes(MEBIBYTE)
    assert "part (resume is not supported); starting over" in caplog.text


def test_a_part_file_that_disappears_during_comparison_gives_no_incomplete_file(
    tmp_path: Path,
) -> None:
    class Vanishes(asyncssh.SFTPServer):
        def read(self, file_obj: Any, offset: int, size: int) -> Any:  # noqa: ANN401 - as in asyncssh
            for path in (tmp_path / "root").glob(".*.part"):
                path.unlink()
            return super().read(file_obj, offset, size)

    upload = make_upload(tmp_path, "a.csv", random_bytes(MEBIBYTE))
    published = tmp_path / "root/a.csv"
    with serve(tmp_path, Vanishes) as destination:
        (tmp_path / "root" / part_name(upload)).write_bytes(random_bytes(MEBIBYTE)[:500_000])
        [outcome] = deliver(destination(), [[upload]], ignore, retry=QUICK)
        if outcome.error is None:
            assert published.read_bytes() == random_bytes(MEBIBYTE)
        else:
            assert not published.exists()
        [again] = deliver(destination(), [[upload]], ignore)
    assert again.error is None
    assert published.read_bytes() == random_bytes(MEBIBYTE)


def test_texts_of_a_server_are_escaped_and_cut(tmp_path: Path) -> None:
    class Rude(asyncssh.SFTPServer):
        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            raise asyncssh.SFTPFailure("no\x1b[2J\nINFO all delivered\u202e" + "A" * 200_000)

    with serve(tmp_path, Rude) as destination:
        [outcome] = deliver(destination(), [[make_upload(tmp_path, "a.csv")]], ignore)

    assert r"the server says 'no\x1b[2J\nINFO all delivered\u202eAAA" in error_text(outcome)
    assert error_text(outcome).isprintable()
    assert len(error_text(outcome)) < 1000
