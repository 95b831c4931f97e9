"""The cost of a command and its child processes: elapsed time, CPU time and memory."""

import os
import statistics
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import psutil

_EVERY = 0.02  # seconds between two samples of the memory
_MB = 1024 * 1024


@dataclass(frozen=True)
class Cost:
    """Elapsed seconds (`wall`), seconds of CPU (user and system), and peak memory in MB.

    CPU is that of the process, its children, and the server that works for it. Memory does not
    include the server's.
    """

    wall: float
    cpu: float
    memory: float = 0

    def __sub__(self, other: "Cost") -> "Cost":
        """Return the time without the time of a part; memory stays."""
        return replace(self, wall=self.wall - other.wall, cpu=self.cpu - other.cpu)

    def __truediv__(self, parts: int) -> "Cost":
        """Return the time of one of several equal parts; memory stays."""
        return replace(self, wall=self.wall / parts, cpu=self.cpu / parts)


Case = Callable[[], Mapping[str, Cost]]
"""A function that does its work once, and returns the cost of each part by name."""


def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    server: int | None = None,
) -> Cost:
    """Run a command in a folder; its stdout and stderr go to the files `output` and `errors` there.

    `server` is the id of the process that works for it, if any. Raises RuntimeError with the output
    if the command fails.
    """
    served = _cpu(server) if server else 0
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        start = perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
        memory = _Memory(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = memory.stop()
        if process.returncode:
            written = "".join((folder / name).read_text() for name in ("output", "errors"))
            raise RuntimeError(f"{' '.join(map(str, command))}: {process.returncode}\n{written}")
    cpu = usage.ru_utime + usage.ru_stime + (_cpu(server) - served if server else 0)
    return Cost(wall, cpu, peak)


def interleaved(*cases: Case, rounds: int, warm: bool = True) -> dict[str, Cost]:
    """Run the cases in turn, round after round; return the median cost of each part, by name.

    With `warm` an additional first round does not count. Memory is the maximum of all rounds.
    """
    costs: dict[str, list[Cost]] = {}
    for number in range(rounds + warm):
        for case in cases:
            for name, cost in case().items():
                if number >= warm:
                    costs.setdefault(name, []).append(cost)
    return {name: _median(found) for name, found in costs.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.memory for cost in costs),
    )


def _cpu(server: int) -> float:
    """Return the seconds of CPU of a server and its children, including children that ended."""
    top = psutil.Process(server)
    total = 0.0
    for process in (top, *top.children(recursive=True)):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])  # the last two are those of ended children
    return total


class _Memory:
    """Samples the memory of a process and its children, in a thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Stop; return the highest sample in MB."""
        self._ended.set()
        self._thread.join()
        return self._peak / _MB

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            with suppress(psutil.Error):
                top = psutil.Process(self._pid)
                self._peak = max(self._peak, sum(map(_resident, (top, *_children(top)))))


def _children(process: psutil.Process) -> list[psutil.Process]:
    """Return the descendants of a process.

    The kernel's list of children is faster than psutil, which reads every process of the machine.
    """
    try:
        tasks = Path(f"/proc/{process.pid}/task")
        found = [
            psutil.Process(int(pid))
            for task in tasks.iterdir()
            for pid in (task / "children").read_text().split()
        ]
    except (OSError, psutil.Error):
        return []
    return [child for first in found for child in (first, *_children(first))]


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return process.memory_info().rss
    return 0
