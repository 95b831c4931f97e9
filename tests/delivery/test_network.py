"""Network failures and unusual servers: no file is lost, and none is delivered twice."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml
from fault_server import PASSWORD, serve
from forked_commands import orchestrate
from sshd import Sshd, make_key
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
from workspace import Workspace, tree

from orchestrator.config.destinations import Directory
from orchestrator.delivery import Retry, UnreachableError, Upload

ONCE = Retry(attempts=1, pause=60)
DAY = "2026-11-19"
OLD = """
import socket, sys
client, _ = socket.socket(fileno=int(sys.argv[1])).accept()
client.sendall(b"SSH-1.5-old\\r\\n")
client.recv(99)
"""
NAMES = ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]


def test_a_server_that_disconnects_after_each_file_gets_all_files(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    batches = [
        [make_upload(tmp_path, f"{n}/b.csv"), make_upload(tmp_path, f"{n}/a.csv")] for n in range(4)
    ]
    published: list[str] = []

    def hang_up(upload: Upload) -> None:
        published.append(upload.file.path)
        sftp_server.hang_up()

    outcomes = deliver(sftp_server.destination(), batches, hang_up, retry=ONCE)

    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert sorted(published) == tree(sftp_server.root)
    assert len(published) == 8


@pytest.mark.faults
def test_each_cut_of_a_connection_is_one_message(tmp_path: Path, workspace: Workspace) -> None:
    """asyncio itself logs a warning for each block that is written to a lost connection."""

    class Cuts(asyncssh.SFTPServer):
        def write(self, file_obj: object, offset: int, data: bytes) -> int:
            del file_obj, offset, data
            self.connection.abort()
            return 0

    brands = [f"BRAND{number:02}" for number in range(40)]
    for brand in brands:
        workspace.mailing(brand, DAY)
    with serve(tmp_path, Cuts) as destination:
        to = destination()
        settings = (
            f"{{host: 127.0.0.1, port: {to.port}, username: receiver, password: '{PASSWORD}',"
            f" known_hosts: '{to.known_hosts}', timeout: 10s}}"
        )
        workspace.configure('  - {brand: "*"}', destinations=f"{{there: {{sftp: {settings}}}}}")
        ran = orchestrate(workspace.folder, "daily", "--date", DAY)

    assert ran.returncode == 1
    lines = [line for line in ran.stderr.splitlines() if "127.0.0.1" in line]
    assert [line.rpartition(". ")[2] for line in lines[:4]] == [
        f"Trying again in {pause} s." for pause in (1, 3, 9, 27)
    ]
    assert len(lines) == 5  # the last one is the error, once for all brands
    assert "socket.send" not in ran.stderr
    assert len([line for line in ran.stderr.splitlines() if "warning: " in line]) <= 5


def test_a_server_that_shuts_down_completes_running_uploads(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    uploads = [
        make_upload(tmp_path, "a.csv"),
        make_upload(tmp_path, "b.csv", random_bytes(MEBIBYTE)),
    ]

    def shut_down(upload: Upload) -> None:
        if upload is uploads[0]:
            sftp_server.stop_listening()

    [outcome] = deliver(sftp_server.destination(), [uploads], shut_down, retry=ONCE)
    assert outcome.error is None
    assert (sftp_server.root / "b.csv").read_bytes() == random_bytes(MEBIBYTE)

    [after] = deliver(sftp_server.destination(), [uploads], ignore, retry=ONCE)
    assert "cannot connect" in error_text(after)
    assert isinstance(after.error, UnreachableError)


def test_an_uncertain_rename_stays_uncertain_while_the_server_is_down(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    announced = replace(make_upload(tmp_path, "a.csv"), rename_sent=True)
    sftp_server.kill()

    [outcome] = deliver(sftp_server.destination(), [[announced]], ignore, retry=ONCE)

    assert "cannot connect" in error_text(outcome)
    assert outcome.unsure == announced


def test_a_server_with_too_many_connections_is_retried(
    start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = start_sshd(settings="MaxStartups 1")
    other = socket.create_connection((server.host, server.port))
    while other.recv(4) != b"SSH-":  # the server may still count an earlier connection
        other.close()
        other = socket.create_connection((server.host, server.port))
    # This connection has not logged in, so MaxStartups counts it.

    class ClosesTheOther(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            refused.append(record.getMessage())
            other.close()

    refused: list[str] = []
    handler = ClosesTheOther(logging.WARNING)
    logging.getLogger("orchestrator").addHandler(handler)
    [outcome] = deliver(
        server.destination(), [[make_upload(tmp_path, "a.csv")]], ignore, retry=Retry(9, 0.2, 1)
    )
    logging.getLogger("orchestrator").removeHandler(handler)

    assert outcome.error is None
    assert "Trying again in 0.2 s." in refused[0]


def test_a_server_without_sftp_is_fatal(start_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    server = start_sshd(subsystem=None)

    [outcome] = deliver(
        server.destination(), [[make_upload(tmp_path, "a.csv")]], ignore, retry=ONCE
    )

    message = error_text(outcome)
    assert "the login works, but the server does not speak SFTP" in message
    assert f"Ask the receiver to allow SFTP for user {server.username}." in message


def test_a_slow_connection_is_not_a_timeout(sftp_server: Sshd, tmp_path: Path) -> None:
    upload = make_upload(tmp_path, "a.csv", random_bytes(2 * MEBIBYTE))

    with Proxy.before(sftp_server.port, rate=MEBIBYTE / 2) as proxy:
        sftp_server.pin(f"[127.0.0.1]:{proxy.port} {sftp_server.host_key_line}")
        destination = sftp_server.destination(port=proxy.port, timeout=timedelta(seconds=3))
        [outcome] = deliver(destination, [[upload]], ignore, retry=ONCE)

    assert outcome.error is None
    assert (sftp_server.root / "a.csv").read_bytes() == upload.local.read_bytes()
    assert len(proxy.sent) == 1


def test_a_host_without_an_address_is_reported(sftp_server: Sshd, tmp_path: Path) -> None:
    destination = sftp_server.destination(host="no.such.host.invalid")

    [outcome] = deliver(destination, [[make_upload(tmp_path, "a.csv")]], ignore, retry=QUICK)

    message = error_text(outcome)
    assert f"no.such.host.invalid:{sftp_server.port}: no address is known for that host" in message
    assert "Check host and port, the network" in message


def test_an_unsupported_ssh_version_is_reported(sftp_server: Sshd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sftp_server.pin(f"[127.0.0.1]:{port} {sftp_server.host_key_line}")
        command = [
            sys.executable,
            "-c",
            OLD,
            str(server.fileno()),
        ]
        with subprocess.Popen(command, pass_fds=[server.fileno()]):
            [outcome] = deliver(
                sftp_server.destination(port=port),
                [[make_upload(tmp_path, "a.csv")]],
                ignore,
                retry=ONCE,
            )

    assert "cannot log in (Unsupported SSH version). Check host and port, and ask" in error_text(
        outcome
    )


def test_a_folder_that_the_receiver_removes_is_created_again(
    sftp_server: Sshd, tmp_path: Path
) -> None:
    uploads = [make_upload(tmp_path, f"2026/11/{name}.csv") for name in ("b", "a")]

    def take(upload: Upload) -> None:
        path = sftp_server.root / upload.file.path
        path.unlink()
        path.parent.rmdir()
        path.parent.parent.rmdir()
        taken.append(upload.file.path)

    taken: list[str] = []
    [outcome] = deliver(sftp_server.destination(), [uploads], take, retry=ONCE)

    assert outcome.error is None
    assert taken == [upload.file.path for upload in uploads]


@pytest.fixture(params=["sftp", "directory"])
def receiver(request: pytest.FixtureRequest, sftp_server: Sshd) -> tuple[object, Path]:
    """A destination of each kind, and its folder."""
    if request.param == "sftp":
        return sftp_server.destination(), sftp_server.root
    return Directory(directory=sftp_server.root), sftp_server.root


def test_symlinks_at_the_paths_are_replaced_and_not_followed(
    receiver: tuple[Directory, Path], tmp_path: Path
) -> None:
    destination, root = receiver
    precious = tmp_path / "precious.txt"
    upload = make_upload(tmp_path, "a.csv", random_bytes(300_000))
    for content in (upload.local.read_bytes()[:1000], b"the receiver's own"):
        precious.write_bytes(content)
        for name in (part_name(upload), upload.file.path):
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(precious)

        [outcome] = deliver(destination, [[upload]], ignore, retry=ONCE)

        assert outcome.error is None
        assert precious.read_bytes() == content
        assert not (root / "a.csv").is_symlink()
        assert (root / "a.csv").read_bytes() == random_bytes(300_000)
        assert tree(root) == ["a.csv"]


def test_a_broken_symlink_is_replaced(receiver: tuple[Directory, Path], tmp_path: Path) -> None:
    destination, root = receiver
    upload = make_upload(tmp_path, "a.csv")
    for name in (part_name(upload), upload.file.path):
        (root / name).symlink_to(tmp_path / "nowhere")

    [outcome] = deliver(destination, [[upload]], ignore, retry=ONCE)

    assert outcome.error is None
    assert (root / "a.csv").read_bytes() == upload.local.read_bytes()
    assert not (tmp_path / "nowhere").exists()


def test_symlinks_out_of_a_local_folder_are_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "in").symlink_to("real")
    (root / "circle").symlink_to("circle")
    batches = [
        [make_upload(tmp_path, remote)]
        for remote in ("out/a.csv", "out/new/a.csv", "in/b.csv", "circle/c.csv")
    ]

    out, deeper, within, circle = deliver(Directory(directory=root), batches, ignore)

    message = f"a symbolic link leads to {outside}, outside of the destination's folder {root}"
    assert f"{root}/out: {message}" in error_text(out)
    assert f"to {outside}/new, outside of" in error_text(deeper)
    assert list(outside.iterdir()) == []
    assert within.error is None
    assert (root / "real/b.csv").is_file()
    assert f"{root}/circle" in error_text(circle)

    (tmp_path / "link").symlink_to(root)  # the destination itself may be a symlink
    [linked] = deliver(Directory(directory=tmp_path / "link"), [batches[2]], ignore)
    assert linked.error is None


def test_a_local_folder_that_disappears_is_created_again(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    uploads = [make_upload(tmp_path, f"in/{name}.csv") for name in ("b", "a")]

    def vanish(upload: Upload) -> None:
        if upload is uploads[0]:
            (root / "in").rename(tmp_path / "taken")

    [outcome] = deliver(Directory(directory=root), [uploads], vanish)

    assert outcome.error is None
    assert tree(root) == ["in/a.csv"]


@pytest.mark.faults
def test_unusable_destinations_do_not_affect_the_others(
    workspace: Workspace, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    up, changed, down = (start_sshd() for _ in range(3))
    down.kill()
    key, hosts = changed.host_key_line, changed.known_hosts.read_text()
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    changed.pin(f"[127.0.0.1]:{changed.port} {other}")
    destinations: dict[str, dict[str, Any]] = {
        name: {"sftp": server.line()}
        for name, server in (("up", up), ("changed", changed), ("down", down))
    }
    destinations["archive"] = {"directory": "archive"}
    (workspace.folder / "archive").mkdir()
    workspace.mailing("ACME", DAY)
    exports = [{"brand": "ACME", "destination": list(destinations)}]
    text = yaml.safe_dump({"destinations": destinations, "exports": exports})
    (workspace.folder / "exports.yml").write_text(text)

    code, stderr, reached = run(workspace.folder)

    assert code == 3
    assert reached == ["archive", "up"]
    assert (
        f"destination 'changed': 127.0.0.1:{changed.port}: its host key differs from the one in"
        in stderr
    )
    assert f"The server's key is {key.split()[0]} SHA256:" in stderr
    assert f"destination 'down': 127.0.0.1:{down.port}: cannot connect" in stderr
    assert "Gave up after attempt 5; the next run continues where this one stopped." in stderr
    assert f"127.0.0.1:{changed.port}: its host key differs from" not in stderr.split("Trying")[0]
    for root in (up.root, workspace.folder / "archive"):
        assert tree(root) == NAMES
        (root / NAMES[0]).unlink()  # the receiver moved it away

    changed.known_hosts.write_text(hosts)
    down.start()
    code, stderr, reached = run(workspace.folder)
    assert (code, reached) == (0, ["archive", "changed", "down", "up"])
    for root in (changed.root, down.root):
        assert tree(root) == NAMES
    for root in (up.root, workspace.folder / "archive"):
        assert tree(root) == NAMES[1:]  # nothing was delivered twice
    assert run(workspace.folder)[::2] == (0, [])


def run(folder: Path) -> tuple[int, str, list[str]]:
    """Return the exit code, stderr, and the destinations that have the activity file."""
    ran = orchestrate(folder, "daily", "--date", DAY, "--json")
    assert "Traceback" not in ran.stderr
    windows = json.loads(ran.stdout)["windows"]
    files = [file for window in windows for file in window["files"] if file["kind"] == "activity"]
    return (
        ran.returncode,
        ran.stderr,
        sorted(name for file in files for name in file["destinations"]),
    )
