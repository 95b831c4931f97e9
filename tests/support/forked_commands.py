"""Run commands as forks of a process that has already imported everything slow.

Imports and dbt's first parse take four seconds of most commands, and are the same each time.
multiprocessing's fork server (fork_server.py) does them once; each command is a fork of it and
leads a process group. A forked command skips the shutdown of Python, which takes longer than most
commands. `orchestrate_cold` runs a command in a new interpreter, with all imports and the shutdown.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

ORCHESTRATE = Path(sys.executable).with_name("orchestrate")
_PROGRAMS = {
    "orchestrate": "orchestrator.__main__:main",
    "dbt": "forked_commands:dbt",
    "careless": "canaries:main",
    "killed": "killed_command:main",
    "interrupted": "interrupted_command:main",
}
_PATIENCE = 300  # seconds
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["fork_server"])


class Command:
    """A program that runs in a folder, with additional environment variables."""

    def __init__(
        self,
        folder: Path,
        program: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        parsed: bool = True,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name, "output"), Path(self._folder.name, "errors")
        environment = {**os.environ, **(env or {})}
        self.process = start(
            *(program, *arguments), cwd=folder, env=environment, output=self._output, parsed=parsed
        )

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; return its exit code and output."""
        self.process.join(_PATIENCE)
        output = [path.read_text(encoding="utf-8") for path in self._output]
        self._folder.cleanup()
        assert self.process.exitcode is not None, output
        return subprocess.CompletedProcess((), self.process.exitcode, *output)


def orchestrate(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as `Command` does."""
    return Command(folder, "orchestrate", *arguments, env=env).wait()


def orchestrate_cold(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in a new interpreter."""
    return subprocess.run(
        [ORCHESTRATE, *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def dbt() -> None:
    """Run dbt, and close its connections: dbt leaves that to the shutdown of Python."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - slow
    from dbt.cli.main import cli  # noqa: PLC0415 - the same

    try:
        cli()
    finally:
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]


def start(
    program: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    output: tuple[Path, Path],
    parsed: bool = True,
) -> BaseProcess:
    """Start a program; its stdout and stderr go to these two files, which may be one.

    With `parsed`, dbt starts with the parse of an earlier run.
    """
    order = ([program, *arguments], cwd, dict(env), output, parsed)
    process = _FORKS.Process(target=_run, args=order, daemon=True)
    with pytest.MonkeyPatch.context() as patch:  # the first one starts the fork server
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    return process


def _run(
    words: list[str],
    cwd: Path,
    env: dict[str, str],
    output: tuple[Path, Path],
    parsed: bool,  # noqa: FBT001 - `start` passes all arguments by position
) -> None:
    os.setpgid(0, 0)
    for number, path in enumerate(output, start=1):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    kept = Path(os.environ["PARSED"])
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # so that tempfile reads TMPDIR again
    os.chdir(cwd)
    sys.argv[:] = [str(ORCHESTRATE.with_name(words[0])), *words[1:]]
    module, _, function = _PROGRAMS[words[0]].partition(":")
    main = getattr(importlib.import_module(module), function)
    from dbt_parse_cache import shared_parse  # noqa: PLC0415 - the fork server has it already

    with shared_parse(kept) if parsed else nullcontext():
        main()
