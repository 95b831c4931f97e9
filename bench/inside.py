"""Run `orchestrate` in this process, and measure dbt in it.

Usage: python bench/inside.py STEPS [--untested] ARGUMENT...: writes the elapsed seconds and the
seconds of CPU that dbt took, its import included, to the file STEPS, as JSON. With --untested no
data tests are run.
"""

import functools
import sys
from pathlib import Path

from clock import Clock

from orchestrator import __main__, cli
from orchestrator.pipeline import run
from orchestrator.warehouse import Warehouse


def main(steps: Path, *, tested: bool) -> None:
    """Run the command line, and measure dbt."""
    assert cli and run  # noqa: PT018, S101 - imported before the clock starts, as they are not dbt
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
        clock.write(steps)


if __name__ == "__main__":
    _, _name, *_arguments = sys.argv
    untested = "--untested" in _arguments
    sys.argv = ["orchestrate", *(word for word in _arguments if word != "--untested")]
    main(Path(_name), tested=not untested)
