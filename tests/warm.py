"""Processes that have imported all that is slow: forks of one that did nothing else.

Two seconds of a run are Python's imports, and they are the same each time. Here they are made once;
each run is a process and a process group of its own, which begins where its imports have ended.
Nothing that starts a thread is among them: a fork has none.
"""

import atexit
import functools
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_SLOW = ("asyncssh", "dbt.adapters.duckdb", "dbt.cli.main", "duckdb", "orchestrator.pipeline")
_LONGEST = 1 << 17  # bytes of an order: its environment, for the most part


class Forked:
    """A process on its way."""

    def __init__(self, said: socket.socket) -> None:
        self._said = said
        self._code: int | None = None
        said.settimeout(60)
        self.pid = int(said.recv(32))

    def poll(self) -> int | None:
        """Return how it ended as subprocess does, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired after so many seconds."""
        if self._code is None:
            self._said.settimeout(seconds)
            try:
                self._code = int(self._said.recv(32))
            except (BlockingIOError, TimeoutError) as error:
                raise subprocess.TimeoutExpired(str(self.pid), seconds or 0) from error
            self._said.close()
        return self._code


def start(program: str, *arguments: str, cwd: Path, env: Mapping[str, str], output: Path) -> Forked:
    """Call a function, named as an entry point is, with these arguments of a command line.

    What it says on stdout and stderr goes to a file.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    order = {
        "program": program,
        "arguments": arguments,
        "path": sys.path,
        "cwd": str(cwd),
        "env": dict(env),
    }
    with theirs, output.open("wb") as told:
        fds = [theirs.fileno(), told.fileno()]
        socket.send_fds(_origin(), [json.dumps(order).encode()], fds)
    return Forked(ours)


@functools.cache
def _origin() -> socket.socket:
    """Start what is forked, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _main() -> None:
    for name in _SLOW:
        importlib.import_module(name)
    threads = [*Path("/proc/self/task").iterdir()]
    assert len(threads) == 1, "a thread would not be there after a fork"
    order = _serve(socket.socket(fileno=0))
    os.environ.clear()
    os.environ.update(order["env"])
    tempfile.tempdir = None  # as the environment says
    os.chdir(order["cwd"])
    sys.path[:] = order["path"]
    sys.argv = [order["program"], *order["arguments"]]
    module, _, function = order["program"].partition(":")
    sys.exit(getattr(importlib.import_module(module), function)())


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork for each order; return in the forks alone, with the order."""
    while True:
        text, fds, *_ = socket.recv_fds(control, _LONGEST, 2)
        with suppress(ChildProcessError):
            while os.waitpid(-1, 0 if not text else os.WNOHANG)[0]:
                pass
        if not text:
            sys.exit()
        if os.fork() == 0:
            said, output = socket.socket(fileno=fds[0]), fds[1]
            if (pid := os.fork()) == 0:
                os.setpgid(0, 0)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.close(output)
                control.detach()
                said.close()
                return dict(json.loads(text))
            with suppress(OSError):  # the fork may be quicker
                os.setpgid(pid, pid)
            said.send(str(pid).encode())
            _, status = os.waitpid(pid, 0)
            with suppress(OSError):
                said.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    _main()
