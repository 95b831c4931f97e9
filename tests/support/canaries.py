"""Runs the command with planted secrets and personal data, and looks for them afterwards."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import forked_commands
import psutil  # type: ignore[import-untyped] # has no types

from orchestrator import __main__

MARK = b"kanarie"
"""Every planted value contains it, and nothing else does."""
EMAIL = "jan.kanarie@kanarie.example"
CUSTOMER = "KANARIE-7731"
AWKWARD = 'O\'Kanarie "said"\nkanarie $$ -- kanarie'
"""A value that breaks out of any quotes around it."""
SECRETS = {
    "HASH_SALT": "kanarie-salt",
    "KEY_PASSPHRASE": "kanarie-passphrase",
    "SFTP_PASSWORD": "kanarie-password",
    "LEDGER_PASSWORD": "kanarie-ledger",
    "NOTIFY_TOKEN": "kanarie-token",
}


@dataclass
class CommandResult:
    """A command's exit code and output, and what other users could see while it ran."""

    exit_code: int
    output: str
    exposed: set[str] = field(default_factory=set)

    def assert_silent(self, exit_code: int, *words: str) -> None:
        """Assert the exit code, and that the output has these words and no planted value."""
        assert self.exit_code == exit_code, self.output
        for word in words:
            assert word in self.output
        assert MARK not in self.output.lower().encode(), self.output
        assert not self.exposed


def orchestrate(
    folder: Path, *arguments: str, private: tuple[str, ...] = (), **env: str
) -> CommandResult:
    """Run the command with umask 0; watch its process list and the permissions below `private`."""
    output = folder / "output.txt"
    exposed: set[str] = set()
    environment = {**os.environ, **SECRETS, "TMPDIR": str(folder), **env}
    process = forked_commands.start(
        "careless", *arguments, cwd=folder, env=environment, output=(output, output)
    )
    assert process.pid
    for _ in range(6000):
        exposed |= _seen_in_process_list(process.pid)
        exposed |= {name for top in private for name in readable_by_others(folder / top)}
        if process.exitcode is not None:
            break
        time.sleep(0.05)
    else:
        process.kill()
        process.join()
    text = output.read_text(encoding="utf-8")
    output.unlink()
    assert process.exitcode is not None
    return CommandResult(process.exitcode, text, exposed)


def main() -> None:
    """Run the command as a user whose files are open to everybody."""
    os.umask(0)
    __main__.main()


def readable_by_others(top: Path) -> set[str]:
    """Return the files at or below `top` that another user could reach and read or write."""
    found: set[str] = set()
    try:
        mode = top.lstat().st_mode
        if mode & 0o077 == 0:
            return found
        if not top.is_dir():
            return {f"{top} {mode:o}"}
        for path in top.iterdir():
            found |= readable_by_others(path)
    except FileNotFoundError:  # removed in the meantime
        pass
    return found


def files_with_a_canary(*paths: Path) -> list[Path]:
    """Return the files at or below these paths that contain a planted value."""
    files = [path for top in paths for path in (top, *top.rglob("*")) if path.is_file()]
    return [path for path in files if MARK in path.read_bytes().lower()]


def _seen_in_process_list(pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(psutil.Error):  # the command has ended
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if MARK.decode() in words.lower():
                    found.add(words)
    return found
