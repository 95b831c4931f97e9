"""Notifications to real HTTP servers: good, slow and missing ones."""

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from forked_commands import orchestrate
from pydantic import SecretStr
from workspace import Workspace

from orchestrator import config
from orchestrator.cli import notify
from orchestrator.errors import ConfigError, ExportError, LockedError, UsageError
from orchestrator.pipeline import FileResult, LateRows, RunResult, Status, WindowResult
from orchestrator.windows import Window

START = datetime(2026, 11, 20, 23, tzinfo=UTC)


class Listener(ThreadingHTTPServer):
    """A server that keeps the JSON messages that it receives."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.messages: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://user:hush-password@127.0.0.1:{self.server_port}/hush-token"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.messages.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        """Log nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endless() -> Iterator[str]:
    """The URL of a server that sends its response byte by byte and never completes it."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            client, _ = server.accept()
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.2):
                client.sendall(b"X")
            client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.getsockname()[1]}/hush-token"
    over.set()
    server.close()


def secret(*urls: str) -> list[SecretStr]:
    return [SecretStr(url) for url in urls]


def window(status: Status, *, brand: str = "ACME", error: str | None = None) -> WindowResult:
    return WindowResult(
        export=f"{brand} daily",
        brand=brand,
        interval="daily",
        timezone="Europe/Amsterdam",
        window=Window(START, START + timedelta(days=1)),
        revision=2,
        status=status,
        files=[FileResult("activity", f"activity_{brand}.csv")],
        error=error,
    )


def test_failures_are_sent_in_one_message(listener: Listener) -> None:
    stopped = window(Status.STOPPED, error="the data test not_null found 3 rows")
    failed = window(Status.FAILED, brand="BETA", error="destination 'managed': down")
    result = RunResult([window(Status.DELIVERED), stopped, failed])
    notify.send_result(secret(listener.url), result)
    [message] = listener.messages
    assert message["title"].endswith(": 2 of 3 windows failed")
    assert message["type"] == "failure"
    first, second = message["message"].splitlines()
    assert first.startswith("stopped   ACME daily 2026-11-21 (revision 2): ")
    assert first.endswith(": the data test not_null found 3 rows")
    assert second.startswith("failed    BETA daily 2026-11-21 (revision 2): ")
    assert second.endswith(": destination 'managed': down")


def test_late_rows_are_sent(listener: Listener) -> None:
    late = LateRows(
        export="ACME daily",
        brand="ACME",
        interval="daily",
        timezone="Europe/Amsterdam",
        window=Window(START, START + timedelta(days=1)),
        revision=1,
        delivered={"activity": 5, "broadcast": 1},
        now={"activity": 7, "broadcast": 1},
        command="orchestrate daily --date 2026-11-21 --brand ACME --force",
    )
    notify.send_result(secret(listener.url), RunResult([window(Status.DELIVERED)], late=[late]))
    [message] = listener.messages
    assert message["type"] == "warning"
    assert message["title"].endswith(": 1 window with late rows")
    assert "late rows in ACME daily 2026-11-21: 7 activities, 5 delivered" in message["message"]


def test_windows_that_no_entry_delivers_are_sent(listener: Listener) -> None:
    notify.send_result(secret(listener.url), RunResult(unsettled=["ACME daily: 2 windows wait"]))
    [message] = listener.messages
    assert message["title"].endswith(": 1 export without an entry")
    assert (message["type"], message["message"]) == ("warning", "ACME daily: 2 windows wait")


def test_nothing_is_sent_when_everything_succeeded(listener: Listener) -> None:
    notify.send_result(secret(listener.url), RunResult([window(Status.DELIVERED)]))
    notify.send_result(secret(listener.url), RunResult())
    with notify.on_failure(secret(listener.url)):
        pass
    assert listener.messages == []


def test_a_long_message_is_cut(listener: Listener) -> None:
    failed = [window(Status.FAILED, error=f"{number:02}" + "x" * 2000) for number in range(30)]
    notify.send_result(secret(listener.url), RunResult(failed))
    lines = listener.messages[0]["message"].splitlines()
    assert (len(lines), len(lines[0]), lines[-1]) == (21, 500, "and 10 more")


def test_a_message_is_cut_to_the_limit_of_the_service(listener: Listener) -> None:
    failed = [window(Status.FAILED, error=f"{number:02}" + "x" * 2000) for number in range(30)]
    service = f"mmost://127.0.0.1:{listener.server_port}/3ccdd113474722377935511fc85d3dd4"
    notify.send_result(secret(service), RunResult(failed))
    (message,) = listener.messages
    assert 3_000 < len(message["text"]) <= 4_000  # the limit of Mattermost
    assert message["text"].endswith("and 23 more")


def test_one_cause_is_reported_once(listener: Listener) -> None:
    down = "destination 'managed': down"
    failed = [window(Status.FAILED, brand=f"B{number:02}", error=down) for number in range(25)]
    notify.send_result(secret(listener.url), RunResult(failed))
    first, second = listener.messages[0]["message"].splitlines()
    assert first == f"failed    25 windows: {down}"
    assert second.startswith("B00 daily 2026-11-21, B01 daily 2026-11-21, ")
    assert second.endswith("B19 daily 2026-11-21 and 5 more")


def test_control_characters_in_an_error_are_escaped(listener: Listener) -> None:
    evil = "no\x1b[2J\nINFO all delivered\u202e fine"
    notify.send_result(secret(listener.url), RunResult([window(Status.FAILED, error=evil)]))
    (text,) = (message["message"] for message in listener.messages)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"no\x1b[2J" in text


def test_a_run_that_cannot_start_is_reported(listener: Listener) -> None:
    with pytest.raises(UsageError), notify.on_failure(secret(listener.url)):
        raise UsageError("no warehouse at warehouse.duckdb")
    with pytest.raises(KeyError), notify.on_failure(secret(listener.url)):
        raise KeyError("jan@example.com")
    assert [message["message"] for message in listener.messages] == [
        "no warehouse at warehouse.duckdb",
        "KeyError; see its log",
    ]


def test_a_lock_held_by_another_run_is_not_reported(listener: Listener) -> None:
    with pytest.raises(LockedError), notify.on_failure(secret(listener.url)):
        raise LockedError("another run is at work")
    assert listener.messages == []


def test_a_notification_that_fails_does_not_delay_the_others(
    listener: Listener,
    endless: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "PATIENCE", 8.0)
    refusing = Listener(status=500)
    urls = secret("json://127.0.0.1:1/hush-token", endless, refusing.url, listener.url)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ExportError, match="the run's own"), notify.on_failure(urls):
        raise ExportError("the run's own")
    refusing.shutdown()
    assert len(listener.messages) == 1
    logged = [record.message for record in caplog.records if record.name.startswith("orch")]
    assert logged == [
        "notify[0]: notification failed: it was rejected",
        "notify[1]: notification failed: no answer within 8 s",
        "notify[2]: notification failed: it was rejected",
    ]
    assert "hush" not in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_a_service_that_does_not_answer_does_not_delay_exit(endless: str) -> None:
    """At its exit Python joins the threads of a pool, also those that still wait for an answer."""
    program = (
        "import sys\n"
        "from pydantic import SecretStr\n"
        "from orchestrator.cli import notify\n"
        "notify.PATIENCE = 0.5\n"
        "with notify.on_failure([SecretStr(sys.argv[1])]):\n"
        "    raise ValueError\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, endless],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 1
    assert "notify[0]: notification failed: no answer within 0.5 s" in ran.stderr
    assert "hush" not in ran.stderr


@pytest.mark.parametrize("url", ["jsn://hush", "hush", "slack://hush", "json://", "${HUSH}://x"])
def test_an_unknown_url_is_a_config_error(workspace: Workspace, url: str) -> None:
    workspace.configure("  - {brand: ACME}")
    path = workspace.folder / "exports.yml"
    path.write_text(f"{path.read_text()}notify:\n  - json://127.0.0.1/hush\n  - {url!r}\n")
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:7: notify[1]: expected a URL that Apprise knows")
    assert "hush" not in text.lower()


def test_a_failing_command_notifies_and_keeps_its_exit_code(
    workspace: Workspace, listener: Listener
) -> None:
    workspace.configure("  - {brand: ACME}")
    workspace.warehouse.unlink()
    path = workspace.folder / "exports.yml"
    url = "json://user:hush@127.0.0.1:{{ env_var('PORT') }}/hush"
    path.write_text(f"{path.read_text()}notify: [\"{url}\", 'json://127.0.0.1:1/hush']\n")
    assert "hush" not in repr(config_of(workspace, listener))
    ran = orchestrate(workspace.folder, "daily", "-v", PORT=str(listener.server_port))
    assert ran.returncode == 2
    [message] = listener.messages
    assert "no warehouse at" in message["message"]
    assert "warning: notify[1]: notification failed" in ran.stderr
    assert "hush" not in ran.stderr + ran.stdout


def config_of(workspace: Workspace, listener: Listener) -> config.Config:
    workspace.monkeypatch.setenv("PORT", str(listener.server_port))
    return config.read(workspace.folder / "exports.yml")


def test_apprise_is_imported_only_if_notify_is_configured(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from orchestrator import config\n"
        "from orchestrator.cli import notify\n"
        "from orchestrator.pipeline import RunResult\n"
        "notify.send_result(config.read(Path('exports.yml')).notify, RunResult())\n"
        "assert 'apprise' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=workspace.folder, check=True, timeout=60)
