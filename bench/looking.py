"""One `orchestrate run` in this process, which notes what its look for late rows costs.

Usage: python bench/looking.py STEPS: STEPS is a file that gets, as JSON, the seconds by the wall
and of CPU that the look took, without the start of Python, dbt's import and its parse.
"""

import sqlite3
import sys
from pathlib import Path

from clock import Clock

from orchestrator import __main__
from orchestrator.pipeline.late import LateWindows
from orchestrator.pipeline.making import Maker


def main(steps: Path) -> None:
    """Run the command line with its look timed; the last look was long ago."""
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
        clock.note(steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
