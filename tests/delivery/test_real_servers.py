"""ProFTPD's mod_sftp and rclone as they are installed: every file arrives complete, and once."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from other_servers import CachingRclone, OtherServer, Proftpd, Rclone
from tcp_proxy import Proxy
from upload_files import (
    MEBIBYTE,
    QUICK,
    deliver,
    ignore,
    make_upload,
    part_name,
    random_bytes,
)
from workspace import tree

from orchestrator.delivery import Upload
from orchestrator.delivery.probe import ProbeRequest, probe_all
from orchestrator.delivery.removal import remove_all


def assert_files(server: OtherServer, **files: bytes) -> None:
    """Assert that the server has exactly these files; a cache may write them a bit later."""

    def found() -> dict[str, bytes]:
        return {name: (server.root / name).read_bytes() for name in tree(server.root)}

    for _ in range(200):
        with suppress(FileNotFoundError):
            if found() == files:
                break
        time.sleep(0.1)
    assert tree(server.root) == sorted(files)
    assert found() == files


@pytest.fixture(params=[Proftpd, Rclone, CachingRclone])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OtherServer]:
    """Each server, with an empty folder."""
    server: OtherServer = request.param(tmp_path / "server")
    server.start()
    yield server
    server.stop()


def test_files_arrive_in_new_folders_and_are_replaced(server: OtherServer, tmp_path: Path) -> None:
    for content in (random_bytes(3 * MEBIBYTE), b"shorter", b""):
        names = ["2026/11/b.csv", "activity é.csv", *(f"{number}.csv" for number in range(40))]
        uploads = [make_upload(tmp_path, name, content) for name in names]
        published: list[Upload] = []

        outcomes = deliver(server.destination(), [[each] for each in uploads], published.append)

        assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
        assert sorted(upload.file.path for upload in published) == sorted(names)
        assert_files(server, **dict.fromkeys(names, content))


def test_a_cut_connection_loses_nothing(server: OtherServer, tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(6 * MEBIBYTE))
    with Proxy.before(server.port, cuts=(2 * MEBIBYTE, 3 * MEBIBYTE)) as proxy:
        key = Path(f"{server.host_key}.pub").read_text()
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{proxy.port} {key}")
        to = server.destination(port=proxy.port, known_hosts=known_hosts)
        [outcome] = deliver(to, [[upload]], ignore, retry=QUICK)

    assert outcome.error is None
    assert_files(server, **{"a.csv": random_bytes(6 * MEBIBYTE)})


@pytest.mark.parametrize("kept", [random_bytes(MEBIBYTE)[:700_000], b"other" * 1000, b""])
def test_part_files_of_an_earlier_run_do_no_harm(
    server: OtherServer, tmp_path: Path, kept: bytes
) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(MEBIBYTE))
    (server.root / part_name(upload)).write_bytes(kept)

    [outcome] = deliver(server.destination(), [[upload]], ignore)

    assert outcome.error is None
    assert_files(server, **{"a.csv": random_bytes(MEBIBYTE)})


def test_a_probe_finds_no_error(server: OtherServer) -> None:
    request = ProbeRequest(server.destination(), ["", "2026"], removes=True)
    result = probe_all({"there": request})["there"]

    assert result.errors == []
    assert_files(server)


def test_old_files_are_removed_unless_they_changed(server: OtherServer, tmp_path: Path) -> None:
    uploads = [make_upload(tmp_path, f"{number}.csv") for number in range(3)]
    deliver(server.destination(), [uploads], ignore)
    assert_files(server, **{upload.file.path: upload.local.read_bytes() for upload in uploads})
    (server.root / "1.csv").write_text("theirs now")

    request = server.destination(), timedelta(seconds=-60), [uploads]
    result = remove_all({"there": request})["there"]

    assert (result.errors, [str(found) for found in result.found.values()]) == (
        [],
        ["removed", "changed", "removed"],
    )
    assert_files(server, **{"1.csv": b"theirs now"})
