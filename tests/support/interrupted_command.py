"""The real command line, interrupted in dbt: `interrupted SIGNAL WHERE SECONDS ARGUMENT...`.

The signal is sent SECONDS after dbt began what WHERE names: `parse`, `build` (of a window), or
`late` (the build of a window in a search for late rows). The product has no hook for this: dbt is
wrapped from outside.
"""

import os
import sys
import threading
from typing import Any

from dbt.cli.main import dbtRunner

from orchestrator import cli
from orchestrator.pipeline import late


def main() -> None:
    """Wrap dbt, and run the command line."""
    number, where, seconds, *arguments = sys.argv[1:]
    invoke, find = dbtRunner.invoke, late.LateWindows.find
    waiting = {where}

    def invoked(runner: Any, words: list[str]) -> Any:  # noqa: ANN401 - as in dbt
        if words[0] in waiting:
            waiting.clear()
            interrupt = (os.getpid(), int(number))
            threading.Timer(float(seconds), os.kill, interrupt).start()
        return invoke(runner, words)

    def looked(*words: Any) -> Any:  # noqa: ANN401 - as in LateWindows.find
        waiting.update({"build"} if "late" in waiting else ())
        return find(*words)

    setattr(dbtRunner, "invoke", invoked)  # noqa: B010 - mypy refuses the assignment
    setattr(late.LateWindows, "find", looked)  # noqa: B010 - the same
    sys.argv = ["orchestrate", *arguments]
    cli.main()
