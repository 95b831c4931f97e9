"""Two hosts with separate outboxes that share one ledger, by the real command line."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pytest
from forked_commands import Command
from postgres_server import Postgres
from sshd import Sshd
from tcp_proxy import Proxy
from workspace import Workspace

DAY = "2026-11-19"
NAMES = ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]
ROWS = 20_000
GATE = 400_000  # bytes, of more than a million


class Host:
    """A folder with an exports.yml and an outbox, and the command in it."""

    def __init__(self, folder: Path, *, ledger: str, server: Sshd, port: int) -> None:
        folder.mkdir()
        self._folder = folder
        (folder / "exports.yml").write_text(
            f"""\
destinations:
  managed:
    sftp:
      host: {server.host}
      port: {port}
      username: {server.username}
      private_key: {server.client_key}
      known_hosts: {server.known_hosts}
      timeout: 10m
exports:
  - {{brand: ACME, start: {DAY}}}
state: {ledger}
"""
        )

    def start(self, *options: str) -> Command:
        """Start a run of that day."""
        return Command(self._folder, "orchestrate", "daily", "--date", DAY, "--json", *options)

    def run(self, *options: str) -> tuple[int, str, list[tuple[str, int]]]:
        """Return the exit code, stderr, and the status and revision of each window."""
        return outcome_of(self.start(*options))


def outcome_of(run: Command) -> tuple[int, str, list[tuple[str, int]]]:
    done = run.wait()
    assert "Traceback" not in done.stderr
    windows = json.loads(done.stdout).get("windows", [])
    return done.returncode, done.stderr, [(item["status"], item["revision"]) for item in windows]


def wait_until_half_sent(run: Command, server: Sshd) -> None:
    deadline = time.monotonic() + 100
    while not any(parts(server)):
        assert run.process.is_alive(), run.wait()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.faults), "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def busy(workspace: Workspace) -> Workspace:
    """A day with many activities."""
    workspace.mailing("ACME", DAY)
    with duckdb.connect(str(workspace.warehouse)) as connection:
        connection.execute(
            f"insert into raw.email_opens (event_id, brand, broadcast_id, customer_id,"
            f" occurred_at, received_at) select 'X' || i, 'ACME', 'ACME-1', 'C' || i,"
            f" '{DAY} 12:00:00Z', '{DAY} 12:00:00Z' from range({ROWS}) as rows (i)"
        )
    return workspace


@pytest.fixture
def gate(sftp_server: Sshd) -> Iterator[Proxy]:
    """A proxy to the server that stops within the activity file until it is opened."""
    with Proxy.before(sftp_server.port, gate=GATE) as proxy:
        sftp_server.pin(
            *(
                f"[127.0.0.1]:{port} {sftp_server.host_key_line}"
                for port in (proxy.port, sftp_server.port)
            )
        )
        yield proxy


def parts(server: Sshd) -> list[int]:
    return [path.stat().st_size for path in server.root.glob(".activity*.part")]


def arrived(server: Sshd) -> list[str]:
    return sorted(path.name for path in server.root.iterdir())


def test_the_second_host_exits_and_continues_once_the_first_is_killed(
    busy: Workspace, sftp_server: Sshd, gate: Proxy, ledger: str
) -> None:
    one = Host(busy.folder / "one", ledger=ledger, server=sftp_server, port=gate.port)
    two = Host(busy.folder / "two", ledger=ledger, server=sftp_server, port=sftp_server.port)
    first = one.start()
    wait_until_half_sent(first, sftp_server)  # the upload stops there

    code, stderr, _ = two.run()
    assert code == 75
    assert f"process {first.process.pid} on {os.uname().nodename} since 20" in stderr
    assert "try again later" in stderr
    code, _, windows = two.run("--dry-run")  # reading needs no lock
    assert (code, windows) == (0, [("due", 1)])
    assert first.process.is_alive()

    first.process.kill()
    first.wait()
    kept = parts(sftp_server)
    broadcast = (sftp_server.root / NAMES[1]).read_bytes()
    code, _, windows = two.run()
    while code == 75:  # the server notices the end of the process a bit later
        code, _, windows = two.run()
    assert (code, windows) == (0, [("delivered", 1)])
    assert kept[0] > 0
    assert arrived(sftp_server) == NAMES
    assert (sftp_server.root / NAMES[1]).read_bytes() == broadcast
    assert (sftp_server.root / NAMES[0]).read_text().count("\n") == ROWS + 2
    for host in (one, two):
        assert host.run()[::2] == (0, [])


def test_a_host_that_lost_its_ledger_connection_stops_without_loss(
    busy: Workspace, sftp_server: Sshd, gate: Proxy, postgres: Postgres
) -> None:
    ledger = postgres.database()
    one = Host(busy.folder / "one", ledger=ledger, server=sftp_server, port=gate.port)
    two = Host(busy.folder / "two", ledger=ledger, server=sftp_server, port=sftp_server.port)
    first = one.start()
    wait_until_half_sent(first, sftp_server)
    with psycopg.connect(ledger) as connection:
        ended_sessions = connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where application_name like 'orchestrate%'"
        ).fetchall()
    assert ended_sessions == [(True,)]

    # The lock is free: the other host runs while this one is still sending.
    code, _, windows = two.run()
    assert (code, windows) == (0, [("delivered", 1)])
    delivered = (sftp_server.root / NAMES[0]).read_bytes()
    assert first.process.is_alive()
    gate.opened.set()
    code, stderr, _ = outcome_of(first)
    assert code == 1
    assert "the connection to the ledger postgresql://postgres@/" in stderr
    assert "was lost, and with it the lock that keeps other runs away, so this run stops" in stderr
    assert arrived(sftp_server) == NAMES
    assert (sftp_server.root / NAMES[0]).read_bytes() == delivered
    assert delivered.count(b"\n") == ROWS + 2
    assert one.run()[::2] == (0, [])


def test_a_host_delivers_windows_that_another_one_wrote(
    busy: Workspace, sftp_server: Sshd, ledger: str
) -> None:
    one, two = (
        Host(busy.folder / name, ledger=ledger, server=sftp_server, port=sftp_server.port)
        for name in ("one", "two")
    )
    assert one.run("--no-deliver")[::2] == (0, [("written", 1)])
    assert arrived(sftp_server) == []

    assert two.run()[::2] == (0, [("delivered", 1)])

    assert arrived(sftp_server) == NAMES
    for name in NAMES:
        written = (busy.folder / "one/outbox" / name).read_bytes()
        assert (sftp_server.root / name).read_bytes() == written
    assert one.run()[::2] == (0, [])


def test_an_unreachable_ledger_is_reported_without_its_password(
    workspace: Workspace, sftp_server: Sshd
) -> None:
    ledger = "postgresql://u:hush@127.0.0.1:1/ledger"
    host = Host(workspace.folder / "one", ledger=ledger, server=sftp_server, port=sftp_server.port)
    done = host.start("-v").wait()
    assert done.returncode == 1
    assert "the ledger postgresql://u:***@127.0.0.1:1/ledger cannot be opened" in done.stderr
    assert "hush" not in done.stderr + done.stdout
    code, stderr, _ = host.run()
    assert code == 1
    assert stderr.count("\n") == 1
