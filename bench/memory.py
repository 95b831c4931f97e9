"""The peak memory of `orchestrate daily`, which must not grow with the window.

Usage: python bench/memory.py [ROWS ...]; without more, a window of 1,000,000 and one of 10,000,000
rows. Exit code 1 where a run fails, loses a row, or takes more than 1 GB.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sample

_LIMIT = 1024  # MB


def main(sizes: list[int]) -> int:
    """Measure a run of each size; return the exit code."""
    return max(_measured(rows) for rows in sizes)


def _measured(rows: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: the rows that are made here are not to count.
        making = multiprocessing.Process(
            target=sample.make, args=(folder,), kwargs={"rows": rows, "days": 1}
        )
        making.start()
        making.join()
        orchestrate = Path(sys.executable).with_name("orchestrate")
        command = [orchestrate, "daily", "--config", folder / "exports.yml", "--json"]
        start = time.perf_counter()
        with (folder / "result.json").open("w+b") as out, (folder / "log").open("w+b") as log:
            run = subprocess.Popen(
                [*command, "--date", "2026-11-01"],
                env=os.environ | {"DUCKDB_PATH": str(folder / "warehouse.duckdb")},
                stdout=out,
                stderr=log,
            )
            _, status, usage = os.wait4(run.pid, 0)
        took = time.perf_counter() - start
        peak = usage.ru_maxrss / 1024
        if code := os.waitstatus_to_exitcode(status):
            print(f"{rows:,} rows: exit code {code}\n{(folder / 'log').read_text()}")
            return 1
        windows = json.loads((folder / "result.json").read_text())["windows"]
        activities = [file for window in windows for file in window["files"]]
        written = sum(file["rows"] for file in activities if file["kind"] == "activity")
        cpu = usage.ru_utime + usage.ru_stime
        print(f"{rows:,} rows: peak {peak:,.0f} MB of {_LIMIT}, {took:.0f} s, {cpu:.0f} s of CPU")
        if written != rows:
            print(f"{written:,} rows arrived")
        return int(peak > _LIMIT or written != rows)


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]] or [1_000_000, 10_000_000]))
