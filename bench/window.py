"""What a further window costs in one process, against the first, and without the data tests.

Usage: python bench/window.py [ROWS [WINDOWS]]: the events of a day, 5,000 without more, and how
many days. Prints seconds and ratios to the first window. Trust the ratios, of CPU time above all.
"""

import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sample

from orchestrator import project
from orchestrator.warehouse import Warehouse
from orchestrator.windows import Window

_FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def main(rows: int, windows: int = 8) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DUCKDB_PATH"] = str(sample.make(folder, rows=rows, days=windows))
        found = project.find(folder, "duckdb")
        (folder / "cache").mkdir()
        for title in ("nothing kept", "parse kept"):
            work = folder / title
            work.mkdir()
            clock = _Clock()
            warehouse = Warehouse.open(found, work, folder / "cache")
            try:
                warehouse.stage(_day(0))
                first = clock.lap()
                print(f"{title}: the first window, with dbt's start: {_told(first, first)}")
                for tested in (True, False):
                    laps = []
                    for number in range(windows):
                        clock.lap()
                        warehouse.stage(_day(number), tested=tested)
                        laps.append(clock.lap())
                    median = tuple(statistics.median(lap) for lap in zip(*laps, strict=True))
                    tests = "with its data tests" if tested else "without tests"
                    print(f"{title}: a further window, {tests}: {_told(median, first)}")
            finally:
                warehouse.close()


class _Clock:
    """Seconds since the last lap: by the wall, and of CPU."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> tuple[float, ...]:
        last, self._last = self._last, (time.perf_counter(), time.process_time())
        return tuple(now - before for now, before in zip(self._last, last, strict=True))


def _told(lap: tuple[float, ...], first: tuple[float, ...]) -> str:
    wall, cpu = lap
    return f"{wall:.2f} s ({wall / first[0]:.2f}), {cpu:.2f} s of CPU ({cpu / first[1]:.2f})"


def _day(number: int) -> Window:
    return Window(_FIRST + timedelta(days=number), _FIRST + timedelta(days=number + 1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["5000", "8"]))
