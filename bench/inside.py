"""One `orchestrate` in this process, which notes what its steps cost.

Usage: python bench/inside.py STEPS [--untested] ARGUMENT...: STEPS is a file that gets, as JSON,
the seconds by the wall and of CPU that dbt took, its import included. With --untested no data
tests are run.
"""

import functools
import sys
from pathlib import Path

from clock import Clock

from orchestrator import __main__, cli
from orchestrator.pipeline import run
from orchestrator.warehouse import Warehouse


def main(steps: Path, *, tested: bool) -> None:
    """Run the command line with its steps timed."""
    assert cli and run  # noqa: PT018, S101 - what they import is not dbt's
    clock = Clock()
    with clock.running():
        from orchestrator.warehouse.dbt import Dbt  # noqa: PLC0415 - its import is timed

    Dbt.__init__ = clock.running()(Dbt.__init__)  # type: ignore[method-assign] # to time it
    Dbt.build = clock.running()(Dbt.build)  # type: ignore[method-assign] # to time it
    if not tested:
        Warehouse.stage = functools.partialmethod(Warehouse.stage, tested=False)  # type: ignore[assignment,method-assign]
    try:
        __main__.main()
    finally:
        clock.note(steps)


if __name__ == "__main__":
    _, _name, *_arguments = sys.argv
    untested = "--untested" in _arguments
    sys.argv = ["orchestrate", *(word for word in _arguments if word != "--untested")]
    main(Path(_name), tested=not untested)
