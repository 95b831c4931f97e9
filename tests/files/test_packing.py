import errno
import hashlib
import os
import random
import resource
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from orchestrator.config.dialect import COMPRESSION_SUFFIXES, Compression
from orchestrator.files.packing import PackedFile

NAME = "activity_ACME_20261119.csv"
READ = {
    "none": ["cat"],
    "gzip": ["gzip", "--decompress", "--stdout"],
    "zstd": ["zstd", "--decompress", "--stdout", "--quiet"],
    "zip": ["unzip", "-p"],
}
"""The programs with which receivers decompress files."""
COMPRESSIONS: list[Compression] = sorted(COMPRESSION_SUFFIXES)


def pack(folder: Path, compression: Compression, *parts: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = PackedFile(folder / NAME, compression)
    for part in parts:
        file.write(part)
    size, sha256 = file.finish()
    file.wait()
    assert size == file.path.stat().st_size
    assert sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    return file.path


def unpack(path: Path, compression: Compression) -> bytes:
    done = subprocess.run([*READ[compression], path], capture_output=True, check=True)
    return done.stdout


def test_a_large_file_is_flushed_and_hashed_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: flushed.append(os.fstat(file).st_size))
    monkeypatch.setattr(hashlib, "file_digest", None)  # the file is not read again
    parts = [bytes([number]) * 2**20 for number in range(130)]
    path = pack(tmp_path, "none", *parts)
    assert path.read_bytes() == b"".join(parts)
    assert [size // 2**26 for size in flushed] == [1, 2]


def test_a_flush_that_failed_in_the_background_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path / NAME}'"):
        pack(tmp_path, "none", b"," * 2**27)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_usual_programs_decompress_files(
    tmp_path: Path, compression: Compression, size: int
) -> None:
    rows = random.Random(size).randbytes(size // 2)  # noqa: S311 - no secret
    parts = [rows, memoryview(rows), b"," * (size - 2 * len(rows))]
    path = pack(tmp_path, compression, *(bytes(part) for part in parts))
    assert unpack(path, compression) == rows + rows + bytes(parts[2])
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_rows_give_the_same_bytes_at_any_time_and_place(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(20170515)  # noqa: S311 - no secret
    data = b"".join(b"B1,C%d,Opens\n" % chance.randrange(10**6) for _ in range(200_000))
    first = pack(tmp_path / "a", compression, data)
    parts, at = [], 0
    while at < len(data):  # parts of any size, as engines return them
        parts.append(data[at : at + chance.choice([1, 2048, 65_536, 1_000_000])])
        at += len(parts[-1])
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o277)
    try:
        second = pack(tmp_path / "another/place", compression, *parts)
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    assert compression == "none" or first.stat().st_size < len(data) / 2


def test_a_zip_file_has_one_member_with_the_name_of_the_file_and_no_time(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(tmp_path, "zip", b"a,b\n")) as archive:
        (member,) = archive.infolist()
    assert (member.filename, member.date_time) == (NAME, (1980, 1, 1, 0, 0, 0))
    assert member.flag_bits == 0  # the header has the sizes
    assert (member.create_system, member.external_attr) == (3, 0o644 << 16)


def test_a_gzip_file_has_no_name_and_no_time(tmp_path: Path) -> None:
    """RFC 1952, 2.3: ID1 ID2 CM FLG MTIME."""
    assert pack(tmp_path, "gzip", b"a").read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_abandoned_file_is_removed(tmp_path: Path, compression: Compression) -> None:
    file = PackedFile(tmp_path / NAME, compression)
    file.write(b"a" * 100)
    file.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_full_disk_is_named(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / NAME
    path.symlink_to("/dev/full")
    file = PackedFile(path, compression)
    noise = random.Random(1).randbytes(1 << 20)  # noqa: S311 - no secret
    with pytest.raises(OSError, match="No space left on device") as caught:  # noqa: PT012 - any may raise
        file.write(noise)
        file.finish()
        file.wait()
    assert caught.value.filename == str(path)
    file.abandon()
    assert not path.is_symlink()


@pytest.mark.faults
@pytest.mark.parametrize("compression", ["zip", "gzip", "zstd"])
def test_more_than_four_gibibytes_are_compressed_in_bounded_memory(
    tmp_path: Path, compression: Compression
) -> None:
    before = peak_memory()
    part = b"0,a row that is like any other row\n" * 30_000
    number = (1 << 32) // len(part) + 2
    file = PackedFile(tmp_path / NAME, compression)
    for _ in range(number):
        file.write(part)
    file.finish()
    file.wait()
    assert peak_memory() - before < 64 << 20
    counted = f"{' '.join(READ[compression])} {tmp_path / NAME} | wc -c"
    done = subprocess.run(counted, shell=True, capture_output=True, check=True)  # noqa: S602 - a fixed command
    assert int(done.stdout) == number * len(part) > 1 << 32


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
