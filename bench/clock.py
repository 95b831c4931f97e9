"""The cost of a part of a process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time


class Clock:
    """Adds up the elapsed seconds and the seconds of CPU of several blocks."""

    wall = cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block."""
        wall, cpu = perf_counter(), process_time()
        try:
            yield
        finally:
            self.wall += perf_counter() - wall
            self.cpu += process_time() - cpu

    def write(self, path: Path) -> None:
        """Write the seconds to a file, as JSON."""
        path.write_text(json.dumps({"wall": self.wall, "cpu": self.cpu}), encoding="utf-8")
