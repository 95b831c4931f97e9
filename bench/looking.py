"""Run `orchestrate run` in this process, and measure its search for late rows.

Usage: python bench/looking.py STEPS: writes the elapsed seconds and the seconds of CPU that the
search took to the file STEPS, as JSON. The start of Python and dbt's import and parse do not count.
"""

import sqlite3
import sys
from pathlib import Path

from clock import Clock

from orchestrator import __main__
from orchestrator.pipeline.late import LateWindows
from orchestrator.pipeline.making import Maker


def main(steps: Path) -> None:
    """Run the command line, and measure the search. The last one was long ago, so one is due."""
    with sqlite3.connect("state/ledger.db") as ledger:
        ledger.execute("update looks set looked_at = '2026-01-01 00:00:00.000000'")
    clock = Clock()
    find = LateWindows.find

    def timed(windows: LateWindows) -> object:
        maker: Maker = windows._maker  # noqa: SLF001 - to open the warehouse before the clock runs
        maker.open()
        with clock.running():
            return find(windows)

    LateWindows.find = timed  # type: ignore[assignment,method-assign] # to time it
    sys.argv = ["orchestrate", "run"]
    try:
        __main__.main()
    finally:
        clock.write(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
