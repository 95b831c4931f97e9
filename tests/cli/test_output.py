"""Colours and spinners appear on a terminal that supports them, and nowhere else."""

import fcntl
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_commands import ORCHESTRATE
from workspace import Workspace

from orchestrator.cli import output
from orchestrator.cli.output import LogFormat
from orchestrator.cli.report import Report
from orchestrator.errors import ExportError

ESCAPE = "\x1b"
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_FORCING = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "NO_COLOR", "TTY_COMPATIBLE")


def run_on_terminal(
    folder: Path,
    *arguments: str,
    columns: str = "",
    command: str | Path = ORCHESTRATE,
    **env: str,
) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and the text on the terminal.

    Without `columns` the terminal reports no size, and the variable COLUMNS sets it.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, int(columns or 0), 0, 0))
    size = {} if columns else {"COLUMNS": "120"}
    inherited = {name: value for name, value in os.environ.items() if name not in _FORCING}
    for name in ("COLUMNS", "LINES"):
        inherited.pop(name, None)
    process = subprocess.Popen(
        [command, *arguments],
        cwd=folder,
        env={**inherited, "TERM": "xterm-256color", **size, **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    got = bytearray()
    try:
        while some := os.read(ours, 65536):
            got += some
    except OSError:  # EIO: every descriptor of the other end is closed (pty(7))
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=120), got.decode(errors="replace")


PLAIN = [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}]


@pytest.mark.parametrize("arguments", [("--help",), ("daily", "--help"), ("dayly",)])
def test_help_and_usage_errors_are_coloured_unless_disabled(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, text = run_on_terminal(tmp_path, *arguments)
    assert code == (2 if arguments == ("dayly",) else 0)
    assert ESCAPE in text
    assert (
        ESCAPE in run_on_terminal(tmp_path, *arguments, NO_COLOR="")[1]
    )  # empty counts as unset (no-color.org)
    for env in PLAIN:
        code_of_plain, plain = run_on_terminal(tmp_path, *arguments, **env)
        assert code_of_plain == code
        assert ESCAPE not in plain
        assert "daily" in plain


def test_a_pipe_gets_no_escape_code(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in _FORCING}
    for arguments in (["--help"], ["dayly"], ["daily"]):
        ran = subprocess.run(
            [ORCHESTRATE, *arguments],
            cwd=tmp_path,
            env={**inherited, "TERM": "xterm-256color"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.stdout + ran.stderr
        assert ESCAPE not in ran.stdout + ran.stderr


def test_progress_is_a_spinner_with_colours_and_lines_without(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME}")
    arguments = ("preview", "--brand", "ACME", "--date", "2026-11-19")
    code, text = run_on_terminal(workspace.folder, *arguments)
    assert code == 0
    assert f"{ESCAPE}[?25l" in text  # the cursor is hidden while the spinner turns
    assert f"{ESCAPE}[?25h" in text
    code, plain = run_on_terminal(workspace.folder, *arguments, columns="160", NO_COLOR="1")
    assert code == 0
    assert ESCAPE not in plain
    assert "2026-11-19T00:00:00Z/2026-11-20T00:00:00Z: building the views\r\n" in plain
    assert "│ C1 " in plain
    table = [len(line) for line in plain.splitlines() if line.startswith(("┏", "│", "└"))]
    assert 120 < max(table) <= 160


def test_the_progress_of_a_step_updates_on_the_line_below_it(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from orchestrator.cli import output\n"
        "from orchestrator.progress import Tally\n"
        "window = '2026-11-19T00:00:00Z/2026-11-20T00:00:00Z'\n"
        "done = Tally()\n"
        "with output.spinner() as progress:\n"
        "    progress(f'{window}: delivering 1,234 files, 345.6 MB', lambda: f'{done} sent')\n"
        "    for _ in range(3):\n"
        "        time.sleep(0.5)\n"
        "        done.files += 400\n"
        "        done.bytes += 115_000_000\n"
        "    progress('looking for late \\x1b[2Jrows')\n"
    )
    code, text = run_on_terminal(tmp_path, "-c", program, command=sys.executable, columns="80")
    assert code == 0
    lines = [line.strip() for line in re.split(r"\r\n?|\n|\x1b\[[\d;?]*[A-Za-z]", text)]
    step = "2026-11-19T00:00:00Z/2026-11-20T00:00:00Z: delivering 1,234 files, 345.6 MB"
    assert step in lines  # on one line of 80 columns
    found = [line for line in lines if line.endswith("sent")]
    assert list(dict.fromkeys(found)) == [
        "nothing sent",
        "400 files, 115.0 MB sent",
        "800 files, 230.0 MB sent",
    ]
    assert "looking for late \\x1b[2Jrows" in lines


def test_a_message_is_a_line_above_the_spinner(tmp_path: Path) -> None:
    program = (
        "import logging, time\n"
        "from orchestrator.cli.report import Report\n"
        "report = Report()\n"
        "report.start()\n"
        "with report.progress() as progress:\n"
        "    progress('loading customers', lambda: '5 rows read')\n"
        "    time.sleep(0.3)\n"
        "    logging.getLogger('orchestrator').warning('%s [bold]end', 'x' * 100)\n"
        "    time.sleep(0.3)\n"
        "report.log('done')\n"
    )
    code, text = run_on_terminal(tmp_path, "-c", program, command=sys.executable, columns="80")
    assert code == 0
    # The spinner is erased; then the complete message starts at the start of a line.
    assert f"{ESCAPE}[2Kwarning: {'x' * 100} [bold]end\r\n" in text
    assert text.endswith(f"{ESCAPE}[2Kdone\r\n")


def test_load_shows_files_and_bytes_on_a_terminal(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    text = "brand,customer_id\n" + "".join(f"ACME,C{n}\n" for n in range(20_000))
    (raw / "customers.csv").write_text(text)
    warehouse = str(tmp_path / "w.duckdb")
    code, text_shown = run_on_terminal(tmp_path, "load", "raw", columns="80", DUCKDB_PATH=warehouse)
    assert code == 0
    assert f"loading customers: 1 file, {len(text) / 1000:.1f} kB" in _COLOUR.sub("", text_shown)
    assert "1 file, 20,000 rows, " in text_shown
    assert "customers: 20,000 rows read, 20,000 added" in text_shown


@pytest.mark.parametrize("env", [{}, *PLAIN])
@pytest.mark.parametrize("columns", ["60", "160"])
def test_help_is_as_wide_as_the_terminal(tmp_path: Path, columns: str, env: dict[str, str]) -> None:
    code, text = run_on_terminal(tmp_path, "daily", "--help", columns=columns, **env)
    assert code == 0
    assert max(len(line) for line in _COLOUR.sub("", text).splitlines()) == int(columns)


def test_control_characters_in_a_table_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows(
        ["a\x1b[2J", "[bold]b"], [["\x1b]0;title\x07", None], ["two\nlines", "[red]"]]
    )
    stderr = capsys.readouterr().err
    assert ESCAPE not in stderr
    for text in (r"a\x1b[2J", "[bold]b", r"\x1b]0;title\x07", "null", r"two\nlines", "[red]"):
        assert text in stderr


@pytest.fixture
def log() -> Iterator[None]:
    """Restore the handlers of the root logger, which a report replaces when it starts."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers[:] = before
    logging.captureWarnings(capture=False)


EVIL = "no\x1b[2J\x1b[31m\nINFO all delivered\u202e fine\x9b"


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("log_format", LogFormat)
def test_a_message_cannot_add_a_line_or_move_the_cursor(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(log_format=log_format)
    report.start()
    report.error(ExportError(f"the server says: {EVIL}"))
    text = capsys.readouterr().err
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("INFO") for line in text.splitlines())
    assert "INFO all delivered" in text
    if log_format is LogFormat.JSON:
        assert json.loads(text)["message"].startswith(r"the server says: no\x1b[2J")


@pytest.mark.usefixtures("log")
def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.start()
    report.error(ExportError("A" * 200_000))
    assert len(capsys.readouterr().err) < 2_100


def test_a_json_document_has_the_exact_value(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=True).error(ExportError(EVIL))
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(text)["error"] == EVIL


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("verbose", [False, True])
def test_warnings_of_libraries_are_logged_with_verbose(
    capsys: pytest.CaptureFixture[str], *, verbose: bool
) -> None:
    Report(log_format=LogFormat.JSON, verbose=verbose).start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("an old cipher", DeprecationWarning, stacklevel=1)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ["an old cipher" in line["message"] for line in lines] == [True] * verbose


def test_rows_wider_than_the_terminal_are_printed_as_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    headings = [f"Heading {number}" for number in range(9)]
    output.print_rows(headings, [[f"a value of {number}" for number in range(9)]])
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].strip() == "row 1"
    assert [line.split() for line in lines[1:]] == [
        ["Heading", str(number), "a", "value", "of", str(number)] for number in range(9)
    ]
